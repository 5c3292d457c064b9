#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <set>

#include "base/clock.h"
#include "network/announce.h"
#include "network/capture.h"
#include "network/detachment.h"
#include "network/recreate.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

constexpr char kId[] = "0123456789abcdef";

class Recreate : public testing::Test {
 protected:
  Recreate() : path(test_netns_path("recreated")) {}
  ~Recreate() override {
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(run_in(lan.b, "ip -o link").find("gw0123456789"), std::string::npos);
  }

  peer::NetworkState capture(int netns_fd) {
    auto state = capture_namespace(netns_fd);
    EXPECT_TRUE(state) << state.error().text();
    return state.value_or(peer::NetworkState());
  }
  // On host B.
  Result<RecreatedNamespace> create(const peer::NetworkState& state) {
    return in_netns(lan.b.get(), [&] { return RecreatedNamespace::create(on_bridge(state, "br0"), path, kId); });
  }
  void take_off_host_a() {
    auto ports = in_netns(lan.a.get(), [&] { return find_host_ports(lan.container.get()); });
    ASSERT_TRUE(ports);
    auto detachment = in_netns(lan.a.get(), [&] { return PortDetachment::prepare(*ports); });
    ASSERT_TRUE(detachment && detachment->detach());
    detachment->commit();
  }

  TestLan lan;
  std::string path;
};

template <typename Entry>
std::multiset<std::string> as_set(const google::protobuf::RepeatedPtrField<Entry>& entries) {
  std::multiset<std::string> texts;
  for (const Entry& entry : entries) texts.insert(entry.ShortDebugString());
  return texts;
}

void expect_equal(const peer::NetworkState& is, const peer::NetworkState& wanted) {
  EXPECT_EQ(as_set(is.links()), as_set(wanted.links()));
  EXPECT_EQ(as_set(is.addresses()), as_set(wanted.addresses()));
  EXPECT_EQ(as_set(is.routes()), as_set(wanted.routes()));
  EXPECT_EQ(as_set(is.neighbours()), as_set(wanted.neighbours()));
  EXPECT_EQ(as_set(is.sysctls()), as_set(wanted.sysctls()));
}

TEST_F(Recreate, WhatIsMadeIsCapturedEqual) {
  // A second link, so that the index of neither is the one the kernel would choose.
  TestLan::connect(lan.a, "c1", "br0", lan.container, "data0");
  run_in(lan.container,
         "ip link set data0 mtu 1400 txqueuelen 777; ip addr add 10.96.0.7/24 dev data0 label "
         "data0:x; "
         "ip addr add 10.96.0.8/24 dev data0; ip addr add 10.95.0.1 peer 10.95.0.2/32 dev data0; "
         "ip addr add fd96::7/64 dev data0 nodad noprefixroute; ip addr add 10.94.0.1/32 dev lo; "
         "ip route add 10.5.0.0/16 via 10.96.0.1 table 100 metric 7 mtu 1300; "
         "ip route add blackhole 10.6.0.0/16; "
         "ip route add 10.7.0.0/16 nexthop via 10.96.0.1 weight 3 nexthop via 10.98.0.2; "
         "ip route add 10.8.0.0/16 via 10.6.7.8 dev data0 onlink src 10.96.0.8; "
         "ip route add 10.9.0.0/16 via inet6 fd98::2 dev eth0; "
         "ip -6 route add default via fd98::2; ip -6 route add fd95::/64 via fd98::2 metric 5; "
         "ip route del 10.98.0.0/16 dev eth0; ip route add 10.98.0.0/16 dev eth0 metric 9; "
         "ip route replace default via 10.98.0.2; "
         "ip neigh add 10.98.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent; "
         "ip neigh add 10.98.0.10 lladdr 02:00:00:00:00:0a dev eth0 nud stale; "
         "ip neigh add fd98::9 lladdr 02:00:00:00:00:09 dev eth0 router nud reachable; "
         "cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 0 > ipv4/conf/eth0/forwarding; "
         "echo 2 > ipv4/conf/data0/rp_filter; echo 20000 30000 > ipv4/ip_local_port_range; "
         "echo 1 > ipv6/conf/all/forwarding; echo 0 > ipv6/conf/data0/forwarding; "
         "echo 333 > core/somaxconn; echo 0 > ipv4/ip_unprivileged_port_start");
  // An fe80 that goes on being probed would differ between the captures.
  run_in(lan.container, "while ip -6 addr show tentative | grep -q fe80; do sleep 0.05; done");
  Stopwatch capturing;
  peer::NetworkState state = capture(lan.container.get());
  double capture_ms = capturing.ms();
  Stopwatch creating;
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  std::printf("capture: %.2f ms, create: %.2f ms, %d sysctls\n", capture_ms, creating.ms(), state.sysctls_size());
  expect_equal(capture(made->netns_fd()), state);
  EXPECT_TRUE(made->notes().empty()) << made->notes().front();
}

