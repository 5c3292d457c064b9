#include "memory/owed_pages.h"

#include <algorithm>

#include "memory/page_set.h"

namespace godwit {

uint32_t stream_of(SpaceId space, RemoteAddr address, uint32_t streams) {
  return static_cast<uint32_t>((address.value / kRegionBytes + space) % streams);
}

void OwedPages::add(SpaceId space, const PageRanges& pages) {
  for_each_region(pages, [&](RemoteAddr start, const RegionBits& bits) {
    Region& into = region(space, start);
    const uint64_t added = (bits & ~into.owed).count();
    into.owed |= bits;
    into.left = into.owed;
    total_ += added;
    queues_[stream_of(space, start, static_cast<uint32_t>(queues_.size()))].left += added;
  });
}

OwedPages::Region& OwedPages::region(SpaceId space, RemoteAddr start) {
  Queue& queue = queues_[stream_of(space, start, static_cast<uint32_t>(queues_.size()))];
  auto [found, added] = queue.index.try_emplace({space, start.value}, queue.regions.size());
  if (added) queue.regions.push_back({.space = space, .start = start, .owed = {}, .left = {}});
  return queue.regions[found->second];
}

std::optional<OwedPages::Batch> OwedPages::take(uint32_t stream, uint64_t pages_max) {
  Queue& queue = queues_[stream];
  std::lock_guard lock(queue.mutex);
  if (queue.left == 0) return std::nullopt;
  while (queue.regions[queue.next].left.none()) queue.next = (queue.next + 1) % queue.regions.size();
  Region& region = queue.regions[queue.next];
  Batch batch{.space = region.space, .pages = {}};
  uint64_t taken = 0;
  for (size_t page = 0; page < kRegionPages && taken < pages_max; ++page) {
    if (!region.left.test(page)) continue;
    region.left.reset(page);
    append(batch.pages, {region.start + page * kPageBytes, 1});
    ++taken;
  }
  queue.left -= taken;
  return batch;
}

PageRanges OwedPages::take_requested(SpaceId space, const PageRange& range) {
  Queue& queue = queues_[stream_of(space, range.start, static_cast<uint32_t>(queues_.size()))];
  std::lock_guard lock(queue.mutex);
  auto found = queue.index.find({space, range.start.region().value});
  if (found == queue.index.end()) return {};
  Region& region = queue.regions[found->second];
  PageRanges pages;
  const RemoteAddr end = std::min(range.end(), region.start + kRegionBytes);
  for (RemoteAddr at = range.start; at < end; at = at + kPageBytes) {
    const size_t page = page_in_region(at);
    if (!region.owed.test(page)) continue;
    append(pages, {at, 1});
    if (region.left.test(page)) --queue.left;
    region.left.reset(page);
  }
  queue.next = found->second;
  return pages;
}

uint64_t OwedPages::left() const {
  uint64_t left = 0;
  for (const Queue& queue : queues_) {
    std::lock_guard lock(queue.mutex);
    left += queue.left;
  }
  return left;
}

}  // namespace godwit
