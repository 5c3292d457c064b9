#include "tracee/attacher.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/unix_socket.h"
#include "kernel/cgroup_freezer.h"
#include "kernel/cpu_quota.h"
#include "tracee/remote_userfaultfd.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr auto kStartsWithin = 10s;
constexpr auto kAnswersWithin = 30s;  // after the deadline; StoppedTask gives up much earlier
constexpr auto kFreezesWithin = 1s;   // it takes a fraction of a millisecond
constexpr auto kHoldsWithin = 3s;     // the answer
constexpr size_t kTextBytesMax = 4096;

enum class Task : int32_t { kAttach, kHold, kLetGo, kGiveCpuTimeBack };

struct Request {
  Task task = Task::kAttach;
  int32_t pid = 0;  // of kAttach and kGiveCpuTimeBack
  int32_t ms = 0;   // of kAttach
};
// Followed by the error's text, or with the descriptor of kAttach.
struct Reply {
  int32_t failed, code;
};
using Done = Result<ScopedFd>;  // no descriptor: nothing was asked for

template <typename T>
std::string bytes_of(const T& message) {
  return {reinterpret_cast<const char*>(&message), sizeof message};
}

template <typename T>
bool parse(const std::string& bytes, T& message) {
  if (bytes.size() < sizeof message) return false;
  std::memcpy(&message, bytes.data(), sizeof message);
  return true;
}

Result<Packet> receive_until(int socket, Deadline deadline) {
  pollfd item{.fd = socket, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&item, 1, poll_ms(deadline));
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail_errno("poll");
  if (ready == 0) return fail(Error("no answer", ETIMEDOUT));
  return receive_packet(socket, kTextBytesMax);
}

// An error: nobody says what was done.
Result<Done> ask(int socket, const Request& request, Deadline deadline) {
  TRY_DOING("attacher", send_packet(socket, bytes_of(request)));
  auto packet = receive_until(socket, deadline);
  if (!packet) return fail(std::move(packet.error()).during("attacher"));
  Reply reply{};
  if (!parse(packet->bytes, reply)) return fail("attacher: an odd answer");
  if (reply.failed != 0) return Done(fail(Error(packet->bytes.substr(sizeof reply), reply.code)));
  return Done(packet->fds.empty() ? ScopedFd() : std::move(packet->fds[0]));
}

Result<> outcome_of(const Result<Done>& answer) {
  if (!answer) return fail(answer.error());
  return *answer ? Result<>() : fail(answer->error());
}

Result<> reply_with(int socket, const Done& done) {
  if (!done)
    return send_packet(
        socket,
        (bytes_of(Reply{.failed = 1, .code = done.error().code()}) + done.error().text()).substr(0, kTextBytesMax));
  const std::string bytes = bytes_of(Reply{.failed = 0, .code = 0});
  return *done ? send_packet(socket, bytes, {done->get()}) : send_packet(socket, bytes);
}

}  // namespace

Result<std::unique_ptr<Attacher>> Attacher::start(const Settings& settings) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("socketpair");
  ScopedFd ours(ends[0]), theirs(ends[1]);
  TRY_ASSIGN(Subprocess process,
             Subprocess::start({.argv = {settings.program.string(), settings.cgroup.string(),
                                         std::to_string(settings.held_at_most.count()), settings.owner},
                                .stdin_fd = theirs.get()}));
  theirs.reset();
  TRY_DOING("attacher", receive_until(ours.get(), Clock::now() + kStartsWithin));
  return std::unique_ptr<Attacher>(new Attacher(std::move(process), std::move(ours), settings.cgroup));
}

Attacher::~Attacher() { end(); }

// Killed only if it hangs.
void Attacher::end() {
  std::lock_guard lock(mutex_);
  if (!socket_) return;
  socket_.reset();
  if (auto ended = process_.wait_until(Clock::now() + kAnswersWithin); ended && *ended) return;
  process_.kill();
  (void)process_.wait();
}

