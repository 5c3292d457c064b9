#include "transport/data_listener.h"

#include <gmock/gmock.h>

#include <future>

#include "base/identifier.h"
#include "transport/test_data_link.h"

namespace godwit {
namespace {

using testing::HasSubstr;

ScopedFd dial(const TestTarget& target) { return must(connect_tcp(target.listener->address(), in_ms(5000))); }

void put(int fd, std::string_view data) { (void)::send(fd, data.data(), data.size(), MSG_NOSIGNAL); }

// The peer ends the connection within LIMIT_MS. What it says before (a TLS alert) is read and
// ignored.
bool closed_within(int fd, int limit_ms) {
  const Deadline deadline = in_ms(limit_ms);
  char buffer[4096];
  for (;;) {
    if (!wait_ready(fd, POLLIN, deadline)) return false;
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return true;
  }
}

std::string preamble(const wire::Hello& hello = test_hello()) {
  return must(wire::encode_preamble(wire::preamble_of(hello)));
}

// Past the preamble and TLS.
std::unique_ptr<TlsConnection> member(const TestTarget& target, const wire::Hello& opening = test_hello()) {
  return must(
      TlsConnection::connect(target.node1, target.listener->address(), "node2", in_ms(5000), preamble(opening)));
}

bool works(TestTarget& target) {
  auto source = target.connect();
  if (!source) return false;
  auto arrived = target.arrived();
  char byte = 0;
  return (*source)->send({"x"}) && arrived->receive_exact(&byte, 1) && byte == 'x';
}

TEST(EqualSecret, ComparesAllOfBoth) {
  EXPECT_TRUE(equal_secret("", ""));
  EXPECT_TRUE(equal_secret("secret", "secret"));
  EXPECT_FALSE(equal_secret("secret", "secreT"));
  EXPECT_FALSE(equal_secret("secret", "secret0"));
  EXPECT_FALSE(equal_secret("secret", ""));
}

TEST(DataListener, HandsOverWhatWasClaimed) {
  TestTarget target;
  wire::Hello hello = test_hello();
  hello.channel = 5;
  auto source = must(target.connect(hello));
  auto arrived = target.arrived();
  EXPECT_EQ(arrived->channel(), 5);
  EXPECT_EQ(arrived->peer_name(), "node1");
  EXPECT_EQ(arrived->hello().migration_id, hello.migration_id);
  EXPECT_EQ(target.listener->counts().claimed, 1u);
}

TEST(DataListener, GarbageIsClosedAndCounted) {
  TestTarget target;
  const std::vector<std::string> openings = {
      "GET / HTTP/1.1\r\n\r\n",
      std::string(100'000, '\0'),
      random_bytes(100'000),
      std::string("\x16\x03\x01\xff\xff", 5) + random_bytes(70'000),  // a record that is too long
      *wire::encode_hello(test_hello()),                              // a hello without TLS
      preamble() + "GET / HTTP/1.1\r\n\r\n",
      preamble() + std::string("\x16\x03\x01\xff\xff", 5) + random_bytes(70'000),
      preamble() + *wire::encode_hello(test_hello()),
  };
  for (const std::string& opening : openings) {
    ScopedFd fd = dial(target);
    put(fd.get(), opening);
    EXPECT_TRUE(closed_within(fd.get(), 4000));
  }
  EXPECT_TRUE(works(target));
  target.listener->stop();
  EXPECT_EQ(target.listener->counts().rejected, openings.size());
}

TEST(DataListener, WhoLeavesAtOnceIsCounted) {
  TestTarget target;
  for (int i = 0; i < 50; ++i) dial(target);
  EXPECT_TRUE(works(target));
  target.listener->stop();
  const DataListenerCounts counts = target.listener->counts();
  EXPECT_EQ(counts.accepted, 51u);
  EXPECT_EQ(counts.rejected, 50u);
}

TEST(DataListener, WhoeverIsSlowIsClosedAtTheLimit) {
  TestTarget target({.handshake_limit = milliseconds(200)});
  ScopedFd silent = dial(target);
  ScopedFd dripping = dial(target);
  Stopwatch watch;
  ScopedFd without_tls = dial(target);
  put(without_tls.get(), preamble());
  const std::string opening = preamble();
  bool closed = false;
  // One byte now and then: progress that must not extend the limit.
  for (size_t i = 0; i < 200 && !closed; ++i) {
    put(dripping.get(), opening.substr(i % opening.size(), 1));
    closed = closed_within(dripping.get(), 20);
  }
  EXPECT_TRUE(closed);
  EXPECT_TRUE(closed_within(silent.get(), 2000));
  EXPECT_TRUE(closed_within(without_tls.get(), 2000));
  EXPECT_LT(watch.ms(), 2000);
  EXPECT_TRUE(works(target));
}

TEST(DataListener, AMemberThatNeverSaysHelloIsClosedAtTheLimit) {
  TestTarget target({.handshake_limit = milliseconds(200)});
  auto tls = member(target);
  must(tls->send(wire::encode_hello(test_hello())->substr(0, 63), in_ms(5000)));
  char byte;
  auto received = tls->receive_some(&byte, 1, in_ms(5000));
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ECONNRESET);
}

TEST(DataListener, AMembersGarbageIsClosed) {
  TestTarget target;
  for (const std::string& opening :
       {std::string(wire::kHelloBytes, 'x'), *wire::encode_hello(test_hello()) + "and more"}) {
    auto tls = member(target);
    must(tls->send(opening, in_ms(5000)));
    char byte;
    EXPECT_FALSE(tls->receive_some(&byte, 1, in_ms(5000)));
  }
  EXPECT_TRUE(works(target));
  EXPECT_EQ(target.listener->counts().claimed, 1u);
}

TEST(DataListener, AHelloThatIsNotWhatTheConnectionBeganAsIsClosed) {
  TestTarget target;
  wire::Hello other_channel = test_hello();
  other_channel.channel = 7;
  wire::Hello other_migration = test_hello();
  other_migration.migration_id = "fedcba9876543210";
  for (const wire::Hello& opening : {other_channel, other_migration}) {
    auto tls = member(target, opening);
    must(tls->send(must(wire::encode_hello(test_hello())), in_ms(5000)));
    char byte;
    EXPECT_FALSE(tls->receive_some(&byte, 1, in_ms(5000)));
  }
  EXPECT_TRUE(works(target));
}

// As an agent and its migration's pager have it: the one reads the preamble, the other does the handshake.
TEST(DataListener, WhatIsRoutedElsewhereIsHandshakenThere) {
  TestTarget target;
  std::promise<std::unique_ptr<DataConnection>> arrived;
  DataHandshakes elsewhere(target.certificates.context("node2"), {.allowed = {"node1"}},
                           [&](const wire::Hello&, const auto&) -> std::expected<DataHandler, wire::Refusal> {
                             return [&](auto connection) { arrived.set_value(std::move(connection)); };
                           });
  auto route = [&](const wire::Preamble& preamble, ScopedFd& socket) {
    if (preamble.channel == 0) return false;
    elsewhere.begin(std::move(socket), preamble);
    return true;
  };
  auto claim = [](const wire::Hello&, const auto&) -> std::expected<DataHandler, wire::Refusal> {
    return std::unexpected(wire::Refusal::kUnknownMigration);
  };
  auto listener =
      must(DataListener::start(target.certificates.context("node2"), {.address = "127.0.0.1:0"}, claim, route));
  wire::Hello hello = test_hello();
  hello.channel = 3;
  auto connect = [&] {
    return DataConnection::connect(target.node1, listener->address(), "node2", hello, in_ms(10'000));
  };
  auto source = must(connect());
  auto connection = arrived.get_future().get();
  listener->stop();  // what is elsewhere does not end with it
  must(source->send({"x"}));
  char byte = 0;
  must(connection->receive_exact(&byte, 1));
  EXPECT_EQ(byte, 'x');
  EXPECT_EQ(listener->counts().routed, 1u);
  EXPECT_EQ(elsewhere.counts().claimed, 1u);
}

TEST(DataListener, StrangersAreRefused) {
  TestTarget target;
  auto other_ca = target.connect(test_hello(), target.certificates.context("node1", 30, "other"));
  ASSERT_FALSE(other_ca);
  auto expired = target.connect(test_hello(), target.certificates.context("node1", -1));
  ASSERT_FALSE(expired);
  EXPECT_THAT(expired.error().text(), HasSubstr("does not accept our certificate"));
  auto other_name = target.connect(test_hello(), target.certificates.context("node3"));
  ASSERT_FALSE(other_name);
  EXPECT_EQ(other_name.error().text(), "data connection to node2: refused: our name is not among its peers");
  EXPECT_EQ(target.listener->counts().claimed, 0u);
  EXPECT_TRUE(works(target));
}

TEST(DataListener, BeyondTheLimitOfHandshakesConnectionsAreClosed) {
  TestTarget target({.handshakes_max = 2, .slot_wait = milliseconds(20)});
  ScopedFd first = dial(target);
  ScopedFd second = dial(target);
  ScopedFd third = dial(target);
  EXPECT_TRUE(closed_within(third.get(), 3000));
  EXPECT_EQ(target.listener->counts().overflow, 1u);
  first.reset();
  while (target.listener->counts().rejected == 0) std::this_thread::yield();
  EXPECT_TRUE(works(target));  // in the slot that became free
}

TEST(DataListener, ABurstBeyondTheLimitWaitsForItsTurn) {
  TestTarget target({.handshakes_max = 2, .slot_wait = milliseconds(5000)});
  std::vector<std::future<bool>> sources;
  for (int i = 0; i < 20; ++i)
    sources.push_back(std::async(std::launch::async, [&] { return target.connect().has_value(); }));
  for (auto& source : sources) EXPECT_TRUE(source.get());
  for (int i = 0; i < 20; ++i) target.arrived();
  EXPECT_EQ(target.listener->counts().overflow, 0u);
}

TEST(DataListener, StopBreaksOffHandshakesAndLeavesConnectionsAlone) {
  TestTarget target;
  auto source = must(target.connect());
  auto arrived = target.arrived();
  ScopedFd silent = dial(target);
  while (target.listener->counts().accepted < 2) std::this_thread::yield();
  Stopwatch watch;
  target.listener->stop();
  EXPECT_LT(watch.ms(), 2000);
  EXPECT_TRUE(closed_within(silent.get(), 2000));
  EXPECT_FALSE(target.connect());
  must(source->send({"still here"}));
  char buffer[10];
  must(arrived->receive_exact(buffer, 10));
  target.listener->stop();  // again: nothing to do
}

TEST(DataListener, AnAddressInUseIsAClearError) {
  TestTarget target;
  auto second = DataListener::start(target.node1, {.address = target.listener->address()}, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().text(), "bind " + target.listener->address() + ": Address already in use");
}

}  // namespace
}  // namespace godwit
