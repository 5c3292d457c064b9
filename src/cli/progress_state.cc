#include "cli/progress_state.h"

#include <algorithm>
#include <chrono>

namespace godwit::cli {

namespace {
using namespace std::chrono_literals;

// Long enough that a sample says something, short enough that a stall shows.
constexpr milliseconds kRateSample = 250ms;
// Weight of the newest sample: what is shown follows a change within a second.
constexpr double kRateWeight = 0.5;
}  // namespace

std::optional<FinishedPhase> ProgressState::take(const control::Progress& event, Clock::time_point now) {
  if (!started_) {
    started_ = true;
    received_ = sampled_ = now;
  }
  // An event that has no bytes of its own says 0.
  const uint64_t bytes = std::max(bytes_, event.bytes_sent());
  measure_rate(bytes, now);
  const bool begins = event.phase_begins() || phase_.empty();
  elapsed_ms_ = event.elapsed_ms();
  received_ = now;
  std::optional<FinishedPhase> finished;
  if (begins) {
    finished = finish(now);
    phase_ = event.phase();
    text_ = event.text();
    phase_began_ms_ = event.elapsed_ms();
    phase_began_bytes_ = bytes;
  } else if (!event.text().empty()) {
    text_ = event.text();
  }
  bytes_ = bytes;
  bytes_expected_ = event.bytes_expected();
  round_ = event.round();
  pages_left_ = event.pages_left();
  return finished;
}

std::optional<FinishedPhase> ProgressState::finish(Clock::time_point now) {
  if (phase_.empty()) return std::nullopt;
  FinishedPhase finished{phase_, text_, std::max(0.0, elapsed_ms(now) - phase_began_ms_), bytes_ - phase_began_bytes_};
  phase_.clear();
  text_.clear();
  return finished;
}

double ProgressState::elapsed_ms(Clock::time_point now) const {
  return started_ ? elapsed_ms_ + std::max(0.0, ms_between(received_, now)) : 0;
}

void ProgressState::measure_rate(uint64_t bytes, Clock::time_point now) {
  const double ms = ms_between(sampled_, now);
  if (now - sampled_ < kRateSample) return;
  const double sample = bytes > sampled_bytes_ ? static_cast<double>(bytes - sampled_bytes_) * 1000 / ms : 0;
  rate_ = rate_ == 0 ? sample : rate_ + kRateWeight * (sample - rate_);
  sampled_bytes_ = bytes;
  sampled_ = now;
}

}  // namespace godwit::cli
