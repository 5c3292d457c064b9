#include "memory/page_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/file.h"
#include "base/test_support.h"
#include "memory/region_bits.h"
#include "wire/frame.h"

namespace godwit {
namespace {

using testing::HasSubstr;

constexpr SpaceId kSpace = 1;
constexpr RemoteAddr kBase{0x7f0000000000};

RemoteAddr page(uint64_t number) { return kBase + number * kPageBytes; }

// In kB, of this process.
uint64_t resident_kb() {
  const std::string text = must(read_file("/proc/self/status"));
  return std::stoull(text.substr(text.find("VmRSS:") + 6));
}

class PageStoreTest : public testing::Test {
 protected:
  void put(const PageRange& pages, char value, SpaceId space = kSpace) {
    std::vector<std::span<std::byte>> parts;
    must(store_->place(space, pages, parts));
    for (auto part : parts) std::ranges::fill(part, std::byte(value));
  }
  std::string refusal(const PageRange& pages, SpaceId space = kSpace) {
    std::vector<std::span<std::byte>> parts;
    auto placed = store_->place(space, pages, parts);
    auto zeroed = store_->put_zero(space, pages);
    EXPECT_EQ(placed.has_value(), zeroed.has_value());
    return placed ? "" : placed.error().text();
  }
  static RegionMap map(uint64_t region, const RegionBits& present, const RegionBits& owed = {}) {
    return {.start = kBase + region * kRegionBytes, .present = present, .owed = owed};
  }
  // '.' no slot, '?' owed, else the first byte of its contents.
  std::string state(SpaceId space, uint64_t pages) {
    SlotTable table = store_->take(space).table;
    std::string text;
    for (uint64_t i = 0; i < pages; ++i) {
      const Slot slot = table.get(page(i));
      text += slot == kNoSlot                 ? '.'
              : store_->arena().is_owed(slot) ? '?'
                                              : static_cast<char>(*store_->arena().contents(slot));
    }
    return text;
  }

