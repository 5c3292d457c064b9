#include "cli/quantity.h"

#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <string>

namespace godwit::cli {

namespace {

constexpr double kDayMs = 24.0 * 3600 * 1000;
constexpr double kRateMin = 1e3;
constexpr double kRateMax = 1e12;

struct Unit {
  std::string_view name;
  double factor = 1;
};

constexpr std::array<Unit, 4> kTimes = {{{"ms", 1}, {"s", 1e3}, {"min", 60e3}, {"h", 3600e3}}};
// tc(8)'s; in lower case.
constexpr std::array<Unit, 4> kBits = {{{"bit", 1.0 / 8}, {"kbit", 1e3 / 8}, {"mbit", 1e6 / 8}, {"gbit", 1e9 / 8}}};
constexpr std::array<Unit, 7> kBytes = {{{"B/s", 1},
                                         {"kB/s", 1e3},
                                         {"MB/s", 1e6},
                                         {"GB/s", 1e9},
                                         {"KiB/s", 1024.0},
                                         {"MiB/s", 1024.0 * 1024},
                                         {"GiB/s", 1024.0 * 1024 * 1024}}};

struct Split {
  double number = 0;
  std::string_view unit;
};

// A decimal number without sign or exponent, then the rest; one blank may stand between.
std::optional<Split> split(std::string_view text) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  Split parts;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), parts.number, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(parts.number)) return std::nullopt;
  parts.unit = text.substr(static_cast<size_t>(end - text.data()));
  if (parts.unit.starts_with(' ')) parts.unit.remove_prefix(1);
  return parts;
}

std::optional<double> factor_of(std::span<const Unit> units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lowered;
}

}  // namespace

std::optional<double> parse_time_ms(std::string_view text) {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  const auto factor = factor_of(kTimes, parts->unit);
  if (!factor) return std::nullopt;
  const double ms = parts->number * *factor;
  return ms > 0 && ms <= kDayMs ? std::optional(ms) : std::nullopt;
}

std::optional<uint64_t> parse_rate(std::string_view text) {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  auto factor = factor_of(kBytes, parts->unit);
  if (!factor) factor = factor_of(kBits, lower(parts->unit));
  if (!factor) return std::nullopt;
  const double rate = parts->number * *factor;
  return rate >= kRateMin && rate <= kRateMax ? std::optional(static_cast<uint64_t>(rate)) : std::nullopt;
}

}  // namespace godwit::cli
