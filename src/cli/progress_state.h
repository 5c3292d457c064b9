// What is known of a running migration from its progress events: the current phase, bytes and their
// rate, the time. The displays draw it; nothing here writes anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "control.pb.h"

namespace godwit::cli {

struct FinishedPhase {
  std::string name;
  std::string text;
  double ms = 0;
  uint64_t bytes = 0;  // sent during the phase
};

class ProgressState {
 public:
  // Takes in an event received at NOW; returns the phase it put an end to, if it did.
  std::optional<FinishedPhase> take(const control::Progress& event, Clock::time_point now);
  // The current phase as it ends now; empty if there is none.
  std::optional<FinishedPhase> finish(Clock::time_point now);

  const std::string& phase() const { return phase_; }
  const std::string& text() const { return text_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t bytes_expected() const { return bytes_expected_; }
  uint32_t round() const { return round_; }            // 0: not in a round
  uint64_t pages_left() const { return pages_left_; }  // post-copy
  double bytes_per_second() const { return rate_; }
  // Since the migration began, by the agent's clock, carried on by ours between events.
  double elapsed_ms(Clock::time_point now) const;

 private:
  void measure_rate(uint64_t bytes, Clock::time_point now);

  std::string phase_;
  std::string text_;
  double phase_began_ms_ = 0;
  uint64_t phase_began_bytes_ = 0;
  uint64_t bytes_ = 0;
  uint64_t bytes_expected_ = 0;
  uint32_t round_ = 0;
  uint64_t pages_left_ = 0;
  double elapsed_ms_ = 0;
  Clock::time_point received_;
  bool started_ = false;

  double rate_ = 0;
  uint64_t sampled_bytes_ = 0;
  Clock::time_point sampled_;
};

}  // namespace godwit::cli
