#include "memory/page_store.h"

#include <algorithm>

#include "wire/frame.h"

namespace godwit {

Result<std::unique_ptr<PageStore>> PageStore::create(uint64_t bytes_max) {
  TRY_ASSIGN(SlotArena arena, SlotArena::create(bytes_max));
  return std::unique_ptr<PageStore>(new PageStore(std::move(arena)));
}

// Called with the lock held.
Result<> PageStore::check(SpaceId space, const PageRange& pages) const {
  if (pages.pages == 0 || !pages.start.page_aligned() || pages.pages > kRegionPages - page_in_region(pages.start))
    return fail("pages that do not lie in one region");
  if (mapped_.contains(space)) return fail("pages of a round after the freeze");
  if (arriving_.size() >= wire::kSpacesMax && !arriving_.contains(space)) return fail("pages of too many processes");
  return {};
}

Result<> PageStore::place(SpaceId space, const PageRange& pages, std::vector<std::span<std::byte>>& parts) {
  SlotTable::Region* region = nullptr;
  {
    std::lock_guard lock(mutex_);
    TRY(check(space, pages));
    region = &arriving_[space].region(pages.start);
  }
  const uint64_t first = page_in_region(pages.start);
  uint64_t missing = 0;
  for (uint64_t i = 0; i < pages.pages; ++i) missing += (*region)[first + i] == kNoSlot ? 1 : 0;
  std::vector<Slot> fresh;
  TRY(arena_.take(missing, false, fresh));
  auto next = fresh.begin();
  for (uint64_t i = 0; i < pages.pages; ++i) {
    Slot& slot = (*region)[first + i];
    if (slot == kNoSlot) slot = *next++;
    std::byte* contents = arena_.contents(slot);
    if (!parts.empty() && parts.back().data() + parts.back().size() == contents) {
      parts.back() = {parts.back().data(), parts.back().size() + kPageBytes};
    } else {
      parts.emplace_back(contents, kPageBytes);
    }
  }
  return {};
}

// Nothing is kept for pages of zeros: a peer can name any number of them with few bytes.
Result<> PageStore::put_zero(SpaceId space, const PageRange& pages) {
  std::lock_guard lock(mutex_);
  TRY(check(space, pages));
  auto table = arriving_.find(space);
  SlotTable::Region* region = table == arriving_.end() ? nullptr : table->second.find(pages.start);
  if (region == nullptr) return {};
  for (uint64_t i = 0; i < pages.pages; ++i) {
    Slot& slot = (*region)[page_in_region(pages.start) + i];
    if (slot != kNoSlot) arena_.release(slot);
    slot = kNoSlot;
  }
  if (std::ranges::all_of(*region, [](Slot slot) { return slot == kNoSlot; }))
    table->second.regions().erase(pages.start.region().value);
  return {};
}

Result<> PageStore::apply_map(SpaceId space, std::span<const RegionMap> maps) {
  SlotTable before;
  {
    std::lock_guard lock(mutex_);
    if (mapped_.contains(space)) return fail("a second map of the same process");
    if (auto found = arriving_.find(space); found != arriving_.end()) {
      before = std::move(found->second);
      arriving_.erase(found);
    }
  }
  SlotTable after;
  for (const RegionMap& map : maps) TRY(apply_region(map, before.find(map.start), after));
  drop_all(before, after);
  std::lock_guard lock(mutex_);
  mapped_[space] = std::move(after);
  return {};
}

Result<> PageStore::apply_region(const RegionMap& map, const SlotTable::Region* before, SlotTable& after) {
  if (map.start.value % kRegionBytes != 0 || after.find(map.start) != nullptr) return fail("an odd region in a map");
  if (map.present.none() || (before == nullptr && map.owed.none())) return {};
  SlotTable::Region& region = after.region(map.start);
  uint64_t missing = 0;
  for (uint64_t i = 0; i < kRegionPages; ++i)
    missing += map.owed.test(i) && (before == nullptr || (*before)[i] == kNoSlot) ? 1 : 0;
  std::vector<Slot> fresh;
  TRY(arena_.take(missing, true, fresh));
  auto next = fresh.begin();
  for (uint64_t i = 0; i < kRegionPages; ++i) {
    if (!map.present.test(i)) continue;
    const Slot known = before == nullptr ? kNoSlot : (*before)[i];
    region[i] = known;
    if (!map.owed.test(i)) continue;
    region[i] = known == kNoSlot ? *next++ : known;
    arena_.set_owed(region[i], true);
  }
  return {};
}

// What has come and does not count.
void PageStore::drop_all(SlotTable& table, SlotTable& kept) {
  for (auto& [start, region] : table.regions()) {
    const SlotTable::Region* still = kept.find({start});
    for (uint64_t i = 0; i < kRegionPages; ++i) {
      const Slot slot = (*region)[i];
      if (slot != kNoSlot && (still == nullptr || (*still)[i] != slot)) arena_.release(slot);
    }
  }
}

void PageStore::end_maps() {
  std::lock_guard lock(mutex_);
  SlotTable nothing;
  for (auto& [space, table] : arriving_) drop_all(table, nothing);
  arriving_.clear();
}

std::vector<SpaceId> PageStore::spaces() const {
  std::lock_guard lock(mutex_);
  std::vector<SpaceId> ids;
  for (const auto& [space, table] : mapped_) ids.push_back(space);
  return ids;
}

SlotTable PageStore::take_table(SpaceId space) {
  std::lock_guard lock(mutex_);
  SlotTable table = std::move(mapped_[space]);
  mapped_[space] = {};
  return table;
}

}  // namespace godwit
