// Finds the pages that a process has written, again and again, while it runs. Two ways: userfaultfd's asynchronous
// write protection (Linux 6.7 and later), and soft-dirty bits (older kernels that are built with them).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"
#include "kernel/memory_maps.h"
#include "kernel/pagemap_scan.h"
#include "tracee/remote_userfaultfd.h"

namespace godwit {

enum class Tracking { kNone, kUffdWp, kSoftDirty };
const char* tracking_name(Tracking tracking);

// Tried once, on a child that writes. The best that works.
Tracking probe_tracking();
bool can_track(Tracking tracking);

// Of one address space.
class WriteTracker {
 public:
  virtual ~WriteTracker() = default;  // the process is as if it had never been tracked
  // Whether the process must stand still while take_written() runs.
  virtual bool needs_standstill() const { return false; }
  // Begins with OWNED, as far as it is new, while the process stands still: its mappings must not change meanwhile. One
  // of which only a part is tracked is two to the kernel, and a process may find that out (mremap refuses it). Once
  // this has been called, take_written() begins with nothing by itself.
  virtual void begin_with(const std::vector<Mapping>& owned) = 0;
  // Pages of OWNED with content that were written since the last call, or are new; from now on they count as unwritten.
  // A page that is written while this runs is in this answer or in the next. Error code ESRCH, ENOENT or ESTALE: the
  // process has ended, or has another address space.
  virtual Result<PageRanges> take_written(const std::vector<Mapping>& owned) = 0;
  // The same of a frozen process, for the last time: nothing counts as unwritten afterwards.
  virtual Result<PageRanges> find_written(const std::vector<Mapping>& owned) = 0;
  // All that had content when it was last looked at, where that is known without looking again.
  virtual std::optional<PageRanges> populated() const { return std::nullopt; }
  // Whether it is known that there were no guard pages among it.
  virtual bool known_unguarded() const { return false; }
};

// How a tracker gets a userfaultfd of a process; what it calls may stop that for less than a millisecond.
using OpenUserfaultfd = std::function<Result<ScopedFd>(pid_t pid, Deadline deadline)>;

// KIND is not kNone. OPEN of this process itself is for processes that may be lost: tracee/attacher.h.
Result<std::unique_ptr<WriteTracker>> attach_tracker(Tracking kind, pid_t pid,
                                                     const OpenUserfaultfd& open = open_userfaultfd_of);

// Pages of OWNED that have content.
Result<PageRanges> find_populated(const PagemapScan& scan, const std::vector<Mapping>& owned);

}  // namespace godwit
