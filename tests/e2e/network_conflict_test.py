"""The target's LAN is not what the container needs: said by `check` and by `migrate` before anything is touched."""

import pytest

from tests.support.agent_setup import configured
from tests.support.lab import CLIENT
from tests.support.refusal import assert_both_refuse, check
from tests.support.second_lan import add_veth, bridges, second_lan


@pytest.fixture
def intruder(lab):
    """A host on the LAN that takes the container's addresses, with a MAC of its own."""
    lan = lab.holder("lan")
    bridge = lab.exec("lan", "sh", "-c", "ip -o link show type bridge | sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/'").stdout.strip()
    lab.exec(CLIENT, "ip", "netns", "add", "intruder")
    lab.exec(CLIENT, "ip", "link", "add", "intr0", "type", "veth", "peer", "name", "intr1", "netns", str(lan))
    lab.exec("lan", "ip", "link", "set", "intr1", "master", bridge, "up")
    lab.exec(CLIENT, "ip", "link", "set", "intr0", "netns", "intruder", "address", "02:00:00:00:00:55")
    lab.exec(CLIENT, "ip", "-n", "intruder", "link", "set", "intr0", "up")

    def take(*addresses):
        for address in addresses:
            lab.exec(CLIENT, "ip", "-n", "intruder", "address", "add", address, "dev", "intr0",
                     *(["nodad"] if ":" in address else []))

    yield take
    lab.exec("lan", "ip", "link", "delete", "intr1")
    lab.exec(CLIENT, "ip", "netns", "delete", "intruder")


@pytest.mark.parametrize("address", ["10.99.2.11/16", "fd00:99::2:11/64"])
def test_address_in_use_on_the_lan(lab, echo, intruder, address):
    intruder(address)
    assert_both_refuse(lab, echo, "node2", "address", f"{address.split('/')[0]} is in use on the LAN of node2 already, by "
                       "02:00:00:00:00:55")


def test_address_of_the_target_itself(lab, echo):
    lab.exec("node2", "ip", "address", "add", "10.99.2.11/32", "dev", "lo")
    try:
        assert_both_refuse(lab, echo, "node2", "address", "10.99.2.11 is in use on the LAN of node2 already, by this host")
    finally:
        lab.exec("node2", "ip", "address", "delete", "10.99.2.11/32", "dev", "lo")


def test_bridge_of_a_smaller_mtu(lab, echo):
    before = lab.exec("node2", "cat", "/sys/class/net/br0/mtu").stdout.strip()
    lab.exec("node2", "ip", "link", "set", "br0", "mtu", "1400")
    try:
        assert_both_refuse(lab, echo, "node2", "mtu", "br0 on node2 has an MTU of 1400", "eth0 has 1500",
                           "ip link set br0 mtu 1500")
    finally:
        lab.exec("node2", "ip", "link", "set", "br0", "mtu", before)


def test_uplink_of_a_smaller_mtu(lab, echo):
    with second_lan(lab), bridges(lab, "br1", {node: "up1" for node in lab.nodes}), \
            configured(lab, "node2", ("[network]", '[links]\nbr1 = "br1"\n\n[network]')):
        add_veth(lab, echo, "eth1", "br1", "10.98.2.11/16")
        lab.exec("node2", "ip", "link", "set", "up1", "mtu", "1400")
        lab.exec("node2", "ip", "link", "set", "br1", "mtu", "1500")  # as an administrator may have set it
        assert_both_refuse(lab, echo, "node2", "mtu", "the uplink up1 of br1 on node2 has an MTU of 1400")


def test_bridge_that_is_down(lab, echo):
    lab.exec("node2", "ip", "link", "add", "downbr", "type", "bridge")
    try:
        with configured(lab, "node2", ('bridge = "br0"', 'bridge = "downbr"')):
            assert_both_refuse(lab, echo, "node2", "bridge", "downbr", "is down on node2")
    finally:
        lab.exec("node2", "ip", "link", "delete", "downbr")


def test_the_container_itself_is_no_conflict(lab, echo):
    assert check(lab, "node1", echo.name, "node2") == []
