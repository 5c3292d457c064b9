#include <gtest/gtest.h>

#include <set>

#include "network/capture.h"
#include "network/nftables.h"
#include "network/recreate.h"
#include "network/test_lan.h"

namespace godwit::network {
namespace {

constexpr char kId[] = "0123456789abcdee";

class NamespaceState : public testing::Test {
 protected:
  void in_container(const std::string& script) { run_in(lan.container, script); }
  // With the kernel's and nft's counters as they are.
  peer::NetworkState capture(int netns_fd) {
    auto state = capture_namespace(netns_fd);
    EXPECT_TRUE(state) << state.error().text();
    return state.value_or(peer::NetworkState());
  }
  std::string why_not_captured() {
    auto state = capture_namespace(lan.container.get());
    EXPECT_FALSE(state);
    return state ? "" : state.error().text();
  }
  Result<RecreatedNamespace> create(const peer::NetworkState& state) {
    return in_netns(lan.b.get(),
                    [&] { return RecreatedNamespace::create(on_bridge(state, "br0"), test_netns_path("state"), kId); });
  }
  // What SCRIPT prints in the namespace made on host B from what the container has now.
  std::string on_target(const std::string& script) {
    auto made = create(capture(lan.container.get()));
    EXPECT_TRUE(made) << made.error().text();
    if (!made) return "";
    EXPECT_TRUE(made->notes().empty()) << made->notes().front();
    return run_in(ScopedFd(dup(made->netns_fd())), script);
  }
  void expect_same(const std::string& script) {
    const std::string here = run_in(lan.container, script);
    EXPECT_FALSE(here.empty());
    EXPECT_EQ(on_target(script), here);
  }

