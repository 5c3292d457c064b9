#include "memory/stop_rule.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

using Verdict = StopRule::Verdict;

RoundFacts round(uint64_t pages, double ms, uint64_t dirty) {
  return {.pages = pages, .bytes = pages * 4096, .ms = ms, .pages_dirty = dirty};
}

TEST(StopRule, SwitchesWhenTheRestFitsTheBudget) {
  StopRule rule({.downtime_max_ms = 50});
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 4'900), 1000), Verdict::kSwitchOver);
  EXPECT_NEAR(rule.estimated_downtime_ms(), 49, 0.1);
}

TEST(StopRule, SwitchesAtOnceWhenNothingWasWritten) {
  StopRule rule({});
  EXPECT_EQ(rule.after_round(round(0, 0, 0), 1), Verdict::kSwitchOver);
}

TEST(StopRule, GoesOnWhileTheRestShrinks) {
  StopRule rule({.downtime_max_ms = 10});
  uint64_t dirty = 100'000;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rule.after_round(round(dirty, static_cast<double>(dirty) / 100, dirty / 2), 1), Verdict::kNextRound);
    dirty /= 2;
  }
}

TEST(StopRule, GivesUpAfterTwoRoundsThatDidNotHelp) {
  StopRule rule({.downtime_max_ms = 10});
  EXPECT_EQ(rule.after_round(round(500'000, 5000, 100'000), 1), Verdict::kNextRound);
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 95'000), 2), Verdict::kNextRound);
  EXPECT_EQ(rule.after_round(round(95'000, 1000, 95'000), 3), Verdict::kNoHelp);
}

TEST(StopRule, GivesUpAfterTheFirstRoundIfAllOfItWasWrittenAgain) {
  StopRule all({.downtime_max_ms = 10});
  EXPECT_EQ(all.after_round(round(100'000, 1000, 99'000), 1), Verdict::kNoHelp);
  StopRule most({.downtime_max_ms = 10});
  EXPECT_EQ(most.after_round(round(100'000, 1000, 90'000), 1), Verdict::kNextRound);
  EXPECT_EQ(most.after_round(round(90'000, 900, 88'000), 2), Verdict::kNoHelp);
}

TEST(StopRule, OneBadRoundIsForgiven) {
  StopRule rule({.downtime_max_ms = 10});
  EXPECT_EQ(rule.after_round(round(500'000, 5000, 100'000), 1), Verdict::kNextRound);
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 100'000), 2), Verdict::kNextRound);
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 50'000), 3), Verdict::kNextRound);
  EXPECT_EQ(rule.after_round(round(50'000, 500, 50'000), 4), Verdict::kNextRound);
}

TEST(StopRule, ThrottlingGivesRoundsAnotherChance) {
  StopRule rule({.downtime_max_ms = 10});
  rule.after_round(round(500'000, 5000, 100'000), 1);
  rule.after_round(round(100'000, 1000, 100'000), 2);
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 100'000), 3), Verdict::kNoHelp);
  rule.try_again();
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 90'000), 4), Verdict::kNextRound);
  rule.try_again();
  EXPECT_EQ(rule.after_round(round(90'000, 1000, 89'000), 5), Verdict::kNoHelp);
}

TEST(StopRule, RoundsAndTimeAreLimited) {
  StopRule rounds({.downtime_max_ms = 1, .rounds_max = 2});
  EXPECT_EQ(rounds.after_round(round(1000, 10, 900), 1), Verdict::kNextRound);
  EXPECT_EQ(rounds.after_round(round(900, 9, 500), 2), Verdict::kLimit);
  StopRule time({.downtime_max_ms = 1, .ms_max = 100});
  EXPECT_EQ(time.after_round(round(1000, 10, 900), 99), Verdict::kNextRound);
  EXPECT_EQ(time.after_round(round(900, 9, 500), 100), Verdict::kLimit);
}

TEST(StopRule, TheLastAllowedRoundMayStillFit) {
  StopRule rule({.downtime_max_ms = 50, .rounds_max = 1});
  EXPECT_EQ(rule.after_round(round(100'000, 1000, 100), 1000), Verdict::kSwitchOver);
}

TEST(StopRule, AFullSpeedWriterOfAGigabyteLosesAtMostASeventh) {
  const uint64_t pages = uint64_t{1} << 18;
  EXPECT_LE(static_cast<double>(pages) * 0.45e-3 / pause_between_scans_ms(pages), 1.0 / 7 + 1e-9);
}

}  // namespace
}  // namespace godwit
