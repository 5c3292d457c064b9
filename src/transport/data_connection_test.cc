#include "transport/data_connection.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <ctime>
#include <future>

#include "base/identifier.h"
#include "transport/test_data_link.h"

namespace godwit {
namespace {

using testing::HasSubstr;
using wire::FrameHeader;
using wire::FrameType;

// Everything holds under TLS and plain.
class DataConnectionTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    source_ = must(target_host_.connect(test_hello(GetParam())));
    target_ = target_host_.arrived();
    ASSERT_EQ(source_->plain(), GetParam());
    ASSERT_EQ(target_->plain(), GetParam());
  }

  TestTarget target_host_{{.allow_plain = true}};
  std::unique_ptr<DataConnection> source_;
  std::unique_ptr<DataConnection> target_;
};

INSTANTIATE_TEST_SUITE_P(Modes, DataConnectionTest, testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Plain" : "Tls"; });

TEST_P(DataConnectionTest, FramesArriveAsSentInBothDirections) {
  must(source_->send_frame({FrameType::kFileBegin, 7, 0}, "core-1.img"));
  must(source_->send_frame({FrameType::kFileEnd, 7, 0}));
  std::string payload;
  EXPECT_EQ(must(target_->receive_frame(payload)), (FrameHeader{FrameType::kFileBegin, 7, 0, 10}));
  EXPECT_EQ(payload, "core-1.img");
  EXPECT_EQ(must(target_->receive_frame(payload)), (FrameHeader{FrameType::kFileEnd, 7, 0, 0}));
  EXPECT_EQ(payload, "");
  must(target_->send({"back"}));
  char buffer[4];
  must(source_->receive_exact(buffer, 4));
  EXPECT_EQ(std::string(buffer, 4), "back");
  EXPECT_EQ(source_->bytes_sent(), 74u);
  EXPECT_EQ(target_->bytes_received(), 74u);
  EXPECT_EQ(source_->bytes_received(), 4u);
}

TEST_P(DataConnectionTest, PartsOfAnySizeArriveInOrder) {
  // Around the size of a TLS record, where gathering changes its ways.
  std::vector<std::string> parts;
  for (size_t size : {0, 1, 31, 16383, 1, 16384, 16385, 5, 40000, 0, 32768, 1 << 20, 3})
    parts.push_back(random_bytes(size));
  std::string all;
  std::vector<std::string_view> views;
  for (const std::string& part : parts) {
    all += part;
    views.push_back(part);
  }
  auto sender = std::async(std::launch::async, [&] { return source_->send(views).has_value(); });
  std::string got(all.size(), '\0');
  must(target_->receive_exact(got.data(), got.size()));
  EXPECT_TRUE(sender.get());
  EXPECT_TRUE(got == all);
  EXPECT_EQ(source_->bytes_sent(), all.size());
}

TEST_P(DataConnectionTest, ManyPartsAreSentWhateverTheSystemTakesAtOnce) {
  std::vector<std::string_view> parts(5000, "0123456789");  // IOV_MAX is 1024
  auto sender = std::async(std::launch::async, [&] { return source_->send(parts).has_value(); });
  std::string got(50'000, '\0');
  must(target_->receive_exact(got.data(), got.size()));
  EXPECT_TRUE(sender.get());
  EXPECT_EQ(got.substr(49'985), "567890123456789");
}

TEST_P(DataConnectionTest, AFrameThatIsTooLargeIsNotSent) {
  EXPECT_FALSE(source_->send_frame({FrameType::kFileData, 0, 0}, std::string(wire::kFramePayloadMax + 1, 'x')));
  EXPECT_EQ(source_->bytes_sent(), 0u);
}

TEST_P(DataConnectionTest, GarbageInsteadOfAFrameIsAnError) {
  must(source_->send({std::string(64, '\xff')}));
  std::string payload;
  auto frame = target_->receive_frame(payload);
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().text(), "link to node1: frame of unknown type 255");
}

TEST_P(DataConnectionTest, APeerThatLeavesIsAnErrorNotASignal) {
  must(source_->send({"half a frame"}));
  source_.reset();
  std::string payload;
  auto frame = target_->receive_frame(payload);
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().code(), ECONNRESET);
  EXPECT_THAT(frame.error().text(), HasSubstr("link to node1: "));
  Result<> sent;
  for (int i = 0; i < 100 && sent; ++i) sent = target_->send({std::string(1 << 20, 'x')});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ECONNRESET);
}

TEST_P(DataConnectionTest, NoProgressIsAnErrorInBothDirections) {
  source_->set_idle_limit(milliseconds(30));
  char byte;
  auto received = source_->receive_exact(&byte, 1);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ETIMEDOUT);
  EXPECT_EQ(received.error().text(), "link to node2 made no progress for 0.03 s");
  auto sent = source_->send({std::string(size_t{64} << 20, 'x')});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().text(), "link to node2 made no progress for 0.03 s");
}

