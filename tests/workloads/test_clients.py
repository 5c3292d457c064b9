"""The clients must see what they are there to see: a check that cannot fail proves nothing about a migration."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.support import client as clients  # noqa: E402
from tests.support.container import redis_rootfs  # noqa: E402
from tests.support.paths import workload  # noqa: E402


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def await_port(port, process):
    while True:
        assert process.poll() is None, "the server ended at once"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            pass


@pytest.fixture
def redis():
    port = free_port()
    # The container's, so that the host needs none.
    argv = ["chroot", redis_rootfs(), "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no"]
    locale = {"LC_ALL": "C"}  # that of the host may be none of the root file system's: Redis 8 would end
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=os.environ | locale) as process:
        await_port(port, process)
        yield process, port
        process.send_signal(signal.SIGCONT)
        process.terminate()


@pytest.fixture
def echo():
    port = free_port()
    argv = [workload("echo_server"), "--port", str(port), "--resident-mib", "1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process, port
        process.send_signal(signal.SIGCONT)
        process.terminate()


def meddle(port, *command):
    """Another client, speaking Redis's inline protocol."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall((" ".join(command) + "\r\n").encode())
        return connection.recv(4096)


def meddle_in_database_1(port, *command):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"SELECT 1\r\n" + (" ".join(command) + "\r\n").encode() + b"QUIT\r\n")
        while connection.recv(4096):
            pass


def client_of(redis):
    return clients.redis_client([], port=redis[1])


def test_healthy_server_gives_no_error(redis):
    with client_of(redis) as client:
        filled = client.demand("fill 4")
        assert client.mark("window")["requests"] > 0
        assert client.demand("blpop")["element"] == "element 1"
        assert client.demand("blpop")["element"] == "element 2"
        assert client.demand("digest")["digest"] == filled["digest"]
        client.stop()


def test_window_holds_the_longest_wait_and_the_next_one_does_not(redis):
    with client_of(redis) as client:
        client.mark("before")
        redis[0].send_signal(signal.SIGSTOP)
        with pytest.raises(clients.ClientError, match="no answer"):
            client.command("mark paused", timeout_s=0.3)
        redis[0].send_signal(signal.SIGCONT)
        assert client._answer("mark")["max_latency_ms"] >= 290
        assert client.mark("after")["max_latency_ms"] < 290


def test_doubled_increment_is_seen(redis):
    with client_of(redis) as client:
        client.mark("before")
        meddle_in_database_1(redis[1], "INCR", "counter:3")
        await_failure(client, "connection 3: wrong reply")


def test_lost_list_element_is_seen(redis):
    with client_of(redis) as client:
        client.mark("before")
        while not meddle_pops(redis[1]):
            pass
        await_failure(client, "connection 2: wrong reply")


def meddle_pops(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"SELECT 1\r\nRPOP list:2\r\n")
        received = b""
        while received.count(b"\r\n") < 2:
            received += connection.recv(4096)
        return b"$-1" not in received


