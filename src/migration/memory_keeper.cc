#include "migration/memory_keeper.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <charconv>

#include "base/log.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"

namespace godwit {

Result<std::unique_ptr<MemoryKeeper>> MemoryKeeper::start(const std::filesystem::path& program) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("socketpair");
  ScopedFd ours(ends[0]), theirs(ends[1]);
  TRY(run_checked({.argv = {program.string()}, .stdin_fd = theirs.get()}, std::chrono::seconds(10)));
  return std::unique_ptr<MemoryKeeper>(new MemoryKeeper(std::move(ours)));
}

namespace {

constexpr size_t kHeldMax = 65536;  // the keeper's
constexpr timeval kAnswersWithin{10, 0};

// One of what is held. False: that was all.
Result<bool> take_one(int socket, MemoryKeeper::Kept& kept) {
  TRY_ASSIGN(Packet packet, receive_packet(socket, 64));
  if (packet.bytes == "end" && packet.fds.empty()) return false;
  if (packet.fds.size() != 1) return fail("memory_keeper said something odd");
  if (packet.bytes == "log") {
    kept.log = std::move(packet.fds[0]);
    return true;
  }
  constexpr std::string_view kHeld = "held ";
  int number = -1;
  const char* end = packet.bytes.data() + packet.bytes.size();
  const bool good = packet.bytes.starts_with(kHeld) &&
                    std::from_chars(packet.bytes.data() + kHeld.size(), end, number).ptr == end && number >= 0;
  if (!good || kept.uffds.size() >= kHeldMax) return fail("memory_keeper said something odd");
  kept.uffds[number] = std::move(packet.fds[0]);
  return true;
}

}  // namespace

Result<std::unique_ptr<MemoryKeeper>> MemoryKeeper::find(const std::filesystem::path& socket, const std::string& id,
                                                         Kept& kept) {
  TRY_ASSIGN(ScopedFd ours, connect_unix(socket, SOCK_SEQPACKET));
  ::setsockopt(ours.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswersWithin, sizeof kAnswersWithin);
  TRY(send_packet(ours.get(), "take " + id));
  for (;;) {
    TRY_ASSIGN(const bool more, take_one(ours.get(), kept));
    if (!more) return std::unique_ptr<MemoryKeeper>(new MemoryKeeper(std::move(ours)));
  }
}

Result<> MemoryKeeper::be_found_at(const std::filesystem::path& socket, const std::string& id) {
  TRY_ASSIGN(const ScopedFd listener, listen_unix(socket, SOCK_SEQPACKET));
  say("listen " + id, listener.get());
  return {};
}

void MemoryKeeper::done() { say("done"); }

void MemoryKeeper::hold_log(int fd) { say("log", fd); }

void MemoryKeeper::hold(int number, int uffd) { say("hold " + std::to_string(number), uffd); }

void MemoryKeeper::drop(int number) { say("drop " + std::to_string(number)); }

Result<> MemoryKeeper::guard(pid_t pid, const std::filesystem::path& freezer) {
  const ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno("pidfd_open");
  const bool unified = std::filesystem::exists(freezer / "cgroup.freeze");
  say("guard " + (freezer / (unified ? "cgroup.freeze" : "freezer.state")).string() + (unified ? " 1" : " FROZEN"),
      pidfd.get());
  return {};
}

void MemoryKeeper::say(const std::string& text, int fd) {
  auto said = fd < 0 ? send_packet(socket_.get(), text) : send_packet(socket_.get(), text, {fd});
  if (!said) log::error("memory_keeper: {}", said.error().text());
}

}  // namespace godwit
