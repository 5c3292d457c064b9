#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "network/announce.h"
#include "network/capture.h"
#include "network/frame_delivery.h"
#include "network/frame_hold.h"
#include "network/recreate.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

constexpr uint16_t kPort = 7007;
constexpr char kAddress[] = "10.97.2.7";
constexpr char kMac[] = "02:00:0a:61:02:07";

sockaddr_in socket_address(const char* address) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(kPort);
  inet_pton(AF_INET, address, &result.sin_addr);
  return result;
}

ScopedFd udp_in(int netns, const char* bound_to) {
  auto fd = in_netns(netns, [&]() -> Result<ScopedFd> {
    ScopedFd socket(::socket(AF_INET, SOCK_DGRAM, 0));
    const sockaddr_in at = socket_address(bound_to);
    if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) return fail_errno("bind");
    const int buffer = 8 << 20;
    (void)setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    return socket;
  });
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : ScopedFd();
}

// Both hosts have a further uplink, up1, which is the parent of macvlans; the container is a namespace of its own.
class Macvlan : public testing::Test {
 protected:
  template <typename F>
  auto on_a(F&& f) {
    auto result = in_netns(lan.a.get(), std::forward<F>(f));
    EXPECT_TRUE(result) << result.error().text();
    return std::move(*result);
  }
  void SetUp() override {
    TestLan::connect(lan.lan, "xa", "lan", lan.a, "up1");
    TestLan::connect(lan.lan, "xb", "lan", lan.b, "up1");
    const std::string fd = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(container.get());
    run_in(lan.a, std::string("ip link add link up1 name mv0 address ") + kMac + " netns " + fd +
                      " type macvlan mode " + mode);
    run_in(container, std::string("ip link set lo up; ip link set mv0 up; ip addr add ") + kAddress + "/16 dev mv0");
    run_in(lan.client, std::string("ip addr add 10.97.0.2/16 dev eth0; ping -c1 -W2 ") + kAddress);
    ports = on_a([&] { return find_host_ports(container.get()); });
    state = on_a([&] { return capture_namespace(container.get()); });
    note_bridges(ports, state);
    auto prepared = in_netns(lan.a.get(), [&] { return PortDetachment::prepare(ports, container.get()); });
    ASSERT_TRUE(prepared) << prepared.error().text();
    detachment.emplace(std::move(*prepared));
  }
  void TearDown() override {
    detachment.reset();
    for (const ScopedFd* host : {&lan.a, &lan.b})
      for (const char* name : {"gh00000", "ge00000"})
        EXPECT_EQ(run_in(*host, "ip -o link").find(name), std::string::npos);
    EXPECT_EQ(run_in(lan.b, "ip -o link").find("gw00000"), std::string::npos);
  }
  FrameHold prepare() {
    return on_a([&] { return FrameHold::prepare(ports, state, "00000000000000c1"); });
  }
  RecreatedNamespace recreate_on_b() {
    auto made = in_netns(
        lan.b.get(), [&] { return RecreatedNamespace::create(state, test_netns_path("macvlan"), "00000000000000c2"); });
    EXPECT_TRUE(made) << made.error().text();
    return std::move(*made);
  }
  void send_numbers(const ScopedFd& from, uint32_t begin, uint32_t end) {
    const sockaddr_in to = socket_address(kAddress);
    for (uint32_t i = begin; i < end; ++i)
      ASSERT_GT(sendto(from.get(), &i, sizeof(i), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  }
  static std::vector<uint32_t> numbers(const ScopedFd& socket) {
    std::vector<uint32_t> list;
    for (uint32_t number; recv(socket.get(), &number, sizeof(number), MSG_DONTWAIT) == sizeof(number);)
      list.push_back(number);
    return list;
  }
  std::string learned_port() {
    return run_in(lan.lan, std::string("bridge fdb show | sed -n 's/^") + kMac + " dev \\([a-z]*\\).*/\\1/p'");
  }

  // Until there are COUNT: frames that are put into a link arrive a little later.
  static std::vector<uint32_t> await_numbers(const ScopedFd& socket, size_t count) {
    std::vector<uint32_t> list;
    for (const Deadline deadline = Clock::now() + std::chrono::seconds(10); Clock::now() < deadline;) {
      for (const uint32_t number : numbers(socket)) list.push_back(number);
      if (list.size() >= count) break;
    }
    return list;
  }
  static void await_held(const FrameHold& hold, uint64_t count) {
    const Deadline deadline = Clock::now() + std::chrono::seconds(10);
    while (hold.count().frames_held < count && Clock::now() < deadline) std::this_thread::yield();
    EXPECT_GE(hold.count().frames_held, count);
  }

  TestLan lan;
  std::string mode = "bridge";
  ScopedFd container = new_netns();
  peer::NetworkState state;
  std::vector<HostPort> ports;
  std::optional<PortDetachment> detachment;
};

// Mode of the macvlan on the source, as in "ip link".
class MacvlanInMode : public Macvlan, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    mode = GetParam();
    Macvlan::SetUp();
  }
};
INSTANTIATE_TEST_SUITE_P(All, MacvlanInMode, testing::Values("bridge", "private", "vepa"));

