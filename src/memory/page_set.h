// Sets of pages as sorted ranges.
#pragma once

#include "base/page.h"

namespace godwit {

// RANGES in any order, overlapping or touching; empty ones vanish.
PageRanges normalise(PageRanges ranges);
PageRanges unite(PageRanges a, const PageRanges& b);  // A and B may be in any order
PageRanges intersect(const PageRanges& a, const PageRanges& b);
PageRanges subtract(const PageRanges& a, const PageRanges& b);
uint64_t count_pages(const PageRanges& ranges);
bool contains(const PageRanges& ranges, RemoteAddr address);

// PAGES lie behind all of RANGES; what touches the last one becomes part of it.
inline void append(PageRanges& ranges, const PageRange& pages) {
  if (!ranges.empty() && ranges.back().end() == pages.start) {
    ranges.back().pages += pages.pages;
  } else {
    ranges.push_back(pages);
  }
}

}  // namespace godwit
