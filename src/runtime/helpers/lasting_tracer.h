// A process of its own that traces the container's threads for CRIU, and lasts until they have
// their own registers and code again.
//
// CRIU has threads make system calls: by ptrace it puts an instruction into their code, other values into their
// registers and lets them run into a breakpoint. If it is killed meanwhile, the kernel lets them go as they are, and
// they die: of 100 kills at random moments of the first 6 ms of a dump, 17 cost the container (2026-11-23).
//
// So what CRIU asks of ptrace(2), and its waits for traced threads, are done by another process. It has CRIU's memory,
// and so CRIU's arguments, and CRIU's descriptors. When CRIU has died, sockets that it had changed are first given back
// what they had, while all threads still stand still: a program that meets a connection in repair mode (TCP_REPAIR)
// gets errors and closes it. Then the descriptors are closed: CRIU's parasite, which runs in one thread of each
// process, ends by itself when its socket is closed. Last, threads that stand in a breakpoint, or are about to run what
// is not theirs, get back what they had at their first stop. Only then is the socket to the agent closed, which freezes
// the container: a thread that is frozen on its way to a breakpoint would meet it when nobody traces it any more.
//
// A request goes over in memory. The two take turns on one processor, some microseconds each: to wake another one would
// take ten times as long. What is known of a thread that stands still is answered without the tracer, and what changes
// its registers goes along with the next request: it cannot fail unless the thread has been killed, and until then
// nothing can see it. The tracer calls nothing of libc's, whose errno is CRIU's.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace lasting {

// linux/ptrace.h and linux/elf.h; sys/ptrace.h clashes with the former.
enum Request : long {
  kPeekText = 1,
  kPeekData = 2,
  kPeekUser = 3,
  kPokeData = 5,
  kPokeUser = 6,
  kCont = 7,
  kDetach = 17,
  kSyscall = 24,
  kGetSiginfo = 0x4202,
  kGetRegset = 0x4204,
  kSetRegset = 0x4205,
  kSeize = 0x4206,
  kGetSigmask = 0x420a,
  kSetSigmask = 0x420b,
};
constexpr long kGeneral = 1, kExtended = 0x202;  // NT_PRSTATUS, NT_X86_XSTATE
constexpr int kEventStop = 128;                  // PTRACE_EVENT_STOP
constexpr size_t kExtendedBytesMax = 12 << 10;   // 11,008 with AMX
constexpr size_t kTracedMax = 16384, kWordsMax = 4096;
constexpr int64_t kTrapWithinMs = 100;  // what runs in a thread, but for the parasite, takes microseconds

inline long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = 0;
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

