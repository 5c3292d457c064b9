// What looking costs, and what it costs the program that is looked at. Prints figures; run with
// --gtest_also_run_disabled_tests --gtest_filter='MemoryFigures.*' on a machine that does nothing else.
#include <gtest/gtest.h>

#include <cstdio>

#include "memory/stop_rule.h"
#include "memory/test_container.h"

namespace godwit {
namespace {

enum Word { kReady, kCommand, kDone, kCount, kAddress };
enum Command : uint64_t { kNothing, kWriteAll, kWriteForever };

constexpr size_t kBytes = size_t{1} << 30;
constexpr size_t kPages = kBytes / kPageBytes;

// Small pages, or huge ones.
void hold_memory(const Board& board, bool huge) {
  auto* memory =
      static_cast<char*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::madvise(memory, kBytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  std::memset(memory, 1, kBytes);
  board[kAddress] = reinterpret_cast<uint64_t>(memory);
  board[kReady] = 1;
  for (;; ::usleep(500)) {
    const uint64_t command = board[kCommand].exchange(kNothing);
    if (command == kWriteAll)
      for (size_t page = 0; page < kPages; ++page) memory[page * kPageBytes] = static_cast<char>(page);
    while (command == kWriteForever && board[kCommand] == kNothing)
      for (size_t page = 0; page < kPages && board[kCommand] == kNothing; ++page) {
        memory[page * kPageBytes + 8] = static_cast<char>(page);
        board[kCount].fetch_add(1, std::memory_order_relaxed);
      }
    if (command != kNothing) board[kDone] = command;
  }
}

class MemoryFigures : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    pid_ = container_.run([&] { hold_memory(board_, GetParam()); });
    ASSERT_TRUE(await([&] { return board_[kReady] == 1; }));
  }
  void write_all() {
    board_[kDone] = 0;
    board_[kCommand] = kWriteAll;
    ASSERT_TRUE(await([&] { return board_[kDone] == kWriteAll; }));
  }
  const char* kind() const { return GetParam() ? "huge pages" : "small pages"; }
  // Time that the process has had a processor, which others on this machine do not change.
  double processor_ms() const {
    const std::string text = must(read_file("/proc/" + std::to_string(pid_) + "/schedstat"));
    return static_cast<double>(std::strtoull(text.c_str(), nullptr, 10)) / 1e6;
  }
  struct Pace {
    double per_ms, per_processor_ms;
  };
  Pace pace_during(double ms, const std::function<void()>& meanwhile) {
    const uint64_t before = board_[kCount];
    const double processor_before = processor_ms();
    const Stopwatch watch;
    while (watch.ms() < ms) meanwhile();
    const auto writes = static_cast<double>(board_[kCount] - before);
    return {writes / watch.ms(), writes / (processor_ms() - processor_before)};
  }
  template <typename Call>
  void time(const char* what, const Call& call) {
    const Stopwatch watch;
    call();
    std::printf("%-44s %8.2f ms\n", what, watch.ms());
  }
  Board board_;
  TestContainer container_;
  pid_t pid_ = 0;
};

TEST_P(MemoryFigures, DISABLED_OfLooking) {
  std::printf("--- 1 GiB of %s\n", kind());
  auto memory = container_.memory();
  std::vector<SpaceScan> scans;
  auto scan = [&] { scans = must(memory->scan_running()); };
  time("scan_running: first, with attaching", scan);
  EXPECT_GE(count_pages(scans[0].written), kPages);
  time("scan_running: nothing written", scan);
  EXPECT_LT(count_pages(scans[0].written), 1000u);
  write_all();
  time("scan_running: all written", scan);
  EXPECT_GE(count_pages(scans[0].written), kPages);
  time("scan_running: nothing written, small pages now", scan);
  std::vector<std::byte> out(kBytes);
  PageRanges unreadable;
  time("read_pages: into fresh memory",
       [&] { must(read_pages(pid_, {{{board_[kAddress]}, kPages}}, out, unreadable)); });
  time("read_pages: again", [&] { must(read_pages(pid_, {{{board_[kAddress]}, kPages}}, out, unreadable)); });
  time("learn: smaps", [&] { must(memory->learn()); });
  container_.freeze();
  time("scan_frozen: nothing written", [&] { must(memory->scan_frozen()); });
  container_.thaw();
  write_all();
  container_.freeze();
  time("scan_frozen: all written", [&] { must(memory->scan_frozen()); });
  container_.thaw();
  (void)must(memory->scan_running());
  time("detach", [&] { memory->detach(); });
}

TEST_P(MemoryFigures, DISABLED_OfAWriterAtFullSpeed) {
  std::printf("--- writing one word of each page of 1 GiB of %s\n", kind());
  board_[kCommand] = kWriteForever;
  auto nothing = [] { ::usleep(1000); };
  (void)pace_during(500, nothing);
  const Pace alone = pace_during(2000, nothing);
  auto memory = container_.memory();
  uint64_t pages = 0, rounds = 0;
  auto scanned_at = Clock::now();
  auto round = [&] {  // as a migration paces them; without reading, which takes the other processor
    pages = 0;
    for (const SpaceScan& scan : must(memory->scan_running())) pages += count_pages(scan.written);
    ++rounds;
    scanned_at = Clock::now();
    const auto pause = std::chrono::duration<double, std::milli>(pause_between_scans_ms(pages));
    std::this_thread::sleep_until(scanned_at + std::chrono::duration_cast<Clock::duration>(pause));
  };
  const Pace tracked = pace_during(5000, round);
  memory->detach();
  const Pace after = pace_during(2000, nothing);
  auto print = [&](const char* when, const Pace& pace) {
    std::printf("%-20s %6.0f writes per ms (%.0f %%), %6.0f per ms of processor (%.0f %%)\n", when, pace.per_ms,
                100 * pace.per_ms / alone.per_ms, pace.per_processor_ms,
                100 * pace.per_processor_ms / alone.per_processor_ms);
  };
  print("alone", alone);
  print(("during " + std::to_string(rounds) + " rounds").c_str(), tracked);
  print("after", after);
  EXPECT_GT(tracked.per_ms, 0);
}

INSTANTIATE_TEST_SUITE_P(Pages, MemoryFigures, testing::Bool(),
                         [](const auto& info) { return info.param ? "Huge" : "Small"; });

}  // namespace
}  // namespace godwit
