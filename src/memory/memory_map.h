// The map of an address space at the freeze, as it travels: for each region with content, which pages have content and
// which of those are still owed. What it does not name reads as zero.
//
// A payload of a MemoryMap frame is a list of entries, integers little-endian:
//   0 u64 address of the region   8 u32 regions, at least 1   12 u32 kind
//   kind 0: one region, 64 bytes of pages with content and 64 bytes of owed pages follow, the first page in the lowest
//   bit kind 1: all pages of these regions have content and none is owed   kind 2: all have content and are owed
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/region_map.h"

namespace godwit {

// Payloads, each at most wire::kFramePayloadMax. OWED is a subset of POPULATED.
std::vector<std::string> encode_memory_map(const PageRanges& populated, const PageRanges& owed);

// Appends what PAYLOAD, which comes from a peer, says to MAPS, in order of address without doubles across calls. An
// error if MAPS would come to describe more than REGIONS_MAX regions.
Result<> decode_memory_map(std::string_view payload, uint64_t regions_max, std::vector<RegionMap>& maps);

}  // namespace godwit
