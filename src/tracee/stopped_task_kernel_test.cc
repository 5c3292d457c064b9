// What happens to a process while one of its threads is held.
#include <gtest/gtest.h>
#include <linux/rseq.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "base/test_support.h"
#include "tracee/stopped_task.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

enum Word { kReady, kGo, kCount, kGeneration, kTorn, kAborted, kEntered };

TEST(StoppedTask, CallsRunInTheProcess) {
  TestProcess process([] {
    for (;;) ::pause();
  });
  ASSERT_TRUE(process.await_call(SYS_pause));
  StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
  EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
  EXPECT_EQ(must(task.syscall(SYS_close, {12345})), -EBADF);
  const StoppedTask moved = std::move(task);
}

TEST(StoppedTask, WithoutACallNothingHappens) {
  TestProcess process([] {
    const timespec moment{0, 200'000'000};
    ::_exit(::nanosleep(&moment, nullptr) == 0 ? 0 : 1);
  });
  (void)must(StoppedTask::stop(process.pid(), in_ms(5000)));
  EXPECT_EQ(process.wait(), 0);
}

TEST(StoppedTask, TheEndOfTheProcessIsAnError) {
  TestProcess process([] {
    for (;;) ::pause();
  });
  StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
  ::kill(process.pid(), SIGKILL);
  auto result = task.syscall(SYS_getpid);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ESRCH);
}

TEST(StoppedTask, OneWithoutMemoryHasEnded) {
  TestProcess process([] {});
  ASSERT_TRUE(await([&] { return process.state() == 'Z'; }));
  auto task = StoppedTask::stop(process.pid(), in_ms(5000));
  ASSERT_FALSE(task);
  EXPECT_EQ(task.error().code(), ESRCH);
}

void count(const Board& board) {
  while (board[kGo] == 0) board[kCount].fetch_add(1);
}

void expect_standing_still(const TestProcess& process, const Board& board) {
  ASSERT_TRUE(await([&] { return process.state() == 'T'; }));
  const uint64_t before = board[kCount];
  ::usleep(20000);
  EXPECT_EQ(board[kCount], before);
  EXPECT_EQ(process.state(), 'T');
}

TEST(StoppedTask, ASigstopThatComesMeanwhileStopsTheProcess) {
  Board board;
  TestProcess process([&] { count(board); });
  {
    StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
    ::kill(process.pid(), SIGSTOP);
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
  }
  expect_standing_still(process, board);
  ::kill(process.pid(), SIGCONT);
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

TEST(StoppedTask, ASigstopThatComesLastStopsTheProcess) {
  Board board;
  TestProcess process([&] { count(board); });
  {
    StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
    ::kill(process.pid(), SIGSTOP);
  }
  expect_standing_still(process, board);
  ::kill(process.pid(), SIGCONT);
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

TEST(StoppedTask, ASigcontThatComesMeanwhileContinuesTheProcess) {
  Board board;
  TestProcess process([&] { count(board); });
  ::kill(process.pid(), SIGSTOP);
  ASSERT_TRUE(await([&] { return process.state() == 'T'; }));
  {
    StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
    ::kill(process.pid(), SIGCONT);
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
  }
  const uint64_t before = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > before; }));
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

std::atomic<uint64_t>* handled = nullptr;

TEST(StoppedTask, ASignalThatComesMeanwhileRunsItsHandlerOnceAfterwards) {
  Board board;
  handled = &board[kCount];
  TestProcess process([&] {
    ::signal(SIGUSR1, [](int) { handled->fetch_add(1); });
    board[kReady] = 1;
    const timespec long_time{100, 0};
    const int result = ::nanosleep(&long_time, nullptr);
    ::_exit(result == -1 && errno == EINTR ? 0 : 1);
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  {
    StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
    ::kill(process.pid(), SIGUSR1);
    EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
    EXPECT_EQ(board[kCount], 0u);
  }
  EXPECT_EQ(process.wait(), 0);
  EXPECT_EQ(board[kCount], 1u);
}

// A restartable sequence must not go on where it was after its thread stood still: it has to begin anew.
void spin_in_restartable_sequence(const Board& board) {
  auto* area = reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
  const auto* generation = &board[kGeneration];
  while (board[kGo] == 0) {
    board[kEntered].fetch_add(1);
    uint64_t torn = 0;
    // Leaves by itself only if the generation has changed since it began.
    asm volatile(
        ".pushsection __rseq_cs, \"aw\"\n"
        ".balign 32\n"
        "77: .long 0, 0\n"
        ".quad 1f, 2f - 1f, 4f\n"
        ".popsection\n"
        "leaq 77b(%%rip), %%rax\n"
        "movq %%rax, %[cs]\n"
        "1: movq (%[generation]), %%rcx\n"
        "3: cmpq (%[generation]), %%rcx\n"
        "je 3b\n"
        "movq $1, %[torn]\n"
        "2: jmp 5f\n"
        ".long 0x53053053\n"
        "4: nop\n"
        "5:\n"
        : [torn] "+r"(torn), [cs] "=m"(area->rseq_cs)
        : [generation] "r"(generation)
        : "rax", "rcx", "memory", "cc");
    board[kTorn].fetch_add(torn);
  }
}

TEST(StoppedTask, ARestartableSequenceBeginsAnew) {
  if (__rseq_size == 0) GTEST_SKIP() << "the C library has not registered restartable sequences";
  Board board;
  TestProcess process([&] { spin_in_restartable_sequence(board); });
  ASSERT_TRUE(await([&] { return board[kEntered] > 0; }));
  for (int i = 0; i < 100; ++i) {
    const uint64_t entered = board[kEntered];
    {
      StoppedTask task = must(StoppedTask::stop(process.pid(), in_ms(5000)));
      EXPECT_EQ(must(task.syscall(SYS_getpid)), process.pid());
      board[kGeneration].fetch_add(1);
    }
    EXPECT_TRUE(await([&] { return board[kEntered] > entered; }));
  }
  EXPECT_EQ(board[kTorn], 0u);
}

}  // namespace
}  // namespace godwit
