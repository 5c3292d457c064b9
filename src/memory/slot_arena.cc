#include "memory/slot_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace godwit {

namespace {

constexpr uint64_t kChunkSlots = kRegionPages;
// Chunks with few slots in use count whole, so there is address space for more of them than could be full.
constexpr uint64_t kReserveFactor = 4;
constexpr uint64_t kReserveMax = uint64_t{8} << 40;

}  // namespace

Result<SlotArena> SlotArena::create(uint64_t bytes_max) {
  const uint64_t wanted = std::min(std::max(bytes_max, kRegionBytes) * kReserveFactor, kReserveMax);
  const uint64_t reserved = (wanted + kRegionBytes - 1) / kRegionBytes * kRegionBytes;
  void* base = ::mmap(nullptr, reserved + kRegionBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return fail_errno("address space for arriving pages");
  // Huge pages begin at multiples of their size.
  const uint64_t start = reinterpret_cast<uint64_t>(base);
  const uint64_t aligned = (start + kRegionBytes - 1) / kRegionBytes * kRegionBytes;
  if (aligned > start) ::munmap(base, aligned - start);
  ::munmap(reinterpret_cast<void*>(aligned + reserved), start + kRegionBytes - aligned);
  ::madvise(reinterpret_cast<void*>(aligned), reserved, MADV_HUGEPAGE);
  ::madvise(reinterpret_cast<void*>(aligned), reserved, MADV_DONTDUMP);
  void* owed = ::mmap(nullptr, reserved / kPageBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (owed == MAP_FAILED) {
    const int code = errno;
    ::munmap(reinterpret_cast<void*>(aligned), reserved);
    return fail_errno("address space for arriving pages", code);
  }
  return SlotArena(reinterpret_cast<std::byte*>(aligned), static_cast<uint8_t*>(owed), bytes_max, reserved);
}

SlotArena::SlotArena(SlotArena&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      owed_(other.owed_),
      slots_max_(other.slots_max_),
      reserved_(other.reserved_) {}

SlotArena::~SlotArena() {
  if (base_ == nullptr) return;
  ::munmap(base_, reserved_);
  ::munmap(owed_, reserved_ / kPageBytes);
}

Result<Slot> SlotArena::next_slot() {
  if (current_ == SIZE_MAX || chunks_[current_].taken == kChunkSlots) {
    if (!free_chunks_.empty()) {
      current_ = free_chunks_.back();
      free_chunks_.pop_back();
    } else {
      if ((chunks_.size() + 1) * kRegionBytes > reserved_) return fail("no room for more pages");
      current_ = chunks_.size();
      chunks_.emplace_back();
    }
    chunks_peak_ = std::max(chunks_peak_, ++chunks_in_use_);
  }
  Chunk& chunk = chunks_[current_];
  ++chunk.live;
  return static_cast<Slot>(current_ * kChunkSlots + chunk.taken++);
}

Result<> SlotArena::take(uint64_t count, bool owed, std::vector<Slot>& slots) {
  std::lock_guard lock(mutex_);
  if (in_use_ + count > slots_max_) return fail(Error("more memory than the container may bring", ENOMEM));
  for (uint64_t i = 0; i < count; ++i) {
    TRY_ASSIGN(const Slot slot, next_slot());
    mark(slot, owed);
    slots.push_back(slot);
    ++in_use_;
    if (owed) ++owed_count_;
  }
  return {};
}

void SlotArena::refer(Slot slot) {
  std::lock_guard lock(mutex_);
  ++extra_references_[slot];
}

void SlotArena::release(Slot slot) {
  std::lock_guard lock(mutex_);
  if (auto extra = extra_references_.find(slot); extra != extra_references_.end()) {
    if (--extra->second == 0) extra_references_.erase(extra);
    return;
  }
  if (is_owed(slot)) --owed_count_;
  mark(slot, false);
  --in_use_;
  const size_t chunk = slot / kChunkSlots;
  if (--chunks_[chunk].live == 0 && chunks_[chunk].taken == kChunkSlots) free_chunk(chunk);
}

void SlotArena::free_chunk(size_t chunk) {
  ::madvise(base_ + chunk * kRegionBytes, kRegionBytes, MADV_DONTNEED);
  chunks_[chunk] = {};
  free_chunks_.push_back(chunk);
  --chunks_in_use_;
  if (chunk == current_) current_ = SIZE_MAX;
}

bool SlotArena::is_shared(Slot slot) const {
  std::lock_guard lock(mutex_);
  return extra_references_.contains(slot);
}

void SlotArena::set_owed(Slot slot, bool owed) {
  std::lock_guard lock(mutex_);
  if (is_owed(slot) == owed) return;
  mark(slot, owed);
  owed_count_ += owed ? 1 : uint64_t(-1);
}

uint64_t SlotArena::owed_slots() const {
  std::lock_guard lock(mutex_);
  return owed_count_;
}

uint64_t SlotArena::slots_in_use() const {
  std::lock_guard lock(mutex_);
  return in_use_;
}

uint64_t SlotArena::bytes_peak() const {
  std::lock_guard lock(mutex_);
  return chunks_peak_ * kRegionBytes;
}

}  // namespace godwit
