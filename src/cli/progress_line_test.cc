#include "cli/progress_line.h"

#include <gtest/gtest.h>

#include <chrono>

#include "cli/format.h"

namespace godwit::cli {
namespace {

using namespace std::chrono_literals;

control::Progress event(const std::string& phase, bool begins, double elapsed_ms, uint64_t bytes,
                        uint64_t expected = 0) {
  control::Progress progress;
  progress.set_phase(phase);
  if (begins) progress.set_text("doing " + phase);
  progress.set_phase_begins(begins);
  progress.set_elapsed_ms(elapsed_ms);
  progress.set_bytes_sent(bytes);
  progress.set_bytes_expected(expected);
  return progress;
}

class ProgressLine : public testing::Test {
 protected:
  void SetUp() override {
    state.take(event("dump", true, 0, 0), start);
    state.take(event("dump", false, 1000, 50 << 20, 100 << 20), start + 1s);
  }
  std::string live(size_t width) { return live_line(state, start + 1s, 0, {width, false, false}); }

  const Clock::time_point start = Clock::now();
  ProgressState state;
};

TEST_F(ProgressLine, ShowsEverythingWhereThereIsRoom) {
  EXPECT_EQ(live(120),
            "| dump          1.00 s  50.0 MiB/100 MiB  50.0 MiB/s  [##########----------]  50%  "
            "doing dump");
}

TEST_F(ProgressLine, NeverIsWiderThanAsked) {
  for (size_t width = 0; width < 130; ++width) EXPECT_LE(columns_of(live(width)), width) << live(width);
}

TEST_F(ProgressLine, NarrowLinesKeepTheTime) { EXPECT_EQ(live(30), "| dump          1.00 s"); }

TEST_F(ProgressLine, ColorsAddNoColumns) {
  const std::string line = live_line(state, start + 1s, 0, {120, false, true});
  EXPECT_TRUE(line.starts_with("\x1b[36m|\x1b[0m ")) << line;
}

TEST_F(ProgressLine, TimeGoesOnBetweenEvents) { EXPECT_DOUBLE_EQ(state.elapsed_ms(start + 1500ms), 1500); }

TEST_F(ProgressLine, ANewPhaseFinishesTheOneBefore) {
  const auto finished = state.take(event("restore", true, 1200, 0), start + 1200ms);
  ASSERT_TRUE(finished);
  EXPECT_EQ(finished->name, "dump");
  EXPECT_DOUBLE_EQ(finished->ms, 1200);
  EXPECT_EQ(finished->bytes, uint64_t{50} << 20);
  EXPECT_EQ(finished_line(*finished, PhaseEnd::kDone, {80, true, false}),
            "✓ dump          1.20 s    50.0 MiB  doing dump");
  EXPECT_EQ(finished_line(*finished, PhaseEnd::kFailed, {24, false, false}), "x dump          1.20 s");
  EXPECT_EQ(state.phase(), "restore");
  EXPECT_EQ(state.bytes(), uint64_t{50} << 20) << "an event without bytes takes none away";
}

TEST_F(ProgressLine, AStallShowsInTheRate) {
  for (int i = 1; i <= 20; ++i) state.take(event("dump", false, 1000 + i * 300, 50 << 20), start + 1s + i * 300ms);
  EXPECT_LT(state.bytes_per_second(), 1000);
}

TEST_F(ProgressLine, PlainLinesSayThePhaseAndTheTime) {
  EXPECT_EQ(plain_line(state, start + 1s), "   1.00 s  dump: doing dump (50.0 MiB/100 MiB sent)");
}

control::Round some_round() {
  control::Round round;
  round.set_pages(1200);
  round.set_bytes(uint64_t{1200} * 4096);
  round.set_ms(12);
  round.set_dirty_pages_per_second(2560);
  round.set_estimated_downtime_ms(21.5);
  return round;
}

TEST_F(ProgressLine, ARoundLeavesALineWithWhatTheNextDecisionHangsOn) {
  EXPECT_EQ(round_line(2, some_round(), {120, false, false}),
            ". round 2       12.0 ms   1200 pages  4.69 MiB  391 MiB/s  written 10.0 MiB/s  downtime now 21.5 ms");
  EXPECT_EQ(round_line(2, some_round(), {60, false, false}),
            ". round 2       12.0 ms   1200 pages  downtime now 21.5 ms")
      << "what is left out is what matters least";
  EXPECT_EQ(plain_round_line(state, start + 1s, 2, some_round()),
            "   1.00 s  round 2: 12.0 ms, 1200 pages, 4.69 MiB, 391 MiB/s, written 10.0 MiB/s, downtime now 21.5 ms");
}

TEST_F(ProgressLine, PagesLeftAreShownInPostCopy) {
  control::Progress left = event("post-copy", true, 1100, 0);
  left.set_pages_left(777);
  state.take(left, start + 1100ms);
  EXPECT_EQ(plain_line(state, start + 1100ms), "   1.10 s  post-copy: doing post-copy, 777 pages left (50.0 MiB sent)");
  EXPECT_NE(live_line(state, start + 1100ms, 0, {120, false, false}).find("777 pages left"), std::string::npos);
}

TEST(Bar, IsFullOnlyAtTheEnd) {
  EXPECT_EQ(bar(0, 4, false), "[----]   0%");
  EXPECT_EQ(bar(0.5, 4, false), "[##--]  50%");
  EXPECT_EQ(bar(0.999, 4, false), "[###-]  99%");
  EXPECT_EQ(bar(7, 4, false), "[####] 100%");
}

}  // namespace
}  // namespace godwit::cli
