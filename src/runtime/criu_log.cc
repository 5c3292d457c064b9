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
    std::string text = printable(line);
    if (std::ranges::find(relevant, text) == relevant.end()) relevant.push_back(std::move(text));
    if (relevant.size() == lines_max) break;
  }
  return relevant;
}

std::vector<std::string> relevant_log_lines_of(const std::filesystem::path& path) {
  auto text = read_file(path, size_t{64} << 20);
  if (!text) return {};
  return relevant_log_lines(*text);
}

}  // namespace godwit
