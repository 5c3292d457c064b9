"""Checks a memcached over a migration: memcached_client.py HOST PORT CONNECTIONS, in the language of
tests/support/client.py. Each connection sets and gets one key in turn, one request every 2 ms, checks every reply and
notes the longest wait; none ever reconnects. Commands, each answered with one JSON object:

  fill MIB     stores values that do not compress    mark NAME   the window since the last mark
  digest       reads all of them back                stop        the last one; the exit status is the verdict
"""

import hashlib
import json
import random
import socket
import sys
import threading
import time

VALUE_BYTES = 8192
PACE_S = 0.002


class Connection:
    def __init__(self, host, port, timeout_s=60):
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")

    def set(self, key, value, reply=True):
        self._socket.sendall(f"set {key} 0 0 {len(value)}{'' if reply else ' noreply'}\r\n".encode() + value + b"\r\n")
        if reply and (said := self._replies.readline()) != b"STORED\r\n":
            raise OSError(f"set {key}: {said!r}")

    def get(self, key):
        self._socket.sendall(f"get {key}\r\n".encode())
        header = self._replies.readline().split()
        if header[:2] != [b"VALUE", key.encode()]:
            raise OSError(f"get {key}: {header!r}")
        value = self._replies.read(int(header[3]) + 2)[:-2]
        if self._replies.readline() != b"END\r\n":
            raise OSError(f"get {key}: no end")
        return value


class Prober(threading.Thread):
    def __init__(self, host, port, number):
        super().__init__(daemon=True)
        self._connection = Connection(host, port)
        self._key = f"work-{number}"
        self._lock = threading.Lock()
        self._took, self._waiting_since = [], None
        self.failure = None
        self.start()

    def run(self):
        count = 0
        try:
            while True:
                count += 1
                value = f"{self._key} {count}".encode()
                self._timed(lambda: self._connection.set(self._key, value))
                if self._timed(lambda: self._connection.get(self._key)) != value:
                    raise OSError(f"{self._key}: not what was set last")
        except (OSError, ValueError, IndexError) as error:
            self.failure = f"{self._key}: {error}"

    def window(self):
        """(requests, longest wait in seconds) since the last time; a request that is in flight counts so far."""
        with self._lock:
            took, self._took = self._took, []
            waiting = time.monotonic() - self._waiting_since if self._waiting_since else 0
        return len(took), max([*took, waiting])

    def _timed(self, request):
        with self._lock:
            self._waiting_since = began = time.monotonic()
        answer = request()
        with self._lock:
            self._took.append(time.monotonic() - began)
            self._waiting_since = None
        time.sleep(PACE_S)
        return answer


class Data:
    """The values of `fill`, on a connection of its own."""

    def __init__(self, host, port):
        self._connection = Connection(host, port)
        self._keys = 0

    def fill(self, mib):
        self._keys = int(mib) * 1048576 // VALUE_BYTES
        for number in range(self._keys):
            self._connection.set(f"data-{number}", random.Random(number).randbytes(VALUE_BYTES), reply=False)
        return self.digest()

    def digest(self):
        digest = hashlib.sha256()
        for number in range(self._keys):
            value = self._connection.get(f"data-{number}")
            if value != random.Random(number).randbytes(VALUE_BYTES):
                raise OSError(f"data-{number} is not what was stored")
            digest.update(value)
        return {"keys": self._keys, "digest": digest.hexdigest()}


def main():
    host, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    data = Data(host, port)
    probers = [Prober(host, port, number) for number in range(connections)]
    answer("ready", {})
    bad = False
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        failures = [prober.failure for prober in probers if prober.failure]
        try:
            if command in ("mark", "stop"):
                windows = [prober.window() for prober in probers]
                found = {"requests": sum(count for count, _ in windows),
                         "max_latency_ms": round(max(longest for _, longest in windows) * 1000, 3)}
            else:
                found = {"fill": data.fill, "digest": lambda _: data.digest()}[command](argument)
        except (OSError, ValueError, IndexError, KeyError) as error:
            found, failures = {}, [*failures, f"{command}: {error}"]
        bad = bad or bool(failures)
        answer(command, found, failures)
        if command == "stop":
            break
    sys.exit(1 if bad else 0)


def answer(event, found, failures=()):
    print(json.dumps({"event": event, "ok": not failures, "error_texts": list(failures)} | found), flush=True)


main()
