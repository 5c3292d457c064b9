#include "memory/owed_pages.h"

#include <gtest/gtest.h>

#include <set>

namespace godwit {
namespace {

constexpr uint64_t kBase = uint64_t{0x7f00} << 32;

RemoteAddr page(uint64_t number) { return {kBase + number * kPageBytes}; }

std::set<uint64_t> pages_of(const PageRanges& ranges) {
  std::set<uint64_t> pages;
  for (const PageRange& range : ranges)
    for (uint64_t i = 0; i < range.pages; ++i) EXPECT_TRUE(pages.insert(range.start.value + i * kPageBytes).second);
  return pages;
}

TEST(OwedPages, EveryPageIsPushedOnceOnTheStreamOfItsRegion) {
  OwedPages owed(3);
  owed.add(1, {{page(10), 3000}, {page(5000), 1}});
  owed.add(2, {{page(10), 7}});
  EXPECT_EQ(owed.total(), 3008U);
  std::set<std::pair<SpaceId, uint64_t>> seen;
  for (uint32_t stream = 0; stream < 3; ++stream)
    while (auto batch = owed.take(stream, 100)) {
      EXPECT_LE(pages_of(batch->pages).size(), 100U);
      for (uint64_t at : pages_of(batch->pages)) {
        EXPECT_EQ(stream_of(batch->space, {at}, 3), stream);
        EXPECT_TRUE(seen.insert({batch->space, at}).second);
      }
    }
  EXPECT_EQ(seen.size(), 3008U);
  EXPECT_EQ(owed.left(), 0U);
}

TEST(OwedPages, WhatWasRequestedIsNotPushedAgain) {
  OwedPages owed(1);
  owed.add(1, {{page(0), 512}});
  EXPECT_EQ(owed.take_requested(1, {page(100), 16}), (PageRanges{{page(100), 16}}));
  EXPECT_EQ(owed.left(), 496U);
  auto batch = owed.take(0, 512);
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->pages, (PageRanges{{page(0), 100}, {page(116), 396}}));
}

TEST(OwedPages, AnAnswerDoesNotWaitForWhatWasPushed) {
  OwedPages owed(1);
  owed.add(1, {{page(0), 8}});
  (void)owed.take(0, 8);
  EXPECT_EQ(owed.take_requested(1, {page(2), 1}), (PageRanges{{page(2), 1}}));
}

TEST(OwedPages, PagesNeverOwedAreNotTaken) {
  OwedPages owed(2);
  owed.add(1, {{page(0), 4}});
  EXPECT_TRUE(owed.take_requested(1, {page(4), 4}).empty());
  EXPECT_TRUE(owed.take_requested(2, {page(0), 4}).empty());
  EXPECT_EQ(owed.left(), 4U);
}

TEST(OwedPages, AStreamGoesOnWhereTheContainerIs) {
  OwedPages owed(1);
  owed.add(1, {{page(0), 10 * kRegionPages}});
  (void)owed.take_requested(1, {page(7 * kRegionPages), 1});
  auto batch = owed.take(0, 512);
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->pages.front().start, page(512 * 7 + 1));
}

}  // namespace
}  // namespace godwit
