// The order of messages and who may send them; what a migration does is shown end to end.
#include "migration/target_migration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_support.h"
#include "wire/hello.h"
#include "wire/protocol.h"

namespace godwit {
namespace {

using testing::HasSubstr;

const std::string kId(16, '7');

peer::SourceMessage hello() {
  peer::SourceMessage message;
  peer::Hello& hello = *message.mutable_hello();
  hello.set_version_major(wire::kProtocolMajor);
  hello.set_version_minor(wire::kProtocolMinor);
  hello.set_software("0.1.0");
  hello.set_node("node1");
  hello.set_migration_id(kId);
  return message;
}

class TargetMigrationTest : public testing::Test {
 protected:
  TargetMigrationTest() {
    host_.node = "node2";
    host_.run_directory = directory_.path();
    host_.runc = {"/no/such/runc", directory_ / "runc", "/no/such/stub"};
    host_.criu = "/no/such/criu";
  }

  std::string answer_to(const peer::SourceMessage& message) {
    TargetMigration target(host_, {"node1"}, "10.99.1.2:7411");
    const peer::TargetMessage answer = target.handle(message);
    EXPECT_EQ(target.over(), answer.has_failure());
    return answer.has_failure() ? answer.failure().cause() : "";
  }

  ScopedDirectory directory_;
  Host host_;
};

TEST_F(TargetMigrationTest, HelloIsAnsweredWithATokenOfItsOwn) {
  TargetMigration first(host_, {"node1"}, "10.99.1.2:7411"), second(host_, {"node1"}, "10.99.1.2:7411");
  const peer::TargetMessage one = first.handle(hello()), two = second.handle(hello());
  ASSERT_TRUE(one.has_hello() && two.has_hello());
  EXPECT_EQ(one.hello().node(), "node2");
  EXPECT_EQ(one.hello().data_address(), "10.99.1.2:7411");
  EXPECT_EQ(one.hello().data_token().size(), wire::kTokenBytes);
  EXPECT_NE(one.hello().data_token(), two.hello().data_token());
}

TEST_F(TargetMigrationTest, AnotherMajorIsRefusedAndAnotherMinorIsNot) {
  peer::SourceMessage message = hello();
  message.mutable_hello()->set_version_minor(wire::kProtocolMinor + 5);
  EXPECT_EQ(answer_to(message), "");
  message.mutable_hello()->set_version_major(wire::kProtocolMajor + 1);
  message.mutable_hello()->set_software("7.0");
  EXPECT_THAT(answer_to(message), HasSubstr("(godwit 7.0) speaks protocol 3.5"));
  EXPECT_THAT(answer_to(message), HasSubstr("majors must be equal"));
}

TEST_F(TargetMigrationTest, TheSourceIsWhoItsCertificateSays) {
  peer::SourceMessage message = hello();
  message.mutable_hello()->set_node("node3");
  EXPECT_EQ(answer_to(message), "the source calls itself 'node3', its certificate does not");
  message.mutable_hello()->set_node("../node1");
  EXPECT_NE(answer_to(message), "");
}

TEST_F(TargetMigrationTest, AnIdThatIsNoneIsRefused) {
  peer::SourceMessage message = hello();
  for (const char* id : {"", "7777", "../../../../etc/", "777777777777777G"}) {
    message.mutable_hello()->set_migration_id(id);
    EXPECT_THAT(answer_to(message), HasSubstr("migration id")) << id;
  }
}

std::vector<peer::SourceMessage> all_but(peer::SourceMessage::BodyCase expected) {
  std::vector<peer::SourceMessage> messages(8);
  messages[1] = hello();
  messages[2].mutable_preflight();
  messages[3].mutable_prepare();
  messages[4].mutable_switch_over();
  messages[5].mutable_commit();
  messages[6].mutable_finish();
  std::erase_if(messages, [&](const auto& message) { return message.body_case() == expected; });
  return messages;
}

TEST_F(TargetMigrationTest, NothingComesBeforeHello) {
  for (const peer::SourceMessage& message : all_but(peer::SourceMessage::kHello))
    EXPECT_EQ(answer_to(message), "a message came out of order") << message.body_case();
}

TEST_F(TargetMigrationTest, NothingButPreflightComesAfterHello) {
  for (const peer::SourceMessage& message : all_but(peer::SourceMessage::kPreflight)) {
    TargetMigration target(host_, {"node1"}, "10.99.1.2:7411");
    ASSERT_TRUE(target.handle(hello()).has_hello());
    EXPECT_EQ(target.handle(message).failure().cause(), "a message came out of order") << message.body_case();
    EXPECT_EQ(target.outcome().outcome(), peer::OutcomeReply::ABORTED);
    EXPECT_TRUE(target.handle(hello()).has_failure());  // that was the end
  }
}

TEST_F(TargetMigrationTest, WhatWasFoundUnfitCannotBePrepared) {
  TargetMigration target(host_, {"node1"}, "10.99.1.2:7411");
  target.handle(hello());
  peer::SourceMessage preflight, prepare;
  preflight.mutable_preflight()->set_container("redis");
  prepare.mutable_prepare();
  EXPECT_GT(target.handle(preflight).preflight().problems_size(), 0);
  EXPECT_EQ(target.handle(prepare).failure().cause(), "a message came out of order");
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(TargetMigrationTest, AbortEndsItAtAnyTime) {
  TargetMigration target(host_, {"node1"}, "10.99.1.2:7411");
  target.handle(hello());
  EXPECT_EQ(target.outcome().outcome(), peer::OutcomeReply::ONGOING);
  peer::SourceMessage abort;
  abort.mutable_abort()->set_reason(std::string(100'000, 'x'));
  EXPECT_TRUE(target.handle(abort).has_abort());
  EXPECT_EQ(target.outcome().outcome(), peer::OutcomeReply::ABORTED);
  EXPECT_LT(target.status().error().size(), 300u);
  EXPECT_TRUE(target.handle(abort).has_abort());
}

TEST_F(TargetMigrationTest, ALostLinkEndsIt) {
  TargetMigration target(host_, {"node1"}, "10.99.1.2:7411");
  target.handle(hello());
  target.link_lost();
  EXPECT_EQ(target.outcome().outcome(), peer::OutcomeReply::ABORTED);
  EXPECT_EQ(target.status().error(), "the link to the source was lost");
}

TEST_F(TargetMigrationTest, NoDataConnectionIsTakenBeforeItIsPrepared) {
  TargetMigration target(host_, {"node1"}, "10.99.1.2:7411");
  wire::Hello data{.migration_id = kId, .token = target.handle(hello()).hello().data_token()};
  EXPECT_FALSE(target.accepts(data, {"node1"}));
}

}  // namespace
}  // namespace godwit