template <typename T>
long number_of(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

enum class Place {
  kOwn,      // the thread has its own registers
  kSetUp,    // it has others, and stands still
  kInside,   // it runs with them
  kTrapped,  // it has run into a breakpoint instruction
};

struct Traced {
  int pid;
  Place place;
  bool stopped, recorded, breakpoint;  // breakpoint: in the processor's debug registers
  // At the last stop, and as changed since; valid while it is stopped.
  bool known;
  uint64_t mask_now;
  user_regs_struct general_now;
  siginfo_t signal;
  // At its first stop.
  uint64_t mask;
  user_regs_struct general;
  size_t extended_bytes;
  char extended[kExtendedBytesMax];
};

struct Word {
  int pid;
  long address, content;
};

// A system call, and what its third argument but one points to if it is not made at once.
struct Call {
  long number, arguments[4];
  iovec registers;
  union {
    user_regs_struct general;
    uint64_t mask;
  };
};
constexpr size_t kCallsMax = 16;

enum Turn : int { kCrius, kTracers };

constexpr int kRepair = 19;  // TCP_REPAIR; netinet/tcp.h clashes with linux/tcp.h
constexpr int kDescriptorsMax = 1 << 20;

// Sockets of the container's, by CRIU's descriptors for them.
struct ChangedSockets {
  unsigned char repaired[kDescriptorsMax];  // 0: not in repair mode; else 1 + what SO_REUSEADDR was
  int repaired_end;                         // above the last
  int peeked, peek_offset;                  // descriptor + 1, 0: none; what SO_PEEK_OFF was
};
inline ChangedSockets changed_sockets;  // untouched, its pages are none

struct Shared {
  int tracer, criu;
  int last_open;  // the socket to the agent, which freezes the cgroup when it closes; -1: none
  int turn;       // a futex
  Call calls[kCallsMax];
  size_t calls_count;
  long result;     // of the last, or of the first that failed
  Traced* traced;  // kTracedMax; memory is taken as it is used
  size_t traced_count, last;
  Word words[kWordsMax];
  size_t words_count;
  int cpu;
};
inline Shared shared;

inline Traced* find(int pid) {
  if (pid <= 0) return nullptr;
  if (shared.last < shared.traced_count && shared.traced[shared.last].pid == pid) return &shared.traced[shared.last];
  for (size_t i = 0; i < shared.traced_count; ++i) {
    if (shared.traced[i].pid != pid) continue;
    shared.last = i;
    return &shared.traced[i];
  }
  return nullptr;
}

// --- The tracer ----------------------------------------------------------------------------------------------------

inline long trace(long request, int pid, long address, long data) {
  return raw(SYS_ptrace, request, pid, address, data);
}

inline void add(int pid) {
  size_t free = 0;
  while (free < shared.traced_count && shared.traced[free].pid != 0) ++free;
  if (free == kTracedMax) return;
  if (free == shared.traced_count) ++shared.traced_count;
  shared.traced[free].pid = pid;
  shared.traced[free].place = Place::kOwn;
  shared.traced[free].stopped = shared.traced[free].known = shared.traced[free].recorded = false;
  shared.traced[free].breakpoint = false;
}

// What the thread has now that it stands still.
inline void look_at(Traced& thread) {
  iovec general{&thread.general_now, sizeof thread.general_now};
  thread.known = trace(kGetRegset, thread.pid, kGeneral, number_of(&general)) == 0 &&
                 general.iov_len == sizeof thread.general_now &&
                 trace(kGetSigmask, thread.pid, sizeof thread.mask_now, number_of(&thread.mask_now)) == 0 &&
                 trace(kGetSiginfo, thread.pid, 0, number_of(&thread.signal)) == 0;
}

inline void record(Traced& thread) {
  if (!thread.known) return;
  memcpy(&thread.general, &thread.general_now, sizeof thread.general);
  thread.mask = thread.mask_now;
  iovec extended{thread.extended, sizeof thread.extended};
  thread.extended_bytes = trace(kGetRegset, thread.pid, kExtended, number_of(&extended)) == 0 ? extended.iov_len : 0;
  thread.recorded = true;
}

inline void note_wait(int pid, int status) {
  Traced* thread = find(pid);
  if (thread == nullptr) return;
  if (!WIFSTOPPED(status)) {
    thread->pid = 0;
    return;
  }
  thread->stopped = true;
  look_at(*thread);
  if (!thread->recorded) {
    record(*thread);
  } else if (thread->place == Place::kInside && status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP &&
             !thread->breakpoint) {
    thread->place = Place::kTrapped;
  }
}

// What is in the thread's code, before it is changed for the first time.
inline void keep_word(int pid, long address) {
  for (size_t i = shared.words_count; i-- > 0;)
    if (shared.words[i].pid == pid && shared.words[i].address == address) return;
  long content = 0;
  if (shared.words_count < kWordsMax && trace(kPeekData, pid, address, number_of(&content)) == 0)
    shared.words[shared.words_count++] = {pid, address, content};
}

inline bool are_own(const Traced& thread, const iovec* registers) {
  return thread.recorded && registers->iov_len == sizeof thread.general &&
         memcmp(registers->iov_base, &thread.general, sizeof thread.general) == 0;
}

inline long answer_trace(long request, int pid, long address, long data) {
  if (request == kPokeData) keep_word(pid, address);
  const long result = trace(request, pid, address, data);
  if (result != 0) return result;
  if (request == kSeize) add(pid);
  Traced* thread = find(pid);
  if (thread == nullptr) return result;
  if (request == kSetRegset && address == kGeneral)
    thread->place = are_own(*thread, reinterpret_cast<const iovec*>(data)) ? Place::kOwn : Place::kSetUp;
  if (request == kPokeUser && address == static_cast<long>(offsetof(user, u_debugreg[7])))
    thread->breakpoint = data != 0;
  if (request == kCont || request == kSyscall) {
    thread->stopped = thread->known = false;
    if (thread->place != Place::kOwn) thread->place = Place::kInside;
  }
  if (request == kDetach) thread->pid = 0;
  return result;
}

inline long answer(const Call& call) {
  const long* of = call.arguments;
  if (call.number == SYS_ptrace) return answer_trace(of[0], static_cast<int>(of[1]), of[2], of[3]);
  int status = 0;
  const long pid = raw(SYS_wait4, of[0], number_of(&status), of[2], of[3]);
  if (pid > 0) note_wait(static_cast<int>(pid), status);
  if (pid > 0 && of[1] != 0) *reinterpret_cast<int*>(of[1]) = status;
  return pid;
}

inline long answer_all() {
  long result = 0;
  for (size_t i = 0; i < shared.calls_count && result >= 0; ++i) result = answer(shared.calls[i]);
  return result;
}

// Of what CRIU had changed. A thread that the parasite runs in gets its registers from it.
inline void give_back(Traced& thread) {
  if (thread.breakpoint) trace(kPokeUser, thread.pid, offsetof(user, u_debugreg[7]), 0);
  for (size_t i = 0; i < shared.words_count; ++i) {
    const Word& word = shared.words[i];
    long content = 0;
    if (word.pid == thread.pid && trace(kPeekData, word.pid, word.address, number_of(&content)) == 0 &&
        content != word.content)
      trace(kPokeData, word.pid, word.address, word.content);
  }
  if (thread.recorded && thread.place != Place::kInside)
    trace(kSetSigmask, thread.pid, sizeof thread.mask, number_of(&thread.mask));
  if (thread.recorded && (thread.place == Place::kSetUp || thread.place == Place::kTrapped)) {
    iovec general{&thread.general, sizeof thread.general};
    iovec extended{thread.extended, thread.extended_bytes};
    if (thread.extended_bytes != 0) trace(kSetRegset, thread.pid, kExtended, number_of(&extended));
    trace(kSetRegset, thread.pid, kGeneral, number_of(&general));
  }
  trace(kDetach, thread.pid, 0, 0);
  thread.pid = 0;
}

inline bool get_option(int fd, int level, int option, int& value) {
  socklen_t length = sizeof value;
  return raw(SYS_getsockopt, fd, level, option, number_of(&value), number_of(&length)) == 0;
}

inline void set_option(int fd, int level, int option, int value) {
  raw(SYS_setsockopt, fd, level, option, number_of(&value), sizeof value);
}

// A descriptor that means something else by now is no connection in repair mode.
inline void give_back_sockets() {
  const ChangedSockets& changed = changed_sockets;
  for (int fd = 0; fd < changed.repaired_end; ++fd) {
    int repair = 0;
    if (changed.repaired[fd] == 0 || !get_option(fd, IPPROTO_TCP, kRepair, repair) || repair != 1) continue;
    set_option(fd, IPPROTO_TCP, kRepair, 0);
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, changed.repaired[fd] - 1);  // the kernel has changed it
  }
  if (changed.peeked != 0) set_option(changed.peeked - 1, SOL_SOCKET, SO_PEEK_OFF, changed.peek_offset);
}

