#include "tracee/stopped_task.h"

#include <elf.h>
#include <linux/rseq.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <utility>

#include "kernel/memory_maps.h"

namespace godwit {

using namespace std::chrono_literals;

namespace {

constexpr uint64_t kVdsoBytesMax = 65536;
constexpr uint16_t kCodeSegment64 = 0x33;  // of a 64-bit process
// A thread on its way into or out of the kernel answers in microseconds; sleeping would make the stop longer.
constexpr auto kSpinFor = 300us;
constexpr int kWordBytes = 8;

bool is_event_stop(int status) { return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP; }
bool is_syscall_stop(int status) { return WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80); }

// A fault of the thread's own, and no signal that somebody has sent.
bool is_fault(pid_t thread, int status) {
  if (status >> 16 != 0) return false;
  const int signal = WSTOPSIG(status);
  if (signal != SIGSEGV && signal != SIGBUS && signal != SIGILL && signal != SIGTRAP && signal != SIGFPE) return false;
  siginfo_t info{};
  return ::ptrace(PTRACE_GETSIGINFO, thread, 0, &info) == 0 && info.si_code > 0;
}

// Waits for the next stop of THREAD.
Result<int> await_stop(pid_t thread, Deadline deadline) {
  const auto started = Clock::now();
  for (;;) {
    int status = 0;
    const pid_t got = ::waitpid(thread, &status, __WALL | WNOHANG);
    if (got == thread) {
      if (!WIFSTOPPED(status)) return fail(Error("the process has ended", ESRCH));
      return status;
    }
    if (got < 0 && errno != EINTR) return fail_errno("waitpid");
    if (Clock::now() > deadline) return fail(Error("the process does not stop", ETIMEDOUT));
    if (Clock::now() - started > kSpinFor) std::this_thread::sleep_for(50us);
  }
}

// The first "syscall" (0f 05) in the vdso of PID.
Result<RemoteAddr> find_instruction(pid_t pid) {
  TRY_ASSIGN(const auto mappings, read_maps(pid));
  if (mappings.empty()) return fail(Error("the process has ended", ESRCH));  // it is about to
  for (const Mapping& mapping : mappings) {
    if (mapping.name != "[vdso]" || mapping.inode != 0) continue;
    std::string code(std::min(mapping.end - mapping.start, kVdsoBytesMax), '\0');
    iovec to{code.data(), code.size()};
    iovec from{reinterpret_cast<void*>(mapping.start.value), code.size()};
    if (::process_vm_readv(pid, &to, 1, &from, 1, 0) != static_cast<ssize_t>(code.size()))
      return fail_errno("reading the vdso");
    const size_t at = code.find("\x0f\x05");
    if (at != std::string::npos) return mapping.start + at;
  }
  return fail("the process has no vdso with a system call in it");
}

// Signals that come first are delivered; then the stop that was asked for is still to come.
Result<> await_event_stop(pid_t thread, Deadline deadline) {
  for (;;) {
    TRY_ASSIGN(const int status, await_stop(thread, deadline));
    if (is_event_stop(status)) return {};
    const int signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
    if (::ptrace(PTRACE_CONT, thread, 0, signal) != 0) return fail_errno("ptrace");
  }
}

Result<pid_t> seize_a_thread(pid_t pid) {
  constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP;
  std::error_code error;
  int code = ESRCH;
  std::filesystem::directory_iterator entry("/proc/" + std::to_string(pid) + "/task", error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const pid_t thread = std::atoi(entry->path().filename().c_str());
    if (::ptrace(PTRACE_SEIZE, thread, 0, kOptions) == 0) {
      if (::ptrace(PTRACE_INTERRUPT, thread, 0, 0) == 0) return thread;
      (void)::ptrace(PTRACE_DETACH, thread, 0, 0);
    }
    code = errno;
  }
  return fail_errno("ptrace", code);
}

// Calls that the kernel ends with EINTR when the thread stops, where it begins others again: these would tell the
// program of a signal that there was none. Those with a time limit are left: begun anew they would wait too long.
bool waits_without_limit(const user_regs_struct& call) {
  switch (call.orig_rax) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
      return static_cast<int32_t>(call.r10) < 0;
    case SYS_semop:
      return true;
    case SYS_semtimedop:
    case SYS_epoll_pwait2:
      return call.r10 == 0;
    case SYS_rt_sigtimedwait:
      return call.rdx == 0;
    default:
      return false;
  }
}

// linux/ptrace.h of 5.13.
struct RseqConfiguration {
  uint64_t area;
  uint32_t size, signature, flags, pad;
};
constexpr auto kGetRseqConfiguration = static_cast<__ptrace_request>(0x420f);

// linux/ptrace.h of 6.4. A process that has its own system calls sent to a handler
// (prctl(PR_SET_SYSCALL_USER_DISPATCH)) would have ours sent there too, and be killed, because all signals are blocked.
struct DispatchConfiguration {
  uint64_t mode, selector, offset, length;
};
constexpr auto kGetDispatchConfiguration = static_cast<__ptrace_request>(0x4211);

bool dispatches_calls(pid_t thread) {
  DispatchConfiguration configuration{};
  return ::ptrace(kGetDispatchConfiguration, thread, sizeof configuration, &configuration) == 0 &&
         configuration.mode != 0;
}

