// Which memory of a process godwit takes out of CRIU's hands: exactly what CRIU, restoring with lazy pages, leaves
// empty (vma_entry_can_be_lazy of 4.2), that is private anonymous memory that is neither locked nor of hugetlb pages.
// It must be all of that: CRIU skips such pages at the restore even if its images have them.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "kernel/memory_maps.h"

namespace godwit {

// MAPPINGS with their flags as far as they are known. Flags that are not known are taken to be ordinary ones:
// MappingFlags sees to it that this is right.
std::vector<Mapping> owned_mappings(const std::vector<Mapping>& mappings);
PageRanges ranges_of(const std::vector<Mapping>& mappings);
// The owned mapping, if it is one, into which CRIU writes instructions while it dumps: the first executable one. It has
// to be read before.
PageRanges first_code(const std::vector<Mapping>& mappings);

// Remembers the flags of mappings, so that smaps, which walks all page tables, need not be read in the freeze.
class MappingFlags {
 public:
  // While the process runs.
  Result<> learn(pid_t pid);
  // As it is now, with the flags that were learnt; mappings that are new since have none. Reads smaps after all if
  // memory has been locked or unlocked since.
  Result<std::vector<Mapping>> complete(pid_t pid);

 private:
  uint64_t locked_kb_ = 0;
  std::vector<Mapping> known_;  // by address
};

// What CRIU reads in place of smaps: the lines of maps with their flags. Mappings whose flags are not known make it
// empty: then CRIU reads smaps itself.
std::string smaps_text(const std::vector<Mapping>& mappings);

}  // namespace godwit
