#include "memory/page_arena.h"

#include <sys/mman.h>

namespace godwit {

namespace {

// Address space that is asked for at a time.
constexpr uint64_t kBlocksPerMapping = 512;
constexpr uint64_t kMappingBytes = (kBlocksPerMapping + 1) * kRegionBytes;

}  // namespace

PageArena::~PageArena() {
  for (void* mapping : mappings_) ::munmap(mapping, kMappingBytes);
}

Result<std::byte*> PageArena::take_block() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) {
    void* mapping = ::mmap(nullptr, kMappingBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                           -1, 0);
    if (mapping == MAP_FAILED) return fail_errno("map memory for pages");
    // A huge page would take two megabytes for a region with one page, and is not given back page by page.
    ::madvise(mapping, kMappingBytes, MADV_NOHUGEPAGE);
    ::madvise(mapping, kMappingBytes, MADV_DONTFORK);
    ::madvise(mapping, kMappingBytes, MADV_DONTDUMP);
    mappings_.push_back(mapping);
    const uint64_t start = (reinterpret_cast<uint64_t>(mapping) + kRegionBytes - 1) / kRegionBytes * kRegionBytes;
    for (uint64_t i = kBlocksPerMapping; i-- > 0;)
      free_.push_back(reinterpret_cast<std::byte*>(start + i * kRegionBytes));
  }
  std::byte* block = free_.back();
  free_.pop_back();
  return block;
}

void PageArena::give_back_block(std::byte* block) {
  ::madvise(block, kRegionBytes, MADV_DONTNEED);
  std::lock_guard lock(mutex_);
  free_.push_back(block);
}

void PageArena::release(std::byte* at, uint64_t pages) { ::madvise(at, pages * kPageBytes, MADV_DONTNEED); }

Result<> PageArena::charge(uint64_t pages) {
  const uint64_t now = pages_ += pages;
  if (now > pages_max_) {
    pages_ -= pages;
    return fail("more pages have come than the container was said to have");
  }
  uint64_t peak = pages_peak_;
  while (now > peak && !pages_peak_.compare_exchange_weak(peak, now)) {
  }
  return {};
}

}  // namespace godwit
