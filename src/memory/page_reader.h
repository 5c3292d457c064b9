// Reads pages of another process, running or not, without stopping it.
#pragma once

#include <sys/types.h>

#include <span>

#include "base/page.h"
#include "base/result.h"

namespace godwit {

// PAGES of process PID, one after the other, to OUT, which has room for them. Those that cannot be read (not mapped any
// more, guard pages) are appended to UNREADABLE; what OUT has in their place is of no meaning. Error code ESRCH: the
// process has ended.
Result<> read_pages(pid_t pid, const PageRanges& pages, std::span<std::byte> out, PageRanges& unreadable);

}  // namespace godwit