inline int64_t now_ms() {
  timespec now{};
  raw(SYS_clock_gettime, CLOCK_MONOTONIC, number_of(&now));
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

// CRIU has ended. What it has left to itself runs on; threads under way come to their breakpoint first.
inline void give_all_back() {
  const int64_t end = now_ms() + kTrapWithinMs;
  for (bool waits = true; waits;) {
    waits = false;
    for (size_t i = 0; i < shared.traced_count; ++i) {
      Traced& thread = shared.traced[i];
      int status = 0;
      if (thread.pid != 0 && !thread.stopped) {
        const long pid = raw(SYS_wait4, thread.pid, number_of(&status), __WALL | WNOHANG, 0);
        if (pid > 0) note_wait(static_cast<int>(pid), status);
        if (pid < 0) thread.pid = 0;
      }
      if (thread.pid != 0 && thread.stopped) give_back(thread);
      waits |= thread.pid != 0 && thread.place == Place::kInside;
    }
    waits &= now_ms() < end;
    timespec pause{0, 1'000'000};
    if (waits) raw(SYS_nanosleep, number_of(&pause), 0);
  }
}

inline void close_all_but(int fd) {
  constexpr long kEnd = 0xffffffff;
  if (fd > 0) raw(SYS_close_range, 0, fd - 1, 0);
  raw(SYS_close_range, fd < 0 ? 0 : fd + 1L, kEnd, 0);
}

inline int work(void*) {
  raw(SYS_prctl, PR_SET_NAME, number_of("godwit-tracer"));
  raw(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR2);  // ends a wait
  uint64_t mask = ~(uint64_t{1} << (SIGUSR2 - 1));
  raw(SYS_rt_sigprocmask, SIG_SETMASK, number_of(&mask), 0, sizeof mask);
  while (raw(SYS_getppid) == shared.criu) {
    if (__atomic_load_n(&shared.turn, __ATOMIC_ACQUIRE) == kTracers) {
      shared.result = answer_all();
      __atomic_store_n(&shared.turn, kCrius, __ATOMIC_RELEASE);
      raw(SYS_futex, number_of(&shared.turn), FUTEX_WAKE, 1);
    }
    timespec limit{0, 100'000'000};
    raw(SYS_futex, number_of(&shared.turn), FUTEX_WAIT, kCrius, number_of(&limit));
  }
  give_back_sockets();
  close_all_but(shared.last_open);
  give_all_back();
  raw(SYS_exit_group, 0);
  return 0;
}

// --- CRIU's side ---------------------------------------------------------------------------------------------------

inline void wake(int) {}

// CRIU keeps a descriptor for each connection. When a table of descriptors grows that two processes share, the kernel
// waits until every processor has passed through a quiet state: 10 ms and more, with each doubling from 64 on (6.18).
// So it grows while CRIU has it for itself.
inline void make_room_for_descriptors() {
  constexpr rlim_t kDescriptors = 1 << 16;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 2) return;
  const rlim_t last = (limit.rlim_cur < kDescriptors ? limit.rlim_cur : kDescriptors) - 1;
  const int any = shared.last_open >= 0 ? shared.last_open : STDERR_FILENO;
  const long copy = raw(SYS_fcntl, any, F_DUPFD_CLOEXEC, static_cast<long>(last));
  if (copy >= 0) raw(SYS_close, copy);
}

