#include "memory/stop_rule.h"

namespace godwit {

namespace {

// A round that leaves more than this share of what the one before left has not helped; one may be bad luck.
constexpr double kShrinks = 0.8;
// Where this share of what was sent has been written again, a program goes through all of its memory faster than the
// link does: a second such round only costs as many bytes again (a conjugate-gradient solver: 4.6 times its memory).
constexpr double kAllAgain = 0.95;
constexpr uint32_t kStalledRoundsMax = 2;
// Rates of rounds of different size differ; the newest counts most.
constexpr double kNewestWeight = 0.6;
constexpr double kFaultMs = 0.45e-3;
constexpr double kFaultShareMax = 1.0 / 7;

}  // namespace

StopRule::Verdict StopRule::after_round(const RoundFacts& round, double elapsed_ms) {
  ++rounds_;
  if (round.pages > 0 && round.ms > 0) {
    const double rate = static_cast<double>(round.pages) / round.ms;
    pages_per_ms_ = pages_per_ms_ == 0 ? rate : kNewestWeight * rate + (1 - kNewestWeight) * pages_per_ms_;
  }
  const auto dirty = static_cast<double>(round.pages_dirty);
  if (dirty == 0) {
    estimated_ms_ = 0;
  } else if (pages_per_ms_ > 0) {
    estimated_ms_ = dirty / pages_per_ms_;
  } else {
    estimated_ms_ = limits_.downtime_max_ms + 1;  // nothing has been measured
  }
  if (rounds_ == 1) dirty_before_ = round.pages;
  const bool shrinks = dirty < kShrinks * static_cast<double>(dirty_before_);
  const bool all_again = !helped_ && dirty >= kAllAgain * static_cast<double>(round.pages);
  helped_ = helped_ || shrinks;
  stalled_rounds_ = shrinks ? 0 : stalled_rounds_ + (all_again ? kStalledRoundsMax : 1);
  dirty_before_ = round.pages_dirty;

  if (estimated_ms_ <= limits_.downtime_max_ms) return Verdict::kSwitchOver;
  if (rounds_ >= limits_.rounds_max || (limits_.ms_max > 0 && elapsed_ms >= limits_.ms_max)) return Verdict::kLimit;
  return stalled_rounds_ >= kStalledRoundsMax ? Verdict::kNoHelp : Verdict::kNextRound;
}

double pause_between_scans_ms(uint64_t pages) { return static_cast<double>(pages) * kFaultMs / kFaultShareMax; }

}  // namespace godwit
