// Taking a userfaultfd out of processes in every situation, which must not notice.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/test_support.h"
#include "kernel/memory_maps.h"
#include "tracee/remote_userfaultfd.h"
#include "tracee/test_process.h"

namespace godwit {
namespace {

// What must be as before.
struct Traits {
  explicit Traits(pid_t pid)
      : fds(count_fds(pid)),
        blocked(status_line(pid, "SigBlk")),
        ignored(status_line(pid, "SigIgn")),
        caught(status_line(pid, "SigCgt")),
        tracer(status_line(pid, "TracerPid")),
        seccomp(status_line(pid, "Seccomp")) {}
  friend bool operator==(const Traits&, const Traits&) = default;
  size_t fds;
  std::string blocked, ignored, caught, tracer, seccomp;
};

// Takes one out, which must work and belong to the process, and leave nothing.
void take_one(pid_t pid) {
  const Traits before(pid);
  auto uffd = open_userfaultfd_of(pid, in_ms(5000));
  ASSERT_TRUE(uffd) << uffd.error().text();
  EXPECT_EQ(status_line(pid, "TracerPid"), "0");
  EXPECT_TRUE(await([&] { return before == Traits(pid); }));  // some calls have a mask of their own meanwhile
  uffdio_api api{};
  api.api = UFFD_API;
  EXPECT_EQ(::ioctl(uffd->get(), UFFDIO_API, &api), 0);
}

enum Word { kResult, kErrno, kMilliseconds, kReady, kCount, kGo };

// A blocking call in a child, what ends it, and what it has to return then.
struct BlockedCall {
  const char* name;
  long number;
  std::function<long()> call;
  std::function<void(pid_t)> end;  // none: it ends by itself
  long result;
  int code = 0;
  int ms = 0;  // how long it takes if it ends by itself
};

class BlockedCalls : public testing::Test {
 protected:
  void expect_unnoticed(const BlockedCall& blocked) {
    SCOPED_TRACE(blocked.name);
    TestProcess process([&] {
      const Stopwatch watch;
      board_[kReady] = 1;
      const long result = blocked.call();
      board_[kErrno] = static_cast<uint64_t>(result < 0 ? errno : 0);
      board_[kResult] = static_cast<uint64_t>(result);
      board_[kMilliseconds] = static_cast<uint64_t>(watch.ms());
    });
    ASSERT_TRUE(await([&] { return board_[kReady] == 1; }));
    const Stopwatch watch;
    ASSERT_TRUE(process.await_call(blocked.number));
    do {
      take_one(process.pid());
    } while (watch.ms() < blocked.ms / 2.0);
    if (blocked.end) blocked.end(process.pid());
    EXPECT_EQ(process.wait(), 0);
    EXPECT_EQ(static_cast<long>(board_[kResult].load()), blocked.result);
    EXPECT_EQ(board_[kErrno], static_cast<uint64_t>(blocked.code));
    if (blocked.ms == 0) return;
    EXPECT_GE(board_[kMilliseconds], static_cast<uint64_t>(blocked.ms));
    EXPECT_LT(board_[kMilliseconds], static_cast<uint64_t>(blocked.ms * 14 / 10));  // once more: at least 15 / 10
  }
  Board board_;
};

TEST_F(BlockedCalls, SleepGoesOnForTheRestOfItsTime) {
  auto sleep = [] {
    const timespec second{1, 0};
    return ::syscall(SYS_nanosleep, &second, nullptr);
  };
  expect_unnoticed({"nanosleep", SYS_nanosleep, sleep, nullptr, 0, 0, 1000});
}

TEST_F(BlockedCalls, PollGoesOnForTheRestOfItsTime) {
  auto wait = [] { return ::syscall(SYS_poll, nullptr, 0, 1000); };
  expect_unnoticed({"poll", SYS_poll, wait, nullptr, 0, 0, 1000});
}

TEST_F(BlockedCalls, ReadFromAPipeGetsWhatIsWrittenLater) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  auto read = [&] {
    char byte = 0;
    return ::syscall(SYS_read, pipe[0], &byte, 1) == 1 ? long{byte} : -1;
  };
  auto write = [&](pid_t) { EXPECT_EQ(::write(pipe[1], "x", 1), 1); };
  expect_unnoticed({"read", SYS_read, read, write, 'x'});
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_F(BlockedCalls, FutexIsWokenLater) {
  auto* word = reinterpret_cast<uint32_t*>(&board_[kGo]);
  auto wait = [=] { return ::syscall(SYS_futex, word, 0 /* FUTEX_WAIT */, 0, nullptr); };
  auto wake = [=](pid_t) {
    ASSERT_TRUE(await([=] { return ::syscall(SYS_futex, word, 1 /* FUTEX_WAKE */, 1) == 1; }));
  };
  expect_unnoticed({"futex", SYS_futex, wait, wake, 0});
}

TEST_F(BlockedCalls, EpollWithoutTimeoutWaitsOn) {
  const ScopedFd event(::eventfd(0, 0));
  auto wait = [&] {
    const int epoll = ::epoll_create1(0);
    epoll_event events{};
    events.events = EPOLLIN;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, event.get(), &events);
    return ::syscall(SYS_epoll_wait, epoll, &events, 1, -1);
  };
  auto signal = [&](pid_t) {
    const uint64_t one = 1;
    EXPECT_EQ(::write(event.get(), &one, sizeof one), 8);
  };
  expect_unnoticed({"epoll_wait", SYS_epoll_wait, wait, signal, 1});
}

TEST_F(BlockedCalls, WaitingForASignalGetsIt) {
  auto wait = [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    return ::syscall(SYS_rt_sigtimedwait, &set, nullptr, nullptr, 8);
  };
  expect_unnoticed({"sigwait", SYS_rt_sigtimedwait, wait, [](pid_t pid) { ::kill(pid, SIGUSR1); }, SIGUSR1});
}

std::atomic<uint64_t>* handled = nullptr;

TEST_F(BlockedCalls, SuspendedUntilASignalRunsItsHandlerOnceAndHasItsMaskBack) {
  handled = &board_[kCount];
  auto wait = [] {
    struct sigaction action{};
    action.sa_handler = [](int) { handled->fetch_add(1); };
    ::sigaction(SIGUSR1, &action, nullptr);
    sigset_t all, but_usr1, after;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    but_usr1 = all;
    sigdelset(&but_usr1, SIGUSR1);
    const long result = ::syscall(SYS_rt_sigsuspend, &but_usr1, 8);
    const int code = errno;
    ::sigprocmask(SIG_SETMASK, nullptr, &after);
    errno = code;
    return sigismember(&after, SIGUSR1) == 1 ? result : -2;
  };
  expect_unnoticed({"sigsuspend", SYS_rt_sigsuspend, wait, [](pid_t pid) { ::kill(pid, SIGUSR1); }, -1, EINTR});
  EXPECT_EQ(board_[kCount], 1u);
}

TEST_F(BlockedCalls, WaitingForAChildGetsIt) {
  auto wait = [&]() -> long {
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      while (board_[kGo] == 0) ::usleep(1000);
      ::_exit(7);
    }
    int status = 0;
    return ::syscall(SYS_wait4, child, &status, 0, nullptr) == child ? WEXITSTATUS(status) : -1;
  };
  expect_unnoticed({"wait4", SYS_wait4, wait, [&](pid_t) { board_[kGo] = 1; }, 7});
}

