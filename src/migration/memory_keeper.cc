#include "migration/memory_keeper.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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

MemoryKeeper::~MemoryKeeper() { say("done"); }

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
