#include "migration/target_pager.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/pidfd.h"
#include "kernel/proc.h"
#include "migration/memory_keeper.h"
#include "migration/target_memory.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr auto kStartsWithin = 10s;
constexpr auto kAnswersWithin = 5s;
// It frees its memory as it ends.
constexpr auto kEndsWithin = 20s;
// memory_keeper answers within 10 s; what happened is gone through again.
constexpr auto kTakesOverWithin = 60s;
constexpr size_t kReplyBytesMax = 64 << 10;

timeval in_timeval(std::chrono::milliseconds limit) {
  return {.tv_sec = static_cast<time_t>(limit.count() / 1000),
          .tv_usec = static_cast<suseconds_t>(limit.count() % 1000 * 1000)};
}

void set_limit(int socket, int which, std::chrono::milliseconds limit) {
  const timeval time = in_timeval(limit);
  ::setsockopt(socket, SOL_SOCKET, which, &time, sizeof time);
}

Result<pager::Reply> receive_reply(int socket) {
  TRY_ASSIGN(const Packet packet, receive_packet(socket, kReplyBytesMax));
  pager::Reply reply;
  if (!reply.ParseFromString(packet.bytes)) return fail("godwit-pager said something odd");
  if (reply.has_failed()) return fail(Error(reply.failed().text(), reply.failed().code()));
  return reply;
}

}  // namespace

// It may have been killed before it could tell memory_keeper.
Result<bool> had_all_memory(const std::filesystem::path& directory, const std::string& id,
                            const std::filesystem::path& cgroup) {
  std::error_code error;
  const auto done = keeper_socket_when_done(directory);
  if (std::filesystem::exists(keeper_socket(directory), error) || !std::filesystem::exists(done, error)) return false;
  MemoryKeeper::Kept kept;
  auto keeper = MemoryKeeper::find(done, id, kept);
  if (!keeper) return true;  // it has ended
  TRY_ASSIGN(const CgroupFreezer freezer, CgroupFreezer::open(cgroup));
  TRY(freezer.thaw());
  (*keeper)->done();
  return true;
}

// --- Beginning and end -------------------------------------------------------------------------------------

Result<std::unique_ptr<TargetPager>> TargetPager::create(const PagerSettings& settings, Arrival arrival,
                                                         const Beginning& beginning) {
  std::unique_ptr<TargetPager> made(new TargetPager(settings, std::move(arrival)));
  TRY(made->start_process());
  TRY(made->attach());
  made->streams_ = beginning.streams;
  made->token_ = beginning.token;
  made->on_failure_ = beginning.on_failure;
  pager::Request request;
  pager::Create& create = *request.mutable_create();
  create.set_id(made->arrival_.id);
  create.set_directory(made->arrival_.directory.string());
  create.set_source(made->arrival_.source);
  create.set_streams(beginning.streams);
  create.set_bytes_max(made->arrival_.bytes_max);
  create.set_socket(beginning.socket.string());
  create.set_keeper(settings.keeper.string());
  create.set_token(beginning.token);
  TRY(made->call(request, kStartsWithin));
  made->watch_ = std::thread([raw = made.get()] { raw->watch(); });
  return made;
}

Result<std::unique_ptr<TargetPager>> TargetPager::find(const PagerSettings& settings, Arrival arrival,
                                                       const Container& container) {
  std::unique_ptr<TargetPager> found(new TargetPager(settings, std::move(arrival)));
  found->leaving_ = true;  // if it cannot be used, it is not this agent's to end
  TRY_ASSIGN(const pager::Attached attached, found->attach());
  if (!attached.exists()) return fail("godwit-pager has no memory");
  TRY(found->hold(container));
  found->streams_ = attached.streams();
  found->token_ = attached.token();
  found->leaving_ = false;
  found->watch_ = std::thread([raw = found.get()] { raw->watch(); });
  return found;
}

Result<std::unique_ptr<TargetPager>> TargetPager::take_over(const PagerSettings& settings, Arrival arrival,
                                                            const Container& container) {
  std::unique_ptr<TargetPager> made(new TargetPager(settings, std::move(arrival)));
  TRY(made->hold(container));
  TRY(made->ask_to_take_over());
  made->watch_ = std::thread([raw = made.get()] { raw->watch(); });
  return made;
}

TargetPager::~TargetPager() {
  bool leaving;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    leaving = leaving_;
  }
  if (!leaving) end_process();
  {
    std::lock_guard lock(mutex_);
    if (agent_) ::shutdown(agent_.get(), SHUT_RDWR);
  }
  if (!watch_.joinable()) return;
  watch_.join();
  if (!leaving) end_process();  // it may just have put another one in the place of one that had died
}

void TargetPager::leave() {
  std::lock_guard lock(mutex_);
  leaving_ = true;
}