// --- Processes in all kinds of states ----------------------------------------------------------------------------

double compute(const std::atomic<uint64_t>& stop, uint64_t& steps) {
  double value = 1;
  for (; stop == 0 || steps % 1000 != 0; ++steps) value = value * 1.0000001 + 1.0 / static_cast<double>(steps + 1);
  return value;
}

TEST(RemoteUserfaultfd, AComputationIsNotDisturbed) {
  Board board;
  TestProcess process([&] {
    uint64_t steps = 0;
    board[kReady] = 1;
    const double value = compute(board[kGo], steps);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    board[kResult] = bits;
    board[kCount] = steps;
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  for (int i = 0; i < 100; ++i) take_one(process.pid());
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
  double expected = 1;
  for (uint64_t step = 0; step < board[kCount]; ++step)
    expected = expected * 1.0000001 + 1.0 / static_cast<double>(step + 1);
  uint64_t bits = 0;
  std::memcpy(&bits, &expected, sizeof bits);
  EXPECT_EQ(board[kResult], bits);
}

TEST(RemoteUserfaultfd, OtherThreadsGoOn) {
  constexpr size_t kThreads = 32;
  Board board;
  TestProcess process([&] {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kThreads; ++i)
      threads.emplace_back([&, i] {
        while (board[kGo] == 0) {
          board[100 + i].fetch_add(1);
          ::usleep(100);
        }
      });
    board[kReady] = 1;  // creating a thread changes the signal mask for a moment
    for (auto& thread : threads) thread.join();
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  for (int i = 0; i < 50; ++i) take_one(process.pid());
  std::array<uint64_t, kThreads> seen{};
  for (size_t i = 0; i < kThreads; ++i) seen[i] = board[100 + i];
  for (size_t i = 0; i < kThreads; ++i) EXPECT_TRUE(await([&] { return board[100 + i] > seen[i]; }));
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

TEST(RemoteUserfaultfd, AStoppedProcessStaysStoppedUntilItIsContinued) {
  Board board;
  TestProcess process([&] {
    while (board[kGo] == 0) board[kCount].fetch_add(1);
  });
  ASSERT_TRUE(await([&] { return board[kCount] > 0; }));
  ::kill(process.pid(), SIGSTOP);
  ASSERT_TRUE(await([&] { return process.state() == 'T'; }));
  for (int i = 0; i < 10; ++i) take_one(process.pid());
  ASSERT_TRUE(await([&] { return process.state() == 'T'; }));
  const uint64_t count = board[kCount];
  ::usleep(20000);
  EXPECT_EQ(board[kCount], count);
  ::kill(process.pid(), SIGCONT);
  EXPECT_TRUE(await([&] { return board[kCount] > count; }));
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

TEST(RemoteUserfaultfd, EverySignalRunsItsHandlerOnce) {
  constexpr int kSignals = 2000;
  Board board;
  handled = &board[kCount];
  TestProcess process([&] {
    struct sigaction action{};
    action.sa_handler = [](int) { handled->fetch_add(1); };
    ::sigaction(SIGRTMIN, &action, nullptr);
    board[kReady] = 1;
    while (board[kGo] == 0) {
      const timespec moment{0, 300000};
      ::nanosleep(&moment, nullptr);
    }
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  std::thread sender([&] {
    for (int i = 0; i < kSignals; ++i) {
      while (::sigqueue(process.pid(), SIGRTMIN, {}) != 0) ::usleep(1000);
      ::usleep(50);
    }
  });
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(open_userfaultfd_of(process.pid(), in_ms(5000)));
  sender.join();
  EXPECT_TRUE(await([&] { return board[kCount] >= kSignals; }));
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
  EXPECT_EQ(board[kCount], static_cast<uint64_t>(kSignals));
}

void pause_ready(const Board& board) {
  board[kReady] = 1;
  for (;;) ::pause();
}

void take_some(const TestProcess& process, const Board& board) {
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  ASSERT_TRUE(process.await_call(SYS_pause));
  for (int i = 0; i < 5; ++i) take_one(process.pid());
  EXPECT_TRUE(process.await_call(SYS_pause));
}

TEST(RemoteUserfaultfd, SigtrapStaysIgnored) {
  Board board;
  TestProcess process([&] {
    ::signal(SIGTRAP, SIG_IGN);
    pause_ready(board);
  });
  take_some(process, board);
}

TEST(RemoteUserfaultfd, NeedsNoPrivilegeThere) {
  Board board;
  TestProcess process([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(1);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause_ready(board);
  });
  take_some(process, board);
}

TEST(RemoteUserfaultfd, WorksInAUserNamespace) {
  Board board;
  TestProcess process([&] {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0) ::_exit(1);
    pause_ready(board);
  });
  take_some(process, board);
}

// Kills whoever calls userfaultfd or ptrace.
void kill_on_userfaultfd() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, filter};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(1);
}

TEST(RemoteUserfaultfd, ASeccompFilterIsNotAskedAndStaysInForce) {
  Board board;
  TestProcess process([&] {
    kill_on_userfaultfd();
    board[kReady] = 1;
    ::pause();
  });
  take_some(process, board);
  TestProcess caller([&] {
    kill_on_userfaultfd();
    board[kReady] = 2;
    while (board[kGo] == 0) ::usleep(1000);
    ::syscall(SYS_userfaultfd, 0);
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 2; }));
  take_one(caller.pid());
  board[kGo] = 1;
  EXPECT_TRUE(WIFSIGNALED(caller.wait()));
}

TEST(RemoteUserfaultfd, OneThatHandlesItsCallsItselfIsAnErrorAndGoesOn) {
  Board board;
  constexpr int kSetDispatch = 59, kOn = 1;  // PR_SET_SYSCALL_USER_DISPATCH
  constexpr char kAllow = 0, kBlock = 1;
  static char selector = kAllow;
  TestProcess process([&] {
    if (::prctl(kSetDispatch, kOn, 0, 0, &selector) != 0) ::_exit(2);
    selector = kBlock;
    while (board[kGo] == 0) board[kCount].fetch_add(1);
    selector = kAllow;
  });
  ASSERT_TRUE(await([&] { return board[kCount] > 0 || process.state() == 'Z'; }));
  if (process.state() == 'Z') GTEST_SKIP() << "this kernel does not let programs do that";
  EXPECT_FALSE(open_userfaultfd_of(process.pid(), in_ms(5000)));
  const uint64_t count = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > count; }));
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

// --- Processes that fight back -------------------------------------------------------------------------------------

// Without the vdso, as it may be away.
void count_to_the_end(const Board& board) {
  while (board[kGo] == 0)
    if (board[kCount].fetch_add(1) % 20000 == 0) ::usleep(100);
}

TEST(RemoteUserfaultfd, OneThatMovesItsVdsoAllTheTimeGoesOn) {
  Board board;
  const auto mappings = must(read_maps(::getpid()));  // a child has it at the same place
  const auto vdso = std::ranges::find(mappings, "[vdso]", &Mapping::name);
  if (vdso == mappings.end()) GTEST_SKIP() << "there is no vdso";
  const size_t bytes = vdso->end - vdso->start;
  TestProcess process([&] {
    std::thread([&] {
      void* const home = reinterpret_cast<void*>(vdso->start.value);
      void* const away = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      while (board[kGo] == 0) {
        if (::mremap(home, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, away) != away) board[kResult] = 1;
        ::usleep(10);
        if (::mremap(away, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, home) != home) board[kResult] = 1;
        board[kReady] = 1;
        ::usleep(10);
      }
    }).detach();
    count_to_the_end(board);
    ::_exit(0);
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  int taken = 0;
  for (int i = 0; i < 100; ++i) {
    if (open_userfaultfd_of(process.pid(), in_ms(5000))) ++taken;
    ASSERT_NE(process.state(), 'Z') << "after " << i;
  }
  std::printf("%d of 100 were taken\n", taken);
  EXPECT_EQ(board[kResult], 0U);
  const uint64_t count = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > count; }));
  EXPECT_EQ(status_line(process.pid(), "TracerPid"), "0");
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

TEST(RemoteUserfaultfd, OneThatForksWithoutEndIsTakenAndItsChildrenAreOrAreGone) {
  Board board;
  TestProcess process([&] {
    ::signal(SIGCHLD, SIG_IGN);
    while (board[kGo] == 0) {
      const pid_t child = ::fork();
      if (child == 0) ::_exit(0);
      if (child > 0) board[kReady] = static_cast<uint64_t>(child);
      board[kCount].fetch_add(child > 0 ? 1 : 0);
    }
  });
  ASSERT_TRUE(await([&] { return board[kCount] > 10; }));
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(open_userfaultfd_of(process.pid(), in_ms(5000)));
    (void)open_userfaultfd_of(static_cast<pid_t>(board[kReady].load()), in_ms(5000));
  }
  const uint64_t count = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > count; }));
  board[kGo] = 1;
  EXPECT_EQ(process.wait(), 0);
}

