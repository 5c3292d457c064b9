// Pages of one region as a bitset.
#pragma once

#include <algorithm>
#include <bitset>

#include "base/page.h"

namespace godwit {

using RegionBits = std::bitset<kRegionPages>;

// COUNT bits from FIRST on; together within the region.
inline RegionBits region_bits(uint64_t first, uint64_t count) {
  if (count == 0) return {};
  return (~RegionBits() >> (kRegionPages - count)) << first;
}

inline uint64_t page_in_region(RemoteAddr address) { return address.value % kRegionBytes / kPageBytes; }

// Calls WORK(page) for each page of BITS, in order.
template <typename Work>
void for_each_page(const RegionBits& bits, Work work) {
  if (bits.none()) return;
  for (uint64_t page = 0; page < kRegionPages; ++page)
    if (bits.test(page)) work(page);
}

// Calls WORK(start of region, bits) for each region that RANGES, sorted, touch; in order, each region once per range.
template <typename Work>
void for_each_region(const PageRanges& ranges, Work work) {
  for (const PageRange& range : ranges) {
    for (RemoteAddr at = range.start; at < range.end();) {
      const RemoteAddr end = std::min(range.end(), at.region() + kRegionBytes);
      work(at.region(), region_bits(page_in_region(at), (end - at) / kPageBytes));
      at = end;
    }
  }
}

}  // namespace godwit
