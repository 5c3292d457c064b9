#include "cli/progress_line.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "cli/format.h"
#include "cli/memory_text.h"

namespace godwit::cli {

namespace {

constexpr size_t kPhaseColumns = 12;
constexpr size_t kBarCells = 20;
constexpr size_t kClippedColumnsMin = 12;
constexpr std::array<std::string_view, 10> kSpinner = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
constexpr std::array<std::string_view, 4> kSpinnerAscii = {"|", "/", "-", "\\"};

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kCyan = "\x1b[36m";
constexpr std::string_view kReset = "\x1b[0m";

std::string painted(std::string_view color, std::string_view text, const LineStyle& style) {
  if (!style.color) return std::string(text);
  return std::string(color) + std::string(text) + std::string(kReset);
}

std::string_view spinner(size_t frame, bool utf8) {
  return utf8 ? kSpinner[frame % kSpinner.size()] : kSpinnerAscii[frame % kSpinnerAscii.size()];
}

// A field of a line: where it stands is its place in the list; which give way first, its rank.
struct Field {
  std::string text;
  int rank = 0;
};

// Two blanks between fields. A field that does not fit is left out, but the last one is clipped if
// what remains of it is worth reading.
std::string fitted(std::vector<Field> fields, size_t width) {
  std::vector<size_t> by_rank;
  for (size_t i = 0; i < fields.size(); ++i) by_rank.push_back(i);
  std::stable_sort(by_rank.begin(), by_rank.end(), [&](size_t a, size_t b) { return fields[a].rank < fields[b].rank; });
  size_t left = width;
  for (size_t i : by_rank) {
    Field& field = fields[i];
    const size_t room = left > 2 ? left - 2 : 0;
    if (columns_of(field.text) > room)
      field.text = i + 1 == fields.size() && room >= kClippedColumnsMin ? clipped(field.text, room) : "";
    if (!field.text.empty()) left -= columns_of(field.text) + 2;
  }
  std::string line;
  for (const Field& field : fields) {
    if (!field.text.empty()) line += "  " + field.text;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string bytes_text(const ProgressState& state) {
  if (state.bytes() == 0) return "";
  std::string sent = format_bytes(static_cast<double>(state.bytes()));
  if (state.bytes_expected() == 0) return sent;
  return sent + "/" + format_bytes(static_cast<double>(state.bytes_expected()));
}

std::string bar_text(const ProgressState& state, bool utf8) {
  if (state.bytes_expected() == 0) return "";
  return bar(static_cast<double>(state.bytes()) / static_cast<double>(state.bytes_expected()), kBarCells, utf8);
}

// Where in the memory phases it is.
std::string memory_text(const ProgressState& state) {
  if (state.pages_left() > 0) return fmt::format("{} pages left", state.pages_left());
  return state.round() > 0 ? fmt::format("round {}", state.round()) : "";
}

// A mark and a phase's name, and what fits behind them.
std::string marked(std::string_view color, std::string_view mark, const std::string& phase, std::vector<Field> fields,
                   const LineStyle& style) {
  if (style.width < 3) return "";
  const std::string name = clipped(padded(printable(phase), kPhaseColumns), style.width - 2);
  const size_t used = 2 + columns_of(name);
  std::string line = painted(color, mark, style) + " " + name;
  return line + fitted(std::move(fields), style.width > used ? style.width - used : 0);
}

}  // namespace

std::string bar(double part, size_t cells, bool utf8) {
  part = part > 0 ? std::min(part, 1.0) : 0;
  const auto full = static_cast<size_t>(part * static_cast<double>(cells));
  std::string text = utf8 ? "" : "[";
  for (size_t i = 0; i < cells; ++i) text += utf8 ? (i < full ? "█" : "░") : (i < full ? "#" : "-");
  return fmt::format("{}{} {:3.0f}%", text, utf8 ? "" : "]", std::min(99.0, part * 100) + (part >= 1 ? 1.0 : 0.0));
}

std::string live_line(const ProgressState& state, Clock::time_point now, size_t frame, const LineStyle& style) {
  const double rate = state.bytes_per_second();
  const std::vector<Field> fields = {{format_ms(state.elapsed_ms(now)), 0},  {bytes_text(state), 1},
                                     {rate > 0 ? format_rate(rate) : "", 2}, {memory_text(state), 3},
                                     {bar_text(state, style.utf8), 4},       {printable(state.text()), 5}};
  const std::string phase = state.phase().empty() ? "waiting" : state.phase();
  return marked(kCyan, spinner(frame, style.utf8), phase, fields, style);
}

std::string finished_line(const FinishedPhase& phase, PhaseEnd end, const LineStyle& style) {
  const bool done = end == PhaseEnd::kDone;
  const std::string_view mark = style.utf8 ? (done ? "✓" : "✗") : (done ? "+" : "x");
  const std::string bytes = phase.bytes > 0 ? format_bytes(static_cast<double>(phase.bytes)) : std::string();
  return marked(done ? kGreen : kRed, mark, phase.name,
                {{padded(format_ms(phase.ms), 8), 0}, {bytes, 1}, {printable(phase.text), 2}}, style);
}

std::string round_line(uint32_t number, const control::Round& round, const LineStyle& style) {
  std::vector<Field> fields;
  // The estimate is what the next decision hangs on: it stays longest, after the time.
  for (auto& text : round_fields(round)) fields.push_back({std::move(text), static_cast<int>(fields.size())});
  if (round.estimated_downtime_ms() > 0) fields.back().rank = 0;
  fields.front().text = padded(fields.front().text, 8);
  return marked(kCyan, style.utf8 ? "·" : ".", fmt::format("round {}", number), std::move(fields), style);
}

std::string plain_round_line(const ProgressState& state, Clock::time_point now, uint32_t number,
                             const control::Round& round) {
  std::string line = fmt::format("{:>9}  round {}:", format_ms(state.elapsed_ms(now)), number);
  for (const auto& text : round_fields(round)) line += (line.ends_with(':') ? " " : ", ") + text;
  return line;
}

std::string plain_line(const ProgressState& state, Clock::time_point now) {
  std::string line = fmt::format("{:>9}  {}", format_ms(state.elapsed_ms(now)), printable(state.phase()));
  if (!state.text().empty()) line += ": " + printable(state.text());
  if (const auto memory = memory_text(state); !memory.empty()) line += ", " + memory;
  if (state.bytes() > 0) line += " (" + bytes_text(state) + " sent)";
  return line;
}

}  // namespace godwit::cli
