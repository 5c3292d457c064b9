"""Urgent data that a program has not read moves with its connection: the mark, the byte, and what came after it."""

import errno
import select
import socket

import pytest

from tests.support.exhibits import V4, V6, failures_of_moving, failures_of_staying, start_zoo
from tests.support.socket_zoo import host_zoo

SO_PEEK_OFF = 42
CLIENT_WAITS_MS = 5000  # longer than a retransmission
MANY = bytes(range(256)) * 100  # more than one segment over loopback; twice as much fits in a queue


def arrive(home, away, before, after):
    """All of it is in the container's queue, and a byte between them is urgent."""
    if before:
        away.send(before)
    away.send(b"!", socket.MSG_OOB)
    assert home.poll(select.POLLPRI, CLIENT_WAITS_MS)
    if after:
        away.send(after)
        await_acknowledged(away)


def await_acknowledged(away):
    """The client's kernel knows that all it sent has come."""
    for _ in range(100):
        if away.unsent() == 0:
            return
        away.poll(0, 50)
    raise AssertionError(f"{away.unsent()} bytes are on their way")


def received(home, count):
    data = b""
    while len(data) < count and (more := home.receive(count - len(data))):
        data += more
    return data


def reads_mark_and(home, after):
    assert home.receive(1, socket.MSG_OOB) == b"!" and received(home, len(after)) == after


def goes_on(home, away):
    """In both directions, and with another mark."""
    home.send(b"answer")
    assert away.receive() == b"answer"
    away.send(b"x" + b"?", socket.MSG_OOB)
    assert home.poll(select.POLLPRI, CLIENT_WAITS_MS)
    assert home.receive(1, socket.MSG_OOB) == b"?" and home.receive() == b"x"


def alone(scene, here=V4):
    home, away = scene.connection(here)
    arrive(home, away, b"", b"")
    yield
    assert home.at_mark() and home.poll(select.POLLPRI)
    assert home.receive(1, socket.MSG_OOB) == b"!"
    goes_on(home, away)


def over_ipv6(scene):
    yield from alone(scene, V6)


def mapped_address(scene):
    _, home, away = scene.mapped_connection()
    arrive(home, away, b"", b"after")
    yield
    reads_mark_and(home, b"after")
    goes_on(home, away)


def before_other_data(scene):
    home, away = scene.connection()
    arrive(home, away, b"", MANY)
    yield
    assert home.at_mark()
    reads_mark_and(home, MANY)
    goes_on(home, away)


def behind_other_data(scene):
    home, away = scene.connection()
    arrive(home, away, MANY, b"")
    yield
    assert home.poll(select.POLLPRI) and home.receive(1, socket.MSG_OOB) == b"!"
    assert received(home, len(MANY)) == MANY and home.at_mark()
    goes_on(home, away)


def in_the_middle(scene):
    home, away = scene.connection()
    arrive(home, away, MANY, MANY[::-1])
    yield
    assert received(home, len(MANY)) == MANY and home.at_mark()
    assert home.receive(1, socket.MSG_OOB) == b"!"
    assert received(home, len(MANY)) == MANY[::-1]
    goes_on(home, away)


def taken_before_the_stream_comes_to_it(scene):
    home, away = scene.connection()
    arrive(home, away, b"before", b"after")
    assert home.receive(1, socket.MSG_OOB) == b"!"
    yield
    with pytest.raises(OSError) as taken:
        home.receive(1, socket.MSG_OOB)
    assert taken.value.errno == errno.EINVAL and not home.poll(select.POLLPRI)
    assert received(home, 6) == b"before" and home.at_mark()
    assert received(home, 5) == b"after"
    goes_on(home, away)


def taken_at_the_mark(scene):
    home, away = scene.connection()
    arrive(home, away, b"", b"after")
    assert home.receive(1, socket.MSG_OOB) == b"!"
    yield
    assert home.at_mark() and received(home, 5) == b"after"
    goes_on(home, away)


def never_looked_at(scene):
    """By a program that knows nothing of urgent data: the stream passes it over."""
    home, away = scene.connection()
    arrive(home, away, b"", b"after")
    yield
    assert received(home, 5) == b"after"


def of_a_program_that_gets_a_signal(scene):
    """It gets one more, as it is restored."""
    home, away = scene.connection()
    home.own()
    arrive(home, away, b"", b"after")
    yield
    reads_mark_and(home, b"after")
    goes_on(home, away)


def in_line(scene):
    home, away = scene.connection()
    home.set(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    arrive(home, away, b"", b"after")
    yield
    assert home.at_mark() and home.poll(select.POLLPRI)
    assert received(home, 6) == b"!after" and not home.at_mark()


def closed_by_the_container(scene):
    home, away = scene.connection()
    home.shutdown(socket.SHUT_WR)
    assert away.poll(select.POLLRDHUP, CLIENT_WAITS_MS)
    arrive(home, away, b"", b"after")
    yield
    assert home.tcp_state() == "fin-wait-2"
    reads_mark_and(home, b"after")


def with_something_to_send(scene):
    """The client's window is closed; it opens when the client reads."""
    home, away = scene.connection()
    sent = home.fill()
    assert home.unsent() > 0
    arrive(home, away, b"", b"after")
    yield
    reads_mark_and(home, b"after")
    assert away.missing(sent) == 0


def to_itself(scene):
    listener = scene.home.listener("127.0.0.1", scene.port)
    away = scene.home.connected("127.0.0.1", scene.port)
    home = listener.accept()
    arrive(home, away, b"", b"after")
    yield
    reads_mark_and(home, b"after")
    goes_on(home, away)


ANYWHERE = [alone, over_ipv6, mapped_address, before_other_data, behind_other_data, taken_at_the_mark, never_looked_at,
            of_a_program_that_gets_a_signal, in_line, closed_by_the_container, with_something_to_send, to_itself]
BEHIND_OTHER_DATA = [in_the_middle, taken_before_the_stream_comes_to_it]  # from Linux 6.9 on


def exhibits_of_this_kernel(lab):
    with host_zoo(lab) as zoo:
        try:
            zoo.socket(socket.AF_INET, socket.SOCK_STREAM).get_int(socket.SOL_SOCKET, SO_PEEK_OFF)
        except OSError:
            return [exhibit for exhibit in ANYWHERE if exhibit is not behind_other_data]
    return ANYWHERE + BEHIND_OTHER_DATA


def test_urgent_data_goes_there_and_back(lab, keep):
    container = keep(start_zoo(lab))
    assert failures_of_moving(lab, container, exhibits_of_this_kernel(lab), ["node2", "node1"]) == {}


def test_urgent_data_is_still_there_after_a_rollback(lab, keep):
    container = keep(start_zoo(lab))
    assert failures_of_staying(lab, container, exhibits_of_this_kernel(lab), "node2") == {}
