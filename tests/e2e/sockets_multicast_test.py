"""A container that is in multicast groups goes on receiving after a move, and switches learn where it is."""

import select
import socket
import struct
import time

import pytest

from tests.support.exhibits import CLIENT_V4, CLIENT_V6, V4, failures_of_moving, failures_of_staying, start_zoo
from tests.support.migration import migrate
from tests.support.socket_zoo import container_zoo, inet

SOL_IP, SOL_IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
IP_ADD_SOURCE_MEMBERSHIP, IP_BLOCK_SOURCE, IP_MULTICAST_ALL = 39, 38, 49
MCAST_JOIN_SOURCE_GROUP, IPV6_MULTICAST_ALL = 46, 29
OTHER_V4, OTHER_V6 = "10.99.250.1", "fd00:99::250:1"  # nobody's


def receiver(scene, group):
    """Takes what it has joined, and nothing because others have."""
    family, level, option = ((socket.AF_INET6, SOL_IPV6, IPV6_MULTICAST_ALL) if ":" in group else
                             (socket.AF_INET, SOL_IP, IP_MULTICAST_ALL))
    made = scene.home.socket(family, socket.SOCK_DGRAM)
    made.set(level, option, 0)
    return made.bind(inet("::" if ":" in group else "0.0.0.0", scene.port))


def sender(scene, group):
    if ":" in group:
        made = scene.away.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(inet(CLIENT_V6, 0))
        made.set(SOL_IPV6, socket.IPV6_MULTICAST_IF, link_of(scene, "client"))
        return made
    made = scene.away.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.set(SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(CLIENT_V4))
    return made


def link_of(scene, node, *inside):
    return int(scene.lab.exec(node, *inside, "cat", "/sys/class/net/eth0/ifindex").stdout)


def home_link(scene):
    return link_of(scene, scene.container.node, "ip", "netns", "exec", scene.container.name)


def hears(scene, member, group, hears_it=True):
    sender(scene, group).send(b"to the group", to=inet(group, scene.port))
    if hears_it:
        assert member.receive() == b"to the group"
    else:
        assert not member.poll(select.POLLIN, 200)


def any_source(scene, group="239.99.1.1"):
    member = receiver(scene, group)
    by_address = socket.inet_aton(group) + socket.inet_aton(V4)
    member.set(SOL_IP, socket.IP_ADD_MEMBERSHIP, by_address)
    hears(scene, member, group)
    yield
    hears(scene, member, group)
    member.set(SOL_IP, socket.IP_DROP_MEMBERSHIP, by_address)
    hears(scene, member, group, False)


def any_source_over_ipv6(scene, group="ff05::9901"):
    member = receiver(scene, group)
    request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", home_link(scene))
    member.set(SOL_IPV6, socket.IPV6_JOIN_GROUP, request)
    hears(scene, member, group)
    yield
    hears(scene, member, group)
    member.set(SOL_IPV6, socket.IPV6_LEAVE_GROUP, request)
    hears(scene, member, group, False)


def one_source(scene, group="232.99.1.2"):
    """RFC 4607: only what the client sends, and of the other group only what somebody else does."""
    chosen, others = receiver(scene, group), receiver(scene.replace(port=scene.port + 1), group)
    chosen.set(SOL_IP, IP_ADD_SOURCE_MEMBERSHIP,
               socket.inet_aton(group) + socket.inet_aton(V4) + socket.inet_aton(CLIENT_V4))
    others.set(SOL_IP, IP_ADD_SOURCE_MEMBERSHIP,
               socket.inet_aton(group) + socket.inet_aton(V4) + socket.inet_aton(OTHER_V4))
    yield
    hears(scene, chosen, group)
    hears(scene.replace(port=scene.port + 1), others, group, False)


def blocked_source(scene, group="239.99.1.3"):
    member = receiver(scene, group)
    member.set(SOL_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(V4))
    source = socket.inet_aton(group) + socket.inet_aton(V4) + socket.inet_aton(CLIENT_V4)
    member.set(SOL_IP, IP_BLOCK_SOURCE, source)
    yield
    hears(scene, member, group, False)
    member.set(SOL_IP, 37, source)  # IP_UNBLOCK_SOURCE
    hears(scene, member, group)


def one_source_over_ipv6(scene, group="ff35::9902"):
    chosen, others = receiver(scene, group), receiver(scene.replace(port=scene.port + 1), group)
    for member, source in ((chosen, CLIENT_V6), (others, OTHER_V6)):
        member.set(SOL_IPV6, MCAST_JOIN_SOURCE_GROUP,
                   struct.pack("=Q", home_link(scene)) + inet(group, 0).ljust(128, b"\0") +
                   inet(source, 0).ljust(128, b"\0"))
    yield
    hears(scene, chosen, group)
    hears(scene.replace(port=scene.port + 1), others, group, False)


def many_groups(scene):
    """As many as the kernel allows (net.ipv4.igmp_max_memberships is 20)."""
    groups = [f"239.99.2.{number}" for number in range(15)]
    member = receiver(scene, groups[0])
    for group in groups:
        member.set(SOL_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(V4))
    yield
    for group in groups:
        hears(scene, member, group)


EXHIBITS = [any_source, any_source_over_ipv6, one_source, blocked_source, one_source_over_ipv6, many_groups]


def test_members_go_there_and_back(lab, keep):
    assert failures_of_moving(lab, keep(start_zoo(lab)), EXHIBITS, ["node2", "node1"]) == {}


def test_members_stay_after_a_rollback(lab, keep):
    assert failures_of_staying(lab, keep(start_zoo(lab)), EXHIBITS, "node2") == {}


@pytest.fixture
def snooping(lab):
    """node2's bridge looks for members."""
    lab.exec("node2", "ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", "1")
    yield
    lab.exec("node2", "ip", "link", "set", "br0", "type", "bridge", "mcast_snooping", "0")


def test_the_targets_bridge_learns_of_the_member(lab, snooping, keep):
    """A bridge that snoops knows its ports' groups from what the container says once its port is there."""
    container = keep(start_zoo(lab))
    with container_zoo(lab, container) as home:
        member = home.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(inet("0.0.0.0", 7100))
        member.set(SOL_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.99.1.9") + socket.inet_aton(V4))
        moved = migrate(lab, container, "node2")
        assert moved.migrated, moved.why()
        deadline = time.monotonic() + 5
        while "239.99.1.9" not in lab.exec("node2", "bridge", "mdb", "show").stdout:
            assert time.monotonic() < deadline, "the bridge does not know of the member"
