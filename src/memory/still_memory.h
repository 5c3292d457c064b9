// One look at the memory of a process that stands still. The container waits for it, so several threads look: the
// kernel takes 3 to 7 ms for each GiB of small pages (measured, 6.18).
#pragma once

#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "kernel/memory_maps.h"
#include "kernel/pagemap_scan.h"

namespace godwit {

struct StillMemory {
  PageRanges populated;  // all with content
  PageRanges written;    // of those, what is not write-protected
  bool guarded = false;  // there are guard pages (madvise MADV_GUARD_INSTALL), as far as the kernel tells them
};

// Of OWNED, which is in order of address. SCAN must be PAGEMAP_SCAN's.
Result<StillMemory> look_at_still_memory(const PagemapScan& scan, const std::vector<Mapping>& owned);

}  // namespace godwit
