// Times and rates as people write them. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace godwit::cli {

// "50ms", "0.1s", "2min", "1h" in milliseconds; empty for anything else: no unit, not positive, more than a day.
std::optional<double> parse_time_ms(std::string_view text);

// Bytes per second. Bits as tc(8) and tools/lab name them, "100mbit", "1gbit" (powers of 1000, any case); bytes as
// "50MB/s" (powers of 1000) and "48MiB/s" (of 1024). Empty for anything else: no unit, "mb" that may be either, less
// than 1000 bytes or more than 10^12.
std::optional<uint64_t> parse_rate(std::string_view text);

}  // namespace godwit::cli
