#include "memory/stored_region.h"

namespace godwit {

StoredRegion::~StoredRegion() {
  if (block_ != nullptr) arena_.give_back_block(block_);
  arena_.uncharge(stored_.count());
  owed_left_ -= owed_.count();
}

Result<std::span<std::byte>> StoredRegion::place(uint64_t first, uint64_t count) {
  if (block_ == nullptr) {
    TRY_ASSIGN(block_, arena_.take_block());
  }
  const RegionBits pages = region_bits(first, count);
  TRY(arena_.charge((pages & ~stored_).count()));
  stored_ |= pages;
  zero_ &= ~pages;
  return std::span(block_ + first * kPageBytes, count * kPageBytes);
}

void StoredRegion::put_zero(uint64_t first, uint64_t count) {
  const RegionBits pages = region_bits(first, count);
  drop(pages);
  zero_ |= pages;
}

Result<> StoredRegion::apply(const RegionMap& map) {
  const RegionBits kept = map.present & ~map.owed;
  const RegionBits lost = kept & ~stored_ & ~zero_;
  if (lost.any())
    return fail("a page at " + std::to_string((map.start + lost._Find_first() * kPageBytes).value) +
                " should have come before the freeze, and has not");
  drop(~kept);
  zero_ &= kept;
  owed_left_ += map.owed.count();
  owed_left_ -= owed_.count();
  owed_ = map.owed;
  return {};
}

std::span<const std::byte> StoredRegion::content(uint64_t first, uint64_t count) const {
  return {block_ + first * kPageBytes, count * kPageBytes};
}

void StoredRegion::drop(const RegionBits& pages) {
  const RegionBits dropped = pages & stored_;
  if (dropped.none()) return;
  for_each_run(dropped, [&](size_t first, size_t count) { arena_.release(block_ + first * kPageBytes, count); });
  arena_.uncharge(dropped.count());
  stored_ &= ~dropped;
}

void StoredRegion::arrived(const RegionBits& pages) {
  owed_left_ -= (owed_ & pages).count();
  owed_ &= ~pages;
}

}  // namespace godwit
