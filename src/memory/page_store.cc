#include "memory/page_store.h"

#include <algorithm>

namespace godwit {

namespace {

constexpr size_t kSpacesMax = 65536;
// What a process may use with five-level page tables; nothing here can wrap round below it.
constexpr uint64_t kUserEnd = uint64_t{1} << 56;

}  // namespace

Result<std::unique_ptr<PageStore>> PageStore::create(uint64_t bytes_max) {
  if (bytes_max > kUserEnd) return fail("more memory than a container can have");
  return std::unique_ptr<PageStore>(new PageStore(bytes_max));
}

Result<> PageStore::place(SpaceId space, PageRange range, std::vector<std::span<std::byte>>& parts) {
  TRY_ASSIGN(StoredRegion * region, region_of(space, range));
  TRY_ASSIGN(std::span<std::byte> part, region->place(page_in_region(range.start), range.pages));
  parts.push_back(part);
  return {};
}

Result<> PageStore::put_zero(SpaceId space, PageRange range) {
  TRY_ASSIGN(StoredRegion * region, region_of(space, range));
  region->put_zero(page_in_region(range.start), range.pages);
  return {};
}

Result<> PageStore::apply_map(SpaceId space, std::span<const RegionMap> map) {
  std::lock_guard lock(mutex_);
  if (!spaces_.contains(space) && spaces_.size() >= kSpacesMax) return fail("too many processes");
  Space& known = spaces_[space];
  if (known.taken) return fail("a second map for a process that is being restored");
  StoredRegions regions;
  for (const RegionMap& entry : map) {
    if (entry.start.value % kRegionBytes != 0 || entry.start.value >= kUserEnd) return fail("a map with a bad address");
    if ((entry.owed & ~entry.present).any()) return fail("a map with owed pages that are not there");
    if (regions.contains(entry.start)) return fail("a map that names a region twice");
    if (entry.present.none()) continue;
    auto found = known.regions.find(entry.start);
    if (found == known.regions.end()) {
      TRY_ASSIGN(std::shared_ptr<StoredRegion> added, new_region());
      found = known.regions.emplace(entry.start, std::move(added)).first;
    }
    TRY(found->second->apply(entry));
    if (found->second->stored().any() || found->second->owed().any()) regions.emplace(entry.start, found->second);
  }
  known.regions = std::move(regions);
  known.mapped = true;
  return {};
}

std::vector<SpaceId> PageStore::mapped_spaces() const {
  std::lock_guard lock(mutex_);
  std::vector<SpaceId> ids;
  for (const auto& [id, space] : spaces_)
    if (space.mapped) ids.push_back(id);
  std::ranges::sort(ids);
  return ids;
}

std::optional<StoredRegions> PageStore::take(SpaceId space) {
  std::lock_guard lock(mutex_);
  auto found = spaces_.find(space);
  if (found == spaces_.end() || !found->second.mapped || found->second.taken) return std::nullopt;
  found->second.taken = true;
  return std::exchange(found->second.regions, {});
}

// All that is said here comes from a peer.
Result<StoredRegion*> PageStore::region_of(SpaceId space, const PageRange& range) {
  if (!range.start.page_aligned() || range.start.value >= kUserEnd || range.pages == 0 || range.pages > kRegionPages ||
      page_in_region(range.start) + range.pages > kRegionPages)
    return fail("pages that do not lie in one region");
  std::lock_guard lock(mutex_);
  if (!spaces_.contains(space) && spaces_.size() >= kSpacesMax) return fail("too many processes");
  Space& known = spaces_[space];
  if (known.mapped) return fail("pages of a round after the map");
  std::shared_ptr<StoredRegion>& region = known.regions[range.start.region()];
  if (!region) {
    auto added = new_region();
    if (!added) {
      known.regions.erase(range.start.region());
      return std::unexpected(std::move(added.error()));
    }
    region = std::move(*added);
  }
  return region.get();
}

// Regions with a single page each: no honest container has more for its memory. Never counted down: what a peer can
// make us index is bounded for the migration.
Result<std::shared_ptr<StoredRegion>> PageStore::new_region() {
  if (regions_ >= regions_max_) return fail("more regions than the container can have");
  ++regions_;
  return std::make_shared<StoredRegion>(arena_, owed_left_);
}

}  // namespace godwit
