#include "kernel/pagemap_scan.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <array>
#include <string>

#include "base/file.h"

namespace godwit {

namespace {

// linux/fs.h of 6.7, which older distributions do not have.
struct Region {
  uint64_t start, end, categories;
};
struct ScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArg);
constexpr uint64_t kProtectMatching = 1 << 0, kCheckProtectable = 1 << 1;

bool accepts(int fd, uint64_t category) {
  Region region{};
  ScanArg arg{};
  arg.size = sizeof arg;
  arg.vec = reinterpret_cast<uint64_t>(&region);
  arg.vec_len = 1;
  arg.end = kPageBytes;
  arg.category_mask = category;
  arg.return_mask = category;
  return ::ioctl(fd, kPagemapScan, &arg) >= 0;
}

void append(const Region& region, PageRanges& found) {
  const PageRange range{{region.start}, (region.end - region.start) / kPageBytes};
  if (!found.empty() && found.back().end() == range.start) {
    found.back().pages += range.pages;
  } else {
    found.push_back(range);
  }
}

}  // namespace

Result<PagemapScan> PagemapScan::open(pid_t pid) {
  TRY_ASSIGN(ScopedFd fd, open_file("/proc/" + std::to_string(pid) + "/pagemap", O_RDONLY));
  PagemapScan scan(std::move(fd));
  scan.works_ = accepts(scan.fd_.get(), kPagePresent);
  if (accepts(scan.fd_.get(), kPageGuard)) scan.guard_ = kPageGuard;
  return scan;
}

Result<> PagemapScan::find(const Query& query, RemoteAddr start, RemoteAddr end, PageRanges& found) const {
  std::array<Region, 512> regions;
  ScanArg arg{};
  arg.size = sizeof arg;
  arg.flags = query.protect ? kProtectMatching | kCheckProtectable : 0;
  arg.vec = reinterpret_cast<uint64_t>(regions.data());
  arg.vec_len = regions.size();
  arg.category_mask = query.all_of | query.none_of;
  arg.category_inverted = query.none_of;
  arg.category_anyof_mask = query.any_of;
  arg.return_mask = kPagePresent;  // of no interest, but one is needed
  arg.end = end.value;
  for (arg.start = start.value; arg.start < end.value; arg.start = arg.walk_end) {
    const int count = ::ioctl(fd_.get(), kPagemapScan, &arg);
    if (count < 0 && errno == EINTR) {
      arg.walk_end = arg.start;
      continue;
    }
    if (count < 0) return fail_errno("PAGEMAP_SCAN");
    for (int i = 0; i < count; ++i) append(regions[static_cast<size_t>(i)], found);
    if (arg.walk_end <= arg.start) return fail("PAGEMAP_SCAN makes no progress");
  }
  return {};
}

}  // namespace godwit
