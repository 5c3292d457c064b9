#include "memory/page_store.h"

#include <algorithm>
#include <utility>

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

// In the freeze. A region that has arrived whole costs next to nothing.
Result<> PageStore::apply_map(SpaceId space, std::span<const RegionMap> maps) {
  SlotTable arrived;
  {
    std::lock_guard lock(mutex_);
    if (mapped_.contains(space)) return fail("a second map of the same process");
    if (auto found = arriving_.find(space); found != arriving_.end()) {
      arrived = std::move(found->second);
      arriving_.erase(found);
    }
  }
  Mapped after;
  for (const RegionMap& map : maps) TRY(apply_region(map, arrived, after));
  drop_all(arrived);
  std::lock_guard lock(mutex_);
  mapped_[space] = std::move(after);
  return {};
}

Result<> PageStore::apply_region(const RegionMap& map, SlotTable& arrived, Mapped& after) {
  if (map.start.value % kRegionBytes != 0 || after.table.find(map.start) != nullptr)
    return fail("an odd region in a map");
  const RegionBits owed = map.owed & map.present;
  auto found = arrived.regions().extract(map.start.value);
  if (!found.empty()) after.table.regions().insert(std::move(found));
  if (owed.any()) after.table.region(map.start);
  SlotTable::Region* region = after.table.find(map.start);
  if (region == nullptr) return {};
  const RegionBits known = slots_of(*region);
  for_each_page(known & ~map.present, [&](uint64_t page) {
    arena_.release((*region)[page]);
    (*region)[page] = kNoSlot;
  });
  for_each_page(known & owed, [&](uint64_t page) { arena_.set_owed((*region)[page], true); });
  std::vector<Slot> fresh;
  const RegionBits missing = owed & ~known;
  TRY(arena_.take(missing.count(), true, fresh));
  auto next = fresh.begin();
  for_each_page(missing, [&](uint64_t page) { (*region)[page] = *next++; });
  if (owed.any()) {
    SlotTable::Region& slots = after.owed.region(map.start);
    for_each_page(owed, [&](uint64_t page) { slots[page] = (*region)[page]; });
  }
  const RegionBits kept = (known & map.present) | owed;
  after.regions.push_back({.start = map.start, .present = kept, .owed = owed});
  after.pages += kept.count();
  return {};
}

// What has come and does not count.
void PageStore::drop_all(SlotTable& table) {
  for (auto& [start, region] : table.regions())
    for (const Slot slot : *region)
      if (slot != kNoSlot) arena_.release(slot);
}

void PageStore::end_maps() {
  std::lock_guard lock(mutex_);
  for (auto& [space, table] : arriving_) drop_all(table);
  arriving_.clear();
}

std::vector<SpaceId> PageStore::spaces() const {
  std::lock_guard lock(mutex_);
  std::vector<SpaceId> ids;
  for (const auto& [space, table] : mapped_) ids.push_back(space);
  return ids;
}

PageStore::Mapped PageStore::take(SpaceId space) {
  std::lock_guard lock(mutex_);
  return std::exchange(mapped_[space], {});
}

}  // namespace godwit
