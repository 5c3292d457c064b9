// What CRIU's log says about a failure: the lines a person needs.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace godwit {

// The first errors in LOG (CRIU names the cause first and its consequences after), at most LINES_MAX, each cut to 300
// bytes and cleared of control characters.
std::vector<std::string> relevant_log_lines(std::string_view log, size_t lines_max = 6);

// Of the file; empty if it cannot be read.
std::vector<std::string> relevant_log_lines_of(const std::filesystem::path& path);

}  // namespace godwit
