// Write tracking by userfaultfd's asynchronous write protection: the kernel notes the first write to a protected page
// in the page table and lets it through, and PAGEMAP_SCAN finds and protects written pages in one step. Pages without
// content are never protected, so memory that a process has only reserved costs nothing.
#pragma once

#include <sys/types.h>

#include <memory>

#include "base/scoped_fd.h"
#include "memory/write_tracker.h"

namespace godwit {

class UffdWpTracker : public WriteTracker {
 public:
  // Stops PID for a moment.
  static Result<std::unique_ptr<WriteTracker>> attach(pid_t pid, const OpenUserfaultfd& open = open_userfaultfd_of);

  void begin_with(const std::vector<Mapping>& owned) override;
  Result<PageRanges> take_written(const std::vector<Mapping>& owned) override;
  Result<PageRanges> find_written(const std::vector<Mapping>& owned) override;
  std::optional<PageRanges> populated() const override { return populated_; }
  bool known_unguarded() const override { return unguarded_; }

 private:
  UffdWpTracker(pid_t pid, ScopedFd uffd) : pid_(pid), uffd_(std::move(uffd)) {}
  Result<> take_from(const PagemapScan& scan, const Mapping& mapping, PageRanges& written);
  Result<> take_whole(const PagemapScan& scan, const Mapping& mapping, PageRanges& written);

  pid_t pid_;
  ScopedFd uffd_;                        // closing it ends the protection
  std::optional<PageRanges> populated_;  // at the last look, of the frozen process
  bool unguarded_ = false;               // the same
  bool begins_by_itself_ = true;
  bool unsure_ = true;  // whether what is protected is so by us: at first, the tracker of another process that shared
                        // the memory may not be gone yet
};

}  // namespace godwit
