#include "memory/owned_memory.h"

#include <algorithm>
#include <charconv>

#include "base/file.h"

namespace godwit {

namespace {

// Without an inode; names in brackets other than these are the kernel's: [vdso], [vvar], [vsyscall], [uprobes].
bool is_anonymous(const Mapping& mapping) {
  return mapping.inode == 0 && !mapping.shared &&
         (mapping.name.empty() || mapping.name == "[heap]" || mapping.name == "[stack]" ||
          mapping.name.starts_with("[anon:"));
}

// Locked, hugetlb, droppable (whose contents may vanish at any time), or not memory at all.
bool is_special(const Mapping& mapping) {
  return mapping.has_flag("lo") || mapping.has_flag("ht") || mapping.has_flag("dp") || mapping.has_flag("io") ||
         mapping.has_flag("pf");
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
  for (const Mapping& mapping : mappings)
    if (is_anonymous(mapping) && !is_special(mapping)) owned.push_back(mapping);
  return owned;
}

PageRanges first_code(const std::vector<Mapping>& mappings) {
  const auto code = std::ranges::find_if(mappings, &Mapping::executable);
  if (code == mappings.end() || !is_anonymous(*code) || is_special(*code)) return {};
  return {code->range()};
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

Result<> MappingFlags::learn(pid_t pid) {
  locked_kb_ = locked_kb(pid);
  TRY_ASSIGN(known_, read_smaps(pid));
  return {};
}

Result<std::vector<Mapping>> MappingFlags::complete(pid_t pid) {
  TRY_ASSIGN(auto mappings, read_maps(pid));
  if (locked_kb(pid) != locked_kb_) return read_smaps(pid);
  for (Mapping& mapping : mappings) {
    auto known = std::ranges::lower_bound(known_, mapping.start, {}, &Mapping::start);
    if (known != known_.end() && known->line == mapping.line) mapping.vm_flags = known->vm_flags;
  }
  return mappings;
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
