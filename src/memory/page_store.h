// The page store: pages that arrived and are not yet installed. While rounds go on, receivers put pages here, again
// and again the same ones; the map of the freeze then says which of them count. From there on the pager has it.
//
// What arrives comes from a peer. Pages of one 2 MiB region must always come on the same thread; the caller sees to it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/region_map.h"
#include "memory/slot_arena.h"
#include "memory/slot_table.h"

namespace godwit {

class PageStore {
 public:
  static Result<std::unique_ptr<PageStore>> create(uint64_t bytes_max);

  // Where PAGES of SPACE, all of one region, are to be written: appended to PARTS in order. In place if they have come
  // before.
  Result<> place(SpaceId space, const PageRange& pages, std::vector<std::span<std::byte>>& parts);
  // They are all zero.
  Result<> put_zero(SpaceId space, const PageRange& pages);
  // Of a whole space, once: MAPS in order of address. What they do not name, or name as owed, is dropped.
  Result<> apply_map(SpaceId space, std::span<const RegionMap> maps);

  // All maps have been applied: what came of processes that have none, because they have ended, is dropped.
  void end_maps();

  // What a space consists of at the freeze.
  struct Mapped {
    SlotTable table;
    SlotTable owed;                  // that part of it
    std::vector<RegionMap> regions;  // that have slots, and which pages of theirs have
    uint64_t pages = 0;              // that have
  };
  // For the pager, after the maps: the spaces that have one, and the contents of each, once.
  std::vector<SpaceId> spaces() const;
  Mapped take(SpaceId space);
  SlotArena& arena() { return arena_; }

  uint64_t bytes_peak() const { return arena_.bytes_peak(); }

 private:
  explicit PageStore(SlotArena arena) : arena_(std::move(arena)) {}
  Result<> check(SpaceId space, const PageRange& pages) const;
  Result<> apply_region(const RegionMap& map, SlotTable& arrived, Mapped& after);
  void drop_all(SlotTable& table);

  SlotArena arena_;
  mutable std::mutex mutex_;  // guards the maps, not what the regions hold
  std::map<SpaceId, SlotTable> arriving_;
  std::map<SpaceId, Mapped> mapped_;
};

}  // namespace godwit
