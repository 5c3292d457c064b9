#include "kernel/pagemap_scan.h"

#include <sys/ioctl.h>

#include <array>

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

void append(const PageRange& range, PageRanges& found) {
  if (!found.empty() && found.back().end() == range.start) {
    found.back().pages += range.pages;
  } else {
    found.push_back(range);
  }
}

uint64_t categories_of(PagemapEntry entry) {
  uint64_t categories = 0;
  if (entry.present()) categories |= kPagePresent;
  if (entry.swapped()) categories |= kPageSwapped;
  if (entry.of_file()) categories |= kPageFile;
  if (entry.is_zero_page()) categories |= kPageZero;
  if (entry.soft_dirty()) categories |= kPageSoftDirty;
  if (entry.guard()) categories |= kPageGuard;
  return categories;
}

// A whole region in frames that follow each other and begin where a huge page can: nothing else comes by that, but for
// a rare coincidence.
bool is_huge_page(std::span<const PagemapEntry> region) {
  if (region.size() < kRegionPages || region[0].frame() % kRegionPages != 0 || region[0].frame() == 0) return false;
  for (size_t i = 0; i < kRegionPages; ++i)
    if (!region[i].present() || region[i].frame() != region[0].frame() + i) return false;
  return true;
}

bool matches(uint64_t categories, const PagemapScan::Query& query) {
  const bool any =
      (query.any_of | query.or_not_in) == 0 || (categories & query.any_of) != 0 || (~categories & query.or_not_in) != 0;
  return any && (categories & query.all_of) == query.all_of && (categories & query.none_of) == 0;
}

}  // namespace

Result<PagemapScan> PagemapScan::open(pid_t pid) {
  TRY_ASSIGN(PagemapScan scan, open_to_read(pid));
  const int fd = scan.pagemap_.fd();
  scan.works_ = accepts(fd, kPagePresent);
  if (scan.works_) scan.guard_ = accepts(fd, kPageGuard) ? kPageGuard : 0;
  return scan;
}

Result<PagemapScan> PagemapScan::open_to_read(pid_t pid) {
  TRY_ASSIGN(Pagemap pagemap, Pagemap::open(pid));
  PagemapScan scan(std::move(pagemap));
  scan.guard_ = kPageGuard;
  return scan;
}

Result<> PagemapScan::find_reading(const Query& query, RemoteAddr start, RemoteAddr end, PageRanges& found) const {
  constexpr uint64_t kUnknown = kPageWritten | kPageWpAllowed;
  if (query.protect || ((query.all_of | query.any_of | query.or_not_in | query.none_of) & kUnknown) != 0)
    return fail(Error("this kernel has no PAGEMAP_SCAN", EOPNOTSUPP));
  return pagemap_.read(start, end, [&](RemoteAddr first, std::span<const PagemapEntry> entries) {
    const bool ask_for_huge = ((query.all_of | query.any_of | query.or_not_in | query.none_of) & kPageHuge) != 0;
    uint64_t huge = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      const RemoteAddr page = first + i * kPageBytes;
      if (page == page.region()) huge = ask_for_huge && is_huge_page(entries.subspan(i)) ? kPageHuge : 0;
      if (matches(categories_of(entries[i]) | huge, query)) append({page, 1}, found);
    }
  });
}

Result<> PagemapScan::find(const Query& query, RemoteAddr start, RemoteAddr end, PageRanges& found) const {
  if (!works_) return find_reading(query, start, end, found);
  return scan(query, kPagePresent, start, end, [&](const PageRange& pages, uint64_t) { append(pages, found); });
}

Result<> PagemapScan::scan(const Query& query, uint64_t told, RemoteAddr start, RemoteAddr end,
                           const Each& each) const {
  if (!works_) return fail(Error("this kernel has no PAGEMAP_SCAN", EOPNOTSUPP));
  std::array<Region, 512> regions;
  ScanArg arg{};
  arg.size = sizeof arg;
  arg.flags = query.protect ? kProtectMatching | kCheckProtectable : 0;
  arg.vec = reinterpret_cast<uint64_t>(regions.data());
  arg.vec_len = regions.size();
  arg.category_mask = query.all_of | query.none_of;
  arg.category_inverted = query.none_of | query.or_not_in;
  arg.category_anyof_mask = query.any_of | query.or_not_in;
  arg.return_mask = told;  // the kernel wants one at least
  arg.end = end.value;
  for (arg.start = start.value; arg.start < end.value; arg.start = arg.walk_end) {
    const int count = ::ioctl(pagemap_.fd(), kPagemapScan, &arg);
    if (count < 0 && errno == EINTR) {
      arg.walk_end = arg.start;
      continue;
    }
    if (count < 0) return fail_errno("PAGEMAP_SCAN");
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
      each({{regions[i].start}, (regions[i].end - regions[i].start) / kPageBytes}, regions[i].categories);
    if (arg.walk_end <= arg.start) return fail("PAGEMAP_SCAN makes no progress");
  }
  return {};
}

}  // namespace godwit
