#include "network/validate.h"

#include <gtest/gtest.h>
#include <linux/neighbour.h>
#include <sys/socket.h>

#include <functional>

namespace godwit::network {
namespace {

peer::NetworkState good_state() {
  peer::NetworkState state;
  auto& lo = *state.add_links();
  lo.set_name("lo");
  lo.set_loopback(true);
  auto& eth0 = *state.add_links();
  eth0.set_name("eth0");
  eth0.set_mac("\x02\x01\x02\x03\x04\x05");
  eth0.set_mtu(1500);
  auto& address = *state.add_addresses();
  address.set_link("eth0");
  address.set_family(AF_INET);
  address.set_address("\x0a\x62\x02\x07");
  address.set_prefix(16);
  auto& route = *state.add_routes();
  route.set_family(AF_INET);
  auto& hop = *route.add_hops();
  hop.set_link("eth0");
  hop.set_gateway("\x0a\x62\x02\x01");
  hop.set_weight(1);
  auto& neighbour = *state.add_neighbours();
  neighbour.set_link("eth0");
  neighbour.set_family(AF_INET);
  neighbour.set_address("\x0a\x62\x02\x01");
  neighbour.set_mac("\x02\x01\x02\x03\x04\x06");
  neighbour.set_state(NUD_STALE);
  auto& sysctl = *state.add_sysctls();
  sysctl.set_path("ipv4/conf/eth0/rp_filter");
  sysctl.set_value("1");
  return state;
}

TEST(Validate, AnOrdinaryStateIsAccepted) {
  auto verdict = check_network_state(good_state());
  EXPECT_TRUE(verdict) << verdict.error().text();
}

struct Hostile {
  const char* what;
  std::function<void(peer::NetworkState&)> edit;
};

template <typename Field>
void flood(Field* field, int count) {
  auto first = field->Get(0);
  while (field->size() < count) *field->Add() = first;
}

class HostileState : public testing::TestWithParam<Hostile> {};

TEST_P(HostileState, IsRefused) {
  peer::NetworkState state = good_state();
  GetParam().edit(state);
  EXPECT_FALSE(check_network_state(state)) << GetParam().what;
}

using S = peer::NetworkState;
INSTANTIATE_TEST_SUITE_P(
    Validate, HostileState,
    testing::Values(Hostile{"path in a name", [](S& s) { s.mutable_links(1)->set_name("../x"); }},
                    Hostile{"dots", [](S& s) { s.mutable_links(1)->set_name(".."); }},
                    Hostile{"long name", [](S& s) { s.mutable_links(1)->set_name(std::string(16, 'a')); }},
                    Hostile{"empty name", [](S& s) { s.mutable_links(1)->set_name(""); }},
                    Hostile{"format in a name", [](S& s) { s.mutable_links(1)->set_name("eth%d"); }},
                    Hostile{"NUL in a name", [](S& s) { s.mutable_links(1)->set_name(std::string("e\0f", 3)); }},
                    Hostile{"twice", [](S& s) { *s.add_links() = s.links(1); }},
                    Hostile{"veth called lo", [](S& s) { s.mutable_links(0)->set_loopback(false); }},
                    Hostile{"multicast MAC", [](S& s) { (*s.mutable_links(1)->mutable_mac())[0] = 1; }},
                    Hostile{"zero MAC", [](S& s) { s.mutable_links(1)->set_mac(std::string(6, '\0')); }},
                    Hostile{"long MAC", [](S& s) { s.mutable_links(1)->set_mac(std::string(8, '\2')); }},
                    Hostile{"no MTU", [](S& s) { s.mutable_links(1)->set_mtu(0); }},
                    Hostile{"huge MTU", [](S& s) { s.mutable_links(1)->set_mtu(1 << 30); }},
                    Hostile{"index", [](S& s) { s.mutable_links(1)->set_index(0x80000000U); }},
                    Hostile{"links", [](S& s) { flood(s.mutable_links(), kLinksMax + 1); }},
                    Hostile{"addresses", [](S& s) { flood(s.mutable_addresses(), kAddressesMax + 1); }},
                    Hostile{"routes", [](S& s) { flood(s.mutable_routes(), kRoutesMax + 1); }},
                    Hostile{"neighbours", [](S& s) { flood(s.mutable_neighbours(), kNeighboursMax + 1); }},
                    Hostile{"sysctls", [](S& s) { flood(s.mutable_sysctls(), kSysctlsMax + 1); }},
                    Hostile{"hops", [](S& s) { flood(s.mutable_routes(0)->mutable_hops(), kHopsMax + 1); }},
                    Hostile{"short address", [](S& s) { s.mutable_addresses(0)->set_address("\x0a"); }},
                    Hostile{"long peer", [](S& s) { s.mutable_addresses(0)->set_peer(std::string(70000, 'x')); }},
                    Hostile{"prefix", [](S& s) { s.mutable_addresses(0)->set_prefix(33); }},
                    Hostile{"family", [](S& s) { s.mutable_addresses(0)->set_family(AF_PACKET); }},
                    Hostile{"label", [](S& s) { s.mutable_addresses(0)->set_label(std::string(16, 'x')); }},
                    Hostile{"unknown link", [](S& s) { s.mutable_addresses(0)->set_link("eth1"); }},
                    Hostile{"gateway", [](S& s) { s.mutable_routes(0)->mutable_hops(0)->set_gateway("x"); }},
                    Hostile{"weight", [](S& s) { s.mutable_routes(0)->mutable_hops(0)->set_weight(0); }},
                    Hostile{"default with a prefix", [](S& s) { s.mutable_routes(0)->set_prefix(8); }},
                    Hostile{"table of types", [](S& s) { s.mutable_routes(0)->set_type(256); }},
                    Hostile{"metric", [](S& s) { s.mutable_routes(0)->add_metrics()->set_id(0x8001); }},
                    Hostile{"neighbour MAC", [](S& s) { s.mutable_neighbours(0)->set_mac("\x02"); }},
                    Hostile{"neighbour state", [](S& s) { s.mutable_neighbours(0)->set_state(0xff); }},
                    Hostile{"sysctl path", [](S& s) { s.mutable_sysctls(0)->set_path("../kernel/x"); }},
                    Hostile{"value", [](S& s) { s.mutable_sysctls(0)->set_value("1\n2"); }}));

TEST(Validate, SysctlPathsStayWithinTheirParts) {
  for (const char* good :
       {"ipv4/ip_forward", "ipv6/conf/eth0.7/mtu", "core/somaxconn", "unix/max_dgram_qlen", "netfilter/nf_log/2"})
    EXPECT_TRUE(is_allowed_sysctl(good)) << good;
  for (const char* bad : {"", "ipv4", "ipv4/", "/ipv4/ip_forward", "ipv4/../../kernel/core_pattern", "ipv4//x",
                          "ipv4/./x", "bridge/bridge-nf-call-iptables", "../kernel/core_pattern", "ipv4/x/", "ipv4/..",
                          "ipv4/a b", "kernel/core_pattern"})
    EXPECT_FALSE(is_allowed_sysctl(bad)) << bad;
  EXPECT_FALSE(is_allowed_sysctl("ipv4/" + std::string(300, 'x')));
}

TEST(Validate, SysctlValuesAreOneShortLine) {
  EXPECT_TRUE(is_allowed_sysctl_value("32768\t60999"));
  EXPECT_FALSE(is_allowed_sysctl_value(std::string(257, '1')));
  EXPECT_FALSE(is_allowed_sysctl_value("1\n"));
  EXPECT_FALSE(is_allowed_sysctl_value(std::string("1\0", 2)));
  EXPECT_FALSE(is_allowed_sysctl_value(""));
}

}  // namespace
}  // namespace godwit::network