std::vector<uint32_t> range(uint32_t begin, uint32_t end) {
  std::vector<uint32_t> list(end - begin);
  std::iota(list.begin(), list.end(), begin);
  return list;
}

TEST_P(MacvlanInMode, ItMovesWithItsMacItsNeighboursAndAllThatCameForIt) {
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2"), source = udp_in(container.get(), kAddress);
  RecreatedNamespace target = recreate_on_b();
  ScopedFd arrived = udp_in(target.netns_fd(), kAddress);
  EXPECT_EQ(learned_port(), "xa\n");  // the one on the target has not been heard of
  FrameHold hold = prepare();
  EXPECT_TRUE(hold.notes().empty());
  send_numbers(client, 0, 10);
  ASSERT_TRUE(hold.begin(*detachment));
  send_numbers(client, 10, 2000);
  await_held(hold, 1990);
  EXPECT_EQ(numbers(source), range(0, 10));
  EXPECT_TRUE(numbers(arrived).empty());

  ASSERT_TRUE(detachment->detach());  // else the kernel may still report its multicast groups
  ASSERT_TRUE(target.attach());
  const auto frames = hold.take();
  auto count = in_netns(lan.b.get(), [&] { return deliver_frames(target.host_ends(), frames, "00000000000000c3"); });
  ASSERT_TRUE(count) << count.error().text();
  EXPECT_EQ(count->delivered, 1990U);
  EXPECT_EQ(await_numbers(arrived, 1990), range(10, 2000));
  ASSERT_TRUE(announce(target.netns_fd(), state));
  const Deadline deadline = Clock::now() + std::chrono::seconds(10);
  while (learned_port() != "xb\n" && Clock::now() < deadline) {  // the frame is on its way
  }
  EXPECT_EQ(learned_port(), "xb\n");
  send_numbers(client, 3000, 3010);
  EXPECT_EQ(await_numbers(arrived, 10), range(3000, 3010));
  EXPECT_TRUE(numbers(source).empty());
  EXPECT_NE(run_in(ScopedFd(dup(target.netns_fd())), "ip neigh show dev mv0").find("10.97.0.2"), std::string::npos);
  detachment->commit();
}

TEST_P(MacvlanInMode, AfterARollbackItHasAllThatCame) {
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2"), source = udp_in(container.get(), kAddress);
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  ASSERT_TRUE(detachment->detach());
  send_numbers(client, 0, 500);
  await_held(hold, 500);
  EXPECT_TRUE(numbers(source).empty());
  auto back = hold.give_back(*detachment);
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->delivered, 500U);
  send_numbers(client, 500, 510);
  EXPECT_EQ(await_numbers(source, 510), range(0, 510));
}

