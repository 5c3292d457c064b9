"""Rules, queueing disciplines, nftables and conntrack of the container's namespace move with it."""

import re

import pytest

from tests.support.refusal import assert_both_refuse

RULES = """
table inet filter {
  set lan { type ipv4_addr; flags interval; elements = { 10.99.0.0/16 } }
  chain input { type filter hook input priority 0; policy drop;
    ct state established,related accept
    ct state new ip saddr @lan tcp dport { 7007 } accept
    ip6 saddr fd00:99::/64 accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""


def inside(lab, container, *command):
    return lab.exec(container.node, "ip", "netns", "exec", container.name, *command).stdout


def look(lab, container):
    return {
        "rules": inside(lab, container, "ip", "rule"),
        "rules of IPv6": inside(lab, container, "ip", "-6", "rule"),
        "table 100": inside(lab, container, "ip", "route", "show", "table", "100"),
        "disciplines": re.sub("direct_packets_stat [0-9]+", "", inside(lab, container, "tc", "qdisc", "show", "dev",
                                                                       "eth0")),
        "classes": inside(lab, container, "tc", "class", "show", "dev", "eth0"),
        "nftables": inside(lab, container, "nft", "list", "ruleset"),
    }


@pytest.fixture
def changed(lab, echo):
    for command in ("ip rule add from 10.99.2.11 lookup 100 priority 50",
                    "ip route add default via 10.99.0.2 table 100",
                    "ip route add 10.99.0.0/16 dev eth0 table 100",
                    "ip -6 rule add fwmark 7 lookup 100",
                    "tc qdisc add dev eth0 root handle 1: htb default 10",
                    "tc class add dev eth0 parent 1: classid 1:10 htb rate 500mbit"):
        inside(lab, echo, *command.split())
    inside(lab, echo, "sh", "-c", f"echo '{RULES}' | nft -f -")
    return echo


def test_rules_disciplines_and_nftables_arrive_there_and_back(lab, changed, client, there_and_back):
    before = look(lab, changed)
    assert "htb" in before["disciplines"] and "policy drop" in before["nftables"]

    def is_the_same(_):
        now = look(lab, changed)
        for what in before:
            assert now[what] == before[what]
        assert client.mark("moved")["requests"] > 0

    there_and_back(changed, is_the_same)


def test_a_known_connection_passes_where_a_new_one_would_not(lab, changed, client, there_and_back):
    inside(lab, changed, "nft", "flush", "set", "inet", "filter", "lan")  # no new connections over IPv4 any more
    client.mark("before")

    def goes_on(_):
        assert client.mark("moved")["requests"] > 0
        assert "ESTABLISHED" in inside(lab, changed, "cat", "/proc/net/nf_conntrack")

    there_and_back(changed, goes_on)


def test_a_traffic_filter_is_named_before_anything_is_touched(lab, echo):
    inside(lab, echo, "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "htb")
    inside(lab, echo, "tc", "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", "match", "ip",
           "dport", "80", "0xffff", "flowid", "1:1")
    assert_both_refuse(lab, echo, "node2", "network", "link eth0 has a traffic filter (tc filter)")
