#include "wire/preamble.h"

#include <gtest/gtest.h>

namespace godwit::wire {
namespace {

Preamble sample() {
  Preamble preamble;
  preamble.channel = 3;
  preamble.migration_id = "0123456789abcdef";
  return preamble;
}

TEST(Preamble, ArrivesAsSent) {
  auto bytes = encode_preamble(sample());
  ASSERT_TRUE(bytes) << bytes.error().text();
  auto preamble = decode_preamble(*bytes);
  ASSERT_TRUE(preamble) << preamble.error().text();
  EXPECT_EQ(preamble->version_major, kDataVersionMajor);
  EXPECT_EQ(preamble->channel, 3);
  EXPECT_EQ(preamble->migration_id, sample().migration_id);
}

TEST(Preamble, LayoutIsTheOneInTheSpecification) {
  EXPECT_EQ(*encode_preamble(sample()), std::string("GDWTOPEN\x02\0\x01\0\x03\0\0\0", 16) + "0123456789abcdef");
}

TEST(Preamble, WhatCannotBeSentIsAnError) {
  Preamble preamble = sample();
  preamble.migration_id = "../../etc/passwd";
  EXPECT_FALSE(encode_preamble(preamble));
  preamble = sample();
  preamble.channel = kChannelsMax;
  EXPECT_FALSE(encode_preamble(preamble));
}

TEST(Preamble, OfAnotherMajorIsReturnedWithItsVersionOnly) {
  std::string bytes = *encode_preamble(sample());
  bytes[8] = 9;
  bytes[16] = '/';
  auto preamble = decode_preamble(bytes);
  ASSERT_TRUE(preamble);
  EXPECT_EQ(preamble->version_major, 9);
  EXPECT_EQ(preamble->migration_id, "");
}

TEST(Preamble, WhatIsMalformedIsAnError) {
  const std::string good = *encode_preamble(sample());
  EXPECT_FALSE(decode_preamble(""));
  EXPECT_FALSE(decode_preamble(good.substr(1)));
  EXPECT_FALSE(decode_preamble(good + "x"));
  for (const size_t place : {0, 7, 13, 16, 31}) {
    std::string bytes = good;
    bytes[place] = '\xff';
    EXPECT_FALSE(decode_preamble(bytes)) << place;
  }
}

}  // namespace
}  // namespace godwit::wire
