"""Both ends of the proxy: the client's side and the endpoints', in one program.

It sends a piece, takes what the proxy makes of it at the other end, waits until the worker is at
rest, and only then sends the next. So every run has the same events in the same order, each in a
turn of its own, whatever else the machine does.
"""

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cases import BODY, LAST_CHUNK, SMALL_H2, Case, request_h2
from counted import PATIENCE, Failed, Proxy
from h2 import Frames


@dataclass
class Endpoints:
    """Where the proxy connects to."""

    listeners: list[socket.socket]
    selector: selectors.BaseSelector
    connections: list[socket.socket] = field(default_factory=list)

    def addresses(self) -> list[str]:
        return ["{}:{}".format(*listener.getsockname()) for listener in self.listeners]

    def asked(self) -> socket.socket:
        """The connection on which the next request comes."""
        while ready := self.selector.select(PATIENCE):
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj not in self.listeners:
                    if key.fileobj.recv(1, socket.MSG_PEEK):
                        return key.fileobj
                    # A relay connects for whoever only looked whether it listens.
                    self.selector.unregister(key.fileobj)
                    continue
                connection = prepared(key.fileobj.accept()[0])
                self.connections.append(connection)
                self.selector.register(connection, selectors.EVENT_READ)
        raise Failed("no request comes to an endpoint")


@dataclass
class Client:
    """Who asks the proxy, with one connection at a time."""

    proxy: Proxy
    endpoints: Endpoints
    connection: socket.socket | None = None
    frames: Frames | None = None
    endpoint_frames: dict[socket.socket, Frames] = field(default_factory=dict)

    def exchange(self, case: Case) -> None:
        """One request and its response, piece by piece."""
        if case.protocols[0] == "h2c":
            self.exchange_h2(case)
            return
        client = self.connection or self.connect()
        request, response = Received(), Received()
        endpoint: socket.socket | None = None
        for piece in case.request:
            client.sendall(piece)
            endpoint = endpoint or self.endpoints.asked()
            request.take(endpoint, piece)
            self.proxy.await_rest()
        assert endpoint, "every case has a request"
        for piece in case.response:
            endpoint.sendall(piece)
            response.take(client, piece)
            self.proxy.await_rest()
        if not response.head.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"answered by {bytes(response.head)!r}")
        if case.is_connected_anew:
            if client.recv(1):
                raise Failed("the proxy sends more than the response")
            self.close()
            self.proxy.await_rest()

    def exchange_h2(self, case: Case) -> None:
        """A small request and its response over HTTP/2, in two turns as over HTTP/1.1."""
        if not self.frames:
            self.frames = Frames(self.connect())
            self.frames.begin()
            self.proxy.await_rest()
        self.frames.ask(request_h2())
        endpoint = self.endpoints.asked()
        if case.protocols[1] == "h2c":
            self.answer_h2(endpoint)
        else:
            Received().take(endpoint, case.request[0])
            self.proxy.await_rest()
            endpoint.sendall(case.response[0])
        if BODY * 100 not in (answer := self.frames.take()):
            raise Failed(f"answered by {answer!r}")
        self.proxy.await_rest()
        for frames in self.endpoint_frames.values():
            frames.settle()

    def answer_h2(self, endpoint: socket.socket) -> None:
        frames = self.endpoint_frames.get(endpoint)
        if not frames:
            frames = self.endpoint_frames[endpoint] = Frames(endpoint, preface=24)
            frames.begin()
        frames.take()
        self.proxy.await_rest()
        frames.answer(*SMALL_H2)

    def connect(self) -> socket.socket:
        connection = prepared(socket.create_connection(("127.0.0.1", self.proxy.port)))
        self.proxy.await_rest()
        self.connection = connection
        return connection

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None


@dataclass
class Received:
    """A message that comes out of the proxy, as far as it has come."""

    head: bytearray = field(default_factory=bytearray)
    last: bytes = b""
    missing: int = 0  # bytes of its body

    def take(self, connection: socket.socket, piece: bytes) -> None:
        """Receives until what was sent in as `piece` has come out."""
        self.missing += piece.count(BODY)
        while self.missing or b"\r\n\r\n" not in self.head or (piece == LAST_CHUNK and self.last != LAST_CHUNK):
            received = connection.recv(1 << 20)
            if not received:
                raise Failed(f"cut off, {self.missing} bytes missing: {bytes(self.head)!r}")
            self.missing -= received.count(BODY)
            self.last = (self.last + received)[-len(LAST_CHUNK) :]
            if b"\r\n\r\n" not in self.head:
                self.head += received.partition(BODY)[0]


def prepared(connection: socket.socket) -> socket.socket:
    connection.settimeout(PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


@contextmanager
def endpoints() -> Iterator[Endpoints]:
    """Two endpoints. They, and all connections to them, end with the block."""
    with selectors.DefaultSelector() as selector:
        given = Endpoints([socket.create_server(("127.0.0.1", 0)) for _ in range(2)], selector)
        for listener in given.listeners:
            selector.register(listener, selectors.EVENT_READ)
        try:
            yield given
        finally:
            for each in given.listeners + given.connections:
                each.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
