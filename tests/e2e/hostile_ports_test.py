"""What strangers and broken peers send to an agent's ports: the connection is closed, the agent unharmed."""

import contextlib
import json
import os
import pathlib
import socket
import ssl
import time

import pytest

from tests.support import http2, leftovers
from tests.support.agent_setup import configured
from tests.support.intruder import certificate, connect, is_closed, tls_context
from tests.support.lab import CLIENT

NODE2 = "10.99.1.2"
CONTROL, DATA = 7410, 7411
BOTH = pytest.mark.parametrize("port", [CONTROL, DATA])
KEPT_MIB = 480  # agent.cc: kControlMemoryMax; for the allocator to keep
HANDSHAKE_LIMIT_S = 5  # limits.handshake_timeout_s
MIGRATE = "/godwit.peer.Peer/Migrate"
ID = "0123456789abcdef"
NOISE = bytes((number * 7919) >> 3 & 255 for number in range(1 << 20))
# peer.proto's SourceMessage
HELLO, PREFLIGHT, PREPARE, SWITCH_OVER, COMMIT, ABORT, FINISH = range(1, 8)
FAILURE = 8


def samples(named):
    return pytest.mark.parametrize("what", named.values(), ids=named.keys())


class Usage:
    """What an agent uses."""

    def __init__(self, lab):
        self.pid = lab.agent_pid("node2")
        process = pathlib.Path(f"/proc/{self.pid}")
        self.descriptors = len(os.listdir(process / "fd"))
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        self.threads = int(status["Threads"])
        self.memory_mib = int(status["RssAnon"].split()[0]) >> 10


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(one_lab):
    def look(inventory):
        return {kind: items for kind, items in inventory.items() if kind != "process"}  # Usage looks at the agent's
    before = {node: look(leftovers.snapshot(one_lab, node)) for node in one_lab.nodes}
    yield
    left = {node: leftovers.since(one_lab, node, before[node], settle_s=3, look=look) for node in one_lab.nodes}
    assert not any(left.values()), left


@pytest.fixture
def lab(one_lab, nothing_left_behind):
    """As conftest's, but what is left behind is looked at once, after all of these tests."""
    one_lab.exec(CLIENT, "ip", "neighbour", "flush", "all")  # an address may have belonged to an earlier container
    return one_lab


@pytest.fixture(autouse=True)
def unharmed(lab):
    """After each test the same agent still serves, and has given back what it used."""
    assert_serves(lab)  # gRPC's threads and the like are there now
    before = Usage(lab)
    yield
    assert_serves(lab)
    end = time.monotonic() + HANDSHAKE_LIMIT_S + 5
    while True:
        now = Usage(lab)
        # gRPC keeps some threads, allocators some memory, whatever came; 200 connections would show.
        harmless = (now.descriptors <= before.descriptors + 4 and now.threads <= before.threads + 16 and
                    now.memory_mib <= max(before.memory_mib, KEPT_MIB) + 64)
        if harmless or time.monotonic() > end:
            break
        time.sleep(0.05)
    assert now.pid == before.pid
    assert harmless, f"before: {vars(before)}, now: {vars(now)}"


@pytest.fixture(scope="module")
def of_node1(one_lab, tmp_path_factory):
    """A certificate that node2 trusts."""
    return certificate(tmp_path_factory.mktemp("node1"), "node1")


@pytest.fixture(scope="module")
def of_nobody(one_lab, tmp_path_factory):
    """A certificate of the right CA, for a host that is not among node2's peers."""
    return certificate(tmp_path_factory.mktemp("nobody"), "nobody")


def assert_serves(lab):
    said = lab.exec("node2", "godwit", "version", "--json").stdout
    assert json.loads(said)["agent"], said


@contextlib.contextmanager
def plain(lab, port, timeout_s=HANDSHAKE_LIMIT_S + 5):
    with connect(lab, "client", NODE2, port, timeout_s) as connection:
        yield connection


@contextlib.contextmanager
def trusted(lab, port, directory, **opening):
    with connect(lab, "client", NODE2, port) as connection:
        if port == DATA:
            send(connection, preamble(**opening))
        with tls_context(directory).wrap_socket(connection, server_hostname="node2") as secure:
            yield secure


def preamble(magic=b"GDWTOPEN", major=2, channel=0, migration=ID):
    """wire/preamble.h"""
    return (magic + major.to_bytes(2, "little") + bytes(2) + channel.to_bytes(2, "little") + bytes(2) +
            migration.encode())


