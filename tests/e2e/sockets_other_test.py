"""UDP, UNIX, netlink, raw and packet sockets move with their container and are what they were."""

import select
import socket
import struct

from tests.support.exhibits import CLIENT_V4, CLIENT_V6, V4, V6, failures_of_moving, start_zoo
from tests.support.socket_zoo import inet, netlink, unix

ETH_P_ALL = 3
RTMGRP_LINK = 1


def udp(scene, here=V4, there=CLIENT_V4):
    """One socket that takes from everybody, and one that is connected."""
    away = scene.away.socket(*of(there)).bind(inet(there, scene.port))
    unconnected = scene.home.socket(*of(here)).bind(inet(here, scene.port))
    connected = scene.home.socket(*of(here)).bind(inet(here, scene.port + 1)).connect(inet(there, scene.port))
    yield
    away.send(b"to anybody", to=inet(here, scene.port))
    assert unconnected.receive_message()[:2] == (b"to anybody", inet(there, scene.port))
    away.send(b"to the connected", to=inet(here, scene.port + 1))
    assert connected.receive() == b"to the connected"
    connected.send(b"from the connected")
    assert away.receive_message()[:2] == (b"from the connected", inet(here, scene.port + 1))


def udp_over_ipv6(scene):
    yield from udp(scene, V6, CLIENT_V6)


def of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM


def unix_pairs(scene):
    """Data unread in both directions, bounds of messages where the kind has them."""
    pairs = [scene.home.pair(socket.AF_UNIX, kind)
             for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)]
    for left, right in pairs:
        left.send(b"one")
        left.send(b"two")
        right.send(b"back")
    yield
    for number, (left, right) in enumerate(pairs):
        received = [right.receive()] if number == 0 else [right.receive(), right.receive()]
        assert b"".join(received) == b"onetwo" and len(received) == (1 if number == 0 else 2)
        assert left.receive() == b"back"
        right.send(b"again")
        assert left.receive() == b"again"


def descriptors_in_flight(scene):
    """A connection that is on its way through a UNIX socket."""
    home, away = scene.connection()
    ends = [scene.home.pair(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    for left, _ in ends:
        left.send_socket(home, b"take it")
    home.close()
    yield
    for _, right in ends:
        data, _, passed = right.receive_message()
        assert data == b"take it" and passed
        passed.send(b"hello")
        assert away.receive() == b"hello"


def unix_names(scene):
    listeners, clients = [], []
    for number, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_SEQPACKET)):
        for name in (f"/tmp/zoo-{number}", f"\0zoo-{number}"):
            listener = scene.home.socket(socket.AF_UNIX, kind).bind(unix(name)).listen(4)
            client = scene.home.socket(socket.AF_UNIX, kind).connect(unix(name))
            clients.append((client, listener.accept()))
            listeners.append((listener, kind, name))
    datagrams = scene.home.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(unix("/tmp/zoo-datagrams"))
    sender = scene.home.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(unix("/tmp/zoo-datagrams"))
    sender.send(b"before")
    yield
    for client, server in clients:
        client.send(b"hello")
        assert server.receive() == b"hello"
    for listener, kind, name in listeners:
        scene.home.socket(socket.AF_UNIX, kind).connect(unix(name)).send(b"new")
        assert listener.accept().receive() == b"new"
    sender.send(b"after")
    assert [datagrams.receive(), datagrams.receive()] == [b"before", b"after"]


def netlink_sockets(scene):
    """One that asks, one that listens to a group."""
    asking = scene.home.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).bind(netlink())
    listening = scene.home.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).bind(netlink(RTMGRP_LINK))
    yield
    get_link = struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0)  # RTM_GETLINK of all
    asking.send(get_link, to=netlink())
    assert b"eth0" in asking.receive()
    change = struct.pack("=IHHIIBxHiII", 32, 16, 1, 2, 0, 0, 0, 1, 0x1000, 0x1000)  # RTM_NEWLINK of lo: allmulti
    asking.receive(timeout_ms=0) if asking.poll(select.POLLIN) else None
    asking.send(change[:24] + struct.pack("=II", 0x200, 0x200), to=netlink())
    assert listening.poll(select.POLLIN, 2000)


def raw_sockets(scene):
    """Sees and sends ICMP."""
    raw = scene.home.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    echo = bytes.fromhex("0800") + b"\0\0" + bytes.fromhex("12340001")
    checksum = 0xffff - sum(struct.unpack("!4H", echo))
    yield
    raw.send(echo[:2] + struct.pack("!H", checksum & 0xffff) + echo[4:], to=inet(CLIENT_V4, 0))
    while (answer := raw.receive())[20:22] != b"\0\0":
        pass
    assert answer[24:28] == bytes.fromhex("12340001")


def packet_sockets(scene):
    packets = scene.home.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    yield
    away = scene.away.socket(*of(V4))
    away.send(b"a datagram to be seen", to=inet(V4, scene.port))
    while b"a datagram to be seen" not in packets.receive():
        pass


EXHIBITS = [udp, udp_over_ipv6, unix_pairs, descriptors_in_flight, unix_names, netlink_sockets, raw_sockets,
            packet_sockets]


def test_sockets_of_every_kind_go_there_and_back(lab, keep):
    assert failures_of_moving(lab, keep(start_zoo(lab)), EXHIBITS, ["node2", "node1"]) == {}