// Its first process only hands on: run by the next one, which is nobody's child.
Result<> TargetPager::start_process() {
  const auto socket = pager_socket(arrival_.directory);
  (void)::unlink(socket.c_str());
  TRY_ASSIGN(const ScopedFd listener, listen_unix(socket, SOCK_SEQPACKET));
  TRY_ASSIGN(Subprocess process, Subprocess::start({.argv = {settings_.program.string(), arrival_.id},
                                                    .stdin_fd = listener.get(),
                                                    .stderr_fd = STDERR_FILENO}));
  TRY_ASSIGN(const auto status, process.wait_until(Clock::now() + kStartsWithin));
  if (!status || *status != 0) return fail(settings_.program.string() + " does not start");
  return {};
}

Result<pager::Attached> TargetPager::attach() {
  pager::Request request;
  pager::Attach& attach = *request.mutable_attach();
  attach.set_ca(settings_.tls.ca.string());
  attach.set_certificate(settings_.tls.cert.string());
  attach.set_key(settings_.tls.key.string());
  for (const std::string& peer : settings_.peers) attach.add_peers(peer);
  attach.set_allow_plain(settings_.allow_plain);
  attach.set_idle_ms(static_cast<uint64_t>(settings_.idle_limit.count()));
  attach.set_handshake_ms(static_cast<uint64_t>(settings_.timeouts.handshake.count()));
  attach.set_dead_after_ms(static_cast<uint64_t>(settings_.timeouts.dead_after.count()));
  TRY_ASSIGN(ScopedFd socket, ask(request, kStartsWithin));
  TRY_ASSIGN(pager::Reply reply, receive_reply(socket.get()));
  set_limit(socket.get(), SO_RCVTIMEO, 0ms);  // what else comes comes at its time
  std::lock_guard lock(mutex_);
  agent_ = std::move(socket);
  return reply.attached();
}

Result<> TargetPager::hold(const Container& container) {
  TRY_ASSIGN(ScopedFd pidfd, open_pidfd(container.first_process));
  std::lock_guard lock(mutex_);
  container_ = container;
  pidfd_ = std::move(pidfd);
  return {};
}

void TargetPager::end_process() {
  pager::Request request;
  request.mutable_end();
  const auto socket = ask(request, kEndsWithin);
  if (!socket) return;  // it has ended
  for (;;) {
    auto packet = receive_packet(socket->get(), kReplyBytesMax);
    if (packet) continue;
    if (packet.error().code() != ECONNRESET)
      log::error("migration {}: godwit-pager does not end: {}", arrival_.id, packet.error().text());
    return;
  }
}

// --- Requests ----------------------------------------------------------------------------------------------

// The answer is to be read from the socket, which waits for it up to LIMIT.
Result<ScopedFd> TargetPager::ask(const pager::Request& request, std::chrono::milliseconds limit, int fd) const {
  TRY_ASSIGN(ScopedFd socket,
             connect_unix(pager_socket(arrival_.directory), SOCK_SEQPACKET, in_timeval(kAnswersWithin)));
  set_limit(socket.get(), SO_RCVTIMEO, limit);
  TRY(fd < 0 ? send_packet(socket.get(), request.SerializeAsString())
             : send_packet(socket.get(), request.SerializeAsString(), {fd}));
  return socket;
}

Result<pager::Reply> TargetPager::call(const pager::Request& request, std::chrono::milliseconds limit, int fd) {
  TRY_ASSIGN(const ScopedFd socket, ask(request, limit, fd));
  return receive_reply(socket.get());
}

// The answer may take longer than LIMIT, as long as the process answers others meanwhile.
Result<pager::Reply> TargetPager::await(const pager::Request& request, std::chrono::milliseconds limit) {
  TRY_ASSIGN(const ScopedFd socket, ask(request, limit + kAnswersWithin));
  for (;;) {
    auto reply = receive_reply(socket.get());
    if (reply || reply.error().code() != EAGAIN) return reply;
    pager::Request probe;
    probe.mutable_progress();
    TRY(call(probe, kAnswersWithin));
  }
}

Result<> TargetPager::take_connection(uint32_t channel, const ScopedFd& socket) {
  pager::Request request;
  request.mutable_connection()->set_channel(channel);
  TRY(call(request, kAnswersWithin, socket.get()));
  return {};
}

Result<> TargetPager::await_map(std::chrono::milliseconds limit) {
  pager::Request request;
  request.mutable_await_map()->set_limit_ms(static_cast<uint64_t>(limit.count()));
  TRY(await(request, limit));
  return {};
}

Result<> TargetPager::await_pages(bool all, std::chrono::milliseconds limit) {
  pager::Request request;
  request.mutable_await_pages()->set_all(all);
  request.mutable_await_pages()->set_limit_ms(static_cast<uint64_t>(limit.count()));
  TRY(await(request, limit));
  return {};
}

// In this order: if the process dies as it answers, it is known here that the container may run.
Result<> TargetPager::guard(const Container& container) {
  TRY(hold(container));
  pager::Request request;
  request.mutable_guard()->set_pid(container.first_process);
  request.mutable_guard()->set_freezer(container.cgroup.string());
  TRY(call(request, kAnswersWithin));
  return {};
}

