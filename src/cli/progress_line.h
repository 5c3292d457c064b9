// The lines of the progress display, as text. Pure functions: what is shown, not how it gets onto
// the terminal.
#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"
#include "cli/progress_state.h"

namespace godwit::cli {

struct LineStyle {
  size_t width = 79;  // columns a line may have
  bool utf8 = true;
  bool color = false;
};

enum class PhaseEnd { kDone, kFailed };

// The line that is drawn again and again: phase, bytes, elapsed, rate, bar, round or pages left, text; what does not
// fit is left out, the least important first. FRAME picks the spinner's picture.
std::string live_line(const ProgressState& state, Clock::time_point now, size_t frame, const LineStyle& style);

// The line that stays when a phase has ended.
std::string finished_line(const FinishedPhase& phase, PhaseEnd end, const LineStyle& style);

// The line that stays when round NUMBER has ended.
std::string round_line(uint32_t number, const control::Round& round, const LineStyle& style);
// The same where output is no terminal.
std::string plain_round_line(const ProgressState& state, Clock::time_point now, uint32_t number,
                             const control::Round& round);

// A phase's beginning and what goes on within it, where output is no terminal.
std::string plain_line(const ProgressState& state, Clock::time_point now);

// "[####----]  50%", or UTF-8 blocks. PART beyond 0 to 1 is taken as the nearer of them.
std::string bar(double part, size_t cells, bool utf8);

}  // namespace godwit::cli
