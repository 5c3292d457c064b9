// A process of which one thread stands still, by ptrace, to run system calls of ours in it. The other threads go on.
//
// The thread is stopped in PTRACE_EVENT_STOP, never at a signal: signals are delivered as they would have been, an
// interrupted system call is restarted by the kernel when the thread goes on with the registers it had, and a process
// that was stopped (SIGSTOP) stays so. System calls are made by an instruction that is there already, in the vdso, so
// nothing is written into the process.
//
// ptrace belongs to the thread that called it: use an object in the thread that made it. If that thread ends, the
// kernel lets the process go.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "base/page.h"
#include "base/result.h"

namespace godwit {

class StoppedTask {
 public:
  // Any living thread of PID. An error if it is traced already, is no 64-bit process, has no vdso, handles its system
  // calls itself, or does not stop before DEADLINE (it sleeps in the kernel); then it goes on when the calling thread
  // ends.
  static Result<StoppedTask> stop(pid_t pid, Deadline deadline);
  StoppedTask(StoppedTask&& other) noexcept;
  StoppedTask& operator=(StoppedTask&&) = delete;
  ~StoppedTask();  // it goes on as if nothing had happened

  // Runs system call NUMBER, which must not block, and returns what it returned: negative errno included. An error:
  // the process has died.
  Result<int64_t> syscall(int64_t number, std::array<uint64_t, 6> arguments = {});

 private:
  StoppedTask(pid_t thread, RemoteAddr instruction) : thread_(thread), instruction_(instruction) {}
  Result<> prepare();
  Result<> step_to_syscall_stop();

  pid_t thread_;
  RemoteAddr instruction_;  // "syscall"
  bool prepared_ = false;
  user_regs_struct registers_{};
  uint64_t signal_mask_ = 0;
};

}  // namespace godwit
