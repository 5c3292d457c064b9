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

// What CRIU gives as its reason, the first error it printed: empty if that is one without consequence.
std::string criu_reason(const std::string& message);

// Of CRIU's LOG in the work directory; if that tells nothing, the end of what runC printed (runc.log there).
std::vector<std::string> failure_log(const std::filesystem::path& work_directory, const std::string& log);

}  // namespace godwit