  TestLan lan;
};

TEST_F(NamespaceState, RulesOfBothFamiliesArrive) {
  in_container(
      "ip rule add from 10.98.2.7 lookup 100 priority 50; ip rule add fwmark 0x10/0xff table 200; "
      "ip rule add not to 10.0.0.0/8 iif eth0 ipproto tcp dport 80-90 lookup 300 suppress_prefixlength 0; "
      "ip rule add uidrange 1000-2000 unreachable priority 77; ip rule del priority 32767; "
      "ip -6 rule add from fd98::7 oif eth0 lookup 100; ip -6 rule add priority 0 to fd77::/64 lookup 5");
  expect_same("ip rule; ip -6 rule");
}

TEST_F(NamespaceState, RulesFollowAChange) {
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  in_container("ip rule add from 10.98.2.7 lookup 100 priority 50; ip rule del priority 32767");
  ASSERT_TRUE(capture_volatile(lan.container.get(), state));
  ASSERT_TRUE(made->apply_volatile(state));
  EXPECT_EQ(run_in(ScopedFd(dup(made->netns_fd())), "ip rule"), run_in(lan.container, "ip rule"));
}

TEST_F(NamespaceState, RoutesByTosSourceAndCongestionControlArrive) {
  in_container(
      "ip route add 10.5.0.0/16 tos 0x10 via 10.98.0.2 table 100; "
      "ip route add 10.6.0.0/16 via 10.98.0.2 congctl lock cubic initcwnd 20; "
      "ip -6 route add fd55::/64 from fd98::/64 via fd98::2; "
      "ip -6 route add fd56::/64 via fd98::2 pref high");
  expect_same("ip route show table all | grep -v local; ip -6 route show table all | grep fd5");
}

TEST_F(NamespaceState, AddressesOfAllScopesAndFlagsArrive) {
  in_container(
      "ip addr add 10.98.3.1/24 dev eth0 scope link; ip addr add 10.98.3.2/32 dev lo scope host; "
      "ip addr add 10.98.5.3/24 dev eth0 metric 77; ip addr add 10.98.4.1/24 dev eth0 noprefixroute; "
      "ip addr add fd98::8/64 dev eth0 nodad preferred_lft 0; ip addr add fd98::9/64 dev eth0 nodad home mngtmpaddr; "
      "while ip -6 addr show tentative | grep -q fe80; do sleep 0.05; done");
  expect_same("ip -o addr | grep -v fe80 | sed 's/ *valid_lft.*//' | sort");
}

TEST_F(NamespaceState, QueueingDisciplinesAndClassesArrive) {
  in_container(
      "tc qdisc add dev eth0 root handle 1: htb default 20 r2q 100; "
      "tc class add dev eth0 parent 1: classid 1:1 htb rate 100mbit; "
      "tc class add dev eth0 parent 1:1 classid 1:10 htb rate 20mbit ceil 50mbit prio 2; "
      "tc class add dev eth0 parent 1:1 classid 1:20 htb rate 5mbit; "
      "tc qdisc add dev eth0 parent 1:10 handle 10: tbf rate 3mbit burst 20k latency 50ms; "
      "tc qdisc add dev eth0 parent 1:20 handle 20: pfifo limit 55; tc qdisc add dev lo root handle 7: bfifo limit "
      "9999");
  // The burst is stored as a time: the bytes it is shown as may be rounded.
  // direct_packets_stat counts what has been sent.
  expect_same(
      "tc qdisc show dev lo; tc qdisc show dev eth0 | sed 's/ direct_packets_stat [0-9]*//' | sort; "
      "tc class show dev eth0 | sort");
}

TEST_F(NamespaceState, AChangedDisciplineReplacesTheOld) {
  in_container("tc qdisc add dev eth0 root handle 1: tbf rate 1mbit burst 20k latency 50ms");
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  ScopedFd target(dup(made->netns_fd()));
  in_container("tc qdisc replace dev eth0 root handle 2: pfifo limit 77");
  ASSERT_TRUE(capture_volatile(lan.container.get(), state));
  ASSERT_TRUE(made->apply_volatile(state));
  EXPECT_EQ(run_in(target, "tc qdisc show dev eth0"), run_in(lan.container, "tc qdisc show dev eth0"));
  in_container("tc qdisc del dev eth0 root");
  ASSERT_TRUE(capture_volatile(lan.container.get(), state));
  ASSERT_TRUE(made->apply_volatile(state));
  EXPECT_EQ(run_in(target, "tc qdisc show dev eth0"), run_in(lan.container, "tc qdisc show dev eth0"));
}

TEST_F(NamespaceState, ATrafficFilterIsNamed) {
  in_container(
      "tc qdisc add dev eth0 root handle 1: htb; "
      "tc filter add dev eth0 parent 1: protocol ip u32 match ip dport 80 0xffff flowid 1:1");
  EXPECT_NE(why_not_captured().find("link eth0 has a traffic filter (tc filter)"), std::string::npos);
}

TEST_F(NamespaceState, NftablesRulesArriveWithTheirCounters) {
  in_container(
      "nft -f - <<'END'\n"
      "table inet filter {\n"
      "  set allowed { type ipv4_addr; flags interval; elements = { 10.98.0.0/16, 192.0.2.1 }; }\n"
      "  counter hits { packets 5 bytes 500; }\n"
      "  chain tcp_in {\n"
      "    ip saddr @allowed counter packets 7 bytes 777 accept comment \"from the LAN\"\n"
      "  }\n"
      "  map ports { type inet_service : verdict; elements = { 22 : accept, 7007 : jump tcp_in }; }\n"
      "  chain input {\n"
      "    type filter hook input priority 0; policy drop;\n"
      "    ct state established,related accept\n"
      "    iif lo accept\n"
      "    meta l4proto { icmp, ipv6-icmp } counter name hits accept\n"
      "    tcp dport vmap @ports\n"
      "    limit rate 5/second log prefix \"dropped: \"\n"
      "  }\n"
      "}\n"
      "table ip nat {\n"
      "  chain post {\n"
      "    type nat hook postrouting priority srcnat;\n"
      "    oifname eth0 masquerade\n"
      "  }\n"
      "}\n"
      "END\n");
  expect_same("nft list ruleset");
}

TEST_F(NamespaceState, RulesThatAreRemovedMeanwhileAreRemovedOnTheTarget) {
  in_container("nft add table inet t");
  auto state = capture(lan.container.get());
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  in_container("nft flush ruleset");
  ASSERT_TRUE(capture_volatile(lan.container.get(), state));
  ASSERT_TRUE(made->apply_volatile(state));
  EXPECT_EQ(run_in(ScopedFd(dup(made->netns_fd())), "nft list ruleset"), "");
}

TEST_F(NamespaceState, AConnectionThatIsKnownStaysKnown) {
  in_container(
      "nft add table ip nat; nft add chain ip nat pre '{ type nat hook prerouting priority -100; }'; "
      "nft add rule ip nat pre tcp dport 80 dnat to 10.98.2.7:7007; "
      "nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; policy accept; }'; "
      "nft add rule inet t c ct state established accept");
  run_in(lan.client, "true");
  // A connection to a translated port, kept by two processes that wait for each other's end.
  run_in(lan.container,
         "timeout 20 socat TCP-LISTEN:7007,reuseaddr EXEC:'sleep 15' >/dev/null 2>&1 & "
         "until ss -ltn | grep -q :7007; do :; done");
  run_in(lan.client,
         "timeout 20 socat EXEC:'sleep 15' TCP:10.98.2.7:80 >/dev/null 2>&1 & "
         "until ss -tn | grep -q ESTAB; do :; done; ping -c1 -W2 10.98.2.7");
  const std::string show =
      "grep tcp /proc/net/nf_conntrack | grep -v TIME_WAIT | sed 's/ use=.*//; s/tcp      6 [0-9]*/tcp/'";
  const std::string here = run_in(lan.container, show);
  EXPECT_NE(here.find("ESTABLISHED"), std::string::npos);
  EXPECT_NE(here.find("dport=80 src=10.98.2.7"), std::string::npos) << here;
  EXPECT_EQ(on_target(show), here);
}

TEST_F(NamespaceState, WhatIsNoLongerKnownIsForgottenOnTheTarget) {
  in_container(
      "nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; "
      "nft add rule inet t c ct state established accept");
  lan.ping("10.98.2.7");
  auto state = capture(lan.container.get());
  ASSERT_GT(state.conntrack_size(), 0);
  auto made = create(state);
  ASSERT_TRUE(made) << made.error().text();
  state.clear_conntrack();
  ASSERT_TRUE(made->apply_volatile(state));
  EXPECT_EQ(run_in(ScopedFd(dup(made->netns_fd())), "cat /proc/net/nf_conntrack"), "");
}

// What a peer may send instead of a ruleset.
TEST(NftablesFromAPeer, OnlyObjectsOfARulesetArePassedOn) {
  const std::string table = R"({"table":{"family":"inet","name":"t"}})";
  EXPECT_TRUE(check_nftables("[" + table + "]"));
  for (const std::string& rules : {
           std::string("include \"/etc/passwd\""),
           std::string("[]\ninclude \"/etc/passwd\""),
           std::string("{}"),
           std::string("[1]"),
           std::string("[null]"),
           std::string(R"([{"table":1}])"),
           std::string(R"([{"add":{"table":{"family":"inet","name":"t"}}}])"),
           std::string(R"([{"list":{"ruleset":null}}])"),
           std::string(R"([{"flush":{"ruleset":null}}])"),
           std::string(R"([{"table":{"family":"inet","name":"t\" include \"/etc/passwd"}}])"),
           std::string(R"([{"table":{"family":"inet","name":"t\ninclude"}}])"),
           std::string(R"([{"table":{"family":"inet","na\"me":"t"}}])"),
           std::string(R"([{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"xt":null}]}}])"),
           std::string(R"([{"table":{"name":")") + std::string(5000, 'x') + "\"}}]",
           "[{\"table\":" + std::string(5000, '[') + std::string(5000, ']') + "}]",
           "[{\"table\":{\"a\":" + std::string(40, '[') + std::string(40, ']') + "}}]",
           std::string("[\"") + std::string(kNftablesBytesMax, 'x') + "\"]",
       })
    EXPECT_FALSE(check_nftables(rules)) << rules.substr(0, 100);
  std::string many = "[" + table;
  for (int i = 0; i < kNftablesObjectsMax; ++i) many += "," + table;
  EXPECT_FALSE(check_nftables(many + "]"));
}

