#include "memory/slot_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "base/test_support.h"

namespace godwit {
namespace {

std::vector<Slot> take(SlotArena& arena, uint64_t count, bool owed = false) {
  std::vector<Slot> slots;
  must(arena.take(count, owed, slots));
  return slots;
}

// Whether the kernel keeps memory for the contents of SLOT.
bool has_memory(const SlotArena& arena, Slot slot) {
  unsigned char there = 0;
  if (::mincore(arena.contents(slot), kPageBytes, &there) != 0) throw std::runtime_error("mincore");
  return (there & 1) != 0;
}

TEST(SlotArena, NoMoreThanItsBytes) {
  SlotArena arena = must(SlotArena::create(10 * kPageBytes));
  const auto slots = take(arena, 10);
  std::vector<Slot> more;
  auto refused = arena.take(1, false, more);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ENOMEM);
  EXPECT_TRUE(more.empty());
  EXPECT_FALSE(arena.take(UINT64_MAX - 5, false, more));  // a sum that would overflow
  arena.release(slots[3]);
  EXPECT_EQ(take(arena, 1).size(), 1u);
  EXPECT_FALSE(arena.take(1, false, more));
}

TEST(SlotArena, ZeroBytesHaveNoRoom) {
  SlotArena arena = must(SlotArena::create(0));
  std::vector<Slot> slots;
  EXPECT_FALSE(arena.take(1, false, slots));
  must(arena.take(0, false, slots));
}

TEST(SlotArena, ASlotReferredToTwiceIsGivenBackByTheSecondRelease) {
  SlotArena arena = must(SlotArena::create(kRegionBytes));
  const Slot slot = take(arena, 1, true)[0];
  arena.refer(slot);
  arena.refer(slot);
  EXPECT_TRUE(arena.is_shared(slot));
  arena.release(slot);
  EXPECT_TRUE(arena.is_shared(slot));
  arena.release(slot);
  EXPECT_FALSE(arena.is_shared(slot));
  EXPECT_EQ(arena.slots_in_use(), 1u);
  EXPECT_EQ(arena.owed_slots(), 1u);
  arena.release(slot);
  EXPECT_EQ(arena.slots_in_use(), 0u);
  EXPECT_EQ(arena.owed_slots(), 0u);
}

TEST(SlotArena, OwedIsCountedOnceHoweverOftenItIsSaid) {
  SlotArena arena = must(SlotArena::create(kRegionBytes));
  const auto slots = take(arena, 3);
  for (int i = 0; i < 3; ++i) arena.set_owed(slots[0], true);
  EXPECT_EQ(arena.owed_slots(), 1u);
  for (int i = 0; i < 3; ++i) arena.set_owed(slots[0], false);
  EXPECT_EQ(arena.owed_slots(), 0u);
  arena.set_owed(slots[1], true);
  arena.release(slots[1]);
  EXPECT_EQ(arena.owed_slots(), 0u);
}

TEST(SlotArena, MemoryOfAChunkWithoutSlotsInUseIsGivenBackAndTheChunkUsedAgain) {
  SlotArena arena = must(SlotArena::create(2 * kRegionBytes));
  const auto slots = take(arena, 2 * kRegionPages);
  for (Slot slot : slots) std::memset(arena.contents(slot), 1, kPageBytes);
  for (size_t i = 1; i < kRegionPages; ++i) arena.release(slots[i]);
  EXPECT_TRUE(has_memory(arena, slots[0]));
  arena.release(slots[0]);
  EXPECT_FALSE(has_memory(arena, slots[0]));
  EXPECT_TRUE(has_memory(arena, slots[kRegionPages]));
  const uint64_t peak = arena.bytes_peak();
  const auto again = take(arena, kRegionPages);
  EXPECT_EQ(std::set<Slot>(again.begin(), again.end()),
            std::set<Slot>(slots.begin(), slots.begin() + static_cast<ptrdiff_t>(kRegionPages)));
  EXPECT_EQ(*arena.contents(again[0]), std::byte{0});
  EXPECT_EQ(arena.bytes_peak(), peak);
}

// One slot in use keeps its whole chunk, so chunks with room are filled up before there are too many.
TEST(SlotArena, ChunksWithASingleSlotInUseAreFilledUp) {
  SlotArena arena = must(SlotArena::create(4 * kRegionBytes));
  uint64_t live = 0;
  for (; live < 3 * kRegionPages; ++live) {
    const auto slots = take(arena, kRegionPages);
    for (size_t i = 1; i < slots.size(); ++i) arena.release(slots[i]);
  }
  EXPECT_EQ(arena.slots_in_use(), live);
  EXPECT_LE(arena.bytes_peak(), (2 * 4 + 3) * kRegionBytes);
}

TEST(SlotArena, SlotsAreNeverHandedOutTwice) {
  SlotArena arena = must(SlotArena::create(8 * kRegionBytes));
  const auto seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<Slot> live;
  std::set<Slot> seen;
  uint64_t owed = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (live.empty() || (live.size() < 3000 && random() % 2 == 0)) {
      const bool is_owed = random() % 2 == 0;
      for (Slot slot : take(arena, 1 + random() % 60, is_owed)) {
        ASSERT_TRUE(seen.insert(slot).second);
        live.push_back(slot);
        owed += is_owed ? 1 : 0;
      }
    } else {
      const size_t at = random() % live.size();
      owed -= arena.is_owed(live[at]) ? 1 : 0;
      arena.release(live[at]);
      seen.erase(live[at]);
      live[at] = live.back();
      live.pop_back();
    }
    ASSERT_EQ(arena.slots_in_use(), live.size());
    ASSERT_EQ(arena.owed_slots(), owed);
  }
}

TEST(SlotArena, ThreadsThatTakeAndReleaseDoNotMeet) {
  SlotArena arena = must(SlotArena::create(16 * kRegionBytes));
  std::vector<std::jthread> threads;
  for (int number = 0; number < 4; ++number)
    threads.emplace_back([&arena, number] {
      std::mt19937 random(static_cast<unsigned>(number));
      std::vector<Slot> mine;
      for (int step = 0; step < 3000; ++step) {
        for (Slot slot : take(arena, random() % 8, true)) {
          std::memset(arena.contents(slot), number + 1, kPageBytes);
          arena.set_owed(slot, false);
          mine.push_back(slot);
        }
        while (mine.size() > 500) {
          ASSERT_EQ(arena.contents(mine.back())[kPageBytes - 1], std::byte(number + 1));
          arena.release(mine.back());
          mine.pop_back();
        }
      }
      for (Slot slot : mine) arena.release(slot);
    });
  threads.clear();
  EXPECT_EQ(arena.slots_in_use(), 0u);
  EXPECT_EQ(arena.owed_slots(), 0u);
}

}  // namespace
}  // namespace godwit
