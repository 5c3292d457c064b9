#include "memory/owned_memory.h"

#include <algorithm>
#include <charconv>

#include "base/file.h"

namespace godwit {

namespace {

// Reading smaps costs 6 ms for each GB of the process; leaving this much to CRIU costs less.
constexpr uint64_t kUnknownBytesMax = uint64_t{8} << 20;

// Anonymous mappings have no inode; their names are [heap], [anon:…] or none. [stack], [vdso] and the like are others.
bool is_anonymous(const Mapping& mapping) {
  return mapping.inode == 0 && !mapping.shared &&
         (mapping.name.empty() || mapping.name == "[heap]" || mapping.name.starts_with("[anon:"));
}

bool is_special(const Mapping& mapping) {
  return mapping.vm_flags.empty() || mapping.has_flag("lo") || mapping.has_flag("lf") || mapping.has_flag("ht") ||
         mapping.has_flag("gd") || mapping.has_flag("io") || mapping.has_flag("pf");
}

// VmLck of /proc/PID/status: it changes when memory is locked or unlocked.
uint64_t locked_kb(pid_t pid) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/status");
  if (!text) return 0;
  const size_t at = text->find("\nVmLck:");  // the name, which the process chooses, has no newline in it
  if (at == std::string::npos) return 0;
  const size_t digit = text->find_first_not_of(" \t", at + 7);
  uint64_t value = 0;
  std::from_chars(text->data() + digit, text->data() + text->size(), value);
  return value;
}

}  // namespace

std::vector<Mapping> owned_mappings(const std::vector<Mapping>& mappings) {
  std::vector<Mapping> owned;
  const auto first_code = std::ranges::find_if(mappings, &Mapping::executable);
  for (auto at = mappings.begin(); at != mappings.end(); ++at)
    if (is_anonymous(*at) && !is_special(*at) && at != first_code) owned.push_back(*at);
  return owned;
}

PageRanges ranges_of(const std::vector<Mapping>& mappings) {
  PageRanges ranges;
  for (const Mapping& mapping : mappings) {
    const PageRange range = mapping.range();
    if (!ranges.empty() && ranges.back().end() == range.start) {
      ranges.back().pages += range.pages;
    } else {
      ranges.push_back(range);
    }
  }
  return ranges;
}

void MappingFlags::remember(const std::vector<Mapping>& mappings) { known_ = mappings; }

Result<> MappingFlags::learn(pid_t pid) {
  locked_kb_ = locked_kb(pid);
  TRY_ASSIGN(known_, read_smaps(pid));
  return {};
}

Result<std::vector<Mapping>> MappingFlags::complete(pid_t pid) {
  TRY_ASSIGN(auto mappings, read_maps(pid));
  uint64_t unknown = 0;
  for (Mapping& mapping : mappings) {
    auto known = std::ranges::lower_bound(known_, mapping.start, {}, &Mapping::start);
    const bool same = known != known_.end() && known->line == mapping.line;
    if (same) {
      mapping.vm_flags = known->vm_flags;
    } else {
      unknown += mapping.end - mapping.start;
    }
  }
  if (unknown <= kUnknownBytesMax && locked_kb(pid) == locked_kb_) return mappings;
  return read_smaps(pid);
}

std::string smaps_text(const std::vector<Mapping>& mappings) {
  std::string text;
  for (const Mapping& mapping : mappings) {
    if (mapping.vm_flags.empty()) return {};
    text += mapping.line + "\nVmFlags: " + mapping.vm_flags + "\n";
  }
  return text;
}

}  // namespace godwit
