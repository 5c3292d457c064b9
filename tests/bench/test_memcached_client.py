"""The client that watches memcached sees what is lost, changed, or late. The server here speaks its protocol and errs when
it is told to."""

import socketserver
import sys
import threading
import time

import pytest

from tests.support.client import ClientError, MeasuringClient
from tests.support.paths import ROOT


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.values, self.may_answer = {}, threading.Event()
        self.may_answer.set()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while words := self.rfile.readline().split():
            self.server.may_answer.wait()
            if words[0] == b"set":
                self.server.values[words[1]] = self.rfile.read(int(words[4]) + 2)[:-2]
                answer = b"" if words[-1] == b"noreply" else b"STORED\r\n"
            else:
                value = self.server.values.get(words[1])
                answer = b"END\r\n" if value is None else b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (words[1], len(value), value)
            self.wfile.write(answer)


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.may_answer.set()
        server.shutdown()


@pytest.fixture
def client(server):
    command = [sys.executable, str(ROOT / "bench" / "evaluation" / "memcached_client.py"), "127.0.0.1",
               str(server.server_address[1]), "2"]
    with MeasuringClient(command) as client:
        yield client


def test_all_is_well(client):
    digest = client.demand("fill 1")["digest"]
    client.mark("before")
    assert client.demand("digest")["digest"] == digest
    assert client.mark("during")["requests"] > 0
    client.stop()


def test_a_value_that_changed_is_seen(server, client):
    client.demand("fill 1")
    server.values[b"data-7"] = server.values[b"data-7"][:-1] + b"?"
    with pytest.raises(ClientError, match="data-7 is not what was stored"):
        client.demand("digest")


def test_a_value_that_is_lost_is_seen(server, client):
    client.demand("fill 1")
    del server.values[b"data-3"]
    with pytest.raises(ClientError, match="data-3"):
        client.demand("digest")


def test_a_server_that_stands_still_is_a_gap_of_that_length(server, client):
    client.mark("before")
    began = time.monotonic()
    server.may_answer.clear()
    while time.monotonic() - began < 0.2:  # as long as the test says, not until something happens
        time.sleep(0.01)
    server.may_answer.set()
    held_ms = (time.monotonic() - began) * 1000
    while (gap := client.mark("during"))["requests"] == 0:
        time.sleep(0.01)
    assert 150 <= gap["max_latency_ms"] <= held_ms + 1000
