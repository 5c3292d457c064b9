// When to stop sending memory while the container runs.
//
// As QEMU does it: after each round what the container has written meanwhile is put against the rate at which the
// last rounds went over the link. If it could be sent within the downtime budget, the switch-over comes. If rounds do
// not make it smaller, more of them will not either: then it is for the mode to say what happens. Two such rounds tell,
// or the first, if all that it sent was written again.
#pragma once

#include <cstdint>

namespace godwit {

struct RoundFacts {
  uint64_t pages = 0;        // sent, pages of zeros included
  uint64_t bytes = 0;        // on the wire
  double ms = 0;             // spent sending, without pauses between rounds
  uint64_t pages_dirty = 0;  // to send next: written since this round's scan
};

class StopRule {
 public:
  enum class Verdict {
    kNextRound,
    kSwitchOver,  // what is left fits the budget
    kNoHelp,      // what is left has stopped shrinking
    kLimit,       // as many rounds, or as much time, as allowed
  };
  struct Limits {
    double downtime_max_ms = 50;
    uint32_t rounds_max = 30;
    double ms_max = 0;  // for all rounds together; 0: no limit
  };

  explicit StopRule(Limits limits) : limits_(limits) {}

  // ELAPSED_MS since the first round began.
  Verdict after_round(const RoundFacts& round, double elapsed_ms);
  // Of the pages that the last round left, at the rate measured so far.
  double estimated_downtime_ms() const { return estimated_ms_; }
  // The rate measured so far; 0: nothing has been sent.
  double pages_per_ms() const { return pages_per_ms_; }
  // After a change that gives rounds another chance (the container has been throttled).
  void try_again() {
    stalled_rounds_ = 0;
    helped_ = false;
  }

 private:
  Limits limits_;
  uint32_t rounds_ = 0;
  uint32_t stalled_rounds_ = 0;
  bool helped_ = false;
  uint64_t dirty_before_ = 0;
  double pages_per_ms_ = 0;
  double estimated_ms_ = 0;
};

// How long the next scan should wait after the last one, in ms, if the container wrote PAGES between them. Each page
// costs the container a fault of 0.45 us at its first write after a scan (measured, 6.18): the pause keeps that below
// a seventh of its time.
double pause_between_scans_ms(uint64_t pages);

}  // namespace godwit
