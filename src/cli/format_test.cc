#include "cli/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace godwit::cli {
namespace {

TEST(Format, TimesHaveThreeDigitsAndTheUnitThatFits) {
  EXPECT_EQ(format_ms(0), "0.00 ms");
  EXPECT_EQ(format_ms(0.42), "0.42 ms");
  EXPECT_EQ(format_ms(43.06), "43.1 ms");
  EXPECT_EQ(format_ms(431.2), "431 ms");
  EXPECT_EQ(format_ms(999.6), "1.00 s");
  EXPECT_EQ(format_ms(1234), "1.23 s");
  EXPECT_EQ(format_ms(123'000), "2 min 03 s");
  EXPECT_EQ(format_ms(59'960), "1 min 00 s");
  EXPECT_EQ(format_ms(3'720'000), "1 h 02 min");
}

TEST(Format, WhatIsNoTimeIsADash) {
  EXPECT_EQ(format_ms(-1), "-");
  EXPECT_EQ(format_ms(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(format_ms(std::numeric_limits<double>::infinity()), "-");
}

TEST(Format, MicrosecondsStayUntilTheyAreAMillisecond) {
  EXPECT_EQ(format_us(84.7), "85 us");
  EXPECT_EQ(format_us(999.7), "1.00 ms");
  EXPECT_EQ(format_us(1'234'000), "1.23 s");
  EXPECT_EQ(format_us(-1), "-");
}

TEST(Format, BytesGrowThroughTheUnits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(256.0 * 1024 * 1024), "256 MiB");
  EXPECT_EQ(format_bytes(1024.0 * 1024 - 1), "1.00 MiB");
  EXPECT_EQ(format_bytes(1e30).substr(format_bytes(1e30).size() - 3), "PiB");
}

TEST(Format, RateOfNothingIsADash) {
  EXPECT_EQ(format_rate(0), "-");
  EXPECT_EQ(format_rate(350.0 * 1024 * 1024), "350 MiB/s");
}

TEST(Printable, EscapeSequencesLoseTheirForce) {
  EXPECT_EQ(printable("a\x1b[2Jb"), "a?[2Jb");
  EXPECT_EQ(printable("a\xC2\x9B"
                      "2Jb"),
            "a?2Jb");  // the one-character form of ESC [
  EXPECT_EQ(printable("a\r\n\tb\x7f"), "a   b?");
}

TEST(Printable, OtherUtf8Stays) { EXPECT_EQ(printable("Mülltonne ✓"), "Mülltonne ✓"); }

TEST(Columns, CodePointsAreCountedAndNeverCut) {
  EXPECT_EQ(columns_of("äöü"), 3U);
  EXPECT_EQ(clipped("äöü", 2), "äö");
  EXPECT_EQ(clipped("abc", 0), "");
  EXPECT_EQ(clipped("abc", 9), "abc");
  EXPECT_EQ(padded("ä", 3), "ä  ");
}

TEST(Table, ColumnsAlignAndLinesDoNotEndInBlanks) {
  EXPECT_EQ(format_table({{"NAME", "PID"}, {"a", "1"}, {"longer", ""}}), "NAME    PID\na       1\nlonger\n");
  EXPECT_EQ(format_table({}), "");
}

}  // namespace
}  // namespace godwit::cli
