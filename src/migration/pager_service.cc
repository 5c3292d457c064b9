#include "migration/pager_service.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

// An agent has a handful under way; each is a thread.
constexpr int kRequestsMax = 64;
constexpr size_t kRequestBytesMax = 256 << 10;
// The agent says at once what it has connected for.
constexpr timeval kAgentSaysWithin{10, 0};
// How long the process waits for its first agent.
constexpr auto kAgentComesWithin = 60s;
// How often it looks whether anybody can still come.
constexpr auto kLook = 1s;

pager::Failed in_message(const Error& error) {
  pager::Failed failed;
  failed.set_text(error.text());
  failed.set_code(error.code());
  return failed;
}

bool is_ours(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == ::geteuid();
}

bool has_ended(int pidfd) {
  pollfd item{pidfd, POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

}  // namespace

Result<std::unique_ptr<PagerService>> PagerService::create(ScopedFd listener) {
  ScopedFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("eventfd");
  TRY_ASSIGN(std::filesystem::path socket, bound_path(listener.get()));
  return std::unique_ptr<PagerService>(new PagerService(std::move(listener), std::move(socket), std::move(wake)));
}

void PagerService::run() {
  const Deadline first_agent = Clock::now() + kAgentComesWithin;
  for (;;) {
    pollfd items[] = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    (void)::poll(items, 2, static_cast<int>(std::chrono::milliseconds(kLook).count()));
    if (items[1].revents != 0) accept_request();
    eventfd_t ignored;
    (void)::eventfd_read(wake_.get(), &ignored);
    {
      std::lock_guard lock(mutex_);
      if (ending_ || (!agent_came_ && Clock::now() > first_agent)) return;
    }
    if (is_of_no_use()) return;
  }
}

// Nobody is there, and nobody can come who wants anything of it.
bool PagerService::is_of_no_use() {
  std::lock_guard lock(mutex_);
  std::error_code error;
  const bool hidden = !std::filesystem::exists(socket_, error);
  if (!agent_came_) return hidden;  // the one that it was started by was killed, and the next has cleaned up
  if (agent_ >= 0 || !guarded_) return false;
  if (complete_ && hidden) return true;
  if (!has_ended(guarded_->pidfd.get())) return false;
  const auto left = proc::processes_in_cgroup(guarded_->cgroup);
  return !left || left->empty();
}

// --- Requests ----------------------------------------------------------------------------------------------

void PagerService::accept_request() {
  ScopedFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection || !is_ours(connection.get()) || requests_ >= kRequestsMax) return;
  ::setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &kAgentSaysWithin, sizeof kAgentSaysWithin);
  ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &kAgentSaysWithin, sizeof kAgentSaysWithin);
  ++requests_;
  std::thread([this, owned = std::move(connection)]() mutable {
    serve(std::move(owned));
    --requests_;
  }).detach();  // run() says why nothing has to wait for it
}

void PagerService::serve(ScopedFd connection) {
  auto packet = receive_packet(connection.get(), kRequestBytesMax);
  pager::Request request;
  if (!packet || !request.ParseFromString(packet->bytes)) return;
  if (request.has_attach()) return attach(request.attach(), std::move(connection));
  auto done = answer(request, packet->fds);
  pager::Reply reply;
  if (done) {
    reply = std::move(*done);
    reply.mutable_figures();  // an empty packet would be the end of the connection
  } else {
    *reply.mutable_failed() = in_message(done.error());
  }
  (void)send_packet(connection.get(), reply.SerializeAsString());
  if (!request.has_end()) return;
  (void)connection.release();  // closed by the end of the process
  end();
}

Result<pager::Reply> PagerService::answer(const pager::Request& request, std::vector<ScopedFd>& fds) {
  pager::Reply reply;
  if (request.has_end()) return reply;
  if (request.has_create() || request.has_take_over()) {
    TRY(request.has_create() ? create_memory(request.create()) : take_over(request.take_over()));
    return reply;
  }
  const auto memory = this->memory();
  if (!memory) return fail("there is no memory yet");
  switch (request.body_case()) {
    case pager::Request::kConnection:
      TRY(take_connection(request.connection().channel(), fds));
      break;
    case pager::Request::kAwaitMap:
      TRY(memory->await_map(Clock::now() + std::chrono::milliseconds(request.await_map().limit_ms())));
      break;
    case pager::Request::kAwaitPages:
      TRY(memory->await_pages(request.await_pages().all(),
                              std::chrono::milliseconds(request.await_pages().limit_ms())));
      break;
    case pager::Request::kGuard:
      TRY(guard(request.guard()));
      break;
    case pager::Request::kBeginFill:
      begin_fill();
      break;
    case pager::Request::kProgress:
      *reply.mutable_figures()->mutable_left() =
          memory->progress(std::chrono::milliseconds(request.progress().limit_ms()));
      reply.mutable_figures()->set_store_bytes_peak(memory->store_bytes_peak());
      break;
    case pager::Request::kCancel:
      memory->cancel();
      break;
    default:
      return fail("a request that this godwit-pager does not know");
  }
  return reply;
}