def begin(port):
    """What the port wants to hear before TLS."""
    return preamble() if port == DATA else b""


def send(connection, data):
    """As much as the other side takes."""
    with contextlib.suppress(OSError):
        connection.sendall(data)


def hello(node="node1", migration=None):
    """Every migration has an id of its own, unless the test is about ids."""
    migration = os.urandom(8).hex() if migration is None else migration
    body = http2.field(1, 2) + http2.field(3, "0.1.0") + http2.field(4, node) + http2.field(5, migration)
    return http2.field(HELLO, body)


def is_failure(answer, text):
    return answer is not None and answer[0] == FAILURE << 3 | 2 and text.encode() in answer


# --- Strangers --------------------------------------------------------------------------------------------


@BOTH
@samples({
    "http": b"GET / HTTP/1.1\r\nHost: node2\r\n\r\n",
    "noise": NOISE,
    "oversized record": b"\x16\x03\x01\xff\xff" + NOISE,
    "http2": http2.PREFACE + http2.frame(http2.SETTINGS),
    "one byte": b"\0",
})
def test_bytes_that_are_no_tls(lab, port, what):
    with plain(lab, port) as connection:
        send(connection, what)
        with contextlib.suppress(OSError):  # closed already
            connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)


@BOTH
def test_tls_1_2_is_refused(lab, port, of_node1):
    context = tls_context(of_node1)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with plain(lab, port) as connection:
        send(connection, begin(port))
        with pytest.raises(OSError):  # an alert from the one, a closed connection from the other
            context.wrap_socket(connection, server_hostname="node2")


def test_openssl_cannot_agree_on_tls_1_2(lab, of_node1):
    """The same by another client's word."""
    ended = lab.exec("client", "openssl", "s_client", "-tls1_2", "-connect", f"{NODE2}:{CONTROL}", "-cert",
                     str(of_node1 / "host.crt"), "-key", str(of_node1 / "host.key"), check=False)
    assert ended.returncode != 0
    assert "Cipher is (NONE)" in ended.stdout


@BOTH
def test_without_certificate(lab, port):
    """In TLS 1.3 a client thinks that it is connected before the agent has missed its certificate."""
    with plain(lab, port) as connection:
        send(connection, begin(port))
        with tls_context().wrap_socket(connection, server_hostname="node2") as secure:
            send(secure, http2.PREFACE + http2.frame(http2.SETTINGS))
            assert is_closed(secure)


def test_certificate_of_no_peer_is_told_nothing_by_the_control_port(lab, of_nobody):
    with trusted(lab, CONTROL, of_nobody) as connection:
        assert http2.Call(connection, MIGRATE).ask(hello("nobody")) is None


def test_certificate_of_no_peer_gets_nowhere_on_the_data_port(lab, of_nobody):
    with trusted(lab, DATA, of_nobody) as connection:
        send(connection, data_hello())
        answer = connection.recv(100)
        assert answer == b"" or answer[12:14] == b"\1\2"  # refused: the name is not allowed
        assert is_closed(connection)


def test_nobody_is_waited_for(lab, of_node1):
    """200 connections to each port that say nothing, one that says a byte now and then, one that stops in the middle of
    its hello, one that stops before TLS: each is closed when the time for handshakes is up, and others are served meanwhile."""
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(trusted(lab, DATA, of_node1))
        send(stopped, data_hello()[:40])
        before_tls = stack.enter_context(plain(lab, DATA))
        send(before_tls, preamble())
        slow = [stack.enter_context(plain(lab, port)) for port in (CONTROL, DATA)]
        began = time.monotonic()
        silent = {port: [stack.enter_context(plain(lab, port)) for _ in range(200)] for port in (CONTROL, DATA)}
        assert_serves(lab)
        for control, data in zip(b"\x16\x03\x01\x02\x00\x01", preamble()):
            for connection, byte in zip(slow, (control, data)):
                send(connection, bytes([byte]))
            time.sleep(0.3)  # slowness is what this is about
        assert all(is_closed(connection) for connection in [stopped, before_tls, *slow, *silent[CONTROL], silent[DATA][0]])
        assert time.monotonic() - began < HANDSHAKE_LIMIT_S + 4
        # On the data port the others wait for their turn, so many at a time.


