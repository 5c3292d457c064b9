// What CRIU does to a thread by way of the lens, broken off after each step by the death of who does it: the thread
// goes on with its own registers, code and signal mask.
#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "base/test_support.h"
#include "runtime/test_criu.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

enum Word { kCount, kTorn, kSteps, kFailed };

using Ptrace = long (*)(int, ...);
using Wait4 = pid_t (*)(pid_t, int*, int, rusage*);

// Integers and floating-point numbers in registers, which must agree.
void count(const Board& board) {
  double halves = 0;
  for (uint64_t number = 0;; ++number) {
    if (halves != static_cast<double>(number) / 2) board[kTorn] = 1;
    halves += 0.5;
    board[kCount] = number;
  }
}

// What CRIU does to have a thread make a system call, up to and with step LAST; then it is killed.
void inject_and_die(const Board& board, const std::string& lens, pid_t thread, uint64_t last) {
  ::setenv("GODWIT_LENS", lens.c_str(), 1);
  void* library = ::dlopen((helpers_directory() / "lens.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto trace = reinterpret_cast<Ptrace>(::dlsym(library, "ptrace"));
  const auto wait = reinterpret_cast<Wait4>(::dlsym(library, "wait4"));
  uint64_t step = 0;
  const auto done = [&](bool well) {
    if (!well) board[kFailed] = step + 1;
    board[kSteps] = ++step;
    if (!well || step > last) ::raise(SIGKILL);
  };
  int status = 0;
  user_regs_struct own{}, other{};
  iovec registers{&own, sizeof own};
  const uint64_t own_mask = 0, all_but_trap = ~(uint64_t{1} << (SIGTRAP - 1));

  done(trace(PTRACE_SEIZE, thread, 0L, 0L) == 0);
  done(trace(PTRACE_INTERRUPT, thread, 0L, 0L) == 0);
  done(wait(thread, &status, __WALL, nullptr) == thread && status >> 16 == PTRACE_EVENT_STOP);
  done(trace(PTRACE_GETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0);
  const long at = static_cast<long>(own.rip), code = trace(PTRACE_PEEKDATA, thread, at, 0L);
  done(trace(PTRACE_POKEDATA, thread, at, 0xcccccccccccc050fL) == 0 &&  // syscall, breakpoints
       trace(PTRACE_PEEKDATA, thread, at, 0L) == static_cast<long>(0xcccccccccccc050f));
  done(trace(PTRACE_SETSIGMASK, thread, long{sizeof all_but_trap}, &all_but_trap) == 0);
  other = own;
  other.rax = SYS_getppid;
  other.orig_rax = ~uint64_t{0};
  registers.iov_base = &other;
  done(trace(PTRACE_SETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0);
  done(trace(PTRACE_CONT, thread, 0L, 0L) == 0);
  done(wait(-1, &status, __WALL, nullptr) == thread && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
  done(trace(PTRACE_GETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0 &&
       static_cast<pid_t>(other.rax) == ::getppid());
  registers.iov_base = &own;
  done(trace(PTRACE_SETREGSET, thread, long{NT_PRSTATUS}, &registers) == 0);
  done(trace(PTRACE_POKEDATA, thread, at, code) == 0);
  done(trace(PTRACE_SETSIGMASK, thread, long{sizeof own_mask}, &own_mask) == 0);
  done(trace(PTRACE_DETACH, thread, 0L, 0L) == 0);
  errno = 0;
  done(trace(PTRACE_CONT, thread, 0L, 0L) == -1 && errno == ESRCH);
}

void expect_counting(const Board& board) {
  const uint64_t before = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > before + 1000; }));
}

TEST(LastingTracer, AThreadGoesOnWhereverCriuDies) {
  constexpr uint64_t kStepsOfAll = 15;
  ScopedDirectory lens;
  for (uint64_t last = 0; last < kStepsOfAll; ++last) {
    SCOPED_TRACE("dies after step " + std::to_string(last));
    Board board;
    TestProcess counter([&] { count(board); });
    expect_counting(board);
    const std::string mask = status_line(counter.pid(), "SigBlk");
    TestProcess criu([&] { inject_and_die(board, lens.path(), counter.pid(), last); });
    const int status = criu.wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    EXPECT_EQ(board[kSteps], last + 1);
    EXPECT_EQ(board[kFailed], 0U);
    EXPECT_TRUE(await([&] { return status_line(counter.pid(), "TracerPid") == "0"; }));
    expect_counting(board);
    EXPECT_EQ(status_line(counter.pid(), "SigBlk"), mask);
    EXPECT_EQ(board[kTorn], 0U);
  }
}

}  // namespace
}  // namespace godwit