TEST(RemoteUserfaultfd, OneThatIsTracedByItsChildIsAnErrorAndGoesOn) {
  Board board;
  TestProcess process([&] {
    const pid_t self = ::getpid();
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::ptrace(PTRACE_SEIZE, self, 0, 0) == 0) board[kReady] = 1;
      for (int status = 0; ::waitpid(self, &status, __WALL) > 0;)  // lets it go on, wherever it stops
        (void)::ptrace(PTRACE_CONT, self, 0, 0);
      ::_exit(0);
    }
    count_to_the_end(board);
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  for (int i = 0; i < 50; ++i) {
    auto uffd = open_userfaultfd_of(process.pid(), in_ms(5000));
    ASSERT_FALSE(uffd);
    EXPECT_EQ(uffd.error().code(), EPERM);
  }
  const uint64_t count = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > count; }));
  board[kGo] = 1;
}

TEST(RemoteUserfaultfd, OneThatExecutesProgramsAllTheTimeGoesOn) {
  constexpr const char* kEndless = "exec sh -c \"$0\" \"$0\"";
  TestProcess process([&] { ::execlp("sh", "sh", "-c", kEndless, kEndless, nullptr); });
  int taken = 0;
  for (int i = 0; i < 100; ++i) {
    if (open_userfaultfd_of(process.pid(), in_ms(5000))) ++taken;
    ASSERT_NE(process.state(), 'Z') << "after " << i;
  }
  std::printf("%d of 100 were taken\n", taken);
  EXPECT_GT(taken, 0);
}

