// The runs of a Pages or PageRequest frame (frame.h): which pages it is about. 16 bytes each, little-endian:
//
//   0 u64 address, page-aligned   8 u32 pages, at least 1   12 u32 flags: 1 = all zero, no contents follow
//
// A run lies within one 2 MiB region.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "wire/frame.h"

namespace godwit::wire {

struct PageRun {
  PageRange range;
  bool zero = false;

  friend bool operator==(const PageRun&, const PageRun&) = default;
};

// Appends them to OUT.
void encode_page_runs(std::span<const PageRun> runs, std::string& out);

// BYTES is exactly COUNT runs (COUNT as checked by decode_frame_header). Every run is within the bounds above and
// below the end of user memory; together those that are not zero have at most kPagesPerFrame pages if LIMIT_CONTENTS.
Result<std::vector<PageRun>> decode_page_runs(std::string_view bytes, uint32_t count, bool limit_contents = true);

// Pages whose contents a frame with these runs carries.
uint64_t content_pages(std::span<const PageRun> runs);

}  // namespace godwit::wire
