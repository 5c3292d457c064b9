#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "network/capture.h"
#include "network/detachment.h"
#include "network/recreate.h"
#include "network/remembered_connections.h"
#include "network/tcp_moment.h"
#include "network/tcp_segment.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kId[] = "0123456789abcdef";
constexpr uint16_t kPort = 7000;

ScopedFd socket_in(const ScopedFd& netns, int family) {
  auto made = in_netns(netns.get(), [&]() -> Result<ScopedFd> {
    ScopedFd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("socket");
    return socket;
  });
  EXPECT_TRUE(made);
  return made ? std::move(*made) : ScopedFd();
}

bool is_at_its_end(const ScopedFd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, 0) == 0;
}

sockaddr_in container_v4() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  inet_pton(AF_INET, "10.98.2.7", &address.sin_addr);
  return address;
}

class Remembered : public testing::Test {
 protected:
  Remembered() : path(test_netns_path("remembered")) {
    const int yes = 1;
    listener = socket_in(lan.container, AF_INET6);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(kPort);
    ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(listener.get(), 64), 0);
  }

  // The client's end of a connection that the container has closed.
  ScopedFd closed_by_the_container(bool v6) {
    ScopedFd client = socket_in(lan.client, v6 ? AF_INET6 : AF_INET);
    if (v6) {
      sockaddr_in6 to{};
      to.sin6_family = AF_INET6;
      to.sin6_port = htons(kPort);
      inet_pton(AF_INET6, "fd98::7", &to.sin6_addr);
      EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    } else {
      sockaddr_in to = container_v4();
      EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    }
    ScopedFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)).reset();
    EXPECT_TRUE(is_at_its_end(client));
    return client;
  }

  std::vector<peer::RememberedConnection> list(int netns_fd) {
    auto watch = TcpWatch::open(netns_fd);
    auto found = watch ? watch->remembered() : std::unexpected(watch.error());
    EXPECT_TRUE(found) << found.error().text();
    return found.value_or(std::vector<peer::RememberedConnection>());
  }

  // Of the namespace that is attached to HOST, whose port leaves its bridge for good.
  RememberedReader::Read read(const ScopedFd& host, int netns_fd) {
    auto done = in_netns(host.get(), [&]() -> Result<RememberedReader::Read> {
      TRY_ASSIGN(auto state, capture_namespace(netns_fd));
      TRY_ASSIGN(auto ports, find_host_ports(netns_fd));
      TRY_ASSIGN(auto detachment, PortDetachment::prepare(ports, netns_fd));
      TRY_ASSIGN(auto reader, RememberedReader::open(ports, kId));
      TRY(detachment.detach());
      auto read = reader.read(netns_fd, list(netns_fd), state);
      detachment.commit();
      return read;
    });
    EXPECT_TRUE(done) << done.error().text();
    return done ? *done : RememberedReader::Read();
  }

  Result<RecreatedNamespace> recreate() {
    TRY_ASSIGN(auto state, capture_namespace(lan.container.get()));
    return in_netns(lan.b.get(), [&] { return RecreatedNamespace::create(on_bridge(state, "br0"), path, kId); });
  }

  Result<size_t> make_there(const RecreatedNamespace& made, const std::vector<peer::RememberedConnection>& list) {
    return in_netns(lan.b.get(), [&] { return make_remembered(made, list); });
  }

  std::string inside(const RecreatedNamespace& made, const std::string& script) {
    auto netns = open_netns(made.netns_path());
    return netns ? run_in(*netns, script) : "";
  }

  TestLan lan;
  std::string path;
  ScopedFd listener;
};

using Numbers = std::vector<std::pair<std::string, std::pair<uint32_t, uint32_t>>>;
Numbers numbers(const std::vector<peer::RememberedConnection>& connections) {
  Numbers found;
  for (const auto& each : connections)
    found.push_back({each.remote() + std::to_string(each.remote_port()), {each.sent_next(), each.received_next()}});
  std::ranges::sort(found);
  return found;
}

TEST_F(Remembered, ThereTheyAreWhatTheyWere) {
  std::vector<ScopedFd> open;
  for (const bool v6 : {false, true}) {
    open.push_back(closed_by_the_container(v6));
    closed_by_the_container(v6).reset();  // TIME-WAIT
  }
  run_in(lan.client, "sysctl -qw net.ipv4.tcp_timestamps=0");
  open.push_back(closed_by_the_container(false));
  closed_by_the_container(false).reset();
  auto made = recreate();
  ASSERT_TRUE(made) << made.error().text();
  const auto source = read(lan.a, lan.container.get());
  ASSERT_EQ(source.known.size(), 6U);
  EXPECT_EQ(source.forgotten, 0U);
  for (size_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(check_remembered(source.known[i]));
  }

  auto refused = make_there(*made, source.known);
  ASSERT_TRUE(refused) << refused.error().text();
  EXPECT_EQ(*refused, 0U);
  ASSERT_TRUE(made->attach());
  EXPECT_THAT(inside(*made, "ss -Htan state fin-wait-2 | wc -l"), HasSubstr("3"));
  EXPECT_THAT(inside(*made, "ss -Htan state time-wait | wc -l"), HasSubstr("3"));
  const auto target = read(lan.b, made->netns_fd());
  EXPECT_EQ(numbers(target.known), numbers(source.known));
}