std::shared_ptr<TargetMemory> PagerService::memory() const {
  std::lock_guard lock(mutex_);
  return memory_;
}

// --- Agents ------------------------------------------------------------------------------------------------

// For as long as the agent lives. Its successor may come before its end is noticed here.
void PagerService::attach(const pager::Attach& request, ScopedFd connection) {
  auto attached = begin_attached(request, connection.get());
  pager::Reply reply;
  if (attached) {
    *reply.mutable_attached() = std::move(*attached);
  } else {
    *reply.mutable_failed() = in_message(attached.error());
  }
  const bool heard = send_packet(connection.get(), reply.SerializeAsString()).has_value();
  pollfd item{connection.get(), POLLRDHUP, 0};
  while (heard && attached && ::poll(&item, 1, -1) < 0 && errno == EINTR) {
  }
  end_attached(connection.get());
}

Result<pager::Attached> PagerService::begin_attached(const pager::Attach& request, int connection) {
  TRY_ASSIGN(TlsContext tls, TlsContext::load({.ca = request.ca(), .cert = request.certificate(), .key = request.key()},
                                              OwnExpired::kAccept, milliseconds(request.dead_after_ms())));
  auto handshakes = std::make_shared<DataHandshakes>(
      std::move(tls),
      DataListenerOptions{.allowed = {request.peers().begin(), request.peers().end()},
                          .allow_plain = request.allow_plain(),
                          .handshake_limit = milliseconds(request.handshake_ms()),
                          .idle_limit = milliseconds(request.idle_ms())},
      [this](const wire::Hello& hello, const std::vector<std::string>& names) { return claim(hello, names); });
  std::lock_guard lock(mutex_);
  agent_ = connection;
  agent_came_ = true;
  handshakes_.swap(handshakes);
  pager::Attached attached;
  attached.set_exists(memory_ != nullptr);
  if (!memory_) return attached;
  attached.set_streams(memory_->request_channel() - 1);
  attached.set_token(memory_->token());
  return attached;
}

// The tasks may run by now, and nobody else lets memory be filled.
void PagerService::end_attached(int connection) {
  {
    std::lock_guard lock(mutex_);
    if (agent_ != connection) return;
    agent_ = -1;
    if (!guarded_) {
      ending_ = true;
      ::eventfd_write(wake_.get(), 1);
      return;
    }
  }
  log::info("migration {}: the agent has ended; the container's memory goes on arriving", id_);
  begin_fill();
  ::eventfd_write(wake_.get(), 1);
}

void PagerService::tell_failure() {
  const auto memory = this->memory();
  const auto failure = memory ? memory->failure() : std::nullopt;
  std::lock_guard lock(mutex_);
  if (!failure || agent_ < 0 || guarded_) return;
  pager::Event event;
  *event.mutable_failed() = in_message(*failure);
  (void)send_packet(agent_, event.SerializeAsString());
}

// --- The memory --------------------------------------------------------------------------------------------

Result<> PagerService::create_memory(const pager::Create& request) {
  {
    std::lock_guard lock(mutex_);
    if (memory_) return fail("there is a migration's memory already");
  }
  TRY_ASSIGN(std::shared_ptr<TargetMemory> memory, TargetMemory::create({.streams = request.streams(),
                                                                         .bytes_max = request.bytes_max(),
                                                                         .socket = request.socket(),
                                                                         .keeper = request.keeper(),
                                                                         .on_failure = [this] { tell_failure(); },
                                                                         .directory = request.directory(),
                                                                         .id = request.id(),
                                                                         .token = request.token()}));
  std::lock_guard lock(mutex_);
  id_ = request.id();
  source_ = request.source();
  memory_ = std::move(memory);
  return {};
}

