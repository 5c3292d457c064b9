#include "tracee/remote_userfaultfd.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "tracee/stopped_task.h"

namespace godwit {

namespace {

constexpr uint64_t kUserModeOnly = 1;  // UFFD_USER_MODE_ONLY, linux/userfaultfd.h

Result<ScopedFd> open_in_this_thread(pid_t pid, Deadline deadline) {
  ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno("pidfd_open");
  TRY_ASSIGN(StoppedTask task, StoppedTask::stop(pid, deadline));
  TRY_ASSIGN(const int64_t there, task.syscall(SYS_userfaultfd, {O_CLOEXEC | O_NONBLOCK | kUserModeOnly}));
  if (there < 0) return fail_errno("userfaultfd", static_cast<int>(-there));
  ScopedFd here(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), static_cast<int>(there), 0)));
  const int code = errno;
  TRY(task.syscall(SYS_close, {static_cast<uint64_t>(there)}));
  if (!here) return fail_errno("pidfd_getfd", code);
  return here;
}

}  // namespace

// In a thread of its own: whatever happens there, the kernel lets the process go when the thread ends.
Result<ScopedFd> open_userfaultfd_of(pid_t pid, Deadline deadline) {
  Result<ScopedFd> opened = fail("not tried");
  std::thread([&] { opened = open_in_this_thread(pid, deadline); }).join();
  if (!opened) return fail(std::move(opened.error()).during("process " + std::to_string(pid)));
  return opened;
}

}  // namespace godwit