inline bool start(int agents_socket) {
  constexpr size_t kStackBytes = 256 << 10;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* traced = mmap(nullptr, kTracedMax * sizeof(Traced), PROT_READ | PROT_WRITE, flags, -1, 0);
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (traced == MAP_FAILED || stack == MAP_FAILED) return false;
  shared.traced = static_cast<Traced*>(traced);
  shared.criu = getpid();
  shared.last_open = agents_socket;
  shared.cpu = -1;
  make_room_for_descriptors();
  struct sigaction action{}, before{};
  action.sa_handler = wake;
  if (sigaction(SIGUSR2, &action, &before) != 0) return false;
  // No signal when it ends, and nobody that waits for children without saying so (__WALL) finds it.
  shared.tracer = clone(work, static_cast<char*>(stack) + kStackBytes, CLONE_VM | CLONE_FILES, nullptr);
  (void)sigaction(SIGUSR2, &before, nullptr);
  return shared.tracer > 0;
}

inline Call& add_call(long number, long a, long b, long c, long d) {
  Call& call = shared.calls[shared.calls_count++];
  call.number = number;
  call.arguments[0] = a, call.arguments[1] = b, call.arguments[2] = c, call.arguments[3] = d;
  return call;
}

// The system call NUMBER, ptrace or wait4, made by the tracer, after those that were put off.
inline long ask(long number, long a, long b, long c, long d) {
  add_call(number, a, b, c, d);
  const int cpu = sched_getcpu();
  if (cpu >= 0 && cpu != shared.cpu && cpu < 1024) {
    unsigned long mask[1024 / 64] = {};
    mask[cpu / 64] = 1UL << (cpu % 64);
    raw(SYS_sched_setaffinity, shared.tracer, sizeof mask, number_of(mask));
    shared.cpu = cpu;
  }
  __atomic_store_n(&shared.turn, kTracers, __ATOMIC_RELEASE);
  raw(SYS_futex, number_of(&shared.turn), FUTEX_WAKE, 1);
  while (__atomic_load_n(&shared.turn, __ATOMIC_ACQUIRE) == kTracers) {
    const long waited = raw(SYS_futex, number_of(&shared.turn), FUTEX_WAIT, kTracers);
    // A signal whose handler is to interrupt CRIU, its alarm.
    if (waited == -EINTR && number == SYS_wait4) raw(SYS_kill, shared.tracer, SIGUSR2);
  }
  shared.calls_count = 0;
  return shared.result;
}

