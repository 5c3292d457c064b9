#include "kernel/cpu_affinity.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

using namespace std::string_literals;

TEST(CpuList, IsReadAsBits) {
  EXPECT_EQ(parse_cpu_list("0\n"), "\x01"s);
  EXPECT_EQ(parse_cpu_list("0-3,8"), "\x0f\x01"s);
  EXPECT_EQ(parse_cpu_list("1,3-3"), "\x0a"s);
  EXPECT_EQ(parse_cpu_list(""), ""s);
}

TEST(CpuList, GarbageIsEmpty) {
  for (const char* text : {"a", "1-", "-1", "3-1", "1,b", "1-2-3", "8192", "0-99999999999999999999", "1 2"})
    EXPECT_EQ(parse_cpu_list(text), "") << text;
}

}  // namespace
}  // namespace godwit
