// ioctl(PAGEMAP_SCAN) on /proc/PID/pagemap: which pages of a process are in which state, and write protection of those
// in the same step. Linux 6.7 and later; elsewhere /proc/PID/pagemap is read page by page (pagemap.h), which is slower
// and knows less.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>

#include "base/page.h"
#include "base/result.h"
#include "kernel/pagemap.h"

namespace godwit {

// Of a page; linux/fs.h.
enum PageCategory : uint64_t {
  kPageWpAllowed = 1 << 0,
  kPageWritten = 1 << 1,  // not write-protected: written since it was, or never protected
  kPageFile = 1 << 2,
  kPagePresent = 1 << 3,
  kPageSwapped = 1 << 4,
  kPageZero = 1 << 5,  // the kernel's page of zeros
  kPageHuge = 1 << 6,
  kPageSoftDirty = 1 << 7,
  kPageGuard = 1 << 8,  // 6.15 and later
};

class PagemapScan {
 public:
  // Of the address space that PID has now; an exec gives it another one, which this does not follow: scans then find
  // nothing.
  static Result<PagemapScan> open(pid_t pid);
  // The same as on a kernel without PAGEMAP_SCAN.
  static Result<PagemapScan> open_to_read(pid_t pid);

  struct Query {
    uint64_t all_of = 0;     // pages in all these categories,
    uint64_t any_of = 0;     // in one of these
    uint64_t or_not_in = 0;  // or not in one of these (both 0: does not matter),
    uint64_t none_of = 0;    // and in none of these
    bool protect = false;    // write-protects what it finds; fails with EPERM where a userfaultfd does not allow it
  };
  // Appends what it finds from START to END to FOUND. Where pages are read one by one, nothing is known of protection:
  // an error with code EOPNOTSUPP if it is asked for. Any thread.
  Result<> find(const Query& query, RemoteAddr start, RemoteAddr end, PageRanges& found) const;

  // Tells EACH what it finds, with those of the categories TOLD that it is in. Only with PAGEMAP_SCAN.
  using Each = std::function<void(const PageRange& pages, uint64_t categories)>;
  Result<> scan(const Query& query, uint64_t told, RemoteAddr start, RemoteAddr end, const Each& each) const;

  // Whether this kernel knows PAGEMAP_SCAN; and the category of guard pages, if they are told apart.
  bool works() const { return works_; }
  uint64_t guard_if_known() const { return guard_; }

 private:
  explicit PagemapScan(Pagemap pagemap) : pagemap_(std::move(pagemap)) {}
  Result<> find_reading(const Query& query, RemoteAddr start, RemoteAddr end, PageRanges& found) const;
  Pagemap pagemap_;
  bool works_ = false;
  uint64_t guard_ = 0;
};

}  // namespace godwit
