#include "transport/page_codec.h"

#include <gtest/gtest.h>

#include "base/identifier.h"

namespace godwit {
namespace {

constexpr wire::Codec kCodecs[] = {wire::Codec::kLz4, wire::Codec::kZstd};

std::string text(size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += "page " + std::to_string(out.size()) + "; ";
  out.resize(bytes);
  return out;
}

TEST(PageCodec, UnpacksToWhatWasPacked) {
  const std::string contents = text(200'000);
  const std::string_view parts[] = {{contents.data(), 4096}, {contents.data() + 4096, contents.size() - 4096}};
  for (wire::Codec codec : kCodecs) {
    std::string packed, back(contents.size(), '\0');
    ASSERT_TRUE(pack(codec, parts, contents.size(), packed));
    EXPECT_LT(packed.size(), contents.size() / 2);
    ASSERT_TRUE(unpack(codec, packed, std::as_writable_bytes(std::span(back))));
    EXPECT_EQ(back, contents);
  }
}

TEST(PageCodec, WhatDoesNotShrinkIsLeftAsItIs) {
  const std::string contents = random_bytes(65536);
  const std::string_view parts[] = {contents};
  for (wire::Codec codec : kCodecs) {
    std::string packed;
    EXPECT_FALSE(pack(codec, parts, contents.size(), packed));
  }
}

TEST(PageCodec, GarbageAndOtherLengthsAreErrors) {
  const std::string contents = text(8192);
  const std::string_view parts[] = {contents};
  for (wire::Codec codec : kCodecs) {
    std::string packed, small(4096, '\0'), large(16384, '\0');
    ASSERT_TRUE(pack(codec, parts, contents.size(), packed));
    EXPECT_FALSE(unpack(codec, packed, std::as_writable_bytes(std::span(small))));
    EXPECT_FALSE(unpack(codec, packed, std::as_writable_bytes(std::span(large))));
    for (int i = 0; i < 2000; ++i)
      (void)unpack(codec, random_bytes(100 + i), std::as_writable_bytes(std::span(small)));  // sanitizers watch
  }
}

}  // namespace
}  // namespace godwit