// Sends numbers, from 0 on, with at least 20 us between two, until it is stopped; as TCP does, only a window more than
// have arrived: tasks that are not scheduled would have buffers overflow.
class NumberSender {
 public:
  NumberSender(ScopedFd socket, std::function<size_t()> arrived)
      : socket_(std::move(socket)), arrived_(std::move(arrived)), thread_([this] { run(); }) {}
  ~NumberSender() { stop(); }
  uint32_t stop() {  // how many there were
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
    return sent_;
  }
  uint32_t sent() const { return sent_; }
  void await_more(uint32_t count) const {
    const Deadline deadline =
        Clock::now() + std::chrono::seconds(10);  // when so many are lost that the window is used up
    for (const uint32_t until = sent_ + count; sent_ < until && Clock::now() < deadline;) std::this_thread::yield();
  }

 private:
  void run() {
    const sockaddr_in to = socket_address(kAddress);
    while (!stopped_) {
      const Clock::time_point next = Clock::now() + std::chrono::microseconds(20);
      const uint32_t number = sent_;
      if (number < arrived_() + kWindow &&
          sendto(socket_.get(), &number, sizeof(number), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) > 0)
        ++sent_;
      while (Clock::now() < next && !stopped_) {
      }
    }
  }
  static constexpr size_t kWindow = 2000;
  ScopedFd socket_;
  std::function<size_t()> arrived_;
  std::atomic<bool> stopped_ = false;
  std::atomic<uint32_t> sent_ = 0;
  std::thread thread_;
};

// Reads numbers as they come: a socket has not room for many.
class NumberReader {
 public:
  explicit NumberReader(ScopedFd socket) : socket_(std::move(socket)), thread_([this] { run(); }) {}
  ~NumberReader() { (void)stop(0); }
  size_t count() const { return count_; }
  std::vector<uint32_t> stop(size_t awaited) {
    const Deadline deadline = Clock::now() + std::chrono::seconds(10);
    while (count_ < awaited && Clock::now() < deadline) std::this_thread::yield();
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
    socket_.reset();  // it would keep its namespace
    return list_;
  }

