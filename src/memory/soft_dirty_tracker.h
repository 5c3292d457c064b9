// Write tracking by soft-dirty bits, on kernels that are built with them (CONFIG_MEM_SOFT_DIRTY) and have nothing
// better: /proc/PID/clear_refs takes the bit from all pages and makes them fault at the next write, which sets it
// again; /proc/PID/pagemap tells it. Nothing is done in the process itself.
//
// Reading and clearing are two steps, and a write between them would be lost. In the other order there is nothing left
// to read. So the process stands still for both.
//
// The bit alone is not enough. Seen on Linux 6.1: mremap of whole page tables (2 MiB aligned) takes pages along with
// the bits they have; and a page of zeros that is mapped because the program read memory that it had given back
// (MADV_DONTNEED) comes without the bit. So the tracker also remembers which page frame was where: what has another one
// than at the last look counts as written. So does a page that the kernel has moved or swapped in meanwhile, which
// costs sending it again.
//
// What cannot be noticed: a process in the container that itself writes 4 to its own clear_refs.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <vector>

#include "kernel/pagemap.h"
#include "memory/write_tracker.h"

namespace godwit {

// Which page was in which frame: 4 bytes a page.
class FrameNotes {
 public:
  // Pages come in the order of their addresses.
  void add(RemoteAddr page, PagemapEntry entry);
  // Likewise, after rewind().
  bool had(RemoteAddr page, PagemapEntry entry);
  void rewind() { at_ = 0; }
  PageRanges pages() const;

 private:
  struct Run {
    RemoteAddr start;
    size_t first;  // index of its first note
    size_t pages;
  };
  std::vector<Run> runs_;
  std::vector<uint32_t> notes_;
  size_t at_ = 0;  // the run that had() looked at last
};

class SoftDirtyTracker : public WriteTracker {
 public:
  // An error if this process is not shown page frames (CAP_SYS_ADMIN).
  static Result<std::unique_ptr<WriteTracker>> attach(pid_t pid);

  bool needs_standstill() const override { return true; }
  void begin_with(const std::vector<Mapping>&) override {}
  Result<PageRanges> take_written(const std::vector<Mapping>& owned) override;
  Result<PageRanges> find_written(const std::vector<Mapping>& owned) override;
  std::optional<PageRanges> populated() const override { return populated_; }

 private:
  explicit SoftDirtyTracker(pid_t pid) : pid_(pid) {}
  Result<PageRanges> look(const std::vector<Mapping>& owned, FrameNotes& now);
  Result<> clear() const;

  pid_t pid_;
  FrameNotes before_;
  std::optional<PageRanges> populated_;  // at the last look
};

}  // namespace godwit