void TargetPager::begin_fill() {
  pager::Request request;
  request.mutable_begin_fill();
  if (auto begun = call(request, kAnswersWithin); !begun)
    log::error("migration {}: godwit-pager: {}", arrival_.id, begun.error().text());
}

void TargetPager::cancel() {
  pager::Request request;
  request.mutable_cancel();
  (void)call(request, kAnswersWithin);  // an error: there is nothing to cancel any more
}

// If the process does not answer, watch() sees to it; until then what was last known holds.
peer::PagesLeftReply TargetPager::progress(std::chrono::milliseconds limit) {
  pager::Request request;
  request.mutable_progress()->set_limit_ms(static_cast<uint64_t>(limit.count()));
  {
    std::lock_guard lock(mutex_);
    if (left_.done()) return left_;
  }
  auto reply = call(request, limit + kAnswersWithin);
  const bool ended = container_has_ended();  // it may not have been noticed by its userfaultfds
  std::unique_lock lock(mutex_);
  if (reply) {
    left_ = reply->figures().left();
    store_bytes_peak_ = reply->figures().store_bytes_peak();
  }
  if (ended) left_.set_done(true);
  if (!reply) changed_.wait_for(lock, limit, [this] { return left_.done(); });
  return left_;
}

void TargetPager::describe(peer::OutcomeReply& reply) {
  if (lost()) return;  // nothing is known of it
  *reply.mutable_pages() = progress(0ms);
  if (!reply.pages().paused()) return;
  reply.mutable_resume()->set_data_token(token_);
  reply.mutable_resume()->set_channel(request_channel());
}

uint64_t TargetPager::store_bytes_peak() const {
  std::lock_guard lock(mutex_);
  return store_bytes_peak_;
}

std::optional<Error> TargetPager::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

std::optional<std::string> TargetPager::lost() const {
  std::lock_guard lock(mutex_);
  return lost_;
}

// --- What becomes of the process ---------------------------------------------------------------------------

void TargetPager::watch() {
  for (;;) {
    int agent;
    {
      std::lock_guard lock(mutex_);
      if (ending_) return;
      agent = agent_.get();  // replaced by this thread only
    }
    auto packet = receive_packet(agent, kReplyBytesMax);
    pager::Event event;
    if (packet && event.ParseFromString(packet->bytes)) {
      if (event.has_failed()) fail_with(Error(event.failed().text(), event.failed().code()));
    } else if (!packet && !outlive()) {
      return;
    }
  }
}

// The process has ended. True: there is another one.
bool TargetPager::outlive() {
  std::unique_lock lock(mutex_);
  if (ending_) return false;
  if (!container_) {
    lock.unlock();
    fail_with(Error("godwit-pager has ended"));
    return false;
  }
  const Container container = *container_;
  lock.unlock();
  const bool nothing_missing =
      container_has_ended() || had_all_memory(arrival_.directory, arrival_.id, container.cgroup).value_or(false);
  if (!nothing_missing && replace(container)) return true;
  lock.lock();
  if (nothing_missing) left_.set_done(true);
  changed_.notify_all();
  return false;
}

// memory_keeper freezes the container as well, unless it was killed too: then each millisecond counts.
bool TargetPager::replace(const Container& container) {
  if (auto freezer = CgroupFreezer::open(container.cgroup)) (void)freezer->begin_to_freeze();
  auto replaced = ask_to_take_over();
  if (replaced) {
    log::warn("migration {}: godwit-pager has ended; another one has taken over", arrival_.id);
    return true;
  }
  std::lock_guard lock(mutex_);
  lost_ = replaced.error().text();
  left_.set_paused(true);
  log::error("migration {}: godwit-pager has ended, and the container's memory cannot be taken over: {}", arrival_.id,
             *lost_);
  return false;
}

Result<> TargetPager::ask_to_take_over() {
  pager::Request request;
  pager::TakeOver& take_over = *request.mutable_take_over();
  {
    std::lock_guard lock(mutex_);
    take_over.set_first_process(container_->first_process);
    take_over.set_cgroup(container_->cgroup.string());
  }
  take_over.set_id(arrival_.id);
  take_over.set_directory(arrival_.directory.string());
  take_over.set_source(arrival_.source);
  take_over.set_bytes_max(arrival_.bytes_max);
  TRY(start_process());
  TRY(attach());
  TRY(call(request, kTakesOverWithin));
  TRY_ASSIGN(const pager::Attached attached, attach());
  streams_ = attached.streams();
  token_ = attached.token();
  return {};
}

void TargetPager::fail_with(Error error) {
  {
    std::lock_guard lock(mutex_);
    if (failure_) return;
    failure_ = std::move(error);
  }
  if (on_failure_) on_failure_();
}

bool TargetPager::container_has_ended() const {
  std::lock_guard lock(mutex_);
  pollfd item{pidfd_.get(), POLLIN, 0};
  if (!pidfd_ || ::poll(&item, 1, 0) != 1) return false;
  const auto left = proc::processes_in_cgroup(container_->cgroup);
  return !left || left->empty();
}

}  // namespace godwit
