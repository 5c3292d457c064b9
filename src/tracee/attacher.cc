#include "tracee/attacher.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "base/file.h"
#include "base/unix_socket.h"
#include "tracee/remote_userfaultfd.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr auto kStartsWithin = 10s;
constexpr auto kAnswersWithin = 30s;  // after the deadline; StoppedTask gives up much earlier
constexpr size_t kTextBytesMax = 4096;

struct Request {
  int32_t pid, ms;
};
// Followed by the error's text, or with a descriptor.
struct Reply {
  int32_t code;
};

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

}  // namespace

Result<std::unique_ptr<Attacher>> Attacher::start(const std::filesystem::path& program) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("socketpair");
  ScopedFd ours(ends[0]), theirs(ends[1]);
  TRY_ASSIGN(Subprocess process, Subprocess::start({.argv = {program.string()}, .stdin_fd = theirs.get()}));
  theirs.reset();
  TRY_DOING("attacher", receive_until(ours.get(), Clock::now() + kStartsWithin));
  return std::unique_ptr<Attacher>(new Attacher(std::move(process), std::move(ours)));
}

// Killed only if it hangs.
Attacher::~Attacher() {
  socket_.reset();
  (void)process_.wait_until(Clock::now() + kAnswersWithin);
}

Result<ScopedFd> Attacher::open_userfaultfd_of(pid_t pid, Deadline deadline) {
  TRY_DOING("attacher", send_packet(socket_.get(), bytes_of(Request{.pid = pid, .ms = poll_ms(deadline)})));
  auto packet = receive_until(socket_.get(), deadline + kAnswersWithin);
  if (!packet) {
    (void)::shutdown(socket_.get(), SHUT_RDWR);  // a late answer must not be taken for the next one
    return fail(std::move(packet.error()).during("attacher"));
  }
  Reply reply{};
  if (!parse(packet->bytes, reply)) return fail("attacher: an odd answer");
  if (packet->fds.size() == 1) return std::move(packet->fds[0]);
  return fail(Error(packet->bytes.substr(sizeof reply), reply.code));
}

void serve_as_attacher(int socket) {
  sigset_t all;
  sigfillset(&all);
  (void)::sigprocmask(SIG_BLOCK, &all, nullptr);
  (void)::prctl(PR_SET_NAME, "godwit-attacher");
  (void)write_attribute("/proc/self/oom_score_adj", "-1000");  // where it may
  if (!send_packet(socket, "ready")) return;
  for (;;) {
    auto packet = receive_packet(socket, sizeof(Request));
    Request request{};
    if (!packet || !parse(packet->bytes, request)) return;
    auto uffd = open_userfaultfd_of(request.pid, Clock::now() + milliseconds(request.ms));
    const Reply reply{.code = uffd ? 0 : uffd.error().code()};
    auto sent = uffd ? send_packet(socket, bytes_of(reply), {uffd->get()})
                     : send_packet(socket, (bytes_of(reply) + uffd.error().text()).substr(0, kTextBytesMax));
    if (!sent) return;
  }
}

}  // namespace godwit
