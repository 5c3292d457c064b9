// Shows a migration's progress on standard error: a live display on a terminal, lines otherwise, or
// nothing. Used by one thread.
#pragma once

#include <memory>
#include <string>

#include "cli/console.h"
#include "cli/progress_line.h"
#include "control.pb.h"

namespace godwit::cli {

class ProgressDisplay {
 public:
  virtual ~ProgressDisplay() = default;
  virtual void progress(const control::Progress& event) = 0;
  // A line that stays.
  virtual void notice(const std::string& text) = 0;
  // Called about ten times a second.
  virtual void tick() {}
  // The migration is over; nothing is drawn after this.
  virtual void close(PhaseEnd end) = 0;
};

enum class Quiet { kNo, kYes };

// CONSOLE outlives the display.
std::unique_ptr<ProgressDisplay> make_progress_display(const Console& console, Quiet quiet);

}  // namespace godwit::cli
