#include "kernel/memory_maps.h"

#include <sys/sysmacros.h>

#include <charconv>

#include "base/file.h"

namespace godwit {

namespace {

// Takes a number in BASE off the front of TEXT, and the character AFTER it.
bool take_number(std::string_view& text, int base, char after, uint64_t& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (after == '\0') return true;
  if (text.empty() || text.front() != after) return false;
  text.remove_prefix(1);
  return true;
}

// start-end perms offset major:minor inode, blanks, name.
bool parse_line(std::string_view line, Mapping& mapping) {
  mapping.line = line;
  uint64_t major = 0, minor = 0;
  if (!take_number(line, 16, '-', mapping.start.value) || !take_number(line, 16, ' ', mapping.end.value)) return false;
  if (line.size() < 5 || line[4] != ' ') return false;
  mapping.readable = line[0] == 'r';
  mapping.writable = line[1] == 'w';
  mapping.executable = line[2] == 'x';
  mapping.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!take_number(line, 16, ' ', mapping.offset) || !take_number(line, 16, ':', major) ||
      !take_number(line, 16, ' ', minor) || !take_number(line, 10, '\0', mapping.inode))
    return false;
  mapping.device = makedev(static_cast<unsigned>(major), static_cast<unsigned>(minor));
  const size_t name = line.find_first_not_of(' ');
  if (name != std::string_view::npos) mapping.name = line.substr(name);
  return mapping.start < mapping.end && mapping.start.page_aligned() && mapping.end.page_aligned();
}

// Lines of smaps that belong to a mapping begin with a capital letter, those of mappings with a digit of an address
// in small letters.
bool is_detail(std::string_view line) { return !line.empty() && line[0] >= 'A' && line[0] <= 'Z'; }

Result<std::vector<Mapping>> parse(std::string_view text, bool with_details) {
  constexpr std::string_view kFlags = "VmFlags: ";
  std::vector<Mapping> mappings;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (with_details && is_detail(line)) {
      if (line.starts_with(kFlags) && !mappings.empty()) mappings.back().vm_flags = line.substr(kFlags.size());
      continue;
    }
    Mapping mapping;
    if (!parse_line(line, mapping)) return fail("a line of maps that is none");
    if (!mappings.empty() && mapping.start < mappings.back().end) return fail("mappings out of order");
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

std::string path_of(pid_t pid, const char* file) { return "/proc/" + std::to_string(pid) + "/" + file; }

}  // namespace

bool Mapping::has_flag(std::string_view flag) const {
  for (std::string_view rest = vm_flags; rest.size() >= 2; rest.remove_prefix(std::min<size_t>(3, rest.size())))
    if (rest.starts_with(flag)) return true;
  return false;
}

Result<std::vector<Mapping>> parse_maps(std::string_view text) { return parse(text, false); }
Result<std::vector<Mapping>> parse_smaps(std::string_view text) { return parse(text, true); }

Result<std::vector<Mapping>> read_maps(pid_t pid) {
  TRY_ASSIGN(const std::string text, read_file(path_of(pid, "maps"), kMapsBytesMax));
  return parse_maps(text);
}

Result<std::vector<Mapping>> read_smaps(pid_t pid) {
  TRY_ASSIGN(const std::string text, read_file(path_of(pid, "smaps"), kMapsBytesMax));
  return parse_smaps(text);
}

}  // namespace godwit
