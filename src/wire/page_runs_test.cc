#include "wire/page_runs.h"

#include <gtest/gtest.h>

#include "base/identifier.h"

namespace godwit::wire {
namespace {

std::string encoded(const std::vector<PageRun>& runs) {
  std::string bytes;
  encode_page_runs(runs, bytes);
  return bytes;
}

TEST(PageRuns, ArriveAsSent) {
  const std::vector<PageRun> runs{{{{0x7f0000001000}, 3}}, {{{0x7f0000200000}, 512}, true}, {{{0}, 1}}};
  auto decoded = decode_page_runs(encoded(runs), 3);
  ASSERT_TRUE(decoded) << decoded.error().text();
  EXPECT_EQ(*decoded, runs);
  EXPECT_EQ(content_pages(*decoded), 4U);
}

TEST(PageRuns, ImpossibleOnesAreErrors) {
  for (const PageRun& run : {PageRun{{{0x1001}, 1}}, PageRun{{{0x1000}, 0}}, PageRun{{{0x1ff000}, 2}},
                             PageRun{{{0}, 513}}, PageRun{{{uint64_t{1} << 56}, 1}}})
    EXPECT_FALSE(decode_page_runs(encoded({run}), 1)) << run.range.start.value << ' ' << run.range.pages;
}

TEST(PageRuns, MorePagesThanAFrameHoldsIsAnError) {
  const std::vector<PageRun> runs{{{{0}, 200}}, {{{0x200000}, 57}}};
  EXPECT_FALSE(decode_page_runs(encoded(runs), 2));
  EXPECT_TRUE(decode_page_runs(encoded(runs), 2, false));
}

TEST(PageRuns, LengthMustFitTheCount) {
  const std::string bytes = encoded({{{{0}, 1}}});
  EXPECT_FALSE(decode_page_runs(bytes, 2));
  EXPECT_FALSE(decode_page_runs(bytes.substr(1), 1));
}

TEST(PageRuns, RandomBytesNeverDecodeOutOfBounds) {
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = random_bytes(kRunBytes);
    for (size_t at : {7, 10, 11, 13, 14, 15}) bytes[at] = 0;
    auto runs = decode_page_runs(bytes, 1);
    if (!runs) continue;
    const PageRange& range = (*runs)[0].range;
    EXPECT_TRUE(range.start.page_aligned());
    EXPECT_EQ(range.start.region(), (range.end() + static_cast<uint64_t>(-1)).region());
  }
}

}  // namespace
}  // namespace godwit::wire
