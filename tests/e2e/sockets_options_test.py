"""Options of sockets that CRIU leaves out, keys of TCP and multicast memberships move with their container."""

import select
import socket
import struct

from tests.support.exhibits import CLIENT_V4, CLIENT_V6, V4, V6, failures_of_moving, failures_of_staying, start_zoo
from tests.support.socket_zoo import inet, netlink

SOL_SOCKET, SOL_TCP, SOL_IP, SOL_IPV6 = (socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP,
                                         socket.IPPROTO_IPV6)
SO_TIMESTAMP, SO_TIMESTAMPNS, SO_RXQ_OVFL, SO_PEEK_OFF, SO_MAX_PACING_RATE, SO_PASSPIDFD = 29, 35, 40, 42, 47, 76
SO_TIMESTAMPING, SO_INCOMING_CPU, SO_LOCK_FILTER, SO_BUSY_POLL = 37, 49, 44, 46
TCP_CONGESTION, TCP_NOTSENT_LOWAT, TCP_THIN_LINEAR_TIMEOUTS, TCP_INQ = 13, 25, 16, 36
TCP_SAVE_SYN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_KEY, TCP_FASTOPEN_NO_COOKIE = 27, 30, 33, 34
TCP_MD5SIG, MSG_FASTOPEN, TCPI_OPT_SYN_DATA = 14, 0x20000000, 32
IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_PASSSEC, IP_TRANSPARENT = 10, 11, 12, 13, 18, 19
IP_ORIGDSTADDR, IP_MINTTL, IP_BIND_ADDRESS_NO_PORT, IP_MULTICAST_ALL, IP_UNICAST_IF, IP_RECVFRAGSIZE = (
    20, 21, 24, 49, 50, 25)
IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_MULTICAST_ALL, IPV6_AUTOFLOWLABEL, IPV6_ADDR_PREFERENCES, IPV6_MINHOPCOUNT = (
    23, 25, 29, 70, 72, 73)
UDP_NO_CHECK6_RX, UDP_SEGMENT, UDP_GRO = 102, 103, 104
SOL_NETLINK, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 5, 10, 11, 12
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20

OF_A_CONNECTION = {
    (SOL_TCP, socket.TCP_USER_TIMEOUT): 12345,
    (SOL_TCP, TCP_NOTSENT_LOWAT): 65536,
    (SOL_TCP, socket.TCP_LINGER2): 7,
    (SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS): 1,
    (SOL_TCP, TCP_INQ): 1,
    (SOL_SOCKET, SO_TIMESTAMPNS): 1,
    (SOL_SOCKET, SO_PEEK_OFF): 0,
    (SOL_IP, IP_MTU_DISCOVER): 0,
    (SOL_IP, IP_RECVERR): 1,
}
OF_A_CONNECTION_V4 = {**OF_A_CONNECTION, (SOL_IP, IP_MINTTL): 3}
OF_A_CONNECTION_V6 = {
    **OF_A_CONNECTION,
    (SOL_IP, socket.IP_TOS): 0x10,
    (SOL_IPV6, socket.IPV6_TCLASS): 0x20,
    (SOL_IPV6, socket.IPV6_UNICAST_HOPS): 33,
    (SOL_IPV6, IPV6_MTU_DISCOVER): 0,
    (SOL_IPV6, IPV6_RECVERR): 1,
    (SOL_IPV6, IPV6_MINHOPCOUNT): 3,
    (SOL_SOCKET, socket.SO_PRIORITY): 0,
}
OF_A_LISTENER = {
    (SOL_TCP, socket.TCP_SYNCNT): 3,
    (SOL_TCP, socket.TCP_MAXSEG): 1200,
    (SOL_TCP, socket.TCP_DEFER_ACCEPT): 7,
    (SOL_TCP, socket.TCP_WINDOW_CLAMP): 20000,
    (SOL_TCP, socket.TCP_FASTOPEN): 5,
    (SOL_TCP, TCP_SAVE_SYN): 1,
    (SOL_TCP, TCP_FASTOPEN_NO_COOKIE): 1,
    (SOL_TCP, socket.TCP_USER_TIMEOUT): 4321,
    (SOL_IP, IP_TRANSPARENT): 1,
}
OF_DATAGRAMS = {
    (SOL_SOCKET, SO_TIMESTAMP): 1,
    (SOL_SOCKET, SO_RXQ_OVFL): 1,
    (SOL_SOCKET, SO_PEEK_OFF): 0,
    (SOL_SOCKET, SO_INCOMING_CPU): 1,
    (SOL_IP, IP_MTU_DISCOVER): 2,
    (SOL_IP, IP_RECVERR): 1,
    (SOL_IP, IP_RECVTTL): 1,
    (SOL_IP, IP_RECVTOS): 1,
    (SOL_IP, IP_ORIGDSTADDR): 1,
    (SOL_IP, socket.IP_MULTICAST_TTL): 9,
    (SOL_IP, socket.IP_MULTICAST_LOOP): 0,
    (SOL_IP, IP_MULTICAST_ALL): 0,
}
OF_UDP = {(socket.IPPROTO_UDP, UDP_SEGMENT): 1000, (socket.IPPROTO_UDP, UDP_GRO): 1}
OF_DATAGRAMS_V4 = {**OF_DATAGRAMS, **OF_UDP, (SOL_IP, IP_PASSSEC): 1, (SOL_IP, IP_RECVFRAGSIZE): 1}
OF_DATAGRAMS_V6 = {
    **OF_DATAGRAMS, **OF_UDP,
    (SOL_IPV6, IPV6_RECVERR): 1,
    (SOL_IPV6, socket.IPV6_RECVHOPLIMIT): 1,
    (SOL_IPV6, socket.IPV6_RECVTCLASS): 1,
    (SOL_IPV6, socket.IPV6_TCLASS): 0x40,
    (SOL_IPV6, socket.IPV6_DONTFRAG): 1,
    (SOL_IPV6, socket.IPV6_MULTICAST_HOPS): 9,
    (SOL_IPV6, socket.IPV6_MULTICAST_LOOP): 0,
    (SOL_IPV6, IPV6_MULTICAST_ALL): 0,
    (SOL_IPV6, IPV6_AUTOFLOWLABEL): 0,
    (socket.IPPROTO_UDP, UDP_NO_CHECK6_RX): 1,
}
OF_RAW = {key: value for key, value in OF_DATAGRAMS.items() if key not in ((SOL_SOCKET, SO_PEEK_OFF),
                                                                           (SOL_SOCKET, SO_INCOMING_CPU))}