// The container's only link is one. Nothing of what is asked there and made here is heard by the LAN.
class RememberedOfMacvlan : public Remembered {
 protected:
  RememberedOfMacvlan() {
    TestLan::connect(lan.lan, "xa", "lan", lan.a, "up1");
    TestLan::connect(lan.lan, "xb", "lan", lan.b, "up1");
    const std::string fd = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(lan.container.get());
    run_in(lan.container, "ip link del eth0");
    run_in(lan.a, "ip link add link up1 name eth0 address 02:00:0a:62:02:07 netns " + fd + " type macvlan mode bridge");
    run_in(lan.container,
           "ip link set eth0 up; ip addr add 10.98.2.7/16 dev eth0; ip addr add fd98::7/64 dev eth0 nodad; "
           "ping -c1 -W2 10.98.0.2; ping -c1 -W2 fd98::2");
  }

  // Hears what the hosts send to the LAN by the macvlans' parents.
  ScopedFd ear_at(const char* port) {
    auto made = in_netns(lan.lan.get(), [&]() -> Result<ScopedFd> {
      ScopedFd socket(::socket(AF_PACKET, SOCK_DGRAM, 0));
      sockaddr_ll at{};
      at.sll_family = AF_PACKET;
      at.sll_protocol = htons(ETH_P_ALL);
      at.sll_ifindex = static_cast<int>(if_nametoindex(port));
      if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return fail_errno("bind");
      return socket;
    });
    EXPECT_TRUE(made) << made.error().text();
    return made ? std::move(*made) : ScopedFd();
  }
  // Segments and questions for a MAC; hosts have more to say to each other.
  static size_t heard(const ScopedFd& ear) {
    size_t count = 0;
    char packet[256];
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    for (ssize_t size; (size = ::recvfrom(ear.get(), packet, sizeof packet, MSG_DONTWAIT,
                                          reinterpret_cast<sockaddr*>(&from), &length)) >= 0;
         length = sizeof from)
      if (from.sll_pkttype != PACKET_OUTGOING)
        count += from.sll_protocol == htons(ETH_P_ARP) || parse_tcp_packet({packet, static_cast<size_t>(size)});
    return count;
  }
};

TEST_F(RememberedOfMacvlan, ThereTheyAreWhatTheyWereAndTheLanHearsNothing) {
  std::vector<ScopedFd> open;
  for (const bool v6 : {false, true}) {
    open.push_back(closed_by_the_container(v6));
    closed_by_the_container(v6).reset();
  }
  auto state = in_netns(lan.a.get(), [&]() -> Result<peer::NetworkState> {
    TRY_ASSIGN(auto captured, capture_namespace(lan.container.get()));
    TRY_ASSIGN(const auto ports, find_host_ports(lan.container.get()));
    note_bridges(ports, captured);
    return captured;
  });
  ASSERT_TRUE(state) << state.error().text();
  auto made = in_netns(lan.b.get(), [&] { return RecreatedNamespace::create(*state, path, kId); });
  ASSERT_TRUE(made) << made.error().text();

  const ScopedFd at_a = ear_at("xa"), at_b = ear_at("xb");
  const auto source = read(lan.a, lan.container.get());
  ASSERT_EQ(source.known.size(), 4U);
  EXPECT_EQ(source.forgotten, 0U);
  auto refused = make_there(*made, source.known);
  ASSERT_TRUE(refused) << refused.error().text();
  EXPECT_EQ(*refused, 0U);
  EXPECT_EQ(heard(at_a), 0U);
  EXPECT_EQ(heard(at_b), 0U);

  ASSERT_TRUE(made->attach());
  EXPECT_THAT(inside(*made, "ss -Htan state fin-wait-2 | wc -l"), HasSubstr("2"));
  EXPECT_THAT(inside(*made, "ss -Htan state time-wait | wc -l"), HasSubstr("2"));
  EXPECT_EQ(numbers(read(lan.b, made->netns_fd()).known), numbers(source.known));
}

// After a rollback it is as it was, and whoever takes the asker's MAC is not heard.
TEST_F(RememberedOfMacvlan, AMacvlanThatIsPutBackListensToNobodyElse) {
  const ScopedFd open = closed_by_the_container(false);
  auto asked = in_netns(lan.a.get(), [&]() -> Result<RememberedReader::Read> {
    TRY_ASSIGN(auto state, capture_namespace(lan.container.get()));
    TRY_ASSIGN(auto ports, find_host_ports(lan.container.get()));
    TRY_ASSIGN(auto detachment, PortDetachment::prepare(ports, lan.container.get()));
    TRY_ASSIGN(auto reader, RememberedReader::open(ports, kId));
    TRY(detachment.detach());
    auto read = reader.read(lan.container.get(), list(lan.container.get()), state);
    EXPECT_THAT(run_in(lan.container, "ip -d link show eth0"),
                AllOf(HasSubstr("mode source"), HasSubstr("remotes (1)")));
    return read;
  });
  ASSERT_TRUE(asked) << asked.error().text();
  EXPECT_EQ(asked->known.size(), 1U);
  EXPECT_THAT(run_in(lan.container, "ip -d link show eth0"),
              AllOf(HasSubstr("mode bridge"), Not(HasSubstr("remotes (1)"))));
  EXPECT_THAT(lan.ping("10.98.2.7"), HasSubstr("1 received"));
}