TEST(RemoteUserfaultfd, ATracedProcessIsAnErrorAndLeftAlone) {
  Board board;
  TestProcess process([&] { pause_ready(board); });
  ASSERT_TRUE(process.await_call(SYS_pause));
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, process.pid(), 0, 0), 0);
  const Traits before(process.pid());
  auto uffd = open_userfaultfd_of(process.pid(), in_ms(5000));
  ASSERT_FALSE(uffd);
  EXPECT_EQ(uffd.error().code(), EPERM);
  EXPECT_TRUE(before == Traits(process.pid()));
  ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, process.pid(), 0, 0), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(process.pid(), &status, __WALL), process.pid());
  ASSERT_EQ(::ptrace(PTRACE_DETACH, process.pid(), 0, 0), 0);
  take_one(process.pid());
}

TEST(RemoteUserfaultfd, WhatHasNoMemoryIsAnError) {
  TestProcess zombie([] {});
  ASSERT_TRUE(await([&] { return zombie.state() == 'Z'; }));
  EXPECT_FALSE(open_userfaultfd_of(zombie.pid(), in_ms(5000)));
  const pid_t pid = zombie.pid();
  EXPECT_EQ(zombie.wait(), 0);
  EXPECT_FALSE(open_userfaultfd_of(pid, in_ms(5000)));
}

