#include "runtime/criu_fitness.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

TEST(CriuFitness, OldCriuOnNewKernelsIsAMisfit) {
  EXPECT_NE(known_misfit("4.1.1", "6.18.44-fc"), "");
  EXPECT_NE(known_misfit("3.17.1", "6.16.0"), "");
  EXPECT_NE(known_misfit("3.15", "5.10.0"), "");
}

TEST(CriuFitness, CombinationsThatWorkAreNot) {
  EXPECT_EQ(known_misfit("4.2.1", "6.18.44-fc"), "");
  EXPECT_EQ(known_misfit("4.10", "7.0.1"), "");
  EXPECT_EQ(known_misfit("4.1.1", "6.12.30-amd64"), "");
  EXPECT_EQ(known_misfit("3.17.1", "6.1.0-35-amd64"), "");
}

TEST(CriuFitness, AMissingProgramIsSaidSo) {
  auto checked = check_criu("/no/such/criu");
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().text().find("is missing"), std::string::npos);
}

}  // namespace
}  // namespace godwit
