// Quantities and foreign text as people read them. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::cli {

// "0.42 ms", "43.1 ms", "431 ms", "1.23 s", "2 min 03 s", "1 h 02 min". Negative and NaN: "-".
std::string format_ms(double ms);

// Powers of 1024 with three significant digits: "512 B", "1.50 KiB", "256 MiB".
std::string format_bytes(double bytes);

// "85 us", "1.20 ms": a time of which microseconds matter. Negative and NaN: "-".
std::string format_us(double us);

// "350 MiB/s"; "-" if not positive.
std::string format_rate(double bytes_per_second);

// TEXT from an agent or a log, made safe for a terminal: control characters (C0, DEL and C1, so
// that no escape sequence survives) become '?', tabs and line ends become blanks.
std::string printable(std::string_view text);

// Code points of UTF-8 TEXT: its columns, as long as it has no wide or combining characters.
size_t columns_of(std::string_view text);

// The first WIDTH columns of TEXT.
std::string clipped(std::string_view text, size_t width);

// TEXT followed by blanks up to WIDTH columns.
std::string padded(std::string_view text, size_t width);

// Rows with their columns aligned, two blanks between them, one line each; the last column is as
// long as it is. Empty without rows.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace godwit::cli
