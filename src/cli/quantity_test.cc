#include "cli/quantity.h"

#include <gtest/gtest.h>

namespace godwit::cli {
namespace {

TEST(ParseTime, UnitsAreMadeMilliseconds) {
  EXPECT_EQ(parse_time_ms("50ms"), 50);
  EXPECT_EQ(parse_time_ms("0.1s"), 100);
  EXPECT_EQ(parse_time_ms("1.5 s"), 1500);
  EXPECT_EQ(parse_time_ms("2min"), 120'000);
  EXPECT_EQ(parse_time_ms("1h"), 3'600'000);
}

TEST(ParseTime, WhatIsNoTimeIsRefused) {
  for (const char* text : {"", "50", "ms", "-1s", "0ms", "1e3ms", "1 m", "5s5", "nan", "infs", "25h", "0x10ms"})
    EXPECT_FALSE(parse_time_ms(text)) << text;
}

TEST(ParseRate, BitsAreTensAndBytesAsTheyAreWritten) {
  EXPECT_EQ(parse_rate("1gbit"), 125'000'000U);
  EXPECT_EQ(parse_rate("100Mbit"), 12'500'000U);
  EXPECT_EQ(parse_rate("2.5Gbit"), 312'500'000U);
  EXPECT_EQ(parse_rate("50MB/s"), 50'000'000U);
  EXPECT_EQ(parse_rate("48MiB/s"), 48U << 20);
  EXPECT_EQ(parse_rate("8000bit"), 1000U);
}

TEST(ParseRate, WhatMayBeBitsOrBytesIsRefused) {
  for (const char* text :
       {"", "1000000", "50mb", "50Mb/s", "50mb/s", "50M", "0gbit", "999B/s", "-1gbit", "9999999GB/s"})
    EXPECT_FALSE(parse_rate(text)) << text;
}

}  // namespace
}  // namespace godwit::cli
