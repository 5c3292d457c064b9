"""TCP sockets in every state move with their container and are what they were."""

import contextlib
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.exhibits import CLIENT_V4, V4, V6, Scene, failures_of_moving, start_zoo
from tests.support.migration import begin, migrate
from tests.support.second_lan import add_macvlan, second_lan
from tests.support.socket_zoo import container_zoo, host_zoo, inet

SOL_TCP = socket.IPPROTO_TCP
CLIENT_WAITS_MS = 5000  # longer than a retransmission
OF_MACVLAN = "10.98.2.11"


def full_queues(scene, here=V4, listen_on=None):
    """Both ends have sent until nothing more was taken, and nobody has read."""
    home, away = scene.connection(here)
    sent_home, sent_away = home.fill(), away.fill()
    assert sent_home > 60_000 and sent_away > 60_000 and home.unread() > 0 and home.unsent() > 0
    yield
    assert home.tcp_state() == away.tcp_state() == "established"
    assert away.missing(sent_home) == 0
    assert home.missing(sent_away) == 0


def full_queues_over_ipv6(scene):
    yield from full_queues(scene, V6)


def mapped_address(scene):
    """A socket of IPv6 with a peer of IPv4."""
    listener, home, away = scene.mapped_connection()
    sent = home.fill()
    yield
    assert home.peer() == inet(f"::ffff:{CLIENT_V4}", away.local_port())
    assert away.missing(sent) == 0
    again = scene.away.connected(V4, scene.port)
    assert listener.accept().peer() == inet(f"::ffff:{CLIENT_V4}", again.local_port())


def half_closed_by_the_client(scene):
    home, away = scene.connection()
    away.send(b"last words")
    away.shutdown(socket.SHUT_WR)
    assert home.poll(select.POLLRDHUP, CLIENT_WAITS_MS)
    yield
    assert home.tcp_state() == "close-wait" and away.tcp_state() == "fin-wait-2"
    assert home.receive() == b"last words" and home.receive() == b""
    home.send(b"answer")
    home.close()
    assert away.receive() == b"answer" and away.receive() == b""


def half_closed_by_the_container(scene):
    home, away = scene.connection()
    home.send(b"last words")
    home.shutdown(socket.SHUT_WR)
    assert away.poll(select.POLLRDHUP, CLIENT_WAITS_MS)
    yield
    assert home.tcp_state() == "fin-wait-2" and away.tcp_state() == "close-wait"
    assert away.receive() == b"last words" and away.receive() == b""
    away.send(b"answer")
    away.close()
    assert home.receive() == b"answer" and home.receive() == b""


def finished_with_unread_data_on_its_way(scene):
    """FIN-WAIT-1: the container has nothing more to say, and what it said is not yet through."""
    home, away = scene.connection()
    sent = home.fill()
    home.shutdown(socket.SHUT_WR)
    assert home.tcp_state() == "fin-wait-1"
    yield
    assert home.tcp_state() == "fin-wait-1"
    assert away.missing(sent) == 0 and away.receive() == b""
    away.send(b"answer")
    assert home.receive() == b"answer"


def last_acknowledgement(scene):
    """LAST-ACK: the client has finished, the container too, and its data is not yet through."""
    home, away = scene.connection()
    sent = home.fill()
    away.shutdown(socket.SHUT_WR)
    assert home.poll(select.POLLRDHUP, CLIENT_WAITS_MS)
    home.shutdown(socket.SHUT_WR)
    assert home.tcp_state() == "last-ack"
    yield
    assert home.tcp_state() == "last-ack"
    assert away.missing(sent) == 0 and away.receive() == b""


def closing(scene):
    """CLOSING: both have finished, neither has the other's acknowledgement."""
    home, away = scene.connection()
    sent = home.fill()
    home.shutdown(socket.SHUT_WR)
    away.send(b"last words")
    away.shutdown(socket.SHUT_WR)
    assert home.poll(select.POLLRDHUP, CLIENT_WAITS_MS)
    assert home.tcp_state() == "closing"
    yield
    assert home.tcp_state() == "closing"
    assert home.receive() == b"last words"
    assert away.missing(sent) == 0 and away.receive() == b""


