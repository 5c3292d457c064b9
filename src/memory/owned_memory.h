// Which memory of a process godwit takes out of CRIU's hands: what CRIU could restore lazily, that is private
// anonymous memory without specialities. All else stays in CRIU's images.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "kernel/memory_maps.h"

namespace godwit {

// MAPPINGS with their flags, as smaps gives them. Not owned is: what is shared, has a file or is the kernel's; locked,
// of huge pages of its own kind, or growing downward; and the first executable mapping, into which CRIU writes
// instructions while it dumps.
std::vector<Mapping> owned_mappings(const std::vector<Mapping>& mappings);
PageRanges ranges_of(const std::vector<Mapping>& mappings);

// Remembers the flags of mappings, so that smaps, which walks all page tables, need not be read in the freeze.
class MappingFlags {
 public:
  // While the process runs.
  Result<> learn(pid_t pid);
  // As it is now, with flags. Mappings that were not there when learning are given none if they are small (they are
  // then CRIU's); large ones make it read smaps after all.
  Result<std::vector<Mapping>> complete(pid_t pid);

 private:
  void remember(const std::vector<Mapping>& mappings);
  uint64_t locked_kb_ = 0;
  std::vector<Mapping> known_;  // by address
};

// What CRIU reads in place of smaps: the lines of maps with their flags. Mappings whose flags are not known make it
// empty: then CRIU reads smaps itself.
std::string smaps_text(const std::vector<Mapping>& mappings);

}  // namespace godwit
