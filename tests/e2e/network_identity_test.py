"""The namespace that the container finds on the target is the one it had: links, addresses, routes, neighbours, sysctls."""

import json

import pytest

from tests.support.lab import CLIENT


def look(lab, container):
    """What a program in the container could see of its network, without what counts or ages."""

    def ip(*what):
        said = lab.exec(container.node, "ip", "-json", "-netns", container.name, *what).stdout
        return json.loads(said or "[]")

    def sysctl(path):
        said = lab.exec(container.node, "ip", "netns", "exec", container.name, "cat", f"/proc/sys/net/{path}").stdout
        return said.split()

    return {
        "links": [(link["ifname"], link["address"], link["mtu"], link["operstate"]) for link in ip("link")],
        "addresses": sorted((link["ifname"], address["local"], address["prefixlen"], address["scope"])
                            for link in ip("address") for address in link["addr_info"]),
        "routes": sorted(json.dumps(route, sort_keys=True) for family in ("-4", "-6")
                         for route in ip(family, "route", "show", "table", "all")),
        "static neighbours": sorted((entry["dst"], entry["lladdr"]) for entry in ip("neighbour")
                                    if "PERMANENT" in entry["state"]),
        "sysctls": {path: sysctl(path) for path in ("ipv4/ip_local_port_range", "ipv4/tcp_keepalive_time",
                                                    "ipv6/conf/eth0/accept_ra")},
    }


@pytest.fixture
def changed(lab, echo):
    """The echo container with much that is not the kernel's default."""
    # A link-local address of its own, because that of the kernel's has no route until it is known to be the only one.
    for words in ("link set dev eth0 addrgenmode none",
                  "-6 address flush dev eth0 scope link",
                  "-6 address add fe80::1234/64 dev eth0 nodad",
                  "link set dev eth0 mtu 1400 address 02:11:22:33:44:55",
                  "address add 10.99.2.111/32 dev eth0",
                  "route add 192.0.2.0/24 via 10.99.0.2 dev eth0 metric 7 mtu 1300",
                  "-6 route add 2001:db8::/64 via fd00:99::2 dev eth0",
                  "route add default via 10.99.0.2",
                  "neighbour add 10.99.2.99 lladdr 02:aa:bb:cc:dd:ee dev eth0 nud permanent",
                  "-6 neighbour add fd00:99::99 lladdr 02:aa:bb:cc:dd:ef dev eth0 nud permanent"):
        lab.exec("node1", "ip", "-netns", echo.name, *words.split())
    for setting in ("ipv4/ip_local_port_range=20000 30000", "ipv4/tcp_keepalive_time=1234",
                    "ipv6/conf/eth0/accept_ra=0"):
        lab.exec("node1", "ip", "netns", "exec", echo.name, "sysctl", "-q", "-w",
                 f"net.{setting}".replace("/", "."))
    lab.exec(CLIENT, "ip", "neighbour", "flush", "all")  # it knows the old MAC
    return echo


def test_everything_of_the_namespace_arrives(lab, changed, client, there_and_back):
    before = look(lab, changed)
    assert ("eth0", "02:11:22:33:44:55", 1400, "UP") in before["links"]
    assert before["static neighbours"] and before["sysctls"]["ipv4/tcp_keepalive_time"] == ["1234"]

    def is_the_same(_):
        now = look(lab, changed)
        for what in before:
            assert now[what] == before[what]

    there_and_back(changed, is_the_same)
