#include "runtime/criu_log.h"

#include <algorithm>

#include "base/file.h"

namespace godwit {

namespace {

constexpr size_t kLineBytesMax = 300;

std::string printable(std::string line) {
  if (line.size() > kLineBytesMax) line = line.substr(0, kLineBytesMax) + "…";
  std::erase_if(line, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  return line;
}

}  // namespace

std::vector<std::string> relevant_log_lines(std::string_view log, size_t lines_max) {
  std::vector<std::string> relevant;
  for (const std::string& line : split_lines(log)) {
    if (line.find("Error (") == std::string::npos) continue;
    // Printed, and without consequence, wherever root lacks CAP_SYS_RESOURCE.
    if (line.find("rlimit: Can't setup RLIMIT_NOFILE") != std::string::npos) continue;
    std::string text = printable(line);
    if (std::ranges::find(relevant, text) == relevant.end()) relevant.push_back(std::move(text));
    if (relevant.size() == lines_max) break;
  }
  return relevant;
}

std::string criu_reason(const std::string& message) {
  if (message.find("Error (") == std::string::npos) return printable(message);
  const auto lines = relevant_log_lines(message, 1);
  return lines.empty() ? "" : lines.front();
}

std::vector<std::string> failure_log(const std::filesystem::path& work_directory, const std::string& log) {
  if (auto text = read_file(work_directory / log, size_t{64} << 20)) {
    auto lines = relevant_log_lines(*text);
    if (!lines.empty()) return lines;
  }
  std::vector<std::string> lines;
  if (auto text = read_file(work_directory / "runc.log", size_t{1} << 20)) {
    for (const std::string& line : split_lines(*text)) lines.push_back(printable(line));
    if (lines.size() > 3) lines.erase(lines.begin(), lines.end() - 3);
  }
  return lines;
}

}  // namespace godwit