TEST_F(Recreate, ALinkLocalAddressThatWasRemovedIsNotInvented) {
  run_in(lan.container, "ip -6 addr flush dev eth0 scope link");
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  expect_equal(capture(made->netns_fd()), state);
}

TEST_F(Recreate, Ipv6SwitchedOffStaysOff) {
  run_in(lan.container, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  expect_equal(capture(made->netns_fd()), state);
}

TEST_F(Recreate, AnIndexThatIsTakenIsANote) {
  auto state = capture(lan.container.get());
  state.mutable_links(1)->set_index(1);  // the loopback's
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  ASSERT_EQ(made->notes().size(), 1U);
  EXPECT_NE(made->notes()[0].find("eth0 has the index"), std::string::npos);
}

TEST_F(Recreate, ASysctlThisKernelLacksIsANote) {
  auto state = capture(lan.container.get());
  for (const char* path : {"ipv4/of_the_future", "netfilter/no_module/a", "netfilter/no_module/b"}) {
    auto* sysctl = state.add_sysctls();
    sysctl->set_path(path);
    sysctl->set_value("1");
  }
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  ASSERT_EQ(made->notes().size(), 2U) << "one for each directory";
  EXPECT_NE(made->notes()[0].find("of_the_future"), std::string::npos);
  EXPECT_NE(made->notes()[1].find("2 sysctls in net/netfilter/no_module are not there"), std::string::npos);
}

// The client knows the MAC, so that the first packet after attach() shows whether the port forwards
// at once.
TEST_F(Recreate, TheClientReachesItFromTheMomentItIsAttached) {
  lan.ping("10.98.2.7");
  lan.ping("fd98::7");
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  take_off_host_a();
  auto ping = [&](const std::string& address) {
    return run_in(lan.client, "ping -c1 -W0.3 " + address + " >/dev/null && echo ok || :");
  };
  EXPECT_EQ(ping("10.98.2.7"), "");
  Stopwatch attaching;
  ASSERT_TRUE(made->attach());
  double attach_ms = attaching.ms();
  ASSERT_TRUE(announce(made->netns_fd(), state));
  std::printf("attach: %.2f ms\n", attach_ms);
  EXPECT_EQ(ping("10.98.2.7"), "ok\n");
  EXPECT_EQ(ping("fd98::7"), "ok\n");
  EXPECT_TRUE(made->attach());  // again
}

TEST_F(Recreate, TheBridgeKeepsItsMac) {
  std::string before = run_in(lan.b, "ip -o link show br0 | grep -o 'link/ether [^ ]*'");
  auto made = create(capture(lan.container.get()));
  ASSERT_TRUE(made && made->attach());
  EXPECT_EQ(run_in(lan.b, "ip -o link show br0 | grep -o 'link/ether [^ ]*'"), before);
}

TEST_F(Recreate, VolatileStateIsReconciled) {
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  run_in(lan.container,
         "ip addr add 10.98.2.8/16 dev eth0; ip addr add 10.93.0.1/24 dev eth0; "
         "ip addr del 10.98.2.7/16 dev eth0; ip addr add 10.98.2.7/16 dev eth0; "
         "ip -6 addr del fd98::7/64 dev eth0; ip -6 addr add fd98::77/64 dev eth0 nodad; "
         "ip route replace default via 10.93.0.2; ip route add 10.1.0.0/16 via 10.98.0.2; "
         "ip neigh replace 10.98.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent");
  ASSERT_TRUE(capture_volatile(lan.container.get(), state));
  auto applied = made->apply_volatile(state);
  ASSERT_TRUE(applied) << applied.error().text();
  expect_equal(capture(made->netns_fd()), state);
  Stopwatch watch;
  ASSERT_TRUE(made->apply_volatile(state));
  std::printf("apply_volatile, nothing changed: %.2f ms\n", watch.ms());
  run_in(lan.container, "ip addr flush dev eth0; ip neigh flush dev eth0 nud permanent");
  ASSERT_TRUE(capture_volatile(lan.container.get(), state));
  ASSERT_TRUE(made->apply_volatile(state));
  expect_equal(capture(made->netns_fd()), state);
}

TEST_F(Recreate, CommittedItStaysUntilRemoved) {
  {
    auto made = create(capture(lan.container.get()));
    ASSERT_TRUE(made) << made.error().text();
    made->commit();
  }
  EXPECT_TRUE(open_netns(path));
  EXPECT_NE(run_in(lan.b, "ip -o link").find("gw0123456789"), std::string::npos);
  run_in(lan.b, "ip link del gw01234567891");
  EXPECT_TRUE(remove_named_netns(path));
}

TEST_F(Recreate, HostileStatesAndPlacesAreRefusedAndLeaveNothing) {
  auto state = capture(lan.container.get());
  for (const char* at :
       {"/tmp/gwt-x", "/run/../tmp/gwt-x", "gwt-x", "/run/netns/../../tmp/gwt-x", "/run/", "", "/runaway/gwt-x"})
    EXPECT_FALSE(in_netns(lan.b.get(), [&] { return RecreatedNamespace::create(on_bridge(state, "br0"), at, kId); }))
        << at;
  EXPECT_FALSE(in_netns(
      lan.b.get(), [&] { return RecreatedNamespace::create(on_bridge(state, "br0"), path, "../../../../../.."); }));
  EXPECT_FALSE(in_netns(lan.b.get(), [&] { return RecreatedNamespace::create(on_bridge(state, "br9"), path, kId); }));
  state.mutable_links(1)->set_name("../eth0");
  EXPECT_FALSE(create(state));
}

TEST_F(Recreate, AFailureHalfWayLeavesNothing) {
  auto state = capture(lan.container.get());
  auto* route = state.add_routes();  // through a gateway nobody has
  *route = state.routes(0);
  route->set_destination("\x0b\x0b\x0b\x0b");
  route->set_prefix(32);
  route->set_scope(0);
  route->mutable_hops(0)->set_gateway("\x0c\x0c\x0c\x0c");
  auto made = create(state);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().text().find("11.11.11.11/32"), std::string::npos) << made.error().text();
}

TEST_F(Recreate, ThousandsOfRoutesFit) {
  auto state = capture(lan.container.get());
  for (int i = 0; i < 4000; ++i) {
    auto* route = state.add_routes();
    route->set_family(AF_INET);
    route->set_destination(std::string("\x0b") + static_cast<char>(i >> 8) + static_cast<char>(i) + '\1');
    route->set_prefix(32);
    route->set_table(254);
    route->set_protocol(3);
    route->set_type(1);
    auto* hop = route->add_hops();
    hop->set_link("eth0");
    hop->set_weight(1);
    hop->set_gateway("\x0a\x62\x00\x02", 4);
  }
  Stopwatch watch;
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  std::printf("create with 4000 routes: %.1f ms\n", watch.ms());
  expect_equal(capture(made->netns_fd()), state);
}

}  // namespace
}  // namespace godwit::network
