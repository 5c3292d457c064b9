#include "agent/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_support.h"
#include "transport/test_certificates.h"
#include "wire/protocol.h"

namespace godwit {
namespace {

using testing::HasSubstr;

class NobodyListens : public ProgressListener {
  void phase_begins(const std::string&, const std::string&) override {}
  void bytes_sent(uint64_t, uint64_t) override {}
  void round_ended(uint32_t, const control::Round&) override {}
  void pages_left(uint64_t) override {}
};

class NobodyAnswers : public PeerConnector {
  Result<std::unique_ptr<ControlChannel>> connect(const std::string&, Deadline) override { return fail("nobody"); }
  Result<peer::OutcomeReply> outcome(const std::string&, const std::string&, const std::string&, Deadline) override {
    return fail("nobody");
  }
};

// Migrations that are never run: the registry only keeps them.
class RegistryTest : public testing::Test {
 protected:
  RegistryTest() { host_.node = "node1"; }

  std::shared_ptr<SourceMigration> source(const std::string& id, const std::string& container) {
    return std::make_shared<SourceMigration>(SourceMigration::Request{id, container, "node2"}, host_, peers_, tls_,
                                             listener_);
  }

  // A migration has its id from the first message on.
  std::shared_ptr<TargetMigration> target(const std::string& id) {
    auto migration = std::make_shared<TargetMigration>(host_, std::vector<std::string>{"node2"}, "10.99.1.1:7411");
    peer::SourceMessage message;
    peer::Hello& hello = *message.mutable_hello();
    hello.set_version_major(wire::kProtocolMajor);
    hello.set_node("node2");
    hello.set_migration_id(id);
    EXPECT_TRUE(migration->handle(message).has_hello());
    return migration;
  }

  Result<> add(const std::string& id, const std::string& container) {
    return registry_.add(id, container, source(id, container));
  }

