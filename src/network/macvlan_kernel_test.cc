#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>

#include "base/clock.h"
#include "network/announce.h"
#include "network/capture.h"
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
    run_in(lan.a,
           std::string("ip link add link up1 name mv0 address ") + kMac + " netns " + fd + " type macvlan mode bridge");
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
    EXPECT_EQ(run_in(lan.a, "ip -o link").find("gh00000"), std::string::npos);
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

  TestLan lan;
  ScopedFd container = new_netns();
  peer::NetworkState state;
  std::vector<HostPort> ports;
  std::optional<PortDetachment> detachment;
};

TEST_F(Macvlan, ItMovesAtOnceWithItsMacAndItsNeighbours) {
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2"), source = udp_in(container.get(), kAddress);
  RecreatedNamespace target = recreate_on_b();
  ScopedFd arrived = udp_in(target.netns_fd(), kAddress);
  EXPECT_EQ(learned_port(), "xa\n");  // the one on the target has not been heard of
  FrameHold hold = prepare();
  send_numbers(client, 0, 10);
  ASSERT_TRUE(hold.begin(*detachment));
  send_numbers(client, 10, 20);
  EXPECT_EQ(numbers(source).size(), 10U);
  EXPECT_TRUE(numbers(arrived).empty());

  ASSERT_TRUE(target.attach());
  ASSERT_TRUE(announce(target.netns_fd(), state));
  const Deadline deadline = Clock::now() + std::chrono::seconds(10);
  while (learned_port() != "xb\n" && Clock::now() < deadline) {  // the frame is on its way
  }
  EXPECT_EQ(learned_port(), "xb\n");
  send_numbers(client, 100, 110);
  EXPECT_EQ(numbers(arrived).size(), 10U);
  EXPECT_TRUE(numbers(source).empty());
  EXPECT_NE(run_in(ScopedFd(dup(target.netns_fd())), "ip neigh show dev mv0").find("10.97.0.2"), std::string::npos);
  detachment->commit();
}

TEST_F(Macvlan, AfterARollbackItReceivesOnTheSource) {
  ScopedFd client = udp_in(lan.client.get(), "10.97.0.2"), source = udp_in(container.get(), kAddress);
  FrameHold hold = prepare();
  ASSERT_TRUE(hold.begin(*detachment));
  send_numbers(client, 0, 50);
  EXPECT_TRUE(numbers(source).empty());
  auto back = hold.give_back(*detachment);
  ASSERT_TRUE(back) << back.error().text();
  send_numbers(client, 50, 60);
  EXPECT_EQ(numbers(source).size(), 10U);
}

TEST_F(Macvlan, WhatIsNotHeldIsSaid) {
  FrameHold hold = prepare();
  ASSERT_EQ(hold.notes().size(), 1U);
  EXPECT_NE(hold.notes()[0].find("mv0 is a macvlan"), std::string::npos);
}

}  // namespace
}  // namespace godwit::network