TEST(RemoteUserfaultfd, OneWhoseFirstThreadHasEndedIsAnErrorAndGoesOn) {
  Board board;
  TestProcess process([&] {
    std::thread([&] {
      while (board[kGo] == 0) board[kCount].fetch_add(1);
      ::_exit(3);
    }).detach();
    ::syscall(SYS_exit, 0);
  });
  ASSERT_TRUE(await([&] { return process.state() == 'Z' && board[kCount] > 0; }));
  EXPECT_FALSE(open_userfaultfd_of(process.pid(), in_ms(5000)));  // /proc has no memory of it, nor has CRIU
  const uint64_t count = board[kCount];
  EXPECT_TRUE(await([&] { return board[kCount] > count; }));
  board[kGo] = 1;
  EXPECT_EQ(WEXITSTATUS(process.wait()), 3);
}

TEST(RemoteUserfaultfd, OneThatDoesNotStopIsGivenUpAndGoesOn) {
  Board board;
  TestProcess process([&] {
    board[kReady] = 1;
    const pid_t child = ::vfork();  // sleeps uninterruptibly until the child ends
    if (child == 0) {
      while (board[kGo] == 0) continue;
      ::_exit(0);
    }
    board[kResult] = 1;
    for (;;) ::pause();
  });
  ASSERT_TRUE(process.await_call(SYS_vfork));
  auto uffd = open_userfaultfd_of(process.pid(), in_ms(50));
  ASSERT_FALSE(uffd);
  EXPECT_EQ(uffd.error().code(), ETIMEDOUT);
  EXPECT_EQ(status_line(process.pid(), "TracerPid"), "0");
  board[kGo] = 1;
  EXPECT_TRUE(await([&] { return board[kResult] == 1; }));
  take_one(process.pid());
}

