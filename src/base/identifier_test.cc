#include "base/identifier.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(Identifier, NamesThatCouldLeaveADirectoryAreRefused) {
  for (const char* bad : {"", ".", "..", "a/b", "../x", "a b", "a\nb"})
    EXPECT_FALSE(check_name("container name", bad)) << bad;
  EXPECT_FALSE(check_name("container name", std::string(129, 'a')));
}

TEST(Identifier, RuncsNamesAreAccepted) {
  for (const char* good : {"redis", "a.b-c_d+e", "0"}) EXPECT_TRUE(check_name("name", good));
}

TEST(Identifier, IdsAreFreshAndWellFormed) {
  std::string id = random_id();
  EXPECT_TRUE(check_id(id));
  EXPECT_NE(id, random_id());
  EXPECT_FALSE(check_id("../../etc"));
  EXPECT_FALSE(check_id(id + "0"));
}

}  // namespace
}  // namespace godwit
