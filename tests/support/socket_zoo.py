"""Sockets on other hosts and in containers: drives tests/workloads/socket_zoo.cc.

    zoo = stack.enter_context(container_zoo(lab, container))
    listener = zoo.socket(AF_INET, SOCK_STREAM).bind(inet("0.0.0.0", 7100)).listen(5)

Every call is carried out there; an error there is an OSError here.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import subprocess
import termios

from .conversation import Conversation
from .lab import CLIENT
from .paths import workload

PORT = 7010
TCP_INFO_OPTIONS = {"timestamps": 1, "sack": 2, "window scaling": 4}
TCP_STATES = ["", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "close",
              "close-wait", "last-ack", "listen", "closing"]


def inet(address, port):
    """A sockaddr_in or sockaddr_in6, as the kernel wants it."""
    if ":" in address:
        return struct.pack("=HHI16sI", socket.AF_INET6, socket.htons(port), 0,
                           socket.inet_pton(socket.AF_INET6, address), 0)
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(address))


def unix(path):
    """PATH that begins with a zero byte is an abstract name."""
    return struct.pack("=H", socket.AF_UNIX) + path.encode() + (b"" if path[0] == "\0" else b"\0")


def netlink(groups=0, port=0):
    return struct.pack("=HHII", socket.AF_NETLINK, 0, port, groups)


class Zoo:
    """ASK carries a line to the program and its answer back."""

    def __init__(self, ask):
        self._ask = ask

    def call(self, name, *words):
        """The words of the answer."""
        text = " ".join([name, *(_as_word(word) for word in words)])
        verdict, *results = self._ask(text).split() or ["gone"]
        if verdict != "ok":
            code = getattr(errno, results[0] if results else "EPIPE")
            raise OSError(code, f"{os.strerror(code)} at '{text[:80]}'")
        return results

    def socket(self, family, kind, protocol=0):
        return RemoteSocket(self, int(self.call("socket", family, kind, protocol)[0]))

    def pair(self, family, kind):
        return [RemoteSocket(self, int(fd)) for fd in self.call("pair", family, kind)]

    def listener(self, address, port, backlog=128, prepare=lambda listener: None):
        made = self.socket(family_of(address), socket.SOCK_STREAM)
        made.set(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        prepare(made)
        return made.bind(inet(address, port)).listen(backlog)

    def connected(self, address, port, wait_ms=2000, prepare=lambda made: None):
        made = self.socket(family_of(address), socket.SOCK_STREAM)
        prepare(made)
        made.connect(inet(address, port))
        if not made.poll(select.POLLOUT, wait_ms):
            raise OSError(errno.ETIMEDOUT, f"no connection to {address} {port}")
        return made


class RemoteSocket:
    def __init__(self, zoo, fd):
        self.zoo = zoo
        self.fd = fd

    def _number(self, name, *words):
        return int(self.zoo.call(name, self.fd, *words)[0])

    def bind(self, address):
        self._number("bind", address)
        return self

    def connect(self, address):
        self._number("connect", address)
        return self

    def listen(self, backlog):
        self._number("listen", backlog)
        return self

    def accept(self, timeout_ms=2000):
        return RemoteSocket(self.zoo, self._number("accept", timeout_ms))

    def send(self, data, flags=0, to=b""):
        return self._number("send", flags, data, to)

    def receive(self, size=65536, flags=0, timeout_ms=2000):
        return self.receive_message(size, flags, timeout_ms)[0]

    def receive_message(self, size=65536, flags=0, timeout_ms=2000):
        """(data, address of the sender, the socket that came along or None)."""
        data, sender, passed = self.zoo.call("receive", self.fd, flags, size, timeout_ms)
        return _as_bytes(data), _as_bytes(sender), RemoteSocket(self.zoo, int(passed)) if int(passed) >= 0 else None

    def send_socket(self, passed, data):
        return self._number("sendfd", passed.fd, data)

    def fill(self):
        """Sends a stream of known bytes until no more are taken; returns how many were."""
        return self._number("fill")

    def missing(self, count, timeout_ms=5000):
        """Receives COUNT bytes of such a stream from its beginning; how many did not come. EILSEQ: wrong ones."""
        return self._number("match", count, timeout_ms)

    def poll(self, events, timeout_ms=0):
        return self._number("poll", events, timeout_ms)

    def shutdown(self, how):
        self._number("shutdown", how)

    def own(self):
        """Its program gets SIGURG and SIGIO."""
        self._number("own")

    def close(self):
        self._number("close")

    def set(self, level, option, value):
        self._number("set", level, option, value if isinstance(value, bytes) else struct.pack("=i", value))

    def get(self, level, option, size=4, given=b""):
        return _as_bytes(self.zoo.call("get", self.fd, level, option, given.ljust(size, b"\0"))[0])

    def get_int(self, level, option):
        return struct.unpack("=i", self.get(level, option))[0]

    def name(self):
        return _as_bytes(self.zoo.call("name", self.fd)[0])

    def peer(self):
        return _as_bytes(self.zoo.call("peer", self.fd)[0])

    def local_port(self):
        return socket.ntohs(struct.unpack_from("=H", self.name(), 2)[0])

    def at_mark(self):
        return bool(self._number("ask", 0x8905))  # SIOCATMARK

    def unsent(self):
        return self._number("ask", termios.TIOCOUTQ)

    def unread(self):
        return self._number("ask", termios.FIONREAD)

    def tcp_info(self):
        return self.get(socket.IPPROTO_TCP, socket.TCP_INFO, 104)

    def tcp_state(self):
        return TCP_STATES[self.tcp_info()[0]]

    def tcp_options(self):
        """What the two ends agreed on: the options, and the window scales."""
        info = self.tcp_info()
        return [name for name, bit in TCP_INFO_OPTIONS.items() if info[5] & bit], info[6]


@contextlib.contextmanager
def container_zoo(lab, container):
    """The socket_zoo that is the program of the container; reached over a connection that moves with it."""
    with Conversation(lab, container.address, PORT) as conversation:
        yield Zoo(conversation.ask)


@contextlib.contextmanager
def host_zoo(lab, host=CLIENT):
    with lab.popen(host, workload("socket_zoo"), text=True, stdin=subprocess.PIPE,
                   stdout=subprocess.PIPE) as process:
        def ask(line):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline()

        try:
            yield Zoo(ask)
        finally:
            process.kill()


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _as_word(value):
    return (value.hex() or "-") if isinstance(value, bytes) else str(int(value))


def _as_bytes(word):
    return b"" if word == "-" else bytes.fromhex(word)
