// The pages that the source still owes after the freeze: which are left, and in which order they go.
//
// Several threads push them, each the regions of its own stream, while requests for single ones arrive. A page is
// taken once by the threads that push; a request takes what it asks for whether or not it was taken already, since it
// may be waiting in a connection behind megabytes of others. After a request its stream goes on from there: a program
// that has touched a page is likely to touch the next ones.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "memory/region_bits.h"

namespace godwit {

// The stream on which all copies of the pages of a region go, so that none overtakes an earlier one.
uint32_t stream_of(SpaceId space, RemoteAddr address, uint32_t streams);

class OwedPages {
 public:
  explicit OwedPages(uint32_t streams) : queues_(streams) {}

  // Before any other call. PAGES in any order.
  void add(SpaceId space, const PageRanges& pages);

  struct Batch {
    SpaceId space = 0;
    PageRanges pages;  // of one region
  };
  // The next pages of STREAM, at most PAGES_MAX; nothing when none is left to push.
  std::optional<Batch> take(uint32_t stream, uint64_t pages_max);
  // Those of RANGE, which lies in one region, that were ever owed; they need not be pushed any more.
  PageRanges take_requested(SpaceId space, const PageRange& range);

  uint64_t total() const { return total_; }
  uint64_t left() const;  // to push

 private:
  struct Region {
    SpaceId space;
    RemoteAddr start;
    RegionBits owed;  // ever
    RegionBits left;
  };
  struct Queue {
    mutable std::mutex mutex;
    std::vector<Region> regions;
    std::map<std::pair<SpaceId, uint64_t>, size_t> index;
    size_t next = 0;
    uint64_t left = 0;
  };
  Region& region(SpaceId space, RemoteAddr start);

  std::vector<Queue> queues_;
  uint64_t total_ = 0;
};

}  // namespace godwit