// In this order: nothing runs before somebody gives it the pages that it touches. If this process dies before the end,
// the container is frozen again.
Result<> PagerService::take_over(const pager::TakeOver& request) {
  {
    std::lock_guard lock(mutex_);
    if (memory_) return fail("there is a migration's memory already");
  }
  TRY_ASSIGN(ScopedFd pidfd, open_pidfd(request.first_process()));
  TRY_ASSIGN(std::shared_ptr<TargetMemory> memory, TargetMemory::take_over({.directory = request.directory(),
                                                                            .id = request.id(),
                                                                            .first_process = request.first_process(),
                                                                            .cgroup = request.cgroup(),
                                                                            .bytes_max = request.bytes_max()}));
  {
    std::lock_guard lock(mutex_);
    id_ = request.id();
    source_ = request.source();
    memory_ = std::move(memory);
    guarded_ = Guarded{request.first_process(), std::move(pidfd), request.cgroup()};
    filling_ = true;
  }
  TRY_ASSIGN(const CgroupFreezer freezer, CgroupFreezer::open(request.cgroup()));
  TRY(freezer.thaw());
  watch_last_page();
  return {};
}

Result<> PagerService::guard(const pager::Guard& request) {
  TRY_ASSIGN(ScopedFd pidfd, open_pidfd(request.pid()));
  {
    std::lock_guard lock(mutex_);
    if (guarded_) return fail("the container runs already");
    guarded_ = Guarded{request.pid(), std::move(pidfd), request.freezer()};
  }
  TRY(memory()->guard(request.pid(), request.freezer()));
  watch_last_page();
  return {};
}

void PagerService::begin_fill() {
  std::shared_ptr<TargetMemory> memory;
  {
    std::lock_guard lock(mutex_);
    if (filling_ || !memory_) return;
    filling_ = true;
    memory = memory_;
  }
  memory->begin_fill();
}

// memory_keeper is told when nothing is missing any more, whether or not an agent asks.
void PagerService::watch_last_page() {
  std::thread([this, memory = memory()] {
    while (!memory->progress(kLook).done()) {
    }
    std::lock_guard lock(mutex_);
    complete_ = true;
    ::eventfd_write(wake_.get(), 1);
  }).detach();
}

void PagerService::end() {
  if (const auto memory = this->memory()) {
    memory->cancel();
    (void)memory->progress(0ms);  // if all is there, memory_keeper ends as well
  }
  std::lock_guard lock(mutex_);
  ending_ = true;
  ::eventfd_write(wake_.get(), 1);
}

// --- Data connections, on threads of their own -------------------------------------------------------------

Result<> PagerService::take_connection(uint32_t channel, std::vector<ScopedFd>& fds) {
  std::shared_ptr<DataHandshakes> handshakes;
  wire::Preamble preamble;
  {
    std::lock_guard lock(mutex_);
    handshakes = handshakes_;
    preamble.migration_id = id_;
  }
  if (!handshakes || fds.size() != 1 || channel >= wire::kChannelsMax) return fail("no data connection");
  preamble.channel = static_cast<uint16_t>(channel);
  handshakes->begin(std::move(fds[0]), preamble);
  return {};
}

std::expected<DataHandler, wire::Refusal> PagerService::claim(const wire::Hello& hello,
                                                              const std::vector<std::string>& names) {
  const auto memory = this->memory();
  std::unique_lock lock(mutex_);
  const bool ours = memory && hello.migration_id == id_ && equal_secret(hello.token, memory->token()) &&
                    std::ranges::find(names, source_) != names.end();
  const bool runs = guarded_.has_value();
  lock.unlock();
  if (!ours) return std::unexpected(wire::Refusal::kUnknownMigration);
  const bool expected = runs ? hello.channel == memory->request_channel() && memory->paused()
                             : hello.channel >= 1 && hello.channel <= memory->request_channel();
  if (!expected) return std::unexpected(wire::Refusal::kChannel);
  return [this](std::unique_ptr<DataConnection> connection) { accept(std::move(connection)); };
}

void PagerService::accept(std::unique_ptr<DataConnection> connection) {
  const auto memory = this->memory();
  std::unique_lock lock(mutex_);
  const bool runs = guarded_.has_value();
  lock.unlock();
  (void)(runs ? memory->resume(std::move(connection)) : memory->accept(std::move(connection)));
}

}  // namespace godwit
