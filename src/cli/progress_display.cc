#include "cli/progress_display.h"

#include <chrono>
#include <string_view>

#include "cli/format.h"

namespace godwit::cli {

namespace {

using namespace std::chrono_literals;

constexpr milliseconds kPlainInterval = 5s;  // between lines of bytes within one phase

// Each change is one write, which first moves to the line's begin and clears what the new text does
// not cover: the terminal never shows a half-drawn or empty line.
class TerminalDisplay : public ProgressDisplay {
 public:
  explicit TerminalDisplay(const Console& console) : console_(console) {}
  ~TerminalDisplay() override { erase(); }

  void progress(const control::Progress& event) override {
    if (event.has_round_ended()) put_above(round_line(++rounds_ended_, event.round_ended(), style()));
    if (const auto finished = state_.take(event, Clock::now())) {
      put_above(finished_line(*finished, PhaseEnd::kDone, style()));
    } else {
      draw();
    }
  }
  void notice(const std::string& text) override { put_above(printable(text)); }
  void tick() override {
    ++frame_;
    draw();
  }
  void close(PhaseEnd end) override {
    const auto finished = state_.finish(Clock::now());
    closed_ = true;
    if (finished) put_above(finished_line(*finished, end, style()));
    erase();
  }

 private:
  LineStyle style() const {
    // The last column stays empty: a terminal may wrap when it is written to.
    const int width = console_.width();
    return {width > 1 ? static_cast<size_t>(width - 1) : 0, console_.utf8, console_.color};
  }
  std::string current_line() const { return closed_ ? "" : live_line(state_, Clock::now(), frame_, style()); }
  void draw() {
    if (closed_) return;
    const std::string line = current_line();
    if (line == shown_) return;
    console_.err("\r" + line + "\x1b[K");
    shown_ = line;
  }
  // LINE takes the live line's place, and the live line the next.
  void put_above(const std::string& line) {
    shown_ = current_line();
    console_.err("\r" + line + "\x1b[K\n" + shown_);
  }
  void erase() {
    if (!shown_.empty()) console_.err("\r\x1b[K");
    shown_.clear();
  }

  const Console& console_;
  ProgressState state_;
  size_t frame_ = 0;
  uint32_t rounds_ended_ = 0;
  std::string shown_;
  bool closed_ = false;
};

class PlainDisplay : public ProgressDisplay {
 public:
  explicit PlainDisplay(const Console& console) : console_(console) {}

  void progress(const control::Progress& event) override {
    const auto now = Clock::now();
    const std::string before = state_.phase();
    state_.take(event, now);
    if (event.has_round_ended())
      console_.err(plain_round_line(state_, now, ++rounds_ended_, event.round_ended()) + "\n");
    if (!event.phase_begins() && !before.empty() && now - written_ < kPlainInterval) return;
    console_.err(plain_line(state_, now) + "\n");
    written_ = now;
  }
  void notice(const std::string& text) override { console_.err(printable(text) + "\n"); }
  void close(PhaseEnd end) override {
    auto finished = state_.finish(Clock::now());
    if (finished && end == PhaseEnd::kFailed) console_.err("stopped in: " + printable(finished->name) + "\n");
  }

 private:
  const Console& console_;
  ProgressState state_;
  uint32_t rounds_ended_ = 0;
  Clock::time_point written_;
};

class NoDisplay : public ProgressDisplay {
 public:
  void progress(const control::Progress&) override {}
  void notice(const std::string&) override {}
  void close(PhaseEnd) override {}
};

}  // namespace

std::unique_ptr<ProgressDisplay> make_progress_display(const Console& console, Quiet quiet) {
  if (quiet == Quiet::kYes) return std::make_unique<NoDisplay>();
  if (console.interactive) return std::make_unique<TerminalDisplay>(console);
  return std::make_unique<PlainDisplay>(console);
}

}  // namespace godwit::cli
