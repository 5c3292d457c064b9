#include "base/json_depth.h"

#include <gtest/gtest.h>

#include <string>

namespace godwit {
namespace {

TEST(JsonDepth, CountsArraysAndObjectsAroundEachOther) {
  EXPECT_TRUE(is_json_within("1", 0));
  EXPECT_FALSE(is_json_within("[]", 0));
  EXPECT_TRUE(is_json_within(R"([{"a": [1]}, [{}], {"b": "[[[["}])", 3));
  EXPECT_FALSE(is_json_within(R"([{"a": [1]}, [{}], {"b": [[]]}])", 3));
}

TEST(JsonDepth, WhatIsNoJsonIsRefused) {
  for (const char* text : {"", "[", "]", "{]", "[1,]", "[] []", "\"\xff\""})
    EXPECT_FALSE(is_json_within(text, 9)) << text;
}

TEST(JsonDepth, AMillionLevelsAreRefusedAtTheFirstThatIsTooMany) {
  EXPECT_FALSE(is_json_within(std::string(1 << 20, '[') + std::string(1 << 20, ']'), 64));
}

}  // namespace
}  // namespace godwit
