#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

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