def test_broken_connection_is_seen_and_not_mended(redis):
    with client_of(redis) as client:
        before = client.mark("before")
        assert before["connections"] == 8
        killed = meddle(redis[1], "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert killed == b":8\r\n"
        # The blocked connection notices on its own.
        answer = client.command("mark after")
        while answer["errors"] < 8:
            answer = client.command("mark after")
        assert all("connection" in text for text in answer["error_texts"])
        assert answer["connections"] == 0


@pytest.mark.parametrize("change", [("APPEND", "data:7", "x"), ("DEL", "data:7"), ("SET", "other", "x")])
def test_changed_data_set_is_seen(redis, change):
    with client_of(redis) as client:
        client.demand("fill 1")
        meddle(redis[1], *change)
        answer = client.command("digest")
        assert not answer["ok"]


def test_wrong_element_for_the_blocked_connection_is_seen(redis):
    with client_of(redis) as client:
        client.demand("blpop")
        meddle_in_database_1(redis[1], "RPUSH", "queue", "stray")
        answer = client.command("blpop")
        assert not answer["ok"] and "BLPOP" in answer["error"]


def await_failure(client, text):
    answer = client.command("mark after")
    while answer["errors"] == 0:
        answer = client.command("mark after")
    assert any(text in error for error in answer["error_texts"]), answer
    assert not answer["ok"]
    with pytest.raises(clients.ClientError):
        client.stop()


def test_echo_client_counts_and_measures(echo):
    process, port = echo
    with clients.echo_client([], port=port, connections=2) as client:
        client.mark("before")
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(clients.ClientError, match="no answer"):
            client.command("mark paused", timeout_s=0.2)
        os.kill(process.pid, signal.SIGCONT)
        assert client._answer("mark")["max_latency_ms"] >= 190
        client.stop()


def test_echo_client_sees_a_broken_connection(echo):
    process, port = echo
    with clients.echo_client([], port=port) as client:
        process.terminate()
        process.wait()
        assert client.command("mark after")["errors"] == 1
        with pytest.raises(clients.ClientError):
            client.stop()


@pytest.fixture
def byte_server():
    port = free_port()
    with subprocess.Popen([workload("byte_server"), "--port", str(port)]) as process:
        await_port(port, process)
        yield process, port
        process.kill()


def byte_client(port, direction):
    return clients.MeasuringClient([workload("byte_client"), "--port", str(port), "--direction", direction])


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stream_is_complete_and_its_pause_is_measured(byte_server, direction):
    process, port = byte_server
    with byte_client(port, direction) as client:
        assert client.mark("before")["requests"] > 0
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(clients.ClientError, match="no answer"):
            while True:  # until the queues are full, or empty
                client.command("mark paused", timeout_s=0.3)
        os.kill(process.pid, signal.SIGCONT)
        assert client._answer("mark")["max_latency_ms"] >= 290
        assert client.demand("finish")["bytes"] > 0
        client.stop()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stream_that_breaks_is_seen(byte_server, direction):
    process, port = byte_server
    with byte_client(port, direction) as client:
        process.kill()
        answer = client.command("mark after")
        while answer["errors"] == 0:
            answer = client.command("mark after")
        with pytest.raises(clients.ClientError):
            client.stop()


def test_stream_with_a_wrong_byte_is_seen():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with byte_client(listener.getsockname()[1], "down") as client:
            connection, _ = listener.accept()
            connection.sendall(bytes([0]) * 65536)
            connection.close()
            answer = client.command("mark after")
            assert any("wrong bytes" in text for text in answer["error_texts"]), answer


def test_echo_client_uses_its_idle_connections(echo):
    process, port = echo
    with clients.echo_client([], port=port, idle=50) as client:
        assert client.demand("idle")["alive"] == 50
        process.terminate()
        process.wait()
        assert not client.command("idle")["ok"]


def test_memory_writer_verifies_while_it_writes():
    port = free_port()
    argv = [workload("memory_writer"), "--size-mib", "8", "--threads", "2", "--port", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            stream = connection.makefile("rw")

            def ask(question):
                stream.write(question + "\n")
                stream.flush()
                word, count = stream.readline().split()
                assert word == {"verify": "ok", "stat": "writes"}[question]
                return int(count)

            for _ in range(3):
                verified = ask("verify")
                while ask("stat") == verified:  # it goes on writing
                    pass
            stream.close()
        process.kill()


def test_memory_writer_sees_a_page_taken_back_in_time():
    port = free_port()
    argv = [workload("memory_writer"), "--size-mib", "32", "--rate-mib", "800", "--port", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        start = start_of_memory(process.pid, 32 << 20)
        with open(f"/proc/{process.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            old = memory.read(4096)
            while read_at(memory, start) == old:
                pass
            memory.seek(start)
            memory.write(old)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"verify\n")
            assert connection.recv(4096).startswith(b"corrupt page 0 ")
        process.kill()


def read_at(memory, address):
    memory.seek(address)
    return memory.read(4096)


def start_of_memory(pid, size):
    """The writer's memory is its largest mapping; a thread's stack may have been merged below it."""
    with open(f"/proc/{pid}/maps") as maps:
        fields = [line.split() for line in maps]
    ranges = [[int(part, 16) for part in f[0].split("-")] for f in fields if f[1] == "rw-p"]
    return max(ranges, key=lambda r: r[1] - r[0])[1] - size


def test_line_printer_numbers_its_lines():
    result = subprocess.run([workload("line_printer"), "--count", "5", "--echo", "1"],
                            input=b"hello\n", capture_output=True, check=True)
    out = result.stdout.decode().splitlines()
    assert [line for line in out if line.startswith("out")] == [f"out {n}" for n in range(1, 6)]
    assert "in hello" in out and out[-1] == "end 5"
    assert result.stderr.decode().splitlines() == [f"err {n}" for n in range(1, 6)] + ["end 5"]


@pytest.mark.parametrize("name, held", [("uring_user", "io_uring"), ("uffd_user", "userfaultfd")])
def test_holders_hold_what_they_say(name, held):
    with subprocess.Popen([workload(name)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        fds = f"/proc/{process.pid}/fd"
        assert any(held in os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds))
        process.kill()