// A change of a stopped thread that can wait for the next call. False: it is none.
inline bool put_off(long request, Traced& thread, long address, long data) {
  if (!thread.stopped || !thread.known || shared.calls_count + 1 >= kCallsMax) return false;
  const auto* registers = reinterpret_cast<const iovec*>(data);
  if (request == kSetRegset && address == kGeneral && registers->iov_len == sizeof thread.general_now) {
    Call& call = add_call(SYS_ptrace, request, thread.pid, address, 0);
    memcpy(&call.general, registers->iov_base, sizeof call.general);
    memcpy(&thread.general_now, registers->iov_base, sizeof call.general);
    call.registers = {&call.general, sizeof call.general};
    call.arguments[3] = number_of(&call.registers);
    return true;
  }
  if (request == kSetSigmask && address == sizeof thread.mask_now) {
    Call& call = add_call(SYS_ptrace, request, thread.pid, address, 0);
    memcpy(&call.mask, reinterpret_cast<const void*>(data), sizeof call.mask);
    thread.mask_now = call.mask;
    call.arguments[3] = number_of(&call.mask);
    return true;
  }
  return false;
}

// What the tracer need not be asked. False: it must be.
inline bool is_known(long request, const Traced& thread, long address, long data) {
  auto* registers = reinterpret_cast<iovec*>(data);
  if (!thread.stopped || !thread.known) return false;
  if (request == kGetRegset && address == kGeneral && registers->iov_len >= sizeof thread.general_now) {
    memcpy(registers->iov_base, &thread.general_now, sizeof thread.general_now);
    registers->iov_len = sizeof thread.general_now;
    return true;
  }
  if (request == kGetSigmask && address == sizeof thread.mask_now) {
    memcpy(reinterpret_cast<void*>(data), &thread.mask_now, sizeof thread.mask_now);
    return true;
  }
  if (request == kGetSiginfo) {
    memcpy(reinterpret_cast<void*>(data), &thread.signal, sizeof thread.signal);
    return true;
  }
  if (request != kPeekData) return false;
  iovec to{reinterpret_cast<void*>(data), sizeof(long)}, from{reinterpret_cast<void*>(address), sizeof(long)};
  return syscall(SYS_process_vm_readv, thread.pid, &to, 1UL, &from, 1UL, 0UL) == sizeof(long);
}

