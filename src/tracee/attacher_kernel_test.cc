// The agent side is killed at each step of what the attacher does to a process: the process is as before.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/test_support.h"
#include "tracee/attacher.h"
#include "tracee/remote_userfaultfd.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

enum Word { kCount, kTorn, kHelper, kGo };

std::filesystem::path program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "libexec" / "attacher";
}

// Integers and floating-point numbers in registers, which must agree.
void count(const Board& board) {
  double halves = 0;
  for (uint64_t number = 0;; ++number) {
    if (halves != static_cast<double>(number) / 2) board[kTorn] = 1;
    halves += 0.5;
    board[kCount] = number;
    if (number % 20000 == 0) ::usleep(100);  // one that never sleeps is slow to stop on a machine that has other work
  }
}

void expect_counting(const Board& board) {
  const uint64_t before = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > before + 1000; }));
  EXPECT_EQ(board[kTorn], 0U);
}

// What must be as before, while the process is held by nobody.
std::string traits(pid_t pid) {
  std::string text = std::to_string(count_fds(pid));
  for (const char* key : {"TracerPid", "SigBlk", "SigIgn", "SigCgt", "Seccomp"}) text += " " + status_line(pid, key);
  return text;
}

bool has_ended(pid_t pid) {
  auto status = proc::status(pid);
  return !status || status->state == 'Z' || status->state == 'X';
}

// Lets the threads of PID run from the begin or end of one system call to the next, STEPS times, and does THEN while it
// stands still there. False: it ended before. It goes on by itself when the calling thread ends.
bool step_through(pid_t pid, int steps, const std::function<void()>& request, const std::function<void()>& then) {
  constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
  if (::ptrace(PTRACE_SEIZE, pid, 0, kOptions) != 0 || ::ptrace(PTRACE_INTERRUPT, pid, 0, 0) != 0)
    throw std::runtime_error("ptrace of the attacher");
  request();
  for (;;) {
    int status = 0;
    const pid_t thread = ::waitpid(-1, &status, __WALL | __WNOTHREAD);
    if (thread < 0) return false;
    if (!WIFSTOPPED(status)) continue;
    if (WSTOPSIG(status) == (SIGTRAP | 0x80) && --steps < 0) {
      then();
      return true;
    }
    const int signal = status >> 16 == 0 && WSTOPSIG(status) != (SIGTRAP | 0x80) ? WSTOPSIG(status) : 0;
    (void)::ptrace(PTRACE_SYSCALL, thread, 0, signal);
  }
}

// Of one attach that the agent asks for, until it is killed after STEPS of the attacher. False: that was after the end.
bool kill_after(int steps, pid_t victim, const Board& board) {
  board[kHelper] = board[kGo] = 0;
  TestProcess agent([&] {
    auto attacher = Attacher::start({.program = program()});
    if (!attacher) ::_exit(1);
    board[kHelper] = static_cast<uint64_t>((*attacher)->pid());
    while (board[kGo] == 0) ::usleep(100);
    (void)(*attacher)->open_userfaultfd_of(victim, in_ms(5000));
  });
  if (!await([&] { return board[kHelper] != 0; })) throw std::runtime_error("no attacher");
  const auto attacher = static_cast<pid_t>(board[kHelper].load());
  bool killed = false;
  auto kill_agent = [&] {
    ::kill(agent.pid(), SIGKILL);
    (void)agent.wait();
  };
  std::thread([&] { killed = step_through(attacher, steps, [&] { board[kGo] = 1; }, kill_agent); }).join();
  EXPECT_TRUE(await([&] { return has_ended(attacher); }));
  return killed;
}

TEST(Attacher, AProcessIsAsBeforeWhereverTheAgentIsKilled) {
  constexpr int kStepsMax = 1000;
  Board board;
  TestProcess victim([&] { count(board); });
  expect_counting(board);
  const std::string before = traits(victim.pid());
  int steps = 0;  // by two: to the end of each call, for there the process has changed, if it has
  while (steps < kStepsMax && !testing::Test::HasFailure() && kill_after(steps, victim.pid(), board)) {
    SCOPED_TRACE("killed at step " + std::to_string(steps));
    EXPECT_TRUE(await([&] { return traits(victim.pid()) == before; })) << traits(victim.pid()) << "\n" << before;
    expect_counting(board);
    steps += 2;
  }
  EXPECT_GT(steps, 50);
  std::printf("killed at %d moments\n", steps / 2);
}

TEST(Attacher, WhatItOpensBelongsToTheProcess) {
  Board board;
  TestProcess victim([&] { count(board); });
  expect_counting(board);
  auto attacher = must(Attacher::start({.program = program()}));
  const std::string before = traits(victim.pid());
  std::vector<double> took;
  for (int i = 0; i < 50; ++i) {
    const Stopwatch watch;
    const ScopedFd uffd = must(attacher->open_userfaultfd_of(victim.pid(), in_ms(5000)));
    took.push_back(watch.ms());
    uffdio_api api{};
    api.api = UFFD_API;
    EXPECT_EQ(::ioctl(uffd.get(), UFFDIO_API, &api), 0);
  }
  EXPECT_EQ(traits(victim.pid()), before);
  expect_counting(board);
  std::ranges::sort(took);
  std::printf("one attach: median %.3f ms, least %.3f, most %.3f\n", took[25], took[0], took[49]);
}

TEST(Attacher, AnErrorIsTheOneItWouldBeHere) {
  auto attacher = must(Attacher::start({.program = program()}));
  TestProcess zombie([] {});
  ASSERT_TRUE(await([&] { return has_ended(zombie.pid()); }));
  auto here = open_userfaultfd_of(zombie.pid(), in_ms(5000));
  auto there = attacher->open_userfaultfd_of(zombie.pid(), in_ms(5000));
  ASSERT_FALSE(here);
  ASSERT_FALSE(there);
  EXPECT_EQ(there.error().text(), here.error().text());
  EXPECT_EQ(there.error().code(), here.error().code());
}

TEST(Attacher, SignalsForTheAgentDoNotReachIt) {
  auto attacher = must(Attacher::start({.program = program()}));
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) ::kill(attacher->pid(), signal);
  TestProcess victim([] {
    for (;;) ::pause();
  });
  EXPECT_TRUE(attacher->open_userfaultfd_of(victim.pid(), in_ms(5000)));
}

TEST(Attacher, OneThatWasKilledIsAnError) {
  auto attacher = must(Attacher::start({.program = program()}));
  ::kill(attacher->pid(), SIGKILL);
  EXPECT_FALSE(attacher->open_userfaultfd_of(::getpid(), in_ms(5000)));
  EXPECT_FALSE(attacher->open_userfaultfd_of(::getpid(), in_ms(5000)));
}

TEST(Attacher, AProgramThatIsNotThereIsAnError) { EXPECT_FALSE(Attacher::start({.program = "/nonexistent/attacher"})); }

}  // namespace
}  // namespace godwit
