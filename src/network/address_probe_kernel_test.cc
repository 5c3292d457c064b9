#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "network/address_probe.h"
#include "network/capture.h"
#include "network/probe_frame.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

class Probe : public testing::Test {
 protected:
  void SetUp() override {
    auto captured = capture_namespace(lan.container.get());
    ASSERT_TRUE(captured) << captured.error().text();
    state = *captured;
    for (const peer::Link& link : state.links())
      if (!link.loopback()) own.push_back(*unicast_mac(link.mac()));
  }
  // Asked from host B.
  std::vector<AddressConflict> conflicts() {
    auto found = in_netns(
        lan.b.get(), [&] { return find_conflicts("br0", own, {state.addresses().begin(), state.addresses().end()}); });
    EXPECT_TRUE(found) << found.error().text();
    return found.value_or(std::vector<AddressConflict>());
  }

  TestLan lan;
  peer::NetworkState state;
  std::vector<MacAddress> own;
};

TEST_F(Probe, TheContainerItselfIsNoConflict) {
  Stopwatch watch;
  EXPECT_TRUE(conflicts().empty());
  std::printf("probe: %.1f ms\n", watch.ms());
  EXPECT_EQ(run_in(lan.client, "ip neigh show 10.98.2.7"), "");  // nobody's table has changed
}

TEST_F(Probe, AnotherHolderIsNamedByItsMac) {
  run_in(lan.client,
         "ip link set eth0 address 02:00:00:00:00:55; ip addr add 10.98.2.7/16 dev eth0; "
         "ip addr add fd98::7/64 dev eth0 nodad");
  auto found = conflicts();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].address, "10.98.2.7");
  EXPECT_EQ(found[1].address, "fd98::7");
  for (const AddressConflict& conflict : found) EXPECT_EQ(conflict.holder, "02:00:00:00:00:55");
}

TEST_F(Probe, AnAddressOfTheTargetItselfIsAConflict) {
  run_in(lan.b, "ip addr add 10.98.2.7/16 dev br0");
  auto found = conflicts();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].holder, "this host");
}

TEST_F(Probe, TheUplinkIsWhereTheContainerAnswersFrom) {
  (void)conflicts();
  auto port = in_netns(lan.b.get(), [&] { return find_port_behind("br0", own[0]); });
  ASSERT_TRUE(port);
  EXPECT_EQ(port->name, "up0");
  EXPECT_EQ(port->mtu, 1500U);
  auto nowhere = in_netns(lan.b.get(), [&] { return find_port_behind("br0", high_mac()); });
  ASSERT_TRUE(nowhere);
  EXPECT_EQ(nowhere->mtu, 0U);
}

TEST_F(Probe, APeerCannotMakeItAskForThousands) {
  for (uint32_t i = 0; i < 4000; ++i) {
    peer::Address& address = *state.add_addresses();
    address.set_family(AF_INET);
    const uint32_t number = htonl(0x0a620000 + i);
    address.set_address(std::string(reinterpret_cast<const char*>(&number), sizeof(number)));
  }
  Stopwatch watch;
  (void)conflicts();
  EXPECT_LT(watch.ms(), 2000);
}

TEST(ProbeFrame, WhatTheWireBringsDoesNotBreakTheParser) {
  const std::string arp = probe_frame(high_mac(), AF_INET, std::string(4, '\x0a'));
  const std::string advertisement(86, '\x88');
  for (const std::string& frame : {arp, advertisement})
    for (size_t bytes = 0; bytes <= frame.size(); ++bytes) (void)parse_claim(std::string(frame, 0, bytes));
  EXPECT_EQ(probe_frame(high_mac(), AF_INET, "abc"), "");
  EXPECT_EQ(probe_frame(high_mac(), 77, "abcd"), "");
}

}  // namespace
}  // namespace godwit::network