// Not in what CRIU forks.
inline bool has_tracer() { return shared.tracer > 0 && raw(SYS_getpid) == shared.criu; }

inline long as_libc(long result) {
  if (result >= 0 || result < -4095) return result;
  errno = static_cast<int>(-result);
  return -1;
}

inline long trace_or_ask(long request, int pid, long address, long data) {
  Traced* thread = has_tracer() ? find(pid) : nullptr;
  if (thread != nullptr && (is_known(request, *thread, address, data) || put_off(request, *thread, address, data)))
    return 0;
  const bool asks = thread != nullptr || (request == kSeize && has_tracer());
  return asks ? ask(SYS_ptrace, request, pid, address, data) : trace(request, pid, address, data);
}

// ptrace(2), for DUMPS the lens is at work in.
inline long trace_for_criu(long request, int pid, long address, long data, bool dumps, int agents_socket) {
  if (request == kSeize && dumps && shared.tracer == 0 && !start(agents_socket)) shared.tracer = -1;
  const bool peeks = request >= kPeekText && request <= kPeekUser;
  long peeked = 0;
  const long result = as_libc(trace_or_ask(request, pid, address, peeks ? number_of(&peeked) : data));
  if (!peeks || result < 0) return result;
  errno = 0;
  return peeked;
}

// wait4(2). Who waits for a thread that is traced says __WALL; for any child, it would wait for the tracer as well.
inline int wait_for_criu(int pid, int* status, int options, rusage* usage) {
  const bool asks = has_tracer() && (options & __WALL) != 0 && (pid == -1 || find(pid) != nullptr);
  const long got = asks ? ask(SYS_wait4, pid, number_of(status), options, number_of(usage))
                        : raw(SYS_wait4, pid, number_of(status), options, number_of(usage));
  return static_cast<int>(as_libc(got));
}

// Called before CRIU sets an option of a socket.
inline void note_option(int fd, int level, int option, const int* value, socklen_t length) {
  if (value == nullptr || length != sizeof *value || fd < 0 || fd >= kDescriptorsMax || !has_tracer()) return;
  ChangedSockets& changed = changed_sockets;
  int before = 0;
  if (level == IPPROTO_TCP && option == kRepair && *value == 1) {
    if (!get_option(fd, SOL_SOCKET, SO_REUSEADDR, before)) return;
    changed.repaired[fd] = before != 0 ? 2 : 1;
    if (fd >= changed.repaired_end) changed.repaired_end = fd + 1;
  }
  if (level == SOL_SOCKET && option == SO_PEEK_OFF && changed.peeked == 0 &&
      get_option(fd, level, option, changed.peek_offset))
    changed.peeked = fd + 1;
}

// Called after CRIU has set it.
inline void forget_option(int fd, int level, int option, const int* value, socklen_t length) {
  if (value == nullptr || length != sizeof *value || fd < 0 || fd >= kDescriptorsMax || !has_tracer()) return;
  ChangedSockets& changed = changed_sockets;
  if (level == IPPROTO_TCP && option == kRepair && *value != 1) changed.repaired[fd] = 0;
  if (level == SOL_SOCKET && option == SO_PEEK_OFF && changed.peeked == fd + 1 && *value == changed.peek_offset)
    changed.peeked = 0;
}

// kill(2). CRIU kills what it traces when the dump is done and the copy here is to end: its connections, which go on
// elsewhere, stay in repair mode then, in which they end without a word to their peers.
inline int kill_for_criu(int pid, int number) {
  if (number == SIGKILL && has_tracer() && find(pid) != nullptr) changed_sockets.repaired_end = 0;
  return static_cast<int>(as_libc(raw(SYS_kill, pid, number)));
}

}  // namespace lasting