TEST_F(Remembered, APeerThatClosesItsEndIsNotReset) {
  std::vector<ScopedFd> open;
  for (const bool v6 : {false, true, false, true}) open.push_back(closed_by_the_container(v6));
  auto made = recreate();
  ASSERT_TRUE(made) << made.error().text();
  ASSERT_TRUE(make_there(*made, read(lan.a, lan.container.get()).known));
  ASSERT_TRUE(made->attach());
  const std::string resets = "nstat -asz TcpOutRsts | grep TcpOutRsts";
  inside(*made, "ping -c1 -W2 10.98.0.2; ping -c1 -W2 fd98::2");  // so that bridges know where it is
  const std::string before = inside(*made, resets);
  open.clear();
  run_in(lan.client,
         "for i in $(seq 200); do [ -n \"$(ss -Htan state last-ack)\" ] || exit 0; sleep 0.01; done; exit 1");
  EXPECT_EQ(inside(*made, resets), before);
  EXPECT_THAT(inside(*made, "ss -Htan state fin-wait-2 | wc -l"), HasSubstr("0"));
  EXPECT_THAT(inside(*made, "ss -Htan state time-wait | wc -l"), HasSubstr("4"));
}

TEST_F(Remembered, SomebodyElseMayListenThere) {
  const ScopedFd open = closed_by_the_container(false);
  closed_by_the_container(false).reset();
  auto made = recreate();
  ASSERT_TRUE(made) << made.error().text();
  ASSERT_TRUE(make_there(*made, read(lan.a, lan.container.get()).known));
  auto netns = open_netns(made->netns_path());
  ASSERT_TRUE(netns);
  const ScopedFd again = socket_in(*netns, AF_INET6);
  const int yes = 1;
  ::setsockopt(again.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(kPort);
  EXPECT_EQ(::bind(again.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0) << strerror(errno);
}

TEST_F(Remembered, WhereRulesAreInTheWayNoneIsMade) {
  std::vector<ScopedFd> open;
  for (int i = 0; i < 5; ++i) open.push_back(closed_by_the_container(false));
  auto made = recreate();
  ASSERT_TRUE(made) << made.error().text();
  inside(*made,
         "nft 'add table ip own; add chain ip own in { type filter hook input priority 0; }; "
         "add rule ip own in iif lo ip saddr != 127.0.0.0/8 drop'");
  auto refused = make_there(*made, read(lan.a, lan.container.get()).known);
  ASSERT_TRUE(refused) << refused.error().text();
  EXPECT_EQ(*refused, 5U);
  EXPECT_EQ(inside(*made, "ss -Htan"), "");
}

TEST_F(Remembered, ThoseThatDoNotAnswerAreForgotten) {
  const ScopedFd open = closed_by_the_container(false);
  run_in(lan.container, "ip neigh flush all; ip route flush 10.98.0.0/16; ip route del default || :");
  const auto source = read(lan.a, lan.container.get());
  EXPECT_EQ(source.known.size(), 0U);
  EXPECT_EQ(source.forgotten, 1U);
}

TEST_F(Remembered, WhatIsTheContainersOwnIsNoneOfThem) {
  ScopedFd client = socket_in(lan.container, AF_INET);
  sockaddr_in to = container_v4();
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  ScopedFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)).reset();
  EXPECT_TRUE(is_at_its_end(client));
  // The client may take its time for the acknowledgement.
  for (int look = 0; look < 500 && list(lan.container.get()).empty(); ++look)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(list(lan.container.get()).size(), 1U);
  const auto source = read(lan.a, lan.container.get());
  EXPECT_EQ(source.known.size(), 0U);
  EXPECT_EQ(source.forgotten, 0U);
}

TEST(RememberedConnection, FromAPeerItMayBeAnything) {
  peer::RememberedConnection connection;
  EXPECT_FALSE(check_remembered(connection));
  connection.set_local(std::string(4, '\1'));
  connection.set_remote(std::string(4, '\2'));
  connection.set_local_port(80);
  EXPECT_FALSE(check_remembered(connection));
  connection.set_remote_port(65535);
  EXPECT_TRUE(check_remembered(connection));
  connection.set_local_port(65536);
  EXPECT_FALSE(check_remembered(connection));
  connection.set_local_port(80);
  connection.set_remote(std::string(16, '\2'));
  EXPECT_FALSE(check_remembered(connection));
}

}  // namespace
}  // namespace godwit::network
