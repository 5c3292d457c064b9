// What the target has of one region: pages that came and wait, pages of zeros, pages still owed. Shared by a process
// and those it forks while pages are missing; gives its memory back when the last of them has what it needs.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/page_arena.h"
#include "memory/region_bits.h"
#include "memory/region_map.h"

namespace godwit {

// Calls WORK(first, count) for each run of set bits.
template <typename Work>
void for_each_run(const RegionBits& bits, Work work) {
  for (size_t first = bits._Find_first(); first < kRegionPages;) {
    size_t end = first + 1;
    while (end < kRegionPages && bits.test(end)) ++end;
    work(first, end - first);
    first = end < kRegionPages ? bits._Find_next(end) : kRegionPages;
  }
}

// Not thread-safe: whoever holds the region is alone with it (a stream's thread, later the pager's lock).
class StoredRegion {
 public:
  // OWED_LEFT counts owed pages; it and ARENA outlive the region.
  StoredRegion(PageArena& arena, std::atomic<uint64_t>& owed_left) : arena_(arena), owed_left_(owed_left) {}
  ~StoredRegion();
  StoredRegion(const StoredRegion&) = delete;
  StoredRegion& operator=(const StoredRegion&) = delete;

  // Where pages FIRST to FIRST + COUNT are to be written, before anything else is done with the region.
  Result<std::span<std::byte>> place(uint64_t first, uint64_t count);
  void put_zero(uint64_t first, uint64_t count);
  // An error if pages that should be here have never come.
  Result<> apply(const RegionMap& map);

  std::span<const std::byte> content(uint64_t first, uint64_t count) const;
  // Of those stored: nobody needs them any more.
  void drop(const RegionBits& pages);
  void arrived(const RegionBits& pages);

  const RegionBits& stored() const { return stored_; }
  const RegionBits& owed() const { return owed_; }
  RegionBits requested;  // owed pages that have been asked for

 private:
  PageArena& arena_;
  std::atomic<uint64_t>& owed_left_;
  std::byte* block_ = nullptr;
  RegionBits stored_;
  RegionBits zero_;
  RegionBits owed_;
};

// By start.
using StoredRegions = std::map<RemoteAddr, std::shared_ptr<StoredRegion>>;

}  // namespace godwit