template <typename T>
bool read_object(pid_t pid, RemoteAddr from, T& object) {
  iovec to{&object, sizeof object};
  iovec source{reinterpret_cast<void*>(from.value), sizeof object};
  return ::process_vm_readv(pid, &to, 1, &source, 1, 0) == static_cast<ssize_t>(sizeof object);
}

// A thread that is stopped inside a restartable sequence (rseq(2)) has to leave it: the kernel would see to that, but
// it forgets the sequence when the thread first runs our call, outside it.
void leave_restartable_sequence(pid_t thread, user_regs_struct& registers) {
  RseqConfiguration configuration{};
  if (::ptrace(kGetRseqConfiguration, thread, sizeof configuration, &configuration) <= 0) return;
  if (configuration.area == 0) return;
  uint64_t at = 0;
  rseq_cs sequence{};
  if (!read_object(thread, {configuration.area + offsetof(struct rseq, rseq_cs)}, at) || at == 0) return;
  if (!read_object(thread, {at}, sequence)) return;
  if (registers.rip - sequence.start_ip < sequence.post_commit_offset) registers.rip = sequence.abort_ip;
}

}  // namespace

Result<StoppedTask> StoppedTask::stop(pid_t pid, Deadline deadline) {
  TRY_ASSIGN(const RemoteAddr instruction, find_instruction(pid));
  TRY_ASSIGN(const pid_t thread, seize_a_thread(pid));
  TRY(await_event_stop(thread, deadline));
  StoppedTask task(thread, instruction);
  TRY(task.prepare());
  return task;
}

StoppedTask::StoppedTask(StoppedTask&& other) noexcept
    : thread_(std::exchange(other.thread_, 0)),
      instruction_(other.instruction_),
      prepared_(std::exchange(other.prepared_, false)),
      registers_(other.registers_),
      signal_mask_(other.signal_mask_) {}

// Remembers what it will go on with, and keeps signals away: they wait until then.
Result<> StoppedTask::prepare() {
  iovec registers{&registers_, sizeof registers_};
  if (::ptrace(PTRACE_GETREGSET, thread_, NT_PRSTATUS, &registers) != 0) return fail_errno("PTRACE_GETREGSET");
  if (registers.iov_len != sizeof registers_ || registers_.cs != kCodeSegment64)
    return fail("it is not a 64-bit process");
  if (dispatches_calls(thread_)) return fail("it handles its system calls itself");
  constexpr int64_t kRestartIfNoHandler = -514;  // ERESTARTNOHAND of the kernel: still EINTR if a signal is handled
  if (static_cast<int64_t>(registers_.rax) == -EINTR && waits_without_limit(registers_))
    registers_.rax = static_cast<uint64_t>(kRestartIfNoHandler);
  leave_restartable_sequence(thread_, registers_);
  if (::ptrace(PTRACE_GETSIGMASK, thread_, kWordBytes, &signal_mask_) != 0) return fail_errno("PTRACE_GETSIGMASK");
  const uint64_t all = ~uint64_t{0};
  if (::ptrace(PTRACE_SETSIGMASK, thread_, kWordBytes, &all) != 0) return fail_errno("PTRACE_SETSIGMASK");
  prepared_ = true;
  return {};
}

Result<int64_t> StoppedTask::syscall(int64_t number, std::array<uint64_t, 6> arguments) {
  // Safety: all registers are put back in the destructor; -1 in orig_rax keeps the kernel from restarting a call that
  // was interrupted when the thread stopped.
  user_regs_struct registers = registers_;
  registers.rip = instruction_.value;
  registers.rax = static_cast<uint64_t>(number);
  registers.orig_rax = ~uint64_t{0};
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  if (::ptrace(PTRACE_SETREGS, thread_, 0, &registers) != 0) return fail_errno("PTRACE_SETREGS");
  TRY(step_to_syscall_stop());  // at its entry
  TRY(step_to_syscall_stop());  // at its end
  if (::ptrace(PTRACE_GETREGS, thread_, 0, &registers) != 0) return fail_errno("PTRACE_GETREGS");
  return static_cast<int64_t>(registers.rax);
}

Result<> StoppedTask::step_to_syscall_stop() {
  constexpr auto kEndsWithin = 10s;  // the calls do not block; without an end there is no way back
  for (int signal = 0;;) {
    if (::ptrace(PTRACE_SYSCALL, thread_, 0, signal) != 0) return fail_errno("PTRACE_SYSCALL");
    TRY_ASSIGN(const int status, await_stop(thread_, Clock::now() + kEndsWithin));
    if (is_syscall_stop(status)) return {};
    // Another thread of its has taken the vdso away. Not delivered, the fault has never been.
    if (is_fault(thread_, status)) return fail(Error("the process has moved its vdso", EFAULT));
    signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;  // SIGSTOP, which cannot be kept away
  }
}

// Only in an event stop does the kernel look whether a call has to be restarted: the thread is taken there again.
StoppedTask::~StoppedTask() {
  if (thread_ == 0) return;
  if (prepared_) {
    (void)::ptrace(PTRACE_INTERRUPT, thread_, 0, 0);
    (void)::ptrace(PTRACE_SYSCALL, thread_, 0, 0);
    (void)await_event_stop(thread_, Clock::now() + 10s);
    (void)::ptrace(PTRACE_SETREGS, thread_, 0, &registers_);
    (void)::ptrace(PTRACE_SETSIGMASK, thread_, kWordBytes, &signal_mask_);
  }
  (void)::ptrace(PTRACE_DETACH, thread_, 0, 0);
}

}  // namespace godwit
