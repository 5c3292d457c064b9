"""UDP, UNIX, netlink, raw and packet sockets move with their container and are what they were."""

import select
import socket
import struct
import time

from tests.support.exhibits import CLIENT_V4, CLIENT_V6, V4, V6, failures_of_moving, failures_of_staying, start_zoo
from tests.support.socket_zoo import inet, netlink, unix

ETH_P_ALL = 3
RTMGRP_LINK = 1
IP_PKTINFO = 8
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55


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


def sent_by(scene, here, there, datagrams, *, prepare=lambda made: None):
    """A socket at HERE with DATAGRAMS in it that were not read, in this order, and who has sent them.

    Fragments may be overtaken on their way: they say no port, by which links with several queues keep the order.
    """
    made = scene.home.socket(*of(here))
    prepare(made)
    made.bind(inet(here, scene.port))
    away = scene.away.socket(*of(there)).bind(inet(there, scene.port + 5))
    for datagram in datagrams:
        before = queued(made)
        away.send(datagram, to=inet(V6 if ":" in here else V4, scene.port))
        deadline = time.monotonic() + 10
        while queued(made) == before:
            assert time.monotonic() < deadline, f"a datagram of {len(datagram)} bytes did not come"
    return made, away


def queued(made):
    """The memory of what came and was not read, in bytes; an empty datagram takes some as well."""
    return struct.unpack_from("=I", made.get(socket.SOL_SOCKET, SO_MEMINFO, size=36))[0]


def comes(made, sender, datagrams):
    assert [made.receive_message()[:2] for _ in datagrams] == [(datagram, sender) for datagram in datagrams]


def unread_datagrams(scene, here="0.0.0.0", there=CLIENT_V4):
    """An empty one and one that fills many packets among them, in their order; new ones come after them."""
    datagrams = [b"one", b"", b"three", bytes(range(256)) * 100, b"five"]
    made, away = sent_by(scene, here, there, datagrams)
    room = made.get_int(socket.SOL_SOCKET, socket.SO_RCVBUF)
    yield
    away.send(b"new", to=inet(V6 if ":" in here else V4, scene.port))
    comes(made, inet(there, scene.port + 5), [*datagrams, b"new"])
    assert made.get_int(socket.SOL_SOCKET, socket.SO_RCVBUF) == room


def unread_datagrams_over_ipv6(scene):
    yield from unread_datagrams(scene, "::", CLIENT_V6)


def unread_datagrams_of_a_known_link(scene):
    """The program wants to know how they came: they do so once more, by that link."""
    datagrams = [b"one", b"", bytes(range(256)) * 100, b"four"]
    made, _ = sent_by(scene, "0.0.0.0", CLIENT_V4, datagrams,
                      prepare=lambda made: made.set(socket.IPPROTO_IP, IP_PKTINFO, 1))
    yield
    comes(made, inet(CLIENT_V4, scene.port + 5), datagrams)


def unread_datagrams_of_a_known_link_over_ipv6(scene):
    datagrams = [b"one", b"", bytes(range(256)) * 100, b"four"]
    made, _ = sent_by(scene, "::", CLIENT_V6, datagrams,
                      prepare=lambda made: made.set(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1))
    yield
    comes(made, inet(CLIENT_V6, scene.port + 5), datagrams)


def unread_datagrams_of_a_connected_socket(scene):
    away = scene.away.socket(*of(CLIENT_V4)).bind(inet(CLIENT_V4, scene.port))
    home = scene.home.socket(*of(V4)).bind(inet(V4, scene.port)).connect(inet(CLIENT_V4, scene.port))
    for number in range(100):
        away.send(b"%d" % number, to=inet(V4, scene.port))
    assert home.poll(select.POLLIN, 2000)
    yield
    comes(home, inet(CLIENT_V4, scene.port), [b"%d" % number for number in range(100)])


def unread_datagrams_of_its_own(scene):
    """Over the loopback, and to its own address."""
    made = [(scene.home.socket(*of(address)).bind(inet(address, scene.port)), address)
            for address in ("127.0.0.1", V4, "::1")]
    senders = []
    for receiver, address in made:
        sender = scene.home.socket(*of(address)).bind(inet(address, scene.port + 1))
        sender.send(b"to myself", to=inet(address, scene.port))
        senders.append(sender)
        assert receiver.poll(select.POLLIN, 2000)
    yield
    for receiver, address in made:
        comes(receiver, inet(address, scene.port + 1), [b"to myself"])


def unread_datagrams_to_a_group(scene, group="239.99.1.30"):
    """Both members have it once."""
    members = []
    for _ in range(2):
        member = scene.home.socket(*of(V4))
        member.set(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        member.bind(inet(group, scene.port))
        member.set(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(V4))
        members.append(member)
    away = scene.away.socket(*of(V4)).bind(inet(CLIENT_V4, scene.port))
    away.set(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(CLIENT_V4))
    away.send(b"to the group", to=inet(group, scene.port))
    assert all(member.poll(select.POLLIN, 2000) for member in members)
    yield
    for member in members:
        comes(member, inet(CLIENT_V4, scene.port), [b"to the group"])
        assert not member.poll(select.POLLIN, 0)


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
    packets.set(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)  # it also sees what the others here do
    yield
    away = scene.away.socket(*of(V4))
    away.send(b"a datagram to be seen", to=inet(V4, scene.port))
    while b"a datagram to be seen" not in packets.receive():
        pass


EXHIBITS = [udp, udp_over_ipv6, unread_datagrams, unread_datagrams_over_ipv6, unread_datagrams_of_a_known_link,
            unread_datagrams_of_a_known_link_over_ipv6, unread_datagrams_of_a_connected_socket,
            unread_datagrams_of_its_own, unread_datagrams_to_a_group, unix_pairs, descriptors_in_flight, unix_names, netlink_sockets, raw_sockets,
            packet_sockets]


def test_sockets_of_every_kind_go_there_and_back(lab, keep):
    assert failures_of_moving(lab, keep(start_zoo(lab)), EXHIBITS, ["node2", "node1"]) == {}


def test_sockets_of_every_kind_stay_after_a_rollback(lab, keep):
    assert failures_of_staying(lab, keep(start_zoo(lab)), EXHIBITS, "node2") == {}