def time_wait(scene):
    """The container closed first, and its kernel remembers the connection; the client comes again from that port."""
    home, away = scene.connection()
    home.close()
    assert away.receive() == b""
    port = away.local_port()
    away.close()
    listener = scene.home.listener("0.0.0.0", scene.port)
    yield

    def same_port(made):
        made.set(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(inet(CLIENT_V4, port))

    again = scene.away.connected(V4, scene.port, CLIENT_WAITS_MS, prepare=same_port)
    again.send(b"hello")
    assert listener.accept().receive() == b"hello"


def listening(scene):
    scene.home.listener("::", scene.port)
    yield
    scene.away.connected(V4, scene.port)
    scene.away.connected(V6, scene.port)


def connecting(scene):
    """SYN-SENT: nobody has answered yet."""
    silent = scene.home.socket(socket.AF_INET, socket.SOCK_STREAM)
    silent.connect(inet("10.99.250.250", scene.port))
    assert silent.tcp_state() == "syn-sent"
    yield
    assert silent.tcp_state() == "syn-sent"


def outgoing(scene):
    listener = scene.away.listener("0.0.0.0", scene.port)
    home = scene.home.connected(CLIENT_V4, scene.port)
    away = listener.accept()
    sent = home.fill()
    yield
    assert away.missing(sent) == 0
    away.send(b"answer")
    assert home.receive() == b"answer"


def to_itself(scene, addresses=("127.0.0.1", V4, "::1")):
    """Both ends in the container, over loopback and over its own address, with data under way in both directions."""
    ends = []
    for address in addresses:
        listener = scene.home.listener(address, scene.port)
        left = scene.home.connected(address, scene.port)
        right = listener.accept()
        listener.close()
        ends.append((left, right, left.fill(), right.fill()))
    yield
    for left, right, from_left, from_right in ends:
        assert right.missing(from_left) == 0 and left.missing(from_right) == 0


def agreed_options(scene):
    """Window scaling, timestamps and selective acknowledgements, and windows as large as they were."""
    home, away = scene.connection()
    agreed = home.tcp_options()
    assert set(agreed[0]) == {"timestamps", "sack", "window scaling"}
    yield
    assert home.tcp_options() == agreed
    assert home.missing(away.fill()) == 0


def without_any_of_them(scene):
    """The windows of such a connection are not scaled, then either."""
    scene.lab.exec("client", "sysctl", "-qw", "net.ipv4.tcp_timestamps=0", "net.ipv4.tcp_sack=0",
                   "net.ipv4.tcp_window_scaling=0")
    try:
        home, away = scene.connection()
    finally:
        scene.lab.exec("client", "sysctl", "-qw", "net.ipv4.tcp_timestamps=1", "net.ipv4.tcp_sack=1",
                       "net.ipv4.tcp_window_scaling=1")
    assert home.tcp_options()[0] == []
    yield
    assert away.tcp_options()[0] == []
    assert home.missing(away.fill()) == 0


def keep_alive(scene):
    """The probes go on: a peer that has gone is found out."""
    home, _ = scene.connection()
    home.set(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {socket.TCP_KEEPIDLE: 77, socket.TCP_KEEPINTVL: 11, socket.TCP_KEEPCNT: 5}
    for option, value in wanted.items():
        home.set(SOL_TCP, option, value)
    yield
    assert home.get_int(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert {option: home.get_int(SOL_TCP, option) for option in wanted} == wanted


OPTIONS = {
    (SOL_TCP, socket.TCP_NODELAY): 1,
    (socket.IPPROTO_IP, socket.IP_TOS): 0x10,
    (socket.IPPROTO_IP, socket.IP_TTL): 33,
    (socket.SOL_SOCKET, socket.SO_RCVLOWAT): 2,
    (socket.SOL_SOCKET, socket.SO_OOBINLINE): 1,
}


def socket_options(scene):
    home, _ = scene.connection()
    for (level, option), value in OPTIONS.items():
        home.set(level, option, value)
    yield
    assert {key: home.get_int(*key) for key in OPTIONS} == OPTIONS


def bound_only(scene):
    home = scene.home.socket(socket.AF_INET, socket.SOCK_STREAM).bind(inet(V4, scene.port))
    yield
    assert home.name() == inet(V4, scene.port)
    home.listen(1)
    scene.away.connected(V4, scene.port)


EXHIBITS = [full_queues, full_queues_over_ipv6, mapped_address, half_closed_by_the_client, half_closed_by_the_container,
            finished_with_unread_data_on_its_way, last_acknowledgement, closing, time_wait, listening, connecting,
            outgoing, to_itself, agreed_options, without_any_of_them, keep_alive, socket_options, bound_only]


def test_sockets_in_every_state_go_there_and_back(lab, keep):
    assert failures_of_moving(lab, keep(start_zoo(lab)), EXHIBITS, ["node2", "node1"]) == {}


def many_to_itself(scene):
    """So many that while one end is dumped the other probes its window, or goes on sending what it had begun to."""
    yield from to_itself(scene, ("127.0.0.1", V4, "::1") * 10)


def test_connections_of_a_container_to_itself_stand_still_while_they_are_dumped(lab, keep):
    assert failures_of_moving(lab, keep(start_zoo(lab)), [many_to_itself], ["node2", "node1", "node2"]) == {}


@contextlib.contextmanager
def accepted_slowly(listener, clients):
    """One in 100 ms; at the end, or after a stop, all others at once. Yields a list of them, and what stops it."""
    enough = threading.Event()

    def accept():
        for _ in clients:
            enough.wait(0.1)
            if enough.is_set():
                return
            accepted.append(listener.accept())

    accepted = []
    with ThreadPoolExecutor(1) as busy:
        accepting = busy.submit(accept)
        try:
            yield accepted, enough.set
            accepting.result()
        finally:
            enough.set()
    accepted += [listener.accept() for _ in clients[len(accepted):]]


def talk(accepted, clients):
    for ours, theirs in zip(accepted, clients, strict=True):
        theirs.send(b"hello")
        assert ours.receive() == b"hello"


def test_who_waits_for_a_busy_server_is_accepted_before_it_moves(lab, keep):
    """Its queue is not empty for longer than godwit waits for others, and not at any look of `check`."""
    container = keep(start_zoo(lab))
    with container_zoo(lab, container) as home, host_zoo(lab) as away:
        listener = home.listener("0.0.0.0", 7100)
        clients = [away.connected(V4, 7100) for _ in range(25)]
        with accepted_slowly(listener, clients) as (accepted, _):
            result = migrate(lab, container, "node2")
            assert result.migrated, result.why()
        assert not any("left behind" in note for note in result.report["notes"]), result.report["notes"]
        talk(accepted, clients)


def test_a_server_that_stops_accepting_stays(lab, keep):
    container = keep(start_zoo(lab))
    with container_zoo(lab, container) as home, host_zoo(lab) as away:
        listener = home.listener("0.0.0.0", 7100)
        clients = [away.connected(V4, 7100) for _ in range(25)]
        with accepted_slowly(listener, clients) as (accepted, stop), begin(lab, container, "node2") as ongoing:
            ongoing.await_phase("freeze")
            stop()
            result = ongoing.result()
        assert result.report["outcome"] == "rolled_back"
        assert "freeze on node1 failed: " in result.why() and "wait to be accepted" in result.why()
        talk(accepted, clients)
        moved = migrate(lab, container, "node2")
        assert moved.migrated, moved.why()


def inside(lab, container, *command):
    """What COMMAND says in the container's network namespace."""
    return lab.exec(container.node, "ip", "netns", "exec", container.name, *command).stdout


def remembered(lab, container):
    states = inside(lab, container, "ss", "-Htan", "state", "fin-wait-2", "state", "time-wait").split()
    return states.count("FIN-WAIT-2"), states.count("TIME-WAIT")


def closed_by_the_container(scene, here, client_closes_too):
    ours, theirs = scene.connection(here)
    ours.close()
    assert theirs.receive() == b""
    if client_closes_too:
        theirs.close()
    return theirs


def test_what_only_the_kernel_remembers_of_connections_moves_too(lab, keep):
    """FIN-WAIT-2 and TIME-WAIT of a program that closes first: who closes its end later is not reset."""
    container = keep(start_zoo(lab))
    with second_lan(lab), container_zoo(lab, container) as home, host_zoo(lab) as away:
        add_macvlan(lab, container, "mv0", "up1", f"{OF_MACVLAN}/16")
        scene = Scene(lab, home, away, 7100, container)
        places = (V4, V6, OF_MACVLAN)
        waiting = [closed_by_the_container(scene, here, client_closes_too=False) for here in places]
        for here in places:
            closed_by_the_container(scene, here, client_closes_too=True)
        assert remembered(lab, container) == (3, 3)
        for target in ("node2", "node1"):
            result = migrate(lab, container, target)
            assert result.migrated, result.why()
            assert not any("has closed" in note for note in result.report["notes"])
            assert remembered(lab, container) == (3, 3)
        resets = inside(lab, container, "nstat", "-asz", "TcpOutRsts")
        for theirs in waiting:
            theirs.close()
        deadline = time.monotonic() + 10
        while (now := remembered(lab, container)) != (0, 6):
            assert time.monotonic() < deadline, now
            time.sleep(0.01)
        assert inside(lab, container, "nstat", "-asz", "TcpOutRsts") == resets


def test_what_cannot_be_learnt_of_remembered_connections_is_named(lab, keep):
    container = keep(start_zoo(lab))
    with container_zoo(lab, container) as home, host_zoo(lab) as away:
        scene = Scene(lab, home, away, 7100, container)
        theirs = closed_by_the_container(scene, V4, client_closes_too=False)
        inside(lab, container, "nft", "add table ip own; add chain ip own out { type filter hook output priority 0; }; "
                                      f"add rule ip own out tcp dport {theirs.local_port()} drop")
        result = migrate(lab, container, "node2")
        assert result.migrated, result.why()
        theirs.set(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end would be sent for a while
    assert any("1 TCP connections that the program has closed" in note for note in result.report["notes"])
