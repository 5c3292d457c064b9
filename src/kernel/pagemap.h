// /proc/PID/pagemap, read page by page: how every kernel tells the state of a process's pages, and what is used where
// there is no PAGEMAP_SCAN (pagemap_scan.h). It costs some 10 ms/GB, and a tenth of that for addresses without pages.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>

#include "base/page.h"
#include "base/result.h"
#include "base/scoped_fd.h"

namespace godwit {

// Documentation/admin-guide/mm/pagemap.rst of the kernel.
struct PagemapEntry {
  uint64_t bits = 0;

  bool present() const { return (bits >> 63 & 1) != 0; }
  bool swapped() const { return (bits >> 62 & 1) != 0; }
  bool of_file() const { return (bits >> 61 & 1) != 0; }  // or of shared memory
  bool guard() const { return (bits >> 58 & 1) != 0; }    // 6.15 and later
  bool soft_dirty() const { return (bits >> 55 & 1) != 0; }
  // Present: the number of the page frame, 0 without CAP_SYS_ADMIN. Swapped: where to.
  uint64_t frame() const { return bits & ((uint64_t{1} << 55) - 1); }
  bool is_zero_page() const;  // the huge one is not told apart
  // Memory that is more than zeros that were never written.
  bool has_content() const { return (present() || swapped()) && !guard() && !is_zero_page(); }
};

// The frame of the kernel's page of zeros; 0 if frames are not shown to this process.
uint64_t zero_page_frame();

class Pagemap {
 public:
  // Of the address space that PID has now; an exec gives it another one, which this does not follow.
  static Result<Pagemap> open(pid_t pid);

  // Calls VISIT with the entries of the pages from START to END, in order, in pieces that end where regions do. Error
  // code ESRCH: the process has ended, or has another address space.
  using Visitor = std::function<void(RemoteAddr first, std::span<const PagemapEntry> entries)>;
  Result<> read(RemoteAddr start, RemoteAddr end, const Visitor& visit) const;

  int fd() const { return fd_.get(); }

 private:
  explicit Pagemap(ScopedFd fd) : fd_(std::move(fd)) {}
  ScopedFd fd_;
};

}  // namespace godwit
