#include "memory/slot_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace godwit {

namespace {

constexpr uint64_t kChunkSlots = kRegionPages;
// Chunks that are half full are not looked at for room, so there may be twice as many as could be full, and some.
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
  auto at_free_slot = [&] {
    while (current_ != SIZE_MAX && next_ < kChunkSlots && chunks_[current_].test(next_)) ++next_;
    return current_ != SIZE_MAX && next_ < kChunkSlots;
  };
  while (!at_free_slot()) TRY(choose_chunk());
  chunks_[current_].set(next_);
  return static_cast<Slot>(current_ * kChunkSlots + next_++);
}

// Preferably an empty one, so that neighbours in the container are neighbours here. But if chunks are less than half
// full on average, one with that much room is filled up: memory that is not in use is bounded by that which is.
Result<> SlotArena::choose_chunk() {
  if (const size_t left = std::exchange(current_, SIZE_MAX); left != SIZE_MAX && chunks_[left].none()) free_chunk(left);
  next_ = 0;
  if (chunks_in_use_ * kChunkSlots > 2 * (in_use_ + kChunkSlots)) {
    const auto sparse = std::ranges::find_if(
        chunks_, [](const Chunk& chunk) { return chunk.any() && chunk.count() <= kChunkSlots / 2; });
    if (sparse != chunks_.end()) {
      current_ = static_cast<size_t>(sparse - chunks_.begin());
      return {};
    }
  }
  if (!free_chunks_.empty()) {
    current_ = free_chunks_.back();
    free_chunks_.pop_back();
  } else {
    if ((chunks_.size() + 1) * kRegionBytes > reserved_) return fail("no room for more pages");
    current_ = chunks_.size();
    chunks_.emplace_back();
  }
  chunks_peak_ = std::max(chunks_peak_, ++chunks_in_use_);
  return {};
}

Result<> SlotArena::take(uint64_t count, bool owed, std::vector<Slot>& slots) {
  std::lock_guard lock(mutex_);
  if (count > slots_max_ - in_use_) return fail(Error("more memory than the container may bring", ENOMEM));
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
  chunks_[chunk].reset(slot % kChunkSlots);
  if (chunks_[chunk].none() && (chunk != current_ || next_ == kChunkSlots)) free_chunk(chunk);
}

void SlotArena::free_chunk(size_t chunk) {
  ::madvise(base_ + chunk * kRegionBytes, kRegionBytes, MADV_DONTNEED);
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
