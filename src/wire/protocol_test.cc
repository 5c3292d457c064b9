#include "wire/protocol.h"

#include <gtest/gtest.h>

namespace godwit::wire {
namespace {

TEST(Protocol, AnotherMajorIsRefusedWithBothVersions) {
  auto checked = check_version(kProtocolMajor + 1, 3, "9.9");
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().text().find("3.3"), std::string::npos);
  EXPECT_NE(checked.error().text().find("2.0"), std::string::npos);
}

TEST(Protocol, AnotherMinorIsFine) { EXPECT_TRUE(check_version(kProtocolMajor, 77, "2.7")); }

}  // namespace
}  // namespace godwit::wire