  std::unique_ptr<PageStore> store_ = must(PageStore::create(64 * kRegionBytes));
};

TEST_F(PageStoreTest, TheLastCopyOfAPageCounts) {
  put({page(0), 4}, 'a');
  put({page(1), 2}, 'b');
  must(store_->put_zero(kSpace, {page(2), 1}));
  must(store_->apply_map(kSpace, std::vector{map(0, region_bits(0, 4))}));
  EXPECT_EQ(state(kSpace, 5), "ab.a.");
  EXPECT_EQ(store_->arena().slots_in_use(), 3u);
}

TEST_F(PageStoreTest, TheMapDecidesWhatCounts) {
  put({page(0), 6}, 'a');
  // Page 1 has lost its content, 2 is owed again, 6 has never come, 7 has content that came as zeros.
  must(store_->apply_map(kSpace, std::vector{map(0, ~region_bits(1, 1), region_bits(2, 1) | region_bits(6, 1))}));
  EXPECT_EQ(state(kSpace, 8), "a.?aaa?.");
  EXPECT_EQ(store_->arena().slots_in_use(), 6u);
  EXPECT_EQ(store_->arena().owed_slots(), 2u);
}

TEST_F(PageStoreTest, WhatIsNotInTheMapIsDropped) {
  put({page(0), 100}, 'a');
  put({page(kRegionPages), 100}, 'b');
  put({page(0), 100}, 'c', 2);
  must(store_->apply_map(kSpace, std::vector{map(1, region_bits(0, 100))}));
  EXPECT_EQ(store_->arena().slots_in_use(), 200u);
  store_->end_maps();  // process 2 has ended
  EXPECT_EQ(store_->arena().slots_in_use(), 100u);
  EXPECT_EQ(store_->spaces(), std::vector<SpaceId>{kSpace});
}

TEST_F(PageStoreTest, PagesThatDoNotLieInOneRegionAreRefused) {
  EXPECT_THAT(refusal({page(0), 0}), HasSubstr("one region"));
  EXPECT_THAT(refusal({page(0), kRegionPages + 1}), HasSubstr("one region"));
  EXPECT_THAT(refusal({page(kRegionPages - 1), 2}), HasSubstr("one region"));
  EXPECT_THAT(refusal({{kBase.value + 1}, 1}), HasSubstr("one region"));
  EXPECT_THAT(refusal({page(1), UINT64_MAX}), HasSubstr("one region"));
  EXPECT_EQ(store_->arena().slots_in_use(), 0u);
}

TEST_F(PageStoreTest, PagesAfterTheMapOfTheirProcessAreRefused) {
  must(store_->apply_map(kSpace, {}));
  EXPECT_THAT(refusal({page(0), 1}), HasSubstr("after the freeze"));
  EXPECT_EQ(refusal({page(0), 1}, 2), "");
}

TEST_F(PageStoreTest, ASecondMapOfAProcessIsRefused) {
  must(store_->apply_map(kSpace, {}));
  EXPECT_FALSE(store_->apply_map(kSpace, {}));
}

TEST_F(PageStoreTest, AMapWithOddRegionsIsRefused) {
  RegionMap odd = map(0, region_bits(0, 1), region_bits(0, 1));
  odd.start = page(1);
  EXPECT_FALSE(store_->apply_map(1, std::vector{odd}));
  const RegionMap twice = map(0, region_bits(0, 1), region_bits(0, 1));
  EXPECT_FALSE(store_->apply_map(2, std::vector{twice, twice}));
}

TEST_F(PageStoreTest, MoreThanItsBytesAreRefusedAndWhatIsThereStays) {
  store_ = must(PageStore::create(10 * kPageBytes));
  put({page(0), 8}, 'a');
  EXPECT_THAT(
      store_->place(kSpace, {page(20), 3}, *std::make_unique<std::vector<std::span<std::byte>>>()).error().text(),
      HasSubstr("more memory than the container may bring"));
  put({page(0), 8}, 'b');  // in place
  put({page(20), 2}, 'c');
  EXPECT_FALSE(store_->apply_map(kSpace, std::vector{map(0, ~RegionBits(), ~RegionBits())}));
}

TEST_F(PageStoreTest, ProcessesAreBounded) {
  store_ = must(PageStore::create((wire::kSpacesMax + 10) * kPageBytes));
  for (SpaceId space = 1; space <= wire::kSpacesMax; ++space) put({page(0), 1}, 'a', space);
  EXPECT_THAT(refusal({page(0), 1}, wire::kSpacesMax + 1), HasSubstr("too many processes"));
  put({page(0), 1}, 'b', 1);
}

// A run of zeros is 16 bytes on the wire. However many a peer sends, they cost nothing here.
TEST_F(PageStoreTest, ZerosAllOverTheAddressSpaceCostNothing) {
  const uint64_t before = resident_kb();
  for (uint64_t region = 0; region < 100'000; ++region)
    must(store_->put_zero(region % 100, {kBase + region * kRegionBytes, kRegionPages}));
  EXPECT_LT(resident_kb(), before + 20'000);
}

TEST_F(PageStoreTest, PagesThatBecomeZeroAgainCostNothing) {
  put({page(0), 1}, 'a');
  const uint64_t before = resident_kb();
  for (uint64_t region = 0; region < 100'000; ++region) {
    std::vector<std::span<std::byte>> parts;
    const PageRange pages{kBase + region * kRegionBytes, 1};
    must(store_->place(kSpace, pages, parts));
    must(store_->put_zero(kSpace, pages));
  }
  EXPECT_LT(resident_kb(), before + 20'000);
}

// A map names a region of pages with content in 16 bytes; what never came reads as zero.
TEST_F(PageStoreTest, RegionsOfAMapThatNeverCameCostNothing) {
  std::vector<RegionMap> maps;
  for (uint64_t region = 0; region < 50'000; ++region) maps.push_back(map(region, ~RegionBits()));
  const uint64_t before = resident_kb();
  must(store_->apply_map(kSpace, maps));
  EXPECT_LT(resident_kb(), before + 20'000);
  EXPECT_EQ(state(kSpace, 3), "...");
}

// Against a plain model.
TEST_F(PageStoreTest, AnySequenceOfPagesEndsAsTheLastOnesSay) {
  const auto seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr uint64_t kRegions = 4;
  std::string model(kRegions * kRegionPages, '.');
  for (int step = 0; step < 2000; ++step) {
    const uint64_t region = random() % kRegions;
    const uint64_t first = random() % kRegionPages;
    const uint64_t count = 1 + random() % std::min<uint64_t>(kRegionPages - first, 50);
    const uint64_t at = region * kRegionPages + first;
    const char value = random() % 3 == 0 ? '.' : static_cast<char>('a' + random() % 26);
    if (value == '.') {
      must(store_->put_zero(kSpace, {page(at), count}));
    } else {
      put({page(at), count}, value);
    }
    model.replace(at, count, count, value);
  }
  std::vector<RegionMap> maps;
  for (uint64_t region = 0; region < kRegions; ++region) {
    RegionMap entry = map(region, {});
    for (uint64_t i = 0; i < kRegionPages; ++i) {
      char& is = model[region * kRegionPages + i];
      const unsigned kind = random() % 4;
      entry.present.set(i, kind != 0);
      entry.owed.set(i, kind == 1);
      is = kind == 0 ? '.' : kind == 1 ? '?' : is;
    }
    maps.push_back(entry);
  }
  must(store_->apply_map(kSpace, maps));
  EXPECT_EQ(state(kSpace, model.size()), model);
  EXPECT_EQ(store_->arena().slots_in_use(), model.size() - static_cast<size_t>(std::ranges::count(model, '.')));
}

}  // namespace
}  // namespace godwit
