// Rounds on real processes. The copy that they make, with what the last look adds, must be what the processes have.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/prctl.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cstdio>

#include "memory/container_memory.h"
#include "memory/test_container.h"

namespace godwit {
namespace {

enum Word { kReady, kGo, kCount, kAddress };

char* map_anonymous(size_t bytes, int protection = PROT_READ | PROT_WRITE, int flags = 0) {
  void* memory = ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (memory == MAP_FAILED) ::_exit(98);
  return static_cast<char*>(memory);
}

void report_and_wait(const Board& board, const void* address) {
  board[kAddress] = reinterpret_cast<uint64_t>(address);
  board[kReady] = 1;
  while (board[kGo] == 0) ::usleep(200);
}

class Rounds : public testing::Test {
 protected:
  void await_ready() {
    ASSERT_TRUE(await([&] { return board_[kReady] == 1; }));
  }
  RemoteAddr address() const { return {board_[kAddress]}; }
  // A process that calls PREPARE, which returns an address, and waits.
  pid_t run_prepared(const std::function<char*()>& prepare) {
    const pid_t pid = container_.run([&] {
      report_and_wait(board_, prepare());
      for (;;) ::pause();
    });
    await_ready();
    return pid;
  }
  void expect_same(ShadowContainer& shadow) {
    const Differences differences = shadow.verify();
    EXPECT_TRUE(is_same(differences)) << text_of(differences);
  }
  // Of the processes in listed_, in that order.
  std::unique_ptr<ContainerMemory> listed_memory() {
    return container_.memory(probe_tracking(), [this]() -> Result<std::vector<pid_t>> { return listed_; });
  }
  Board board_;
  TestContainer container_;
  std::vector<pid_t> listed_;
};

// Several words of each page change at each step, so a page that was read in between differs from what it becomes.
void write_all_over(const Board& board, char* memory, size_t pages) {
  uint64_t value = 0;
  for (uint64_t state = 1; board[kGo] == 0; ++value) {
    state = state * 6364136223846793005 + 1442695040888963407;
    char* page = memory + (state >> 33) % pages * kPageBytes;
    for (size_t at = 0; at < kPageBytes; at += 512) std::memcpy(page + at, &value, sizeof value);
    board[kCount].store(value, std::memory_order_relaxed);
    if (value > 5 * pages) board[kReady] = 1;
  }
}

TEST_F(Rounds, TornPageIsSentAgain) {
  constexpr size_t kPages = 4000;
  const pid_t pid = container_.run([&] { write_all_over(board_, map_anonymous(kPages * kPageBytes), kPages); });
  await_ready();
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  for (int cycle = 0; cycle < 5; ++cycle) {
    uint64_t found = 0;
    const uint64_t before = board_[kCount];
    for (int round = 0; round < 5 || board_[kCount] < before + 2 * kPages; ++round) found += shadow.round();
    EXPECT_GT(found, 0u);
    container_.freeze();
    expect_same(shadow);
    ASSERT_EQ(shadow.frozen().size(), 1u);
    EXPECT_EQ(shadow.frozen()[0].pid, pid);
    EXPECT_TRUE(shadow.frozen()[0].tracked);
    EXPECT_LT(count_pages(shadow.frozen()[0].written), count_pages(shadow.frozen()[0].populated));
    container_.thaw();
  }
}

TEST_F(Rounds, OnlyWhatWasWrittenIsFoundAgain) {
  constexpr size_t kPages = 1000;
  run_prepared([&] {
    char* memory = map_anonymous(kPages * kPageBytes);
    std::memset(memory, 1, kPages * kPageBytes);
    return memory;
  });
  auto memory = container_.memory();
  const auto first = must(memory->scan_running());
  ASSERT_EQ(first.size(), 1u);
  const PageRange all{address(), kPages};
  EXPECT_EQ(intersect(first[0].written, {all}), PageRanges{all});
  const auto second = must(memory->scan_running());
  EXPECT_EQ(intersect(second[0].written, {all}), PageRanges{});
  container_.freeze();
  const auto frozen = must(memory->scan_frozen());
  EXPECT_EQ(intersect(frozen[0].written, {all}), PageRanges{});
  EXPECT_EQ(intersect(frozen[0].populated, {all}), PageRanges{all});
  container_.thaw();
}

TEST_F(Rounds, WithoutTrackingAllIsFoundAtTheFreeze) {
  constexpr size_t kPages = 100;
  run_prepared(
      [&] { return static_cast<char*>(std::memset(map_anonymous(kPages * kPageBytes), 1, kPages * kPageBytes)); });
  auto memory = container_.memory(Tracking::kNone);
  must(memory->learn());
  container_.freeze();
  const auto frozen = must(memory->scan_frozen());
  ASSERT_EQ(frozen.size(), 1u);
  EXPECT_FALSE(frozen[0].tracked);
  EXPECT_EQ(frozen[0].written, frozen[0].populated);
  EXPECT_TRUE(contains(frozen[0].populated, address()));
  EXPECT_NE(frozen[0].smaps, "");
  container_.thaw();
}

// But for the flag that says whether a mapping is new since the last time that soft-dirty bits were cleared.
std::string vm_flags_of_all(pid_t pid) {
  std::string flags;
  for (Mapping& mapping : must(read_smaps(pid))) {
    if (const size_t at = mapping.vm_flags.find("sd "); at != std::string::npos) mapping.vm_flags.erase(at, 3);
    flags += mapping.line + " " + mapping.vm_flags + "\n";
  }
  return flags;
}

TEST_F(Rounds, DetachingLeavesNothing) {
  constexpr size_t kPages = 3000;
  const pid_t pid = run_prepared([&] {
    char* memory = map_anonymous(kPages * kPageBytes);
    for (size_t page = 0; page < kPages; ++page) std::memcpy(memory + page * kPageBytes, &page, sizeof page);
    return memory;
  });
  const std::string before = vm_flags_of_all(pid);
  const size_t fds = count_fds(pid);
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  (void)shadow.round();
  const bool protects = probe_tracking() == Tracking::kUffdWp;
  EXPECT_EQ(vm_flags_of_all(pid).find(" uw ") != std::string::npos, protects);
  memory->detach();
  EXPECT_EQ(vm_flags_of_all(pid), before);
  EXPECT_EQ(count_fds(pid), fds);
  EXPECT_EQ(status_line(pid, "TracerPid"), "0");
  PageRanges found;
  if (protects)
    must(must(PagemapScan::open(pid))
             .find({.none_of = kPageWritten}, address(), address() + kPages * kPageBytes, found));
  EXPECT_EQ(found, PageRanges{});
  std::vector<std::byte> now(kPages * kPageBytes);
  PageRanges unreadable;
  must(read_pages(pid, {{address(), kPages}}, now, unreadable));
  EXPECT_EQ(unreadable, PageRanges{});
  for (size_t page = 0; page < kPages; ++page)
    EXPECT_EQ(std::memcmp(now.data() + page * kPageBytes, &page, sizeof page), 0);
}

TEST_F(Rounds, AProcessThatSharesTheMemoryIsNotCountedTwice) {
  run_prepared([&] {
    char* memory = map_anonymous(64 * kPageBytes);
    std::memset(memory, 1, 64 * kPageBytes);
    auto wait = [](void*) -> int {
      for (;;) ::pause();
    };
    ::clone(wait, map_anonymous(65536) + 65536, CLONE_VM | SIGCHLD, nullptr);
    return memory;
  });
  ASSERT_TRUE(await([&] { return container_.processes().size() == 2; }));
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  EXPECT_EQ(must(memory->scan_running()).size(), 1u);
  container_.freeze();
  expect_same(shadow);
  EXPECT_EQ(shadow.frozen().size(), 1u);
  container_.thaw();
}

TEST_F(Rounds, ContentWithoutPermissionToReadArrives) {
  run_prepared([&] {
    char* memory = map_anonymous(64 * kPageBytes);
    std::memset(memory, 7, 64 * kPageBytes);
    ::mprotect(memory, 64 * kPageBytes, PROT_NONE);
    return memory;
  });
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  container_.freeze();
  expect_same(shadow);
  EXPECT_TRUE(contains(shadow.frozen()[0].populated, address()));
  EXPECT_FALSE(contains(shadow.frozen()[0].written, address()));
  container_.thaw();
}

TEST_F(Rounds, WhatWasOnlyReadHasNoContent) {
  run_prepared([&] {
    char* memory = map_anonymous(64 * kPageBytes);
    for (size_t page = 0; page < 64; ++page) board_[kCount].fetch_add(static_cast<uint64_t>(memory[page * kPageBytes]));
    return memory;
  });
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  container_.freeze();
  expect_same(shadow);
  EXPECT_TRUE(contains(shadow.frozen()[0].owned, address()));
  EXPECT_EQ(intersect(shadow.frozen()[0].populated, {{address(), 64}}), PageRanges{});
  container_.thaw();
}

TEST_F(Rounds, ReservationsCostNothing) {
  constexpr size_t kBytes = size_t{64} << 30;
  const pid_t pid = run_prepared([&] { return map_anonymous(kBytes, PROT_READ | PROT_WRITE, MAP_NORESERVE); });
  const std::string tables = status_line(pid, "VmPTE");
  auto memory = container_.memory();
  must(memory->scan_running());
  const Stopwatch watch;
  must(memory->scan_running());
  const double running_ms = watch.ms();
  container_.freeze();
  const Stopwatch frozen_watch;
  const auto frozen = must(memory->scan_frozen());
  std::printf("64 GiB never touched: scan %.2f ms running, %.2f ms frozen; page tables %s, then %s\n", running_ms,
              frozen_watch.ms(), tables.c_str(), status_line(pid, "VmPTE").c_str());
  EXPECT_EQ(status_line(pid, "VmPTE"), tables);
  EXPECT_TRUE(contains(frozen[0].owned, address() + kBytes / 2));
  if (must(PagemapScan::open(pid)).works()) EXPECT_LT(running_ms, 500);  // elsewhere each page is read
  container_.thaw();
}

TEST_F(Rounds, HugePagesAreRememberedAndTheirWrittenPartsFound) {
  constexpr size_t kBytes = size_t{16} << 20;
  run_prepared([&] {
    char* memory = map_anonymous(kBytes + kRegionBytes);
    memory += kRegionBytes - reinterpret_cast<uintptr_t>(memory) % kRegionBytes;
    ::madvise(memory, kBytes, MADV_HUGEPAGE);
    std::memset(memory, 1, kBytes);
    return memory;
  });
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  container_.freeze();
  expect_same(shadow);
  EXPECT_EQ(intersect(shadow.frozen()[0].huge_before, {{address(), kBytes / kPageBytes}}),
            (PageRanges{{address(), kBytes / kPageBytes}}));
  container_.thaw();
}

TEST_F(Rounds, AProcessThatHasEndedSinceTheLastLookIsLeftOut) {
  const pid_t stays = run_prepared([&] { return map_anonymous(kPageBytes); });
  const pid_t ends = container_.run([&] {
    while (board_[kCount] == 0) ::usleep(200);
  });
  listed_ = {stays, ends};  // a cgroup may list it a moment longer
  auto memory = listed_memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  board_[kCount] = 1;
  ASSERT_TRUE(await([&] { return proc::status(ends).value_or(proc::Status{}).state == 'Z'; }));
  container_.freeze();
  expect_same(shadow);
  ASSERT_EQ(shadow.frozen().size(), 1u);
  EXPECT_EQ(shadow.frozen()[0].pid, stays);
  container_.thaw();
}

TEST_F(Rounds, AfterAnExecAllIsNewAndTrackedAgain) {
  int pipe[2], input[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(input, O_CLOEXEC), 0);  // in which nothing comes
  const pid_t pid = container_.run([&] {
    std::memset(map_anonymous(100 * kPageBytes), 1, 100 * kPageBytes);
    ::dup2(pipe[1], 1);
    ::dup2(input[0], 0);
    report_and_wait(board_, nullptr);
    ::execl("/bin/sh", "sh", "-c", "x=$(head -c 100000 /dev/zero | tr '\\0' x); echo ready; read y", nullptr);
  });
  await_ready();
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  board_[kGo] = 1;
  char byte = 0;
  ASSERT_EQ(::read(pipe[0], &byte, 1), 1);
  for (int i = 0; i < 3; ++i) (void)shadow.round();
  container_.freeze();
  expect_same(shadow);
  ASSERT_EQ(shadow.frozen().size(), 1u);
  EXPECT_EQ(shadow.frozen()[0].pid, pid);
  EXPECT_TRUE(shadow.frozen()[0].tracked);
  // By itself it writes nothing, but the kernel tells it, in its memory (rseq), on which processor it runs.
  EXPECT_LE(count_pages(shadow.frozen()[0].written), 1u);
  container_.thaw();
  for (const int fd : {pipe[0], pipe[1], input[0], input[1]}) ::close(fd);
}

// A program that moves its memory (mremap) takes it out of what is protected, with its pages.
TEST_F(Rounds, MovedMemoryIsFoundAtItsNewPlace) {
  constexpr size_t kBytes = size_t{8} << 20;
  container_.run([&] {
    char* memory = map_anonymous(kBytes);
    std::memset(memory, 3, kBytes);
    report_and_wait(board_, memory);
    char* place = map_anonymous(2 * kBytes);
    memory = static_cast<char*>(::mremap(memory, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, place));
    board_[kAddress] = reinterpret_cast<uint64_t>(memory);
    board_[kReady] = 2;
    for (;;) ::pause();
  });
  ASSERT_TRUE(await([&] { return board_[kReady] == 1; }));
  auto memory = container_.memory();
  ShadowContainer shadow(*memory);
  (void)shadow.round();
  (void)shadow.round();
  board_[kGo] = 1;
  ASSERT_TRUE(await([&] { return board_[kReady] == 2; }));
  container_.freeze();
  expect_same(shadow);
  container_.thaw();
  (void)shadow.round();
  (void)shadow.round();
  container_.freeze();
  expect_same(shadow);
  EXPECT_FALSE(contains(shadow.frozen()[0].written, {board_[kAddress]}));
  container_.thaw();
}

// --- Memory that changes hands ------------------------------------------------------------------------------------

// Two processes with one memory, of which the first is told what to do.
class SharedMemoryOfProcesses : public Rounds {
 protected:
  enum More { kOther = 10, kCommand, kDone };
  static constexpr size_t kPages = 64;
  enum Command : uint64_t { kWrite = 1, kExec };

