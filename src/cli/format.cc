#include "cli/format.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace godwit::cli {

namespace {

bool continues_code_point(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Three significant digits of VALUE < 1024.
std::string three_digits(double value) {
  if (value < 9.995) return fmt::format("{:.2f}", value);
  return value < 99.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

std::string long_time(double ms) {
  const auto seconds = static_cast<uint64_t>(std::lround(ms / 1000));
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
}

}  // namespace

std::string format_ms(double ms) {
  if (!(ms >= 0) || std::isinf(ms)) return "-";
  if (ms < 999.5) return three_digits(ms) + " ms";
  if (ms < 59'950) return three_digits(ms / 1000) + " s";
  return long_time(ms);
}

std::string format_us(double us) { return us >= 0 && us < 999.5 ? fmt::format("{:.0f} us", us) : format_ms(us / 1000); }

std::string format_bytes(double bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (!(bytes >= 0) || std::isinf(bytes)) return "-";
  if (bytes < 1024) return fmt::format("{:.0f} B", bytes);
  size_t unit = 0;
  while (bytes >= 1023.5 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return three_digits(bytes) + " " + kUnits[unit];
}

std::string format_rate(double bytes_per_second) {
  return bytes_per_second > 0 ? format_bytes(bytes_per_second) + "/s" : "-";
}

std::string printable(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // C1 controls are U+0080 to U+009F: 0xC2 and then 0x80 to 0x9F.
    const bool c1 = c == 0xC2 && i + 1 < text.size() && continues_code_point(text[i + 1]) &&
                    static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c1) ++i;
    if (c == '\t' || c == '\n' || c == '\r') {
      safe += ' ';
    } else {
      safe += c1 || c < 0x20 || c == 0x7F ? '?' : text[i];
    }
  }
  return safe;
}

size_t columns_of(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), continues_code_point));
}

std::string clipped(std::string_view text, size_t width) {
  size_t columns = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!continues_code_point(text[i]) && ++columns > width) return std::string(text.substr(0, i));
  }
  return std::string(text);
}

std::string padded(std::string_view text, size_t width) {
  const size_t columns = columns_of(text);
  return std::string(text) + std::string(columns < width ? width - columns : 0, ' ');
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns_of(row[i]));
  }
  std::string table;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += padded(row[i], widths[i] + 2);
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  return table;
}

}  // namespace godwit::cli
