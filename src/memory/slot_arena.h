// Room for pages that are not yet in their process. Each has a slot, a number, whether its contents have come or are
// still owed. A slot may be referred to by several processes (after a fork). Memory is taken when contents are
// written and given back in chunks of 2 MiB when no slot of a chunk is in use; what is taken and not in use is about as
// much as what is in use, at most.
//
// Thread-safe, except that the memory of a slot belongs to whoever fills it.
#pragma once

#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/page.h"
#include "base/result.h"

namespace godwit {

using Slot = uint32_t;
inline constexpr Slot kNoSlot = UINT32_MAX;

class SlotArena {
 public:
  // Of at most BYTES_MAX of pages.
  static Result<SlotArena> create(uint64_t bytes_max);
  SlotArena(SlotArena&& other) noexcept;
  SlotArena& operator=(SlotArena&&) = delete;
  ~SlotArena();

  // COUNT slots, consecutive as far as chunks go; each is referred to once. An error if there is no room.
  Result<> take(uint64_t count, bool owed, std::vector<Slot>& slots);
  std::byte* contents(Slot slot) const { return base_ + uint64_t{slot} * kPageBytes; }

  void refer(Slot slot);            // once more
  void release(Slot slot);          // once less
  bool is_shared(Slot slot) const;  // referred to more than once
  bool is_owed(Slot slot) const { return std::atomic_ref(owed_[slot]).load(std::memory_order_relaxed) != 0; }
  void set_owed(Slot slot, bool owed);

  uint64_t owed_slots() const;
  uint64_t slots_in_use() const;
  uint64_t bytes_peak() const;

 private:
  SlotArena(std::byte* base, uint8_t* owed, uint64_t bytes_max, uint64_t reserved)
      : base_(base), owed_(owed), slots_max_(bytes_max / kPageBytes), reserved_(reserved) {}
  Result<Slot> next_slot();
  Result<> choose_chunk();
  void free_chunk(size_t chunk);
  void mark(Slot slot, bool owed) { std::atomic_ref(owed_[slot]).store(owed ? 1 : 0, std::memory_order_relaxed); }

  using Chunk = std::bitset<kRegionPages>;  // its slots in use
  std::byte* base_;
  uint8_t* owed_;  // by slot; read without the lock
  uint64_t slots_max_;
  uint64_t reserved_;  // address space, in bytes

  mutable std::mutex mutex_;
  std::vector<Chunk> chunks_;
  std::vector<size_t> free_chunks_;
  size_t current_ = SIZE_MAX;  // the chunk from which slots are taken,
  size_t next_ = 0;            // from this one of it on
  std::unordered_map<Slot, uint32_t> extra_references_;
  uint64_t owed_count_ = 0;
  uint64_t in_use_ = 0;
  uint64_t chunks_in_use_ = 0;
  uint64_t chunks_peak_ = 0;
};

}  // namespace godwit
