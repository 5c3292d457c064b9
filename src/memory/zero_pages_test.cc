#include "memory/zero_pages.h"

#include <gtest/gtest.h>

#include <vector>

namespace godwit {
namespace {

TEST(ZeroPages, AreFoundAndASingleBitElsewhereIsSeen) {
  std::vector<char> page(kPageBytes);
  EXPECT_TRUE(is_zero_page(page.data()));
  for (size_t at = 0; at < kPageBytes; ++at) {
    page[at] = 1;
    EXPECT_FALSE(is_zero_page(page.data())) << at;
    page[at] = 0;
  }
}

TEST(ZeroPages, WhatFollowsThePageDoesNotMatter) {
  std::vector<char> pages(2 * kPageBytes);
  pages[kPageBytes] = 1;
  EXPECT_TRUE(is_zero_page(pages.data()));
}

}  // namespace
}  // namespace godwit