// Each looked at again for each that follows: that would take minutes.
TEST(NftablesFromAPeer, AsManyObjectsAsFitAreReadInTimeThatGrowsWithThemOnly) {
  std::string many = "[{}";
  while (many.size() + 4 < kNftablesBytesMax) many += ",{}";
  const auto checked = check_nftables(many + "]");
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().text().find("too long"), std::string::npos) << checked.error().text();
}

TEST(NftablesFromAPeer, WhatNftRefusesIsAnErrorAndReadsNoFile) {
  ScopedFd netns = new_netns();
  auto written = in_netns(netns.get(), [] {
    return write_nftables(R"([{"chain":{"family":"inet","table":"missing","name":"include /etc/passwd"}}])");
  });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().text().find("root:"), std::string::npos) << written.error().text();
  EXPECT_EQ(run_in(netns, "nft list ruleset"), "");
}

TEST(NftablesFromAPeer, FieldsOfOtherTablesAreBounded) {
  TestLan lan;
  auto state = capture_namespace(lan.container.get());
  ASSERT_TRUE(state);
  auto refused = [&](auto change) {
    peer::NetworkState changed = *state;
    change(changed);
    auto made = in_netns(lan.b.get(), [&] {
      return RecreatedNamespace::create(on_bridge(changed, "br0"), test_netns_path("bounds"), kId);
    });
    return !made;
  };
  EXPECT_TRUE(refused([](auto& s) { s.mutable_rules(0)->set_family(7); }));
  EXPECT_TRUE(refused([](auto& s) { s.mutable_rules(0)->set_from_prefix(200); }));
  EXPECT_TRUE(refused([](auto& s) { s.mutable_rules(0)->add_attributes()->set_number(99); }));
  EXPECT_TRUE(refused([](auto& s) { s.mutable_rules(0)->mutable_attributes(0)->set_value(std::string(999, 'x')); }));
  EXPECT_TRUE(refused([](auto& s) { s.add_qdiscs()->set_kind("../../evil"); }));
  EXPECT_TRUE(refused([](auto& s) {
    auto* qdisc = s.add_qdiscs();
    qdisc->set_link("eth0");
    qdisc->set_kind("tbf");
    qdisc->set_handle(0x10000);
    qdisc->set_parent(0xffffffff);
    qdisc->set_options(std::string(9000, 'x'));
  }));
  EXPECT_TRUE(refused([](auto& s) {
    for (int i = 0; i < 5000; ++i) *s.add_rules() = s.rules(0);
  }));
  EXPECT_TRUE(refused([](auto& s) {
    auto* entry = s.add_conntrack();
    entry->set_family(2);
    entry->add_attributes()->set_number(5);  // a helper, which would load a module by name
  }));
}

}  // namespace
}  // namespace godwit::network
