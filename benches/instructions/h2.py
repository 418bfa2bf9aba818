"""HTTP/2 by its frames, as far as an exchange needs it: both ends of the proxy's connections."""

import socket
from contextlib import suppress
from dataclasses import dataclass, field

from counted import Failed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x8
ACK, END_STREAM, END_HEADERS = 0x1, 0x1, 0x4

# What a side begins with: a window of the connection that no case fills.
BEGINNING = (
    (0).to_bytes(3) + bytes([SETTINGS, 0]) + bytes(4)
    + (4).to_bytes(3) + bytes([WINDOW_UPDATE, 0]) + bytes(4) + (1 << 30).to_bytes(4)
)  # fmt: skip


@dataclass
class Frames:
    """One side of a connection: a client's, or an endpoint's with the preface still to come."""

    connection: socket.socket
    preface: int = 0  # bytes of it that are still to come
    received: bytearray = field(default_factory=bytearray)
    stream: int = -1

    def begin(self) -> None:
        """Says what its side begins with."""
        self.connection.sendall(BEGINNING if self.preface else PREFACE + BEGINNING)

    def ask(self, fields: list[tuple[str, str]]) -> None:
        """Opens a stream with a request that has no body."""
        self.stream += 2
        self.connection.sendall(frame(HEADERS, END_HEADERS | END_STREAM, self.stream, block(fields)))

    def answer(self, fields: list[tuple[str, str]], body: bytes) -> None:
        """Answers the last request."""
        head = frame(HEADERS, END_HEADERS, self.stream, block(fields))
        self.connection.sendall(head + frame(DATA, END_STREAM, self.stream, body))

    def take(self) -> bytes:
        """Receives a message to its end, and returns the bytes of its frames."""
        message = b""
        while True:
            kind, flags, stream, payload = self.frame()
            if kind == SETTINGS and not flags & ACK:
                self.connection.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind in (HEADERS, DATA):
                message += payload
                self.stream = stream
                if flags & END_STREAM:
                    return message
            elif kind not in (SETTINGS, WINDOW_UPDATE):
                raise Failed(f"a frame of kind {kind}: {payload!r}")

    def settle(self) -> None:
        """Receives what stands between messages, so that what comes next is one."""
        timeout = self.connection.gettimeout()
        self.connection.setblocking(False)
        with suppress(BlockingIOError):
            while received := self.connection.recv(1 << 20):
                self.received += received
        self.connection.settimeout(timeout)

    def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame: kind, flags, stream, payload."""
        self.need(self.preface)
        del self.received[: self.preface]
        self.preface = 0
        self.need(9)
        length = int.from_bytes(self.received[:3])
        self.need(9 + length)
        kind, flags = self.received[3], self.received[4]
        stream, payload = int.from_bytes(self.received[5:9]), bytes(self.received[9 : 9 + length])
        del self.received[: 9 + length]
        return kind, flags, stream, payload

    def need(self, count: int) -> None:
        while len(self.received) < count:
            received = self.connection.recv(1 << 20)
            if not received:
                raise Failed(f"cut off: {bytes(self.received)!r}")
            self.received += received


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def block(fields: list[tuple[str, str]]) -> bytes:
    """Literals without a table (RFC 7541 §6.2.2)."""
    return b"".join(b"\0" + text(name.lower()) + text(value) for name, value in fields)


def text(value: str) -> bytes:
    length = len(value)
    if length < 127:
        return bytes([length]) + value.encode()
    return bytes([127, (length - 127) & 0x7F | 0x80, (length - 127) >> 7]) + value.encode()