  void start() {
    board_[kReady] = 0;
    first_ = run_prepared([this] {
      char* memory = static_cast<char*>(std::memset(map_anonymous(kPages * kPageBytes), 1, kPages * kPageBytes));
      auto wait = [](void*) -> int {
        for (;;) ::pause();
      };
      board_[kOther] = static_cast<uint64_t>(::clone(wait, map_anonymous(65536) + 65536, CLONE_VM | SIGCHLD, nullptr));
      board_[kGo] = 1;
      report_and_wait(board_, memory);
      obey(memory);
      return memory;
    });
    other_ = static_cast<pid_t>(board_[kOther].load());
    ASSERT_TRUE(await([&] { return container_.is_member(other_); }));
  }
  void command(Command command) {
    board_[kDone] = 0;
    board_[kCommand] = command;
    ASSERT_TRUE(await([&] { return board_[kDone] == command; }));
  }
  pid_t first_ = 0, other_ = 0;

 private:
  [[noreturn]] void obey(char* memory) {
    for (;; ::usleep(200)) {
      const uint64_t command = board_[kCommand].exchange(0);
      if (command == kWrite) std::memset(memory, 2, kPages * kPageBytes);
      if (command == kExec) {
        board_[kDone] = command;
        ::execl("/bin/sleep", "sleep", "1000", nullptr);
      }
      if (command != 0) board_[kDone] = command;
    }
  }
};

TEST_F(SharedMemoryOfProcesses, StaysWithTheOneThatWasKnownFirst) {
  start();
  auto memory = listed_memory();
  ShadowContainer shadow(*memory);
  listed_ = {first_};
  (void)shadow.round();
  listed_ = {other_, first_};
  command(kWrite);
  const auto scans = must(memory->scan_running());
  ASSERT_EQ(scans.size(), 1u);
  EXPECT_EQ(scans[0].pid, first_);
  EXPECT_TRUE(contains(scans[0].written, address()));
}

TEST_F(SharedMemoryOfProcesses, IsFoundWholeForTheOneThatKeepsIt) {
  start();
  auto memory = listed_memory();
  ShadowContainer shadow(*memory);
  listed_ = {first_};
  (void)shadow.round();
  listed_ = {other_};
  (void)shadow.round();
  (void)shadow.round();
  container_.freeze();
  expect_same(shadow);
  EXPECT_EQ(shadow.frozen()[0].pid, other_);
  container_.thaw();
}

TEST_F(SharedMemoryOfProcesses, IsFoundWholeWhenTheFirstOneExecs) {
  for (const bool turned : {false, true}) {
    start();
    auto memory = listed_memory();
    ShadowContainer shadow(*memory);
    listed_ = {first_};
    (void)shadow.round();
    command(kExec);
    ASSERT_TRUE(await([&] { return proc::status(first_).value_or(proc::Status{}).name == "sleep"; }));
    listed_ = turned ? std::vector{other_, first_} : std::vector{first_, other_};
    for (int rounds = 0; rounds < 4; ++rounds) {
      container_.freeze();
      expect_same(shadow);
      EXPECT_EQ(shadow.frozen().size(), 2u);
      container_.thaw();
      (void)shadow.round();
    }
  }
}

}  // namespace
}  // namespace godwit