OF_UNIX = {(SOL_SOCKET, SO_PASSPIDFD): 1, (SOL_SOCKET, SO_PEEK_OFF): 0}
OF_NETLINK = {(SOL_NETLINK, NETLINK_NO_ENOBUFS): 1, (SOL_NETLINK, NETLINK_CAP_ACK): 1,
              (SOL_NETLINK, NETLINK_EXT_ACK): 1, (SOL_NETLINK, NETLINK_GET_STRICT_CHK): 1}
OF_PACKETS = {(SOL_PACKET, PACKET_QDISC_BYPASS): 1, (SOL_SOCKET, SO_TIMESTAMPNS): 1, (SOL_SOCKET, SO_LOCK_FILTER): 1}


def carried(made, options):
    """Sets OPTIONS, and after the move expects what the socket said then: some round what they are given."""
    for (level, name), value in options.items():
        made.set(level, name, value)
    said = {key: made.get_int(*key) for key in options}
    assert all(said[key] or not value for key, value in options.items()), said
    yield
    assert {key: made.get_int(*key) for key in options} == said


def connection(scene):
    home, _ = scene.connection()
    yield from carried(home, OF_A_CONNECTION_V4)


def connection_over_ipv6(scene):
    home, away = scene.connection(V6)
    yield from carried(home, OF_A_CONNECTION_V6)
    home.send(b"x" * 10)
    assert away.receive() == b"x" * 10


def congestion_control(scene):
    """Another one than that of fresh sockets."""
    home, _ = scene.connection()
    fresh = home.get(SOL_TCP, TCP_CONGESTION, 16)
    other = next(name for name in (b"reno", b"cubic") if name != fresh.rstrip(b"\0"))
    home.set(SOL_TCP, TCP_CONGESTION, other)
    yield
    assert home.get(SOL_TCP, TCP_CONGESTION, 16).rstrip(b"\0") == other


def listener(scene):
    made = scene.home.listener("0.0.0.0", scene.port)
    yield from carried(made, OF_A_LISTENER)


def key_of_fast_open(scene):
    made = scene.home.listener("0.0.0.0", scene.port)
    key = bytes(range(1, 33))
    made.set(SOL_TCP, TCP_FASTOPEN_KEY, key)
    yield
    assert made.get(SOL_TCP, TCP_FASTOPEN_KEY, 32) == key