TEST(RemoteUserfaultfd, AProcessThatEndsMeanwhileIsNoMoreThanAnError) {
  int taken = 0;
  for (int i = 0; i < 300; ++i) {
    TestProcess process([&] { ::usleep(static_cast<useconds_t>(i * 3)); });
    if (open_userfaultfd_of(process.pid(), in_ms(5000))) ++taken;
  }
  std::printf("%d of 300 were taken before the process ended\n", taken);
}

TEST(RemoteUserfaultfd, WithoutRoomForADescriptorItIsAnError) {
  Board board;
  TestProcess process([&] {
    while (::dup(0) >= 0) continue;
    pause_ready(board);
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  const Traits before(process.pid());
  auto uffd = open_userfaultfd_of(process.pid(), in_ms(5000));
  ASSERT_FALSE(uffd);
  EXPECT_EQ(uffd.error().code(), EMFILE);
  EXPECT_TRUE(before == Traits(process.pid()));
}

TEST(RemoteUserfaultfd, HowLongTheStopIs) {
  Board board;
  enum { kGap = 10, kReset };
  TestProcess process([&] {
    auto last = Clock::now();
    for (;;) {
      const auto now = Clock::now();
      if (board[kReset].exchange(0) == 1) board[kGap] = 0;
      const auto gap = static_cast<uint64_t>((now - last).count());
      if (gap > board[kGap]) board[kGap] = gap;
      last = now;
      board[kReady] = 1;
    }
  });
  ASSERT_TRUE(await([&] { return board[kReady] == 1; }));
  std::vector<double> stops;
  for (int i = 0; i < 50; ++i) {
    board[kReset] = 1;
    ASSERT_TRUE(await([&] { return board[kReset] == 0; }));
    EXPECT_TRUE(open_userfaultfd_of(process.pid(), in_ms(5000)));
    stops.push_back(static_cast<double>(board[kGap].load()) / 1e6);
  }
  std::ranges::sort(stops);
  std::printf("stop of a computing thread: median %.3f ms, least %.3f, most %.3f\n", stops[25], stops[0], stops[49]);
}

}  // namespace
}  // namespace godwit
