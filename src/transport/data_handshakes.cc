#include "transport/data_handshakes.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/socket.h>

#include <system_error>
#include <utility>

#include "base/log.h"
#include "transport/socket.h"

namespace godwit {

namespace {

Result<> send_ack(TlsConnection& tls, const wire::HelloAck& ack, Deadline deadline) {
  return tls.send(wire::encode_hello_ack(ack), deadline);
}

Result<wire::Hello> receive_hello(TlsConnection& tls, Deadline deadline) {
  char bytes[wire::kHelloBytes];
  TRY(tls.receive_exact(bytes, sizeof bytes, deadline));
  return wire::decode_hello({bytes, sizeof bytes});
}

bool agree(const wire::Preamble& preamble, const wire::Hello& hello) {
  if (preamble.version_major != hello.version_major) return false;
  if (hello.version_major != wire::kDataVersionMajor) return true;  // to be refused; the rest is not known
  return preamble.channel == hello.channel && preamble.migration_id == hello.migration_id;
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

struct DataHandshakes::Handshake {
  ScopedFd socket;  // given to the TlsConnection
  std::optional<wire::Preamble> preamble;
  ScopedFd handle;        // a duplicate, under mutex_: stop() shuts the connection down through it
  bool finished = false;  // under mutex_
  std::thread thread;
};

DataHandshakes::DataHandshakes(TlsContext context, DataListenerOptions options, DataClaim claim, DataRoute route)
    : context_(std::move(context)), options_(std::move(options)), claim_(std::move(claim)), route_(std::move(route)) {}

DataHandshakes::~DataHandshakes() { stop(); }

void DataHandshakes::refuse_more() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& handshake : handshakes_)
      if (handshake->handle) ::shutdown(handshake->handle.get(), SHUT_RDWR);
  }
  slot_free_.notify_all();
}

void DataHandshakes::stop() {
  refuse_more();
  // Nobody adds to the list any more.
  for (auto& handshake : handshakes_) handshake->thread.join();
  handshakes_.clear();
}

DataListenerCounts DataHandshakes::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

void DataHandshakes::count(uint64_t DataListenerCounts::* field) {
  std::lock_guard lock(mutex_);
  ++(counts_.*field);
}

bool DataHandshakes::wait_for_slot() {
  std::unique_lock lock(mutex_);
  slot_free_.wait_for(lock, options_.slot_wait, [&] { return stopping_ || running_ < options_.handshakes_max; });
  if (stopping_ || running_ >= options_.handshakes_max) return false;
  ++running_;
  return true;
}

void DataHandshakes::begin(ScopedFd socket, std::optional<wire::Preamble> preamble) {
  join_finished();
  count(&DataListenerCounts::accepted);
  if (!wait_for_slot()) return count(&DataListenerCounts::overflow);
  auto handshake = std::make_unique<Handshake>();
  handshake->handle = ScopedFd(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  handshake->socket = std::move(socket);
  handshake->preamble = std::move(preamble);
  std::lock_guard lock(mutex_);
  try {
    // It needs mutex_ to finish, so it cannot be joined before it is in the list.
    if (handshake->handle && !stopping_) handshake->thread = std::thread([this, raw = handshake.get()] { run(*raw); });
  } catch (const std::system_error&) {  // no thread to be had
  }
  if (handshake->thread.joinable()) {
    handshakes_.push_back(std::move(handshake));
  } else {
    --running_;
    ++counts_.overflow;
  }
}

void DataHandshakes::join_finished() {
  std::lock_guard lock(mutex_);
  handshakes_.remove_if([](auto& handshake) {
    if (!handshake->finished) return false;
    handshake->thread.join();  // past its last use of mutex_
    return true;
  });
}

// --- One connection, on its own thread -----------------------------------------------------------

void DataHandshakes::run(Handshake& handshake) {
  if (auto served = serve(handshake); !served) {
    log::debug("data listener: {}", served.error().text());
    count(&DataListenerCounts::rejected);
  }
  handshake.socket.reset();  // of what did not come as far as TLS
  // Under the lock to its end: join_finished() may free the Handshake once it is marked.
  std::lock_guard lock(mutex_);
  handshake.handle.reset();
  handshake.finished = true;
  --running_;
  slot_free_.notify_one();
}

std::expected<DataHandler, wire::Refusal> DataHandshakes::judge(const wire::Hello& hello, const TlsConnection& tls) {
  if (auto allowed = check_peer_allowed(tls.peer_names(), options_.allowed, tls.peer_address()); !allowed) {
    log::warn("data connection refused: {}", allowed.error().text());
    return std::unexpected(wire::Refusal::kPeerName);
  }
  if (hello.version_major != wire::kDataVersionMajor) return std::unexpected(wire::Refusal::kVersion);
  return claim_(hello, tls.peer_names());
}

// True: the connection is another process's now.
Result<bool> DataHandshakes::read_preamble(Handshake& handshake, Deadline deadline) {
  if (handshake.preamble) return false;
  TRY(prepare_tcp(handshake.socket.get(), context_.dead_after()));
  constexpr size_t kMagicBytes = wire::kPreambleMagic.size();
  char bytes[wire::kPreambleBytes];
  TRY(receive_all(handshake.socket.get(), bytes, kMagicBytes, deadline));
  if (std::string_view(bytes, kMagicBytes) != wire::kPreambleMagic)  // a stranger is not waited for
    return fail(remote_address(handshake.socket.get()) + " does not begin as a data connection does");
  TRY(receive_all(handshake.socket.get(), bytes + kMagicBytes, sizeof bytes - kMagicBytes, deadline));
  TRY_ASSIGN(handshake.preamble, wire::decode_preamble({bytes, sizeof bytes}));
  if (!route_ || handshake.preamble->version_major != wire::kDataVersionMajor) return false;
  if (!route_(*handshake.preamble, handshake.socket)) return false;
  if (!hand_over(handshake)) return fail("the agent is stopping");
  count(&DataListenerCounts::routed);
  return true;
}

Result<> DataHandshakes::serve(Handshake& handshake) {
  const Deadline deadline = Clock::now() + options_.handshake_limit;
  TRY_ASSIGN(const bool routed, read_preamble(handshake, deadline));
  if (routed) return {};
  TRY_ASSIGN(auto tls, TlsConnection::accept_any_name(context_, std::move(handshake.socket), deadline));
  TRY_ASSIGN(wire::Hello hello, receive_hello(*tls, deadline));
  if (!tls->nothing_buffered()) return fail(tls->peer_address() + " sent more than a hello");
  if (!agree(*handshake.preamble, hello)) return fail(tls->peer_address() + " says another hello than it began with");
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
bool DataHandshakes::hand_over(Handshake& handshake) {
  std::lock_guard lock(mutex_);
  handshake.handle.reset();
  return !stopping_;
}

}  // namespace godwit
