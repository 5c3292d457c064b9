// Which slot holds, or will hold, the contents of each page of one address space: a page table of one level.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "base/page.h"
#include "memory/region_bits.h"
#include "memory/slot_arena.h"

namespace godwit {

// Which pages of a region have one.
inline RegionBits slots_of(const std::array<Slot, kRegionPages>& region) {
  if (std::ranges::find(region, kNoSlot) == region.end()) return ~RegionBits();
  RegionBits bits;
  for (uint64_t page = 0; page < kRegionPages; ++page) bits.set(page, region[page] != kNoSlot);
  return bits;
}

class SlotTable {
 public:
  using Region = std::array<Slot, kRegionPages>;

  Slot get(RemoteAddr page) const {
    const Region* found = find(page);
    return found == nullptr ? kNoSlot : (*found)[page_in_region(page)];
  }
  void set(RemoteAddr page, Slot slot) { region(page)[page_in_region(page)] = slot; }

  Region* find(RemoteAddr page) {
    auto found = regions_.find(page.region().value);
    return found == regions_.end() ? nullptr : found->second.get();
  }
  const Region* find(RemoteAddr page) const { return const_cast<SlotTable*>(this)->find(page); }
  // Made if it is not there.
  Region& region(RemoteAddr page) {
    auto& entry = regions_[page.region().value];
    if (!entry) {
      entry = std::make_unique<Region>();
      entry->fill(kNoSlot);
    }
    return *entry;
  }

  std::map<uint64_t, std::unique_ptr<Region>>& regions() { return regions_; }
  const std::map<uint64_t, std::unique_ptr<Region>>& regions() const { return regions_; }

 private:
  std::map<uint64_t, std::unique_ptr<Region>> regions_;
};

}  // namespace godwit
