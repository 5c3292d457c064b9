#include "wire/hello.h"

#include <gtest/gtest.h>

#include "base/identifier.h"

namespace godwit::wire {
namespace {

Hello sample() {
  Hello hello;
  hello.channel = 3;
  hello.want_plain = true;
  hello.migration_id = "0123456789abcdef";
  hello.token = std::string("\0\x01\xff", 3) + std::string(29, 't');
  return hello;
}

TEST(Hello, ArrivesAsSent) {
  auto bytes = encode_hello(sample());
  ASSERT_TRUE(bytes) << bytes.error().text();
  ASSERT_EQ(bytes->size(), kHelloBytes);
  auto hello = decode_hello(*bytes);
  ASSERT_TRUE(hello) << hello.error().text();
  EXPECT_EQ(hello->channel, 3);
  EXPECT_TRUE(hello->want_plain);
  EXPECT_EQ(hello->migration_id, sample().migration_id);
  EXPECT_EQ(hello->token, sample().token);
}

TEST(Hello, LayoutIsTheOneInTheSpecification) {
  std::string bytes = *encode_hello(sample());
  EXPECT_EQ(bytes.substr(0, 16), std::string("GDWTDATA\x02\0\x01\0\x03\0\x01\0", 16));
  EXPECT_EQ(bytes.substr(16, 16), "0123456789abcdef");
  EXPECT_EQ(bytes.substr(32), sample().token);
}

TEST(Hello, WhatCannotBeSentIsAnError) {
  Hello hello = sample();
  hello.token.pop_back();
  EXPECT_FALSE(encode_hello(hello));
  hello = sample();
  hello.migration_id = "../../etc/passwd";
  EXPECT_FALSE(encode_hello(hello));
  hello = sample();
  hello.channel = kChannelsMax;
  EXPECT_FALSE(encode_hello(hello));
}

TEST(Hello, OfAnotherMajorIsReturnedWithItsVersionOnly) {
  std::string bytes = *encode_hello(sample());
  bytes[8] = 9;
  bytes[16] = '/';  // no business of ours what version 9 has here
  auto hello = decode_hello(bytes);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->version_major, 9);
  EXPECT_EQ(hello->token, "");
}

TEST(Hello, OfALaterMinorMayHaveUnknownFlags) {
  std::string bytes = *encode_hello(sample());
  bytes[10] = 7;
  bytes[14] = static_cast<char>(0xfe);
  auto hello = decode_hello(bytes);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->version_minor, 7);
  EXPECT_FALSE(hello->want_plain);
}

TEST(Hello, EveryTruncationIsAnError) {
  std::string bytes = *encode_hello(sample());
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(decode_hello(bytes.substr(0, length))) << length;
  EXPECT_FALSE(decode_hello(bytes + '\0'));
}

TEST(Hello, RandomBytesBehindTheMagicNeverMakeABadId) {
  std::string opening = encode_hello(sample())->substr(0, 12);
  for (int i = 0; i < 20'000; ++i) {
    auto hello = decode_hello(opening + random_bytes(kHelloBytes - opening.size()));
    if (hello) {
      EXPECT_TRUE(check_id(hello->migration_id));
    }
  }
}

TEST(HelloAck, ArrivesAsSent) {
  for (Refusal refusal : {Refusal::kNone, Refusal::kUnknownMigration, Refusal{77}}) {
    std::string bytes = encode_hello_ack({.refusal = refusal, .plain = true});
    ASSERT_EQ(bytes.size(), kHelloAckBytes);
    auto ack = decode_hello_ack(bytes);
    ASSERT_TRUE(ack) << ack.error().text();
    EXPECT_EQ(ack->refusal, refusal);
    EXPECT_TRUE(ack->plain);
  }
  EXPECT_EQ(refusal_text(Refusal{77}), "reason 77");
}

TEST(HelloAck, StatusAndReasonMustAgree) {
  std::string bytes = encode_hello_ack({});
  bytes[13] = 3;
  EXPECT_FALSE(decode_hello_ack(bytes));
  bytes = encode_hello_ack({.refusal = Refusal::kBusy});
  bytes[12] = 0;
  EXPECT_FALSE(decode_hello_ack(bytes));
  bytes[12] = 2;
  EXPECT_FALSE(decode_hello_ack(bytes));
}

}  // namespace
}  // namespace godwit::wire
