#include "memory/memory_map.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/identifier.h"
#include "memory/region_bits.h"
#include "wire/frame.h"

namespace godwit {
namespace {

constexpr uint64_t kBase = uint64_t{0x7f00} << 32;

using Pages = std::set<uint64_t>;

PageRanges ranges_of(const Pages& pages) {
  PageRanges ranges;
  for (uint64_t at : pages) {
    if (!ranges.empty() && ranges.back().end().value == at) {
      ++ranges.back().pages;
    } else {
      ranges.push_back({{at}, 1});
    }
  }
  return ranges;
}

void decode_all(const std::vector<std::string>& payloads, Pages& present, Pages& owed) {
  std::vector<RegionMap> maps;
  for (const std::string& payload : payloads) {
    auto decoded = decode_memory_map(payload, 100'000, maps);
    ASSERT_TRUE(decoded) << decoded.error().text();
  }
  for (const RegionMap& map : maps)
    for (size_t page = 0; page < kRegionPages; ++page) {
      if (map.present.test(page)) present.insert(map.start.value + page * kPageBytes);
      if (map.owed.test(page)) owed.insert(map.start.value + page * kPageBytes);
    }
}

TEST(MemoryMap, RandomMapsArriveAsSent) {
  std::mt19937 random(20'261);
  for (int round = 0; round < 30; ++round) {
    Pages populated, owed;
    for (int run = 0; run < 60; ++run) {
      const uint64_t start = kBase + random() % 20'000 * kPageBytes;
      const uint64_t pages = run % 3 == 0 ? random() % 3000 : random() % 4;
      const bool owe = random() % 2 == 0;
      for (uint64_t i = 0; i < pages; ++i) {
        populated.insert(start + i * kPageBytes);
        if (owe) owed.insert(start + i * kPageBytes);
      }
    }
    Pages present_there, owed_there;
    decode_all(encode_memory_map(ranges_of(populated), ranges_of(owed)), present_there, owed_there);
    EXPECT_EQ(present_there, populated);
    EXPECT_EQ(owed_there, owed);
  }
}

TEST(MemoryMap, ATerabyteWithoutGapsTakesAFewBytes) {
  const PageRanges all{{{kBase}, uint64_t{1} << 28}};
  auto payloads = encode_memory_map(all, {});
  ASSERT_EQ(payloads.size(), 1U);
  EXPECT_LE(payloads[0].size(), 64U);
}

TEST(MemoryMap, APayloadFitsAFrame) {
  Pages pages;
  for (uint64_t i = 0; i < 20'000; ++i) pages.insert(kBase + i * kRegionBytes);
  auto payloads = encode_memory_map(ranges_of(pages), {});
  EXPECT_GT(payloads.size(), 1U);
  for (const std::string& payload : payloads) EXPECT_LE(payload.size(), wire::kFramePayloadMax);
  Pages present, owed;
  decode_all(payloads, present, owed);
  EXPECT_EQ(present, pages);
}

TEST(MemoryMap, NoMemoryIsNoPayload) { EXPECT_TRUE(encode_memory_map({}, {}).empty()); }

TEST(MemoryMap, MoreRegionsThanAllowedIsAnError) {
  auto payloads = encode_memory_map({{{kBase}, kRegionPages * 100}}, {});
  std::vector<RegionMap> maps;
  EXPECT_FALSE(decode_memory_map(payloads[0], 99, maps));
  EXPECT_LE(maps.size(), 99U);
}

TEST(MemoryMap, EveryTruncationAndRepetitionIsAnError) {
  auto payload = encode_memory_map({{{kBase}, 5}, {{kBase + 10 * kRegionBytes}, kRegionPages}}, {{{kBase}, 2}})[0];
  for (size_t length = 1; length < payload.size(); ++length) {
    std::vector<RegionMap> maps;
    if (length == payload.size() - 16) continue;  // between two entries
    EXPECT_FALSE(decode_memory_map(payload.substr(0, length), 100, maps)) << length;
  }
  std::vector<RegionMap> maps;
  EXPECT_FALSE(decode_memory_map(payload + payload, 100, maps));
}

TEST(MemoryMap, RandomBytesNeverDecodeOutOfBounds) {
  for (int i = 0; i < 20'000; ++i) {
    std::string payload = random_bytes(16 + (i % 2) * 128);
    payload[0] = payload[1] = 0;
    payload[2] = static_cast<char>(payload[2] & 0xe0);
    payload[13] = payload[14] = payload[15] = payload[7] = 0;
    payload[12] = static_cast<char>(i % 3);
    std::vector<RegionMap> maps;
    (void)decode_memory_map(payload, 1000, maps);
    EXPECT_LE(maps.size(), 1000U);
  }
}

}  // namespace
}  // namespace godwit