TEST_P(DataConnectionTest, ASlowPeerIsNoErrorAsLongAsItMoves) {
  source_->set_idle_limit(milliseconds(2000));
  const std::string data(size_t{8} << 20, 's');
  auto sender = std::async(std::launch::async, [&] { return source_->send({data}).has_value(); });
  std::string got(data.size(), '\0');
  for (size_t have = 0; have < got.size(); have += 1 << 20) must(target_->receive_exact(&got[have], 1 << 20));
  EXPECT_TRUE(sender.get());
}

TEST_P(DataConnectionTest, CancelEndsWhatWaits) {
  std::promise<void> waiting;
  auto receiver = std::async(std::launch::async, [&] {
    waiting.set_value();
    char byte;
    return target_->receive_exact(&byte, 1).error().code();
  });
  waiting.get_future().wait();
  target_->cancel();
  EXPECT_EQ(receiver.get(), ECANCELED);
  EXPECT_EQ(target_->send({"x"}).error().code(), ECANCELED);
}

TEST(DataConnectionModes, PlainNeedsBothSides) {
  TestTarget target;  // does not allow it
  auto source = must(target.connect(test_hello(true)));
  EXPECT_FALSE(source->plain());
  EXPECT_FALSE(target.arrived()->plain());
  TestTarget willing({.allow_plain = true});
  source = must(willing.connect(test_hello(false)));
  EXPECT_FALSE(source->plain());
  EXPECT_FALSE(willing.arrived()->plain());
}

TEST(DataConnectionModes, PlainReallyIsPlainAndTlsIsNot) {
  for (bool plain : {true, false}) {
    TestTarget target({.allow_plain = true});
    auto source = must(target.connect(test_hello(plain)));
    auto arrived = target.arrived();
    must(source->send({"readable"}));
    char wire_bytes[8];
    // Peeks below the connection, as someone on the network would.
    must(wait_ready(arrived->socket(), POLLIN, in_ms(5000)));
    ASSERT_EQ(::recv(arrived->socket(), wire_bytes, 8, MSG_PEEK | MSG_WAITALL), 8);
    EXPECT_EQ(std::string(wire_bytes, 8) == "readable", plain);
  }
}

TEST(DataConnectionRefused, TheReasonIsTold) {
  TestTarget target;
  wire::Hello hello = test_hello();
  hello.token[31] ^= 1;
  auto source = target.connect(hello);
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().text(), "data connection to node2: refused: unknown migration or wrong token");
  EXPECT_EQ(source.error().code(), EACCES);
}

TEST(DataConnectionRefused, AnotherMajorVersionIsTold) {
  TestTarget target;
  wire::Hello hello = test_hello();
  hello.version_major = 9;
  auto source = target.connect(hello);
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().text(),
            "data connection to node2: it speaks version 2.1 of the data protocol, this host 9.1");
}

TEST(DataConnectionRefused, AnotherMinorVersionIsNoReasonAndTheLowerOneCounts) {
  TestTarget target;
  wire::Hello hello = test_hello();
  hello.version_minor = 9;
  EXPECT_EQ(must(target.connect(hello))->hello().version_minor, wire::kDataVersionMinor);
  hello.version_minor = 0;
  EXPECT_EQ(must(target.connect(hello))->hello().version_minor, 0);
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Not a test: transport_test --gtest_also_run_disabled_tests --gtest_filter='*Throughput*'
TEST_P(DataConnectionTest, DISABLED_Throughput) {
  constexpr int kFrames = 4096;
  auto receiver = std::async(std::launch::async, [&] {
    std::string payload;
    for (int i = 0; i < kFrames; ++i) must(target_->receive_frame(payload));
  });
  const std::string payload(wire::kFramePayloadMax, 'p');
  const double cpu_before = cpu_seconds();
  Stopwatch watch;
  for (int i = 0; i < kFrames; ++i) must(source_->send_frame({FrameType::kFileData, 0, 0}, payload));
  receiver.get();
  const double seconds = watch.ms() / 1000;
  const double gigabytes = kFrames * double{wire::kFramePayloadMax} / 1e9;
  std::printf("%s: %.2f GB/s, %.2f s of CPU per GB for both ends\n", GetParam() ? "plain" : "TLS", gigabytes / seconds,
              (cpu_seconds() - cpu_before) / gigabytes);
}

}  // namespace
}  // namespace godwit
