// Huge pages that tracking or a move has split are put together again.
#pragma once

#include <sys/types.h>

#include <functional>
#include <utility>
#include <vector>

#include "base/page.h"

namespace godwit {

// Asks the kernel to back RANGES of process PID with huge pages again, region by region, with a pause after each: one
// call holds the process's memory lock for about 2 ms. What cannot be is left. Ends early when STOP says so. Returns
// the number of regions that are huge now.
uint64_t collapse_huge_pages(pid_t pid, const PageRanges& ranges, const std::function<bool()>& stop);

// By process.
using HugeRanges = std::vector<std::pair<pid_t, PageRanges>>;
uint64_t collapse_huge_pages(const HugeRanges& processes, const std::function<bool()>& stop);

}  // namespace godwit
