#include "memory/page_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace godwit {
namespace {

using Pages = std::set<uint64_t>;

Pages pages_of(const PageRanges& ranges) {
  Pages pages;
  for (const PageRange& range : ranges)
    for (uint64_t i = 0; i < range.pages; ++i) pages.insert(range.start.value / kPageBytes + i);
  return pages;
}

void expect_normal(const PageRanges& ranges) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_GT(ranges[i].pages, 0U);
    if (i > 0) EXPECT_LT(ranges[i - 1].end(), ranges[i].start);
  }
}

class RandomSets : public testing::TestWithParam<unsigned> {
 protected:
  PageRanges random_ranges() {
    PageRanges ranges;
    const auto count = random_() % 12;
    for (uint64_t i = 0; i < count; ++i) ranges.push_back({{random_() % 60 * kPageBytes}, random_() % 8});
    return ranges;
  }
  std::mt19937 random_{GetParam()};
};

TEST_P(RandomSets, AreSetsOfPages) {
  for (int round = 0; round < 300; ++round) {
    const PageRanges raw_a = random_ranges(), raw_b = random_ranges();
    const PageRanges a = normalise(raw_a), b = normalise(raw_b);
    const Pages set_a = pages_of(raw_a), set_b = pages_of(raw_b);
    expect_normal(a);
    EXPECT_EQ(pages_of(a), set_a);
    EXPECT_EQ(count_pages(a), set_a.size());

    Pages united = set_a, both, rest;
    united.insert(set_b.begin(), set_b.end());
    for (uint64_t page : set_a) (set_b.contains(page) ? both : rest).insert(page);
    expect_normal(unite(a, b));
    EXPECT_EQ(pages_of(unite(raw_a, raw_b)), united);
    expect_normal(intersect(a, b));
    EXPECT_EQ(pages_of(intersect(a, b)), both);
    expect_normal(subtract(a, b));
    EXPECT_EQ(pages_of(subtract(a, b)), rest);
    for (uint64_t page = 0; page < 70; ++page) EXPECT_EQ(contains(a, {page * kPageBytes}), set_a.contains(page));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomSets, testing::Range(0U, 10U));

TEST(PageSet, WhatTouchesTheLastRangeBecomesPartOfIt) {
  PageRanges ranges;
  append(ranges, {{0x1000}, 2});
  append(ranges, {{0x3000}, 1});
  append(ranges, {{0x5000}, 1});
  EXPECT_EQ(ranges, (PageRanges{{{0x1000}, 3}, {{0x5000}, 1}}));
}

}  // namespace
}  // namespace godwit
