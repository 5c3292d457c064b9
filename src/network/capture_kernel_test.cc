#include <gtest/gtest.h>

#include <algorithm>

#include "base/clock.h"
#include "network/capture.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

const peer::Link* find_link(const peer::NetworkState& state, const std::string& name) {
  for (const peer::Link& link : state.links())
    if (link.name() == name) return &link;
  return nullptr;
}

std::string find_sysctl(const peer::NetworkState& state, const std::string& path) {
  for (const peer::Sysctl& sysctl : state.sysctls())
    if (sysctl.path() == path) return sysctl.value();
  return "not captured";
}

TEST(Capture, LinksAddressesRoutesNeighboursAndSysctlsAreThere) {
  TestLan lan;
  run_in(lan.container,
         "ip link set eth0 mtu 1400 txqueuelen 777; "
         "ip neigh add 10.98.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent; "
         "ip route add 10.5.0.0/16 via 10.98.0.2 table 100; "
         "echo 7 > /proc/sys/net/ipv4/conf/eth0/tag");
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state) << state.error().text();
  const peer::Link* eth0 = find_link(*state, "eth0");
  ASSERT_TRUE(eth0 && find_link(*state, "lo"));
  EXPECT_EQ(eth0->mac(), std::string("\x02\x00\x0a\x62\x02\x07", 6));
  EXPECT_EQ(eth0->mtu(), 1400U);
  EXPECT_EQ(eth0->txqlen(), 777U);
  EXPECT_TRUE(eth0->up());
  EXPECT_EQ(std::count_if(state->addresses().begin(), state->addresses().end(),
                          [](const auto& a) { return a.link() == "eth0"; }),
            3);  // one of IPv4, one of IPv6, fe80
  EXPECT_TRUE(std::any_of(state->routes().begin(), state->routes().end(),
                          [](const auto& route) { return route.table() == 100; }));
  ASSERT_EQ(state->neighbours_size(), 1);
  EXPECT_EQ(state->neighbours(0).mac(), std::string("\x02\x00\x00\x00\x00\x09", 6));
  EXPECT_EQ(find_sysctl(*state, "ipv4/conf/eth0/tag"), "7");
  EXPECT_GT(state->sysctls_size(), 200);
}

TEST(Capture, VolatileSeesWhatChangedSince) {
  TestLan lan;
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state) << state.error().text();
  run_in(lan.container, "ip addr add 10.98.2.8/16 dev eth0; ip route del default");
  auto before = *state;
  Stopwatch watch;
  auto again = capture_volatile(lan.container.get(), *state);
  std::printf("volatile capture: %.2f ms\n", watch.ms());
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(state->addresses_size(), before.addresses_size() + 1);
  EXPECT_EQ(state->routes_size(), before.routes_size() - 1);
  EXPECT_EQ(state->sysctls_size(), before.sysctls_size());
}

TEST(Capture, ALinkOfAnotherKindIsNamed) {
  TestLan lan;
  run_in(lan.container, "ip link add extra type bridge");
  auto state = capture_namespace(lan.container.get());
  ASSERT_FALSE(state);
  EXPECT_NE(state.error().text().find("extra is of the kind bridge"), std::string::npos) << state.error().text();
}

TEST(Capture, ALinkThatAppearedLaterIsAnErrorAndNotAGap) {
  TestLan lan;
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state);
  run_in(lan.container, "ip link add extra type bridge; ip addr add 10.7.0.1/24 dev extra");
  EXPECT_FALSE(capture_volatile(lan.container.get(), *state));
}

}  // namespace
}  // namespace godwit::network