Result<ScopedFd> Attacher::open_userfaultfd_of(pid_t pid, Deadline deadline) {
  std::lock_guard lock(mutex_);
  auto answer =
      ask(socket_.get(), {.task = Task::kAttach, .pid = pid, .ms = poll_ms(deadline)}, deadline + kAnswersWithin);
  if (answer) return std::move(*answer);
  lost_ = true;
  (void)::shutdown(socket_.get(), SHUT_RDWR);  // a late answer must not be taken for the next one
  return fail(std::move(answer.error()));
}

Result<> Attacher::hold() {
  std::unique_lock lock(mutex_);
  if (lost_ || !socket_) return fail("attacher: gone");  // or still in the middle of what it had begun
  auto answer = ask(socket_.get(), {.task = Task::kHold}, Clock::now() + kHoldsWithin);
  if (!answer) lose_holding();
  if (answer && *answer) (void)lock.release();  // to let_go()
  return outcome_of(answer);
}

Result<> Attacher::let_go() {
  std::lock_guard lock(mutex_, std::adopt_lock);
  auto answer = ask(socket_.get(), {.task = Task::kLetGo}, Clock::now() + kHoldsWithin);
  if (!answer || !*answer) lose_holding();
  return outcome_of(answer);
}

Result<> Attacher::give_cpu_time_back_at_the_end(pid_t pid) {
  std::lock_guard lock(mutex_);
  if (lost_ || !socket_) return fail("attacher: gone");
  return outcome_of(ask(socket_.get(), {.task = Task::kGiveCpuTimeBack, .pid = pid}, Clock::now() + kHoldsWithin));
}

// It may hold and may not. Killed first, so that it does not let go what is frozen later.
void Attacher::lose_holding() {
  lost_ = true;
  socket_.reset();
  process_.kill();
  (void)process_.wait();
  if (auto freezer = CgroupFreezer::open(cgroup_)) (void)freezer->thaw();
}

namespace {

// What is to be as it was when the agent is gone.
struct ToUndo {
  std::optional<CgroupFreezer> held;
  std::optional<CpuQuota> quota;

  ~ToUndo() {
    if (quota) (void)quota->restore();
    if (held) (void)held->thaw();
  }
};

Done attend_to(const Request& request, const std::filesystem::path& cgroup, ToUndo& undo) {
  switch (request.task) {
    case Task::kAttach:
      return open_userfaultfd_of(request.pid, Clock::now() + milliseconds(request.ms));
    case Task::kHold: {
      TRY_ASSIGN(CgroupFreezer freezer, CgroupFreezer::open(cgroup));
      TRY(freezer.freeze(Clock::now() + kFreezesWithin));
      undo.held = std::move(freezer);
      return ScopedFd();
    }
    case Task::kLetGo:
      if (!undo.held) return fail("nothing is held");
      TRY(undo.held->thaw());
      undo.held.reset();
      return ScopedFd();
    case Task::kGiveCpuTimeBack: {
      TRY_ASSIGN(undo.quota, CpuQuota::open(request.pid));
      return ScopedFd();
    }
  }
  return fail("an odd request");
}

}  // namespace

void serve_as_attacher(int socket, const std::filesystem::path& cgroup, milliseconds held_at_most) {
  sigset_t all;
  sigfillset(&all);
  (void)::sigprocmask(SIG_BLOCK, &all, nullptr);
  (void)::prctl(PR_SET_NAME, "godwit-attacher");
  (void)write_attribute("/proc/self/oom_score_adj", "-1000");  // where it may
  if (!send_packet(socket, "ready")) return;
  ToUndo undo;
  for (;;) {
    auto packet =
        undo.held ? receive_until(socket, Clock::now() + held_at_most) : receive_packet(socket, kTextBytesMax);
    Request request;
    if (!packet || !parse(packet->bytes, request)) return;
    if (!reply_with(socket, attend_to(request, cgroup, undo))) return;
  }
}

}  // namespace godwit
