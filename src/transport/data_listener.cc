#include "transport/data_listener.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <system_error>
#include <utility>

#include "base/log.h"
#include "transport/socket.h"

namespace godwit {

namespace {

// How long to leave the queue alone when the process has no descriptor left for another connection.
constexpr milliseconds kDescriptorsScarceWait{100};

Result<> send_ack(TlsConnection& tls, const wire::HelloAck& ack, Deadline deadline) {
  return tls.send(wire::encode_hello_ack(ack), deadline);
}

Result<wire::Hello> receive_hello(TlsConnection& tls, Deadline deadline) {
  char bytes[wire::kHelloBytes];
  TRY(tls.receive_exact(bytes, sizeof bytes, deadline));
  return wire::decode_hello({bytes, sizeof bytes});
}

// The name under which the peer is allowed here, or its first.
std::string name_of(const std::vector<std::string>& names, const AllowedPeers& allowed) {
  for (const std::string& name : names)
    if (allowed.contains(name)) return name;
  return names.empty() ? "?" : names.front();
}

}  // namespace

bool equal_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

struct DataListener::Handshake {
  ScopedFd socket;        // given to the TlsConnection
  ScopedFd handle;        // a duplicate, under mutex_: stop() shuts the connection down through it
  bool finished = false;  // under mutex_
  std::thread thread;
};

DataListener::DataListener(TlsContext context, DataListenerOptions options, DataClaim claim, ScopedFd socket,
                           ScopedFd wake)
    : context_(std::move(context)),
      options_(std::move(options)),
      claim_(std::move(claim)),
      socket_(std::move(socket)),
      wake_(std::move(wake)),
      address_(local_address(socket_.get())) {}

DataListener::~DataListener() { stop(); }

Result<std::unique_ptr<DataListener>> DataListener::start(TlsContext context, DataListenerOptions options,
                                                          DataClaim claim) {
  TRY_ASSIGN(ScopedFd socket, listen_tcp(options.address));
  ScopedFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("eventfd");
  std::unique_ptr<DataListener> listener(
      new DataListener(std::move(context), std::move(options), std::move(claim), std::move(socket), std::move(wake)));
  listener->acceptor_ = std::thread([raw = listener.get()] { raw->accept_loop(); });
  return listener;
}

void DataListener::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& handshake : handshakes_)
      if (handshake->handle) ::shutdown(handshake->handle.get(), SHUT_RDWR);
  }
  slot_free_.notify_all();
  ::eventfd_write(wake_.get(), 1);
  if (acceptor_.joinable()) acceptor_.join();
  // Nobody adds to the list any more.
  for (auto& handshake : handshakes_) handshake->thread.join();
  handshakes_.clear();
  socket_.reset();
}

DataListenerCounts DataListener::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

void DataListener::count(uint64_t DataListenerCounts::* field) {
  std::lock_guard lock(mutex_);
  ++(counts_.*field);
}

// --- Accepting -----------------------------------------------------------------------------------

void DataListener::accept_loop() {
  for (;;) {
    pollfd items[] = {{wake_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
    if (::poll(items, 2, -1) < 0 && errno != EINTR) log::error("data listener: poll: errno {}", errno);
    if (items[0].revents != 0) return;
    ScopedFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    const int code = errno;
    join_finished();
    if (socket) {
      count(&DataListenerCounts::accepted);
      start_handshake(std::move(socket));
    } else if (code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM) {
      log::error("data listener: cannot accept a connection: errno {}", code);
      ::poll(items, 1, static_cast<int>(kDescriptorsScarceWait.count()));
    }
  }
}

bool DataListener::wait_for_slot() {
  std::unique_lock lock(mutex_);
  slot_free_.wait_for(lock, options_.slot_wait, [&] { return stopping_ || running_ < options_.handshakes_max; });
  if (stopping_ || running_ >= options_.handshakes_max) return false;
  ++running_;
  return true;
}

void DataListener::start_handshake(ScopedFd socket) {
  if (!wait_for_slot()) return count(&DataListenerCounts::overflow);
  auto handshake = std::make_unique<Handshake>();
  handshake->handle = ScopedFd(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  handshake->socket = std::move(socket);
  std::lock_guard lock(mutex_);
  try {
    // It needs mutex_ to finish, so it cannot be joined before it is in the list.
    if (handshake->handle && !stopping_)
      handshake->thread = std::thread([this, raw = handshake.get()] { run_handshake(*raw); });
  } catch (const std::system_error&) {  // no thread to be had
  }
  if (handshake->thread.joinable()) {
    handshakes_.push_back(std::move(handshake));
  } else {
    --running_;
    ++counts_.overflow;
  }
}

void DataListener::join_finished() {
  std::lock_guard lock(mutex_);
  handshakes_.remove_if([](auto& handshake) {
    if (!handshake->finished) return false;
    handshake->thread.join();  // past its last use of mutex_
    return true;
  });
}

// --- One connection, on its own thread -----------------------------------------------------------

void DataListener::run_handshake(Handshake& handshake) {
  if (auto served = serve(handshake); !served) {
    log::debug("data listener: {}", served.error().text());
    count(&DataListenerCounts::rejected);
  }
  // Under the lock to its end: join_finished() may free the Handshake once it is marked.
  std::lock_guard lock(mutex_);
  handshake.handle.reset();
  handshake.finished = true;
  --running_;
  slot_free_.notify_one();
}

std::expected<DataHandler, wire::Refusal> DataListener::judge(const wire::Hello& hello, const TlsConnection& tls) {
  if (auto allowed = check_peer_allowed(tls.peer_names(), options_.allowed, tls.peer_address()); !allowed) {
    log::warn("data connection refused: {}", allowed.error().text());
    return std::unexpected(wire::Refusal::kPeerName);
  }
  if (hello.version_major != wire::kDataVersionMajor) return std::unexpected(wire::Refusal::kVersion);
  return claim_(hello, tls.peer_names());
}

Result<> DataListener::serve(Handshake& handshake) {
  const Deadline deadline = Clock::now() + options_.handshake_limit;
  TRY_ASSIGN(auto tls, TlsConnection::accept_any_name(context_, std::move(handshake.socket), deadline));
  TRY_ASSIGN(wire::Hello hello, receive_hello(*tls, deadline));
  if (!tls->nothing_buffered()) return fail(tls->peer_address() + " sent more than a hello");
  auto handler = judge(hello, *tls);
  if (!handler) {
    log::info("data connection of {} refused: {}", tls->peer_address(), wire::refusal_text(handler.error()));
    count(&DataListenerCounts::refused);
    (void)send_ack(*tls, {.refusal = handler.error()}, deadline);  // a courtesy
    return {};
  }
  const bool plain = options_.allow_plain && hello.want_plain;
  TRY(send_ack(*tls, {.plain = plain}, deadline));
  std::string peer = name_of(tls->peer_names(), options_.allowed);
  auto connection = std::make_unique<DataConnection>(std::move(tls), std::move(peer), std::move(hello), plain);
  connection->set_idle_limit(options_.idle_limit);
  if (!hand_over(handshake)) return fail("the agent is stopping");
  count(&DataListenerCounts::claimed);
  (*handler)(std::move(connection));
  return {};
}

// After this stop() leaves the connection alone. False if it was too late for that.
bool DataListener::hand_over(Handshake& handshake) {
  std::lock_guard lock(mutex_);
  handshake.handle.reset();
  return !stopping_;
}

}  // namespace godwit
