"""Just enough of HTTP/2 and gRPC to say to an agent what its own client never would. Over any connected socket."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4  # a setting
FRAME_MAX = 16384
WINDOW = 65535


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def grpc_message(body, claimed=None):
    """CLAIMED: the length in the prefix, where it is not the body's."""
    return struct.pack(">BI", 0, len(body) if claimed is None else claimed) + body


def field(number, value):
    """Of a protobuf message: VALUE is bytes (or text), or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """By number, of a protobuf message without repeated fields: bytes or numbers."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = message[at:at + value], at + value
        found[key >> 3] = value
    return found


def varint(value):
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


class Call:
    """One gRPC call, the first on its connection."""

    STREAM = 1

    def __init__(self, connection, path):
        self._connection = connection
        self._pending = b""
        self._message = b""
        self._window = self._stream_window = WINDOW
        self._ended = False
        headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "node2",
                   "content-type": "application/grpc", "te": "trailers"}
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
        connection.sendall(PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, self.STREAM, block))

    def send(self, body, claimed=None):
        """False if the agent ended the call before it had taken all of it."""
        data = memoryview(grpc_message(body, claimed))  # slices of it are no copies
        while data:
            room = min(self._window, self._stream_window, FRAME_MAX)
            if room == 0:
                if not self._handle_frame():
                    return False
                continue
            try:
                self._connection.sendall(frame(DATA, 0, self.STREAM, data[:room]))
            except OSError:
                return False
            sent = len(data[:room])
            data = data[sent:]
            self._window -= sent
            self._stream_window -= sent
        return True

    def receive(self):
        """The next message; None if the agent has ended the call or the connection."""
        while True:
            if len(self._message) >= 5:
                length = struct.unpack(">I", self._message[1:5])[0]
                if len(self._message) >= 5 + length:
                    body, self._message = self._message[5:5 + length], self._message[5 + length:]
                    return body
            if not self._handle_frame():
                return None

    def ask(self, body):
        return self.receive() if self.send(body) else None

    def _handle_frame(self):
        """Reads and heeds one frame; False if the call is over."""
        if self._ended:
            return False
        head = self._read(9)
        payload = self._read(int.from_bytes(head[:3], "big")) if head else None
        if payload is None:
            self._ended = True
            return False
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == DATA:
            self._message += payload
            if payload:
                update = struct.pack(">I", len(payload))
                self._connection.sendall(frame(WINDOW_UPDATE, 0, 0, update) + frame(WINDOW_UPDATE, 0, stream, update))
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                setting, value = struct.unpack_from(">HI", payload, at)
                if setting == INITIAL_WINDOW_SIZE:
                    self._stream_window += value - WINDOW
            self._connection.sendall(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self._connection.sendall(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            step = struct.unpack(">I", payload)[0]
            if stream == 0:
                self._window += step
            else:
                self._stream_window += step
        ends = kind in (HEADERS, DATA) and flags & END_STREAM
        self._ended = bool(ends) or kind in (RST_STREAM, GOAWAY)
        return not self._ended or kind == DATA

    def _read(self, count):
        while len(self._pending) < count:
            try:
                received = self._connection.recv(65536)
            except (ConnectionError, socket.timeout, OSError):
                return None
            if not received:
                return None
            self._pending += received
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken


def _text(value):
    return varint(len(value)) + value.encode()  # shorter than 127: as HPACK has it, without Huffman code
