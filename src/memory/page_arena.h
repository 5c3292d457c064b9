// Memory for pages that wait to be installed: one block of a region's size in address space for each region, in which
// every page has its fixed place. So any run of a region's pages is one copy, whatever the order in which they came;
// a place that is not used takes no memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "base/result.h"

namespace godwit {

class PageArena {
 public:
  explicit PageArena(uint64_t bytes_max) : pages_max_(bytes_max / kPageBytes) {}
  ~PageArena();
  PageArena(const PageArena&) = delete;
  PageArena& operator=(const PageArena&) = delete;

  // Address space only. Thread-safe, like everything here.
  Result<std::byte*> take_block();
  // Its pages read as zero from now on.
  void give_back_block(std::byte* block);
  // Gives the memory of PAGES pages back, without the block.
  void release(std::byte* at, uint64_t pages);

  // Counts pages that are going to be written. An error if there would be more than allowed.
  Result<> charge(uint64_t pages);
  void uncharge(uint64_t pages) { pages_ -= pages; }

  uint64_t bytes_in_use() const { return pages_ * kPageBytes; }
  uint64_t bytes_peak() const { return pages_peak_ * kPageBytes; }

 private:
  const uint64_t pages_max_;
  std::atomic<uint64_t> pages_ = 0;
  std::atomic<uint64_t> pages_peak_ = 0;
  std::mutex mutex_;
  std::vector<void*> mappings_;
  std::vector<std::byte*> free_;
};

}  // namespace godwit
