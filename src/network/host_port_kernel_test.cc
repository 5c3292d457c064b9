#include <gtest/gtest.h>

#include "network/host_port.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

TEST(HostPort, TheOtherEndAndItsBridgeAreFound) {
  TestLan lan;
  auto ports = in_netns(lan.a.get(), [&] { return find_host_ports(lan.container.get()); });
  ASSERT_TRUE(ports) << ports.error().text();
  ASSERT_EQ(ports->size(), 1U);
  EXPECT_EQ((*ports)[0].link, "eth0");
  EXPECT_EQ((*ports)[0].name, "c0");
  EXPECT_EQ((*ports)[0].bridge, "br0");
  EXPECT_EQ((*ports)[0].mtu, 1500U);
  EXPECT_EQ(to_text((*ports)[0].mac), "02:00:0a:62:02:07");
  peer::NetworkState state;
  state.add_links()->set_name("eth0");
  note_bridges(*ports, state);
  EXPECT_EQ(state.links(0).bridge(), "br0");
}

TEST(HostPort, APortOffItsBridgeIsSaidWithWhatToDo) {
  TestLan lan;
  run_in(lan.a, "ip link set c0 nomaster");
  auto ports = in_netns(lan.a.get(), [&] { return find_host_ports(lan.container.get()); });
  ASSERT_FALSE(ports);
  EXPECT_NE(ports.error().text().find("ip link set c0 master BRIDGE"), std::string::npos) << ports.error().text();
}

TEST(HostPort, AnEndOnAnotherHostIsSaid) {
  TestLan lan;
  auto ports = in_netns(lan.b.get(), [&] { return find_host_ports(lan.container.get()); });
  ASSERT_FALSE(ports);
  EXPECT_NE(ports.error().text().find("not in the network namespace of this host's agent"), std::string::npos);
}

// Both ends in the container: the index of the other end could be that of any link on the host.
TEST(HostPort, APairWithinTheContainerIsNotTakenForAPort) {
  TestLan lan;
  run_in(lan.container, "ip link add x0 type veth peer name x1");
  EXPECT_FALSE(in_netns(lan.a.get(), [&] { return find_host_ports(lan.container.get()); }));
}

TEST(HostPort, BridgesAreCheckedByName) {
  TestLan lan;
  auto find = [&](const std::string& name) { return in_netns(lan.a.get(), [&] { return find_bridge(name); }); };
  EXPECT_TRUE(find("br0"));
  EXPECT_NE(find("br7").error().text().find("there is no bridge br7"), std::string::npos);
  EXPECT_NE(find("c0").error().text().find("not a bridge"), std::string::npos);
  run_in(lan.a, "ip link set br0 down");
  EXPECT_NE(find("br0").error().text().find("is down"), std::string::npos);
}

}  // namespace
}  // namespace godwit::network
