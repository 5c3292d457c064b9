// One look at the memory of a process that stands still. The container waits for it, so several threads look, and they
// ask for what is not protected or not there: for each GiB of small pages the kernel takes 1.3 ms to pass them by
// and 4.5 to tell them (6.18).
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

// Of OWNED, which is in order of address and all mapped. SCAN must be PAGEMAP_SCAN's.
Result<StillMemory> look_at_still_memory(const PagemapScan& scan, const std::vector<Mapping>& owned);

}  // namespace godwit
