#include "agent/past_migrations.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

control::Migration status(const std::string& id, const std::string& outcome) {
  control::Migration status;
  status.set_id(id);
  status.set_container("redis");
  status.set_outcome(outcome);
  status.set_downtime_ms(12.5);
  return status;
}

TEST(PastMigrations, AreFoundAsTheyWere) {
  PastMigrations past;
  EXPECT_FALSE(past.find("one"));
  past.add(status("one", "migrated"), std::nullopt);
  peer::OutcomeReply aborted;
  aborted.set_outcome(peer::OutcomeReply::ABORTED);
  past.add(status("two", "rolled_back"), aborted);
  EXPECT_EQ(past.find("one").value().SerializeAsString(), status("one", "migrated").SerializeAsString());
  EXPECT_EQ(past.find("two").value().outcome(), "rolled_back");
  EXPECT_FALSE(past.outcome("one"));
  EXPECT_EQ(past.outcome("two").value().outcome(), peer::OutcomeReply::ABORTED);
  ASSERT_EQ(past.all().size(), 2u);
  EXPECT_EQ(past.all()[0].id(), "one");
  EXPECT_EQ(past.all()[1].id(), "two");
}

TEST(PastMigrations, TheOldestAreForgotten) {
  PastMigrations past;
  for (int number = 0; number < 1500; ++number) past.add(status(std::to_string(number), "migrated"), std::nullopt);
  EXPECT_EQ(past.all().size(), 1000u);
  EXPECT_FALSE(past.find("499"));
  EXPECT_TRUE(past.find("500"));
  EXPECT_EQ(past.all().back().id(), "1499");
}

TEST(PastMigrations, LongOnesPushMoreOut) {
  PastMigrations past;
  peer::OutcomeReply lost;
  lost.set_outcome(peer::OutcomeReply::LOST);
  size_t kept = 0;
  const auto length = [](size_t number) { return number * 7919 % 50'000; };
  for (size_t number = 0; number < 500; ++number) {
    lost.set_detail(std::string(length(number), 'x'));
    past.add(status(std::to_string(number), "lost"), lost);
    const auto all = past.all();
    kept = all.size();
    for (size_t back = 0; back < kept; ++back) {
      const std::string id = std::to_string(number - back);
      ASSERT_EQ(all[kept - 1 - back].id(), id);
      ASSERT_EQ(past.outcome(id).value().detail(), std::string(length(number - back), 'x'));
    }
  }
  EXPECT_GT(kept, 20u);
  EXPECT_LT(kept, 200u);
}

TEST(PastMigrations, WhatIsTooLongIsNotRememberedAndForgetsNothing) {
  PastMigrations past;
  past.add(status("one", "migrated"), std::nullopt);
  past.add(status("two", std::string(4 << 20, 'x')), std::nullopt);
  EXPECT_TRUE(past.find("one"));
  EXPECT_FALSE(past.find("two"));
}

}  // namespace
}  // namespace godwit
