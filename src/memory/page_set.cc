#include "memory/page_set.h"

#include <algorithm>

namespace godwit {

namespace {

PageRange between(RemoteAddr start, RemoteAddr end) { return {start, (end - start) / kPageBytes}; }

}  // namespace

PageRanges normalise(PageRanges ranges) {
  std::erase_if(ranges, [](const PageRange& range) { return range.pages == 0; });
  std::ranges::sort(ranges, {}, &PageRange::start);
  PageRanges merged;
  for (const PageRange& range : ranges) {
    if (merged.empty() || merged.back().end() < range.start) {
      merged.push_back(range);
    } else {
      merged.back() = between(merged.back().start, std::max(merged.back().end(), range.end()));
    }
  }
  return merged;
}

PageRanges unite(PageRanges a, const PageRanges& b) {
  a.insert(a.end(), b.begin(), b.end());
  return normalise(std::move(a));
}

PageRanges intersect(const PageRanges& a, const PageRanges& b) {
  PageRanges both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const RemoteAddr start = std::max(a[i].start, b[j].start);
    const RemoteAddr end = std::min(a[i].end(), b[j].end());
    if (start < end) both.push_back(between(start, end));
    if (a[i].end() < b[j].end()) {
      ++i;
    } else {
      ++j;
    }
  }
  return both;
}

PageRanges subtract(const PageRanges& a, const PageRanges& b) {
  PageRanges rest;
  size_t j = 0;
  for (const PageRange& range : a) {
    RemoteAddr at = range.start;
    while (j < b.size() && b[j].end() <= at) ++j;
    for (size_t k = j; k < b.size() && b[k].start < range.end(); ++k) {
      if (at < b[k].start) rest.push_back(between(at, b[k].start));
      at = std::max(at, b[k].end());
    }
    if (at < range.end()) rest.push_back(between(at, range.end()));
  }
  return rest;
}

uint64_t count_pages(const PageRanges& ranges) {
  uint64_t pages = 0;
  for (const PageRange& range : ranges) pages += range.pages;
  return pages;
}

bool contains(const PageRanges& ranges, RemoteAddr address) {
  auto after = std::ranges::upper_bound(ranges, address, {}, &PageRange::start);
  return after != ranges.begin() && std::prev(after)->contains(address);
}

}  // namespace godwit
