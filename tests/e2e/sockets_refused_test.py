"""Sockets that CRIU cannot carry are named before the freeze, all of them; once they are gone the container moves."""

import errno
import select
import socket
import struct

from tests.support.exhibits import CLIENT_V4, Scene, start_zoo
from tests.support.migration import migrate
from tests.support.refusal import assert_refused, check
from tests.support.socket_zoo import container_zoo, host_zoo, inet, netlink, unix

IPPROTO_MPTCP = 262
UDP_CORK = 1
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
SO_ZEROCOPY = 60
RTM_GETLINK = struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0)


def waiting_connections(home, away):
    listener = home.listener("0.0.0.0", 7200)
    away.connected("10.99.2.61", 7200)
    return "listening at port 7200 with connections that the program has not accepted", listener.accept


def waiting_unix_connections(home, _):
    listener = home.socket(socket.AF_UNIX, socket.SOCK_STREAM).bind(unix("\0waiting")).listen(4)
    home.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(unix("\0waiting"))
    return "a listening UNIX socket with connections", listener.accept


def urgent_data(home, away):
    ours, theirs = Scene(None, home, away, 7210).connection()
    theirs.send(b"!", socket.MSG_OOB)
    theirs.shutdown(socket.SHUT_WR)
    assert ours.poll(select.POLLPRI, 5000) and ours.poll(select.POLLRDHUP, 5000)
    return "urgent data that was not read, from a peer that has closed", lambda: ours.receive(1, socket.MSG_OOB)


def corked_datagrams(home, _):
    corked = home.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(inet(CLIENT_V4, 9))
    corked.set(socket.IPPROTO_UDP, UDP_CORK, 1)
    return "a corked UDP socket", corked.close


def unread_netlink(home, _):
    asking = home.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    asking.send(RTM_GETLINK, to=netlink())
    return "a netlink socket with messages that were not read", asking.close


def high_netlink_group(home, _):
    listening = home.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).bind(netlink())
    listening.set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 34)
    return "a netlink socket in a group above 32", listening.close


def without_copying(home, _):
    made = home.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.set(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    return "sends without copying", made.close


def multipath(home, _):
    made = home.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    return "Multipath TCP", made.close


def virtual_machine(home, _):
    made = home.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    return "vsock", made.close


NOT_IN_EVERY_KERNEL = [multipath, virtual_machine]


def test_every_socket_that_cannot_move_is_named(lab, keep):
    container = keep(start_zoo(lab))
    with container_zoo(lab, container) as home, host_zoo(lab) as away:
        texts, mends = [], []
        for make in (waiting_connections, waiting_unix_connections, urgent_data, corked_datagrams, unread_netlink,
                     high_netlink_group, without_copying, *NOT_IN_EVERY_KERNEL):
            try:
                text, mend = make(home, away)
            except OSError as error:
                assert make in NOT_IN_EVERY_KERNEL and error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)
                continue
            texts.append(text)
            mends.append(mend)
        found = " ".join(problem["text"] for problem in check(lab, "node1", container.name, "node2"))
        assert [text for text in texts if text not in found] == [], found
        assert_refused(lab, container, "node2", *texts)
        for mend in mends:
            mend()
        assert check(lab, "node1", container.name, "node2") == []
        moved = migrate(lab, container, "node2")
        assert moved.migrated, moved.why()
