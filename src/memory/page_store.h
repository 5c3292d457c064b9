// Pages that arrived on the target and are not installed yet.
//
// Rounds put pages in, a later copy of a page in place of an earlier one. The map of the freeze then says what of it
// holds, and the pager takes each space over and releases the memory as it installs.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/page_arena.h"
#include "memory/region_map.h"
#include "memory/stored_region.h"

namespace godwit {

class PageStore {
 public:
  // BYTES_MAX bounds the pages in it. Index: about 0.5 KiB for a region, and address space of a region's size.
  static Result<std::unique_ptr<PageStore>> create(uint64_t bytes_max);

  // Appends to PARTS, in order, where the pages of RANGE are to be written, before anything else is called for that
  // region. RANGE lies in one region. Different regions: from any threads; one region: from one thread at a time.
  Result<> place(SpaceId space, PageRange range, std::vector<std::span<std::byte>>& parts);
  Result<> put_zero(SpaceId space, PageRange range);

  // Replaces all that is known of SPACE; an empty map is one, too. Nobody may put pages of SPACE meanwhile or later.
  // An error if a page that is present and not owed has never come.
  Result<> apply_map(SpaceId space, std::span<const RegionMap> map);

  // For the pager. The spaces with a map, and the regions of one, which leave the store's index by that (nothing: no
  // such space, no map yet, or taken before). The store outlives them.
  std::vector<SpaceId> mapped_spaces() const;
  std::optional<StoredRegions> take(SpaceId space);

  uint64_t bytes_in_use() const { return arena_.bytes_in_use(); }
  uint64_t bytes_peak() const { return arena_.bytes_peak(); }
  uint64_t pages_owed_left() const { return owed_left_; }

 private:
  struct Space {
    StoredRegions regions;
    bool mapped = false;
    bool taken = false;
  };
  explicit PageStore(uint64_t bytes_max) : arena_(bytes_max), regions_max_(bytes_max / kPageBytes) {}
  Result<StoredRegion*> region_of(SpaceId space, const PageRange& range);
  Result<std::shared_ptr<StoredRegion>> new_region();

  PageArena arena_;
  std::atomic<uint64_t> owed_left_ = 0;
  const uint64_t regions_max_;
  mutable std::mutex mutex_;
  uint64_t regions_ = 0;
  std::unordered_map<SpaceId, Space> spaces_;
};

}  // namespace godwit