def came_early(scene, listening):
    """Connects, and says whether the listener's end had data with the SYN."""
    made = scene.away.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.send(b"early", MSG_FASTOPEN, inet(V4, scene.port))
    except BlockingIOError:  # it has no cookie, and asks for one
        made.poll(select.POLLOUT, 2000)
        made.send(b"early")
    accepted = listening.accept()
    assert accepted.receive() == b"early"
    return bool(accepted.tcp_info()[5] & TCPI_OPT_SYN_DATA)


def fast_open(scene):
    """The client's cookie is good on the other host as well."""
    scene.lab.exec(scene.container.node, "ip", "netns", "exec", scene.container.name, "sysctl", "-qw",
                   "net.ipv4.tcp_fastopen=3")
    listening = scene.home.listener("0.0.0.0", scene.port)
    listening.set(SOL_TCP, socket.TCP_FASTOPEN, 5)
    came_early(scene, listening)
    assert came_early(scene, listening)
    yield
    assert came_early(scene, listening)


def fast_open_connect(scene):
    made = scene.home.socket(socket.AF_INET, socket.SOCK_STREAM)
    yield from carried(made, {(SOL_TCP, TCP_FASTOPEN_CONNECT): 1})


def datagrams(scene):
    yield from carried(scene.home.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(inet(V4, scene.port)),
                       OF_DATAGRAMS_V4)


def datagrams_over_ipv6(scene):
    yield from carried(scene.home.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(inet("::", scene.port)),
                       OF_DATAGRAMS_V6)


def raw(scene):
    yield from carried(scene.home.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), OF_RAW)


def unix(scene):
    left, _ = scene.home.pair(socket.AF_UNIX, socket.SOCK_DGRAM)
    yield from carried(left, OF_UNIX)


def netlink_options(scene):
    made = scene.home.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).bind(netlink())
    yield from carried(made, OF_NETLINK)


def packets(scene):
    yield from carried(scene.home.socket(socket.AF_PACKET, socket.SOCK_RAW), OF_PACKETS)


def sending_multicast(scene):
    """By the address of a link (IPv4), by its index (IPv6)."""
    v4 = scene.home.socket(socket.AF_INET, socket.SOCK_DGRAM)
    v4.set(SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(V4))
    v6 = scene.home.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    link = eth0(scene)
    v6.set(SOL_IPV6, socket.IPV6_MULTICAST_IF, link)
    yield
    assert v4.get(SOL_IP, socket.IP_MULTICAST_IF) == socket.inet_aton(V4)
    assert v6.get_int(SOL_IPV6, socket.IPV6_MULTICAST_IF) == link


def eth0(scene):
    said = scene.lab.exec(scene.container.node, "ip", "netns", "exec", scene.container.name, "cat",
                          "/sys/class/net/eth0/ifindex")
    return int(said.stdout)


def signed(made, peer, key=b"a secret"):
    """struct tcp_md5sig"""
    made.set(SOL_TCP, TCP_MD5SIG,
             inet(peer, 0).ljust(128, b"\0") + struct.pack("=BBHi80s", 0, 0, len(key), 0, key))


def keys(scene, here=V4, there=CLIENT_V4):
    """A connection whose segments are signed lives, with data under way; the listener goes on wanting signatures."""
    listening = scene.home.listener(here, scene.port, prepare=lambda made: signed(made, there))
    away = scene.away.connected(here, scene.port, prepare=lambda made: signed(made, here))
    home = listening.accept()
    sent_home, sent_away = home.fill(), away.fill()
    yield
    assert away.missing(sent_home) == 0 and home.missing(sent_away) == 0
    again = scene.away.connected(here, scene.port, prepare=lambda made: signed(made, here))
    again.send(b"signed")
    assert listening.accept().receive() == b"signed"
    unsigned = scene.away.socket(socket.AF_INET6 if ":" in here else socket.AF_INET, socket.SOCK_STREAM)
    unsigned.connect(inet(here, scene.port))
    assert not listening.poll(select.POLLIN, 300), "a connection that was not signed was taken"
    unsigned.close()


def keys_over_ipv6(scene):
    yield from keys(scene, V6, CLIENT_V6)


EXHIBITS = [connection, connection_over_ipv6, congestion_control, listener, key_of_fast_open, fast_open,
            fast_open_connect, datagrams, datagrams_over_ipv6, raw, unix, netlink_options, packets, sending_multicast,
            keys, keys_over_ipv6]


def test_options_and_keys_go_there_and_back(lab, keep):
    assert failures_of_moving(lab, keep(start_zoo(lab)), EXHIBITS, ["node2", "node1"]) == {}


def test_options_and_keys_stay_after_a_rollback(lab, keep):
    assert failures_of_staying(lab, keep(start_zoo(lab)), EXHIBITS, "node2") == {}