  Host host_;
  TestCertificates certificates_;
  TlsContext tls_ = certificates_.context("node1");
  NobodyAnswers peers_;
  NobodyListens listener_;
  Registry registry_{3};
};

const std::string kOne(16, '1'), kTwo(16, '2'), kThree(16, '3'), kFour(16, '4');

TEST_F(RegistryTest, AContainerLeavesOnceAtATime) {
  must(add(kOne, "redis"));
  EXPECT_THAT(add(kTwo, "redis").error().text(), HasSubstr("'redis' is being migrated already (migration " + kOne));
  EXPECT_FALSE(registry_.check_not_leaving("redis"));
  EXPECT_TRUE(registry_.check_not_leaving("other"));
  must(add(kThree, "other"));
  registry_.remove_source(kOne);
  must(add(kFour, "redis"));
}

class Frozen : public UnfinishedMigration {
 public:
  bool run(const std::stop_token&) override { return false; }
  bool is_source() const override { return false; }
  control::Migration status() const override {
    control::Migration status;
    status.set_id(kOne);
    status.set_container("redis");
    status.set_ongoing(true);
    return status;
  }
  Result<std::string> resolve(control::Side side) override {
    return side == control::SOURCE ? Result<std::string>("removed") : fail("it lacks memory");
  }
  std::optional<peer::OutcomeReply> outcome() const override {
    peer::OutcomeReply reply;
    reply.set_outcome(peer::OutcomeReply::LOST);
    return reply;
  }
};

TEST_F(RegistryTest, WhatAnEarlierAgentLeftKeepsItsContainerUntilItIsResolved) {
  registry_.add_unfinished(kOne, std::make_shared<Frozen>());
  EXPECT_THAT(add(kTwo, "redis").error().text(), HasSubstr("is in migration " + kOne + ", which is not decided"));
  EXPECT_EQ(registry_.outcome(kOne)->outcome(), peer::OutcomeReply::LOST);
  EXPECT_EQ(registry_.status(kOne).size(), 1u);
  EXPECT_THAT(registry_.cancel(kOne).error().text(), HasSubstr("godwit resolve"));
  EXPECT_FALSE(registry_.resolve(kOne, control::TARGET));
  EXPECT_EQ(must(registry_.resolve(kOne, control::SOURCE)), "removed");
  must(add(kTwo, "redis"));
}

TEST_F(RegistryTest, OnlyWhatCannotBeKnownIsResolved) {
  must(add(kOne, "a"));
  EXPECT_THAT(registry_.resolve(kOne, control::SOURCE).error().text(), HasSubstr("goes on by itself"));
  EXPECT_THAT(registry_.resolve(kTwo, control::SOURCE).error().text(), HasSubstr("no migration"));
}

TEST_F(RegistryTest, ArrivingAndLeavingShareTheLimit) {
  must(add(kOne, "a"));
  must(add(kTwo, "b"));
  must(registry_.add(kThree, target(kThree)));
  EXPECT_THAT(add(kFour, "c").error().text(), HasSubstr("has 3 migrations under way already (limits.migrations_max)"));
  EXPECT_FALSE(registry_.add(kFour, target(kFour)));
  registry_.remove_target(kThree);
  must(registry_.add(kFour, target(kFour)));
}

TEST_F(RegistryTest, AnIdIsUsedOnceEvenWhenItsMigrationIsOver) {
  must(registry_.add(kOne, target(kOne)));
  EXPECT_FALSE(registry_.add(kOne, target(kOne)));
  registry_.target(kOne)->link_lost();
  registry_.remove_target(kOne);
  EXPECT_THAT(registry_.add(kOne, target(kOne)).error().text(), HasSubstr("this migration id has been used"));
}

TEST_F(RegistryTest, TheOutcomeIsRememberedAfterTheEnd) {
  EXPECT_FALSE(registry_.outcome(kOne));
  must(registry_.add(kOne, target(kOne)));
  EXPECT_EQ(registry_.outcome(kOne).value().outcome(), peer::OutcomeReply::ONGOING);
  registry_.target(kOne)->link_lost();
  EXPECT_EQ(registry_.outcome(kOne).value().outcome(), peer::OutcomeReply::ABORTED);
  registry_.remove_target(kOne);
  EXPECT_EQ(registry_.target(kOne), nullptr);
  EXPECT_EQ(registry_.outcome(kOne).value().outcome(), peer::OutcomeReply::ABORTED);
}

TEST_F(RegistryTest, OfManyMigrationsTheLastAreRemembered) {
  auto id = [](int number) { return std::string(12, 'a') + std::to_string(1000 + number); };
  for (int number = 0; number < 1001; ++number) {
    auto migration = target(id(number));
    must(registry_.add(id(number), migration));
    migration->link_lost();
    registry_.remove_target(id(number));
  }
  EXPECT_EQ(registry_.status("").size(), 1000u);
  EXPECT_FALSE(registry_.outcome(id(0)));
  EXPECT_EQ(registry_.outcome(id(1)).value().outcome(), peer::OutcomeReply::ABORTED);
}

TEST_F(RegistryTest, CancelSaysWhereItCannot) {
  EXPECT_EQ(registry_.cancel(kOne).error().text(), "no migration " + kOne);
  must(add(kOne, "redis"));
  EXPECT_TRUE(registry_.cancel(kOne));
  must(registry_.add(kTwo, target(kTwo)));
  EXPECT_EQ(registry_.cancel(kTwo).error().text(), "cancel it on its source, node2");
  registry_.target(kTwo)->link_lost();
  registry_.remove_target(kTwo);
  EXPECT_EQ(registry_.cancel(kTwo).error().text(), "migration " + kTwo + " is over: rolled_back");
}

TEST_F(RegistryTest, StoppingTakesNothingNewAndWaitsForWhatIsThere) {
  must(add(kOne, "redis"));
  registry_.stop();
  EXPECT_FALSE(registry_.idle());
  EXPECT_EQ(add(kTwo, "other").error().text(), "the agent is stopping");
  EXPECT_FALSE(registry_.add(kThree, target(kThree)));
  registry_.remove_source(kOne);
  EXPECT_TRUE(registry_.idle());
}

TEST_F(RegistryTest, StatusTellsOneOrAll) {
  must(add(kOne, "redis"));
  must(registry_.add(kTwo, target(kTwo)));
  EXPECT_EQ(registry_.status("").size(), 2u);
  ASSERT_EQ(registry_.status(kOne).size(), 1u);
  EXPECT_EQ(registry_.status(kOne)[0].container(), "redis");
  EXPECT_TRUE(registry_.status(kThree).empty());
}

}  // namespace
}  // namespace godwit