 private:
  void run() {
    pollfd wait{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    while (!stopped_) {
      if (poll(&wait, 1, 1) <= 0) continue;
      for (uint32_t number; recv(socket_.get(), &number, sizeof(number), MSG_DONTWAIT) == sizeof(number);) {
        list_.push_back(number);
        count_ = list_.size();
      }
    }
  }
  ScopedFd socket_;
  std::atomic<bool> stopped_ = false;
  std::atomic<size_t> count_ = 0;
  std::vector<uint32_t> list_;
  std::thread thread_;
};

// As EXPECT_EQ for long lists.
void expect_range(const std::vector<uint32_t>& list, uint32_t end) {
  EXPECT_EQ(list.size(), end);
  int shown = 0;
  for (size_t i = 1; i < list.size() && shown < 12; ++i)
    if (list[i] != list[i - 1] + 1) {
      ADD_FAILURE() << "number " << list[i] << " after " << list[i - 1];
      ++shown;
    }
}

TEST_P(MacvlanInMode, NoneIsLostDoubledOrOvertakenByAHoldAndItsRelease) {
  NumberReader reader(udp_in(container.get(), kAddress));
  NumberSender sender(udp_in(lan.client.get(), "10.97.0.2"), [&] { return reader.count(); });
  uint64_t held = 0;
  for (int round = 0; round < 40; ++round) {
    FrameHold hold = prepare();
    sender.await_more(20);
    if (round % 2 == 0) {
      ASSERT_TRUE(hold.hold_new_connections());
      sender.await_more(50);
    }
    ASSERT_TRUE(hold.begin(*detachment));
    sender.await_more(50);
    if (round % 3 != 0) {
      ASSERT_TRUE(detachment->detach());
    }
    sender.await_more(100);
    auto back = hold.give_back(*detachment);
    ASSERT_TRUE(back) << back.error().text();
    held += hold.count().frames_held;
    EXPECT_EQ(hold.count().frames_dropped, 0U);
  }
  const uint32_t sent = sender.stop();
  expect_range(reader.stop(sent), sent);
  EXPECT_GT(held, 40U * 100U);
}

TEST_P(MacvlanInMode, NoneIsLostOrDoubledByAMoveWhileFramesCome) {
  NumberReader source(udp_in(container.get(), kAddress));
  RecreatedNamespace target = recreate_on_b();
  NumberReader arrived(udp_in(target.netns_fd(), kAddress));
  NumberSender sender(udp_in(lan.client.get(), "10.97.0.2"), [&] { return source.count() + arrived.count(); });
  auto to_target = in_netns(lan.b.get(), [&] { return FrameSender::open(target.host_ends(), "00000000000000c3"); });
  ASSERT_TRUE(to_target);
  auto announcer = Announcer::open(target.netns_fd(), state);
  ASSERT_TRUE(announcer);
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.hold_new_connections());
  sender.await_more(500);
  ASSERT_TRUE(hold.begin(*detachment));
  sender.await_more(500);
  ASSERT_TRUE(detachment->detach());
  const size_t before = source.count();
  sender.await_more(500);
  ASSERT_TRUE(target.attach());
  ASSERT_TRUE(announcer->send());
  const auto deliver = [&] { ASSERT_TRUE(to_target->send(target.host_ends(), hold.take())); };
  deliver();
  const Deadline deadline = Clock::now() + std::chrono::seconds(10);
  while (learned_port() != "xb\n" && Clock::now() < deadline) deliver();
  hold.stop();
  deliver();
  std::vector<uint32_t> received = source.stop(0);
  EXPECT_EQ(received.size(), before);
  detachment->commit();
  // When a link's mode changes the kernel reports its multicast groups, again within a second (RFC 3810 9.11): nobody
  // may learn from it where the container was.
  sender.await_more(60'000);
  const uint32_t sent = sender.stop();
  for (const uint32_t number : arrived.stop(sent - received.size())) received.push_back(number);
  std::sort(received.begin(), received.end());
  expect_range(received, sent);
  EXPECT_EQ(learned_port(), "xb\n");
}

TEST_F(Macvlan, WhatOthersOnItsParentSendIsHeldAsWell) {
  ScopedFd neighbour = new_netns();
  run_in(lan.a, "ip link add link up1 name mv1 netns /proc/" + std::to_string(getpid()) + "/fd/" +
                    std::to_string(neighbour.get()) + " type macvlan mode bridge");
  run_in(neighbour, std::string("ip link set mv1 up; ip addr add 10.97.2.9/16 dev mv1; ping -c1 -W2 ") + kAddress);
  ScopedFd sender = udp_in(neighbour.get(), "10.97.2.9"), socket = udp_in(container.get(), kAddress);
  FrameHold hold = prepare();
  send_numbers(sender, 0, 50);
  ASSERT_TRUE(hold.begin(*detachment));
  send_numbers(sender, 50, 100);
  EXPECT_EQ(await_numbers(socket, 50), range(0, 50));
  ASSERT_TRUE(detachment->detach());
  send_numbers(sender, 100, 150);
  await_held(hold, 100);
  auto back = hold.give_back(*detachment);
  ASSERT_TRUE(back) << back.error().text();
  send_numbers(sender, 150, 200);
  EXPECT_EQ(await_numbers(socket, 150), range(50, 200));
}

// Both are diverted at the same parent, and each program sees the frames of the other one.
TEST_F(Macvlan, TwoOnOneParentAreHeldAtTheSameTime) {
  ScopedFd other = new_netns();
  constexpr char kOther[] = "10.97.2.10";
  run_in(lan.a, "ip link add link up1 name mv1 netns /proc/" + std::to_string(getpid()) + "/fd/" +
                    std::to_string(other.get()) + " type macvlan mode bridge");
  run_in(other, std::string("ip link set mv1 up; ip addr add ") + kOther + "/16 dev mv1");
  run_in(lan.client, std::string("ping -c1 -W2 ") + kOther);
  const auto other_ports = on_a([&] { return find_host_ports(other.get()); });
  const auto other_state = on_a([&] { return capture_namespace(other.get()); });
  auto other_detachment = in_netns(lan.a.get(), [&] { return PortDetachment::prepare(other_ports, other.get()); });
  ASSERT_TRUE(other_detachment);
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2");
  ScopedFd first = udp_in(container.get(), kAddress), second = udp_in(other.get(), kOther);
  const auto send_to = [&](const char* address, uint32_t begin, uint32_t end) {
    const sockaddr_in to = socket_address(address);
    for (uint32_t i = begin; i < end; ++i)
      ASSERT_GT(sendto(client.get(), &i, sizeof(i), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  };
  FrameHold hold = prepare();
  FrameHold other_hold = on_a([&] { return FrameHold::prepare(other_ports, other_state, "00000000010000c4"); });
  ASSERT_TRUE(hold.hold_new_connections());
  ASSERT_TRUE(other_hold.hold_new_connections());
  for (const char* address : {kAddress, kOther}) send_to(address, 0, 50);
  EXPECT_EQ(await_numbers(first, 50), range(0, 50));
  EXPECT_EQ(await_numbers(second, 50), range(0, 50));
  ASSERT_TRUE(hold.begin(*detachment));
  ASSERT_TRUE(other_hold.begin(*other_detachment));
  ASSERT_TRUE(detachment->detach());
  ASSERT_TRUE(other_detachment->detach());
  for (const char* address : {kAddress, kOther}) send_to(address, 50, 100);
  await_held(hold, 50);
  await_held(other_hold, 50);
  ASSERT_TRUE(hold.give_back(*detachment));
  ASSERT_TRUE(other_hold.give_back(*other_detachment));
  EXPECT_EQ(await_numbers(first, 50), range(50, 100));
  EXPECT_EQ(await_numbers(second, 50), range(50, 100));
}

TEST_F(Macvlan, FramesThatOpenNoConnectionGoThroughTheHold) {
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2"), source = udp_in(container.get(), kAddress);
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.hold_new_connections());
  send_numbers(client, 0, 100);
  EXPECT_EQ(await_numbers(source, 100), range(0, 100));
  EXPECT_EQ(hold.count().frames_held, 0U);
  ASSERT_TRUE(hold.begin(*detachment));
  send_numbers(client, 100, 200);
  await_held(hold, 100);
  EXPECT_TRUE(numbers(source).empty());
}

TEST_F(Macvlan, OthersOnItsParentGetTheirs) {
  run_in(lan.a,
         "ip link add link up1 name mv1 type macvlan mode bridge; ip link set mv1 up; "
         "ip addr add 10.97.2.9/16 dev mv1; ip addr add 10.97.2.8/16 dev up1");
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  ASSERT_TRUE(detachment->detach());
  for (const char* other : {"10.97.2.8", "10.97.2.9"})
    run_in(lan.client, std::string("ip neigh flush dev eth0; ping -c1 -W2 ") + other);
}

TEST_F(Macvlan, QuestionsForItsAddressAreHeldAndAnsweredAfterwards) {
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  ASSERT_TRUE(detachment->detach());
  run_in(lan.client, std::string("ip neigh flush dev eth0; ping -c1 -W0.3 ") + kAddress + " >/dev/null || :");
  await_held(hold, 1);
  ASSERT_TRUE(hold.give_back(*detachment));
  const Deadline deadline = Clock::now() + std::chrono::seconds(10);
  const auto resolved = [&] {
    return run_in(lan.client, std::string("ip neigh show ") + kAddress).find(kMac) != std::string::npos;
  };
  while (!resolved() && Clock::now() < deadline) {
  }
  EXPECT_TRUE(resolved());
}

TEST_F(Macvlan, DetachedItSendsNothing) {
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2"), source = udp_in(container.get(), kAddress);
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  const sockaddr_in to = socket_address("10.97.0.2");
  auto send = [&](uint32_t number) {
    (void)sendto(source.get(), &number, sizeof(number), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
  };
  send(1);  // what the container has still to say
  ASSERT_TRUE(detachment->detach());
  send(2);
  ASSERT_TRUE(hold.give_back(*detachment));
  send(3);
  EXPECT_EQ(await_numbers(client, 2), (std::vector<uint32_t>{1, 3}));
}

}  // namespace
}  // namespace godwit::network
