// The mappings of a process, from /proc/PID/maps and /proc/PID/smaps. Names are the container's: they are read by
// position and never searched.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/page.h"
#include "base/result.h"

namespace godwit {

struct Mapping {
  RemoteAddr start;
  RemoteAddr end;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  uint64_t offset = 0;
  uint64_t device = 0;  // of its file, as st_dev
  uint64_t inode = 0;
  std::string name;      // as in maps; empty if it has none
  std::string line;      // the whole line of maps
  std::string vm_flags;  // "rd wr mr mw me ac "; only from smaps

  PageRange range() const { return {start, (end - start) / kPageBytes}; }
  // FLAG is two letters of proc(5)'s VmFlags.
  bool has_flag(std::string_view flag) const;
};

// More mappings than vm.max_map_count allows by default many times over.
inline constexpr size_t kMapsBytesMax = size_t{256} << 20;

Result<std::vector<Mapping>> parse_maps(std::string_view text);
// smaps has the lines of maps, each followed by others; only VmFlags is taken.
Result<std::vector<Mapping>> parse_smaps(std::string_view text);

// Error code ESRCH or ENOENT: the process has ended. A process that has ended but was not waited for has no mappings.
Result<std::vector<Mapping>> read_maps(pid_t pid);
// Walks all page tables: 6 ms/GB.
Result<std::vector<Mapping>> read_smaps(pid_t pid);

}  // namespace godwit