@BOTH
def test_connections_that_are_cut_off(lab, port):
    """A client that vanishes in the middle: reset, not closed."""
    for _ in range(50):
        connection = connect(lab, "client", NODE2, port)
        send(connection, begin(port) + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()


# --- Peers that are trusted and broken --------------------------------------------------------------------


@samples({
    "noise": NOISE,
    "noise after the preface": http2.PREFACE + NOISE,
    "frame of 16 MiB": http2.PREFACE + http2.frame(http2.SETTINGS) + b"\xff\xff\xff" + NOISE,
    "noise as headers": http2.PREFACE + http2.frame(http2.SETTINGS) +
                        http2.frame(http2.HEADERS, http2.END_HEADERS, 1, NOISE[:16000]),
})
def test_garbage_within_tls_on_the_control_port(lab, of_node1, what):
    with trusted(lab, CONTROL, of_node1) as connection:
        send(connection, what)
        assert is_closed(connection)


def test_headers_without_end(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        send(connection, http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(http2.HEADERS, 0, 1, b"\x82"))


def test_settings_without_end(lab, of_node1):
    """A flood of small frames that each want an answer, none of which is read."""
    with trusted(lab, CONTROL, of_node1) as connection:
        connection.settimeout(2)
        send(connection, http2.PREFACE + http2.frame(http2.SETTINGS) * 20000 +
             http2.frame(http2.PING, 0, 0, b"12345678") * 20000)


@pytest.mark.parametrize("which", ["first", "second", "third"])
def test_message_that_claims_to_be_too_large(lab, of_node1, which):
    """The agent's allocator may keep what it had for the first; it takes no more for the others."""
    with trusted(lab, CONTROL, of_node1) as connection:
        assert not http2.Call(connection, MIGRATE).send(bytes(1 << 30), claimed=0xFFFFFFFF)


def test_message_that_is_as_large_as_they_may_be(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        connection.settimeout(60)
        name = b"n" * (32 << 20)
        answer = http2.Call(connection, MIGRATE).ask(hello(node=name))
        assert is_failure(answer, "node name"), answer and answer[:200]
        assert len(answer) < 1000  # what was wrong is not sent back


def test_message_that_is_cut_off(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        http2.Call(connection, MIGRATE).send(hello()[:-4], claimed=len(hello()))


def test_message_that_is_no_protobuf(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        assert http2.Call(connection, MIGRATE).ask(b"\xff" * 100) is None


def test_call_that_does_not_exist(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        assert http2.Call(connection, "/godwit.peer.Peer/Destroy").ask(hello()) is None


def test_calls_of_users_are_not_served_to_peers(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        assert http2.Call(connection, "/godwit.control.Control/Version").ask(b"") is None


@pytest.mark.parametrize("greeted, number", [
    (False, PREFLIGHT), (False, PREPARE), (False, SWITCH_OVER), (False, COMMIT), (False, FINISH), (False, 15),
    (True, PREPARE), (True, SWITCH_OVER), (True, COMMIT), (True, FINISH), (True, 15),
])
def test_message_out_of_order(lab, of_node1, greeted, number):
    with trusted(lab, CONTROL, of_node1) as connection:
        call = http2.Call(connection, MIGRATE)
        if greeted:
            assert call.ask(hello())[0] == HELLO << 3 | 2
        assert is_failure(call.ask(http2.field(number, b"")), "out of order")
        assert call.receive() is None


def test_second_hello(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        call = http2.Call(connection, MIGRATE)
        call.ask(hello())
        assert is_failure(call.ask(hello(migration="f" * 16)), "out of order")


@samples({"none": "", "path": "../../../etc", "short": ID[:-1], "capitals": ID.upper(), "long": "0" * 10000})
def test_id_that_is_no_id(lab, of_node1, what):
    with trusted(lab, CONTROL, of_node1) as connection:
        assert is_failure(http2.Call(connection, MIGRATE).ask(hello(migration=what)), "migration id")


def test_name_of_another_host(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        assert is_failure(http2.Call(connection, MIGRATE).ask(hello("node2")), "its certificate does not")


def test_container_whose_name_leads_elsewhere(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        call = http2.Call(connection, MIGRATE)
        call.ask(hello(migration="a" * 16))
        answer = call.ask(http2.field(PREFLIGHT, http2.field(1, "../../tmp/x") + http2.field(2, "{}") +
                                      http2.field(3, "/etc")))
        assert answer[0] == PREFLIGHT << 3 | 2 and b"container name" in answer
        assert is_failure(call.ask(http2.field(PREPARE, b"")), "out of order")  # it was not taken as checked


@samples({
    "nothing": b"",
    "half": b"{",
    "list": b"[]",
    "null": b"null",
    "number as root": b'{"root": 5}',
    "number as mount": b'{"mounts": [5]}',
    "text as namespaces": b'{"linux": {"namespaces": "x"}}',
    "deep": b"[" * 100000,
    "noise": NOISE,
})
def test_config_json_that_is_none(lab, of_node1, what):
    with trusted(lab, CONTROL, of_node1) as connection:
        call = http2.Call(connection, MIGRATE)
        call.ask(hello())
        answer = call.ask(http2.field(PREFLIGHT, http2.field(1, "x") + http2.field(2, what) + http2.field(3, "/x")))
        assert answer[0] == PREFLIGHT << 3 | 2 and (b"config" in answer or b"rootfs" in answer)


# --- The data port ----------------------------------------------------------------------------------------


def data_hello(magic=b"GDWTDATA", major=2, channel=0, migration=ID, token=b"t" * 32):
    return (magic + major.to_bytes(2, "little") + (0).to_bytes(2, "little") + channel.to_bytes(2, "little") +
            b"\0\0" + migration.encode() + token)


@samples({
    "magic": preamble(magic=b"GDWTDATA"),
    "channel": preamble(channel=64),
    "id": preamble(migration="../../../../etc/p"[:16]),
    "short": preamble()[:31],
})
def test_preamble_that_is_none(lab, what):
    with plain(lab, DATA) as connection:
        send(connection, what)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)


def test_other_version_is_told_which_one_is_spoken_here(lab, of_node1):
    with trusted(lab, DATA, of_node1, major=9) as connection:
        send(connection, data_hello(major=9))
        assert connection.recv(100)[8:14] == b"\2\0\1\0\1\1"
        assert is_closed(connection)


@samples({"a memory channel of nobody's": dict(channel=5), "another migration": dict(migration="f" * 16)})
def test_hello_that_is_not_what_the_preamble_was(lab, of_node1, what):
    with trusted(lab, DATA, of_node1, **what) as connection:
        send(connection, data_hello())
        assert is_closed(connection)


@samples({
    "unknown migration": (data_hello(), 3),
    "other version": (data_hello(major=9), None),
    "other magic": (data_hello(magic=b"GDWTFAKE"), None),
    "channel": (data_hello(channel=65535), None),
    "id": (data_hello(migration="../../../../etc/p"[:16]), None),
    "more than a hello": (data_hello() + b"and more", None),
    "noise": (NOISE, None),
})
def test_hello_of_a_data_connection(lab, of_node1, what):
    what, reason = what
    with trusted(lab, DATA, of_node1) as connection:
        send(connection, what)
        answer = b""
        with contextlib.suppress(OSError):
            answer = connection.recv(100)
        assert answer[12:14] == (bytes([1, reason]) if reason else b"")
        assert is_closed(connection)


def test_data_connection_with_the_wrong_token(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as control:
        call = http2.Call(control, MIGRATE)
        assert call.ask(hello(migration="b" * 16))
        with trusted(lab, DATA, of_node1, migration="b" * 16) as connection:
            send(connection, data_hello(migration="b" * 16))
            assert connection.recv(100)[12:14] == b"\1\3"  # as if there were no such migration


# --- Peers that are no party of a migration ---------------------------------------------------------------

OUTCOME = "/godwit.peer.Peer/Outcome"
MIGRATIONS_MAX = 4
# peer.proto's OutcomeReply
ONGOING, RUNNING, ABORTED = 1, 2, 3
DATA_TOKEN, RESUME = 6, 4  # fields of HelloReply and of OutcomeReply


@pytest.fixture(scope="module")
def two_peers(one_lab):
    """node2 takes containers from node3 as well, a few at a time."""
    with configured(one_lab, "node2", ("[peers]", f"[limits]\nmigrations_max = {MIGRATIONS_MAX}\n\n"
                                                  "[peers]\nnode3 = \"10.99.0.2:7410\"")):
        yield


@pytest.fixture
def of_node3(two_peers, tmp_path):
    return certificate(tmp_path, "node3")


def outcome_request(migration, over=False):
    return http2.field(1, migration) + http2.field(2, "nobody") + http2.field(3, int(over))


@contextlib.contextmanager
def greeted(lab, directory, node, migration):
    """A migration that has been greeted, as its call and the answer's fields."""
    with trusted(lab, CONTROL, directory) as connection:
        call = http2.Call(connection, MIGRATE)
        answer = call.ask(hello(node, migration))
        assert answer[0] == HELLO << 3 | 2, answer
        yield call, http2.fields(http2.fields(answer)[HELLO])


def ask_outcome(lab, directory, migration, over=False):
    with trusted(lab, CONTROL, directory) as connection:
        return http2.fields(http2.Call(connection, OUTCOME).ask(outcome_request(migration, over)))


def test_token_of_another_peer_is_of_no_use(lab, of_node1, of_node3):
    migration = "c1" * 8
    with greeted(lab, of_node1, "node1", migration) as (_, reply):
        with trusted(lab, DATA, of_node3, migration=migration) as connection:
            send(connection, data_hello(migration=migration, token=reply[DATA_TOKEN]))
            assert connection.recv(100)[12:14] == b"\1\3"  # as if there were no such migration
            assert is_closed(connection)


def test_id_of_another_peers_migration_is_taken(lab, of_node1, of_node3):
    migration = "c2" * 8
    with greeted(lab, of_node1, "node1", migration) as (call, _):
        with trusted(lab, CONTROL, of_node3) as connection:
            assert is_failure(http2.Call(connection, MIGRATE).ask(hello("node3", migration)), "has been used")
        answer = call.ask(http2.field(PREFLIGHT, b""))  # the first one goes on
        assert answer[0] == PREFLIGHT << 3 | 2


def test_outcome_tells_another_peer_no_token_and_forgets_nothing_at_its_word(lab, of_node1, of_node3):
    migration = "c3" * 8
    with greeted(lab, of_node1, "node1", migration):
        for over in (False, True, False):
            reply = ask_outcome(lab, of_node3, migration, over)
            assert reply[1] == ONGOING and RESUME not in reply, reply
    assert ask_outcome(lab, of_node3, migration, over=True)[1] == ABORTED


@samples({"none": "", "path": "../../../etc", "short": ID[:-1], "long": "0" * 10000})
def test_outcome_of_an_id_that_is_no_id(lab, of_node1, what):
    with trusted(lab, CONTROL, of_node1) as connection:
        assert http2.Call(connection, OUTCOME).ask(outcome_request(what)) is None


def test_outcome_of_a_container_whose_name_leads_elsewhere(lab, of_node1):
    with trusted(lab, CONTROL, of_node1) as connection:
        request = http2.field(1, "c4" * 8) + http2.field(2, "../../../etc")
        assert http2.fields(http2.Call(connection, OUTCOME).ask(request))[1] == ABORTED


def test_peer_that_begins_migrations_without_end_takes_no_more_than_there_are(lab, of_node1, of_node3):
    """And gives them back with its connections."""
    with contextlib.ExitStack() as stack:
        for number in range(MIGRATIONS_MAX):
            stack.enter_context(greeted(lab, of_node3, "node3", f"{number:016x}"))
        with trusted(lab, CONTROL, of_node1) as connection:
            assert is_failure(http2.Call(connection, MIGRATE).ask(hello()), "limits.migrations_max")
    end = time.monotonic() + 10
    while True:
        with trusted(lab, CONTROL, of_node1) as connection:
            answer = http2.Call(connection, MIGRATE).ask(hello())
        if answer[0] == HELLO << 3 | 2:
            break
        assert time.monotonic() < end, answer
        time.sleep(0.05)


# --- The unix socket --------------------------------------------------------------------------------------


def socket_of(lab):
    return lab.root("node2") / "run/godwit/godwitd.sock"


@samples({"noise": NOISE, "noise after the preface": http2.PREFACE + NOISE, "http": b"GET / HTTP/1.1\r\n\r\n",
          "nothing": b""})
def test_garbage_on_the_unix_socket(lab, what):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(socket_of(lab)))
        send(connection, what)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)


def test_requests_that_are_too_large_or_no_protobuf_on_the_unix_socket(lab):
    for body in (bytes(5 << 20), b"\xff" * 100):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(socket_of(lab)))
            call = http2.Call(connection, "/godwit.control.Control/Migrate")
            assert call.ask(body) is None


def test_200_clients_on_the_unix_socket(lab):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(10)
            connection.connect(str(socket_of(lab)))
        assert_serves(lab)


# --- And then ---------------------------------------------------------------------------------------------


def test_a_migration_works_right_after(lab, echo, client, there_and_back, of_node1):
    for port in (CONTROL, DATA):
        with contextlib.ExitStack() as stack:
            for number in range(200):
                send(stack.enter_context(plain(lab, port)), NOISE[number:number + number * 10])
        with trusted(lab, port, of_node1) as connection:
            send(connection, NOISE)
    there_and_back(echo)
