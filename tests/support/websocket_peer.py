#!/usr/bin/env python3
"""A client and a server of WebSockets as others write them: `websockets` over HTTP/1.1, and `wsproto`
on `h2` for a client over HTTP/2, since no library has both.

    websocket_peer.py serve
        prints its port, sends messages back, and tells how each connection was closed
    websocket_peer.py talk ADDRESS [--h2] [--plain]
        opens a WebSocket, with permessage-deflate unless it is to be plain, and prints what was agreed
        on; then obeys its standard input, a line at a time (`extensions`, `say TEXT`, `large`,
        `fragments`, `ping`, `pinged`, `close [CODE REASON]`, `end [CODE REASON]`), and prints what came
        of each
"""

import argparse
import contextlib
import random
import socket
import sys

LARGE = bytes(range(256)) * 4096  # 1 MiB
# 10 MiB that nothing makes smaller, in pieces of odd sizes, one of them empty.
FRAGMENTS = [random.Random(n).randbytes(n * 2621 % 131_072) for n in range(160)]
FRAGMENTS = [*FRAGMENTS, random.Random(0).randbytes(10 * 1024 * 1024 - sum(map(len, FRAGMENTS)))]


def tell(*facts):
    print(*facts, flush=True)


def serve():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve as server

    def echo(websocket):
        try:
            while True:
                message = websocket.recv()
                word, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
                if word == "end":
                    code, _, reason = rest.partition(" ")
                    websocket.close(int(code), reason)
                elif word == "ping":
                    websocket.send(f"pong {websocket.ping(rest).wait(10)}")
                elif len(message) > len(LARGE):
                    # In other fragments than it came.
                    websocket.send(message[n : n + 100_000] for n in range(0, len(message), 100_000))
                else:
                    websocket.send(message)
        except ConnectionClosed as closed:
            tell("closed", *([closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else [None]))

    with server(echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=None) as running:
        tell(running.socket.getsockname()[1])
        running.serve_forever()


class OverHttp1:
    def __init__(self, host, port, is_plain):
        from websockets.sync.client import connect

        url = f"ws://{host}:{port}/chat"
        compression = None if is_plain else "deflate"
        opening = connect(
            url, subprotocols=["chat"], max_size=None, proxy=None, compression=compression
        )
        self.socket = contextlib.ExitStack().enter_context(opening)

    def agreed(self):
        return self.socket.subprotocol

    def extensions(self):
        return self.socket.response.headers.get("Sec-WebSocket-Extensions")

    def fragments(self):
        self.socket.send(iter(FRAGMENTS))
        return self.socket.recv()

    def pinged(self):
        return self.exchange("ping me")

    def exchange(self, message):
        self.socket.send(message)
        return self.socket.recv()

    def ping(self):
        return self.socket.ping().wait(10)

    def close(self, code, reason):
        self.socket.close(code, reason)
        return self.socket.close_code, self.socket.close_reason

    def closed(self, code, reason):
        from websockets.exceptions import ConnectionClosed

        self.socket.send(f"end {code} {reason}")
        try:
            self.socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code, closed.rcvd.reason


class OverHttp2:
    def __init__(self, host, port, is_plain):
        import h2.connection
        import h2.events
        import h2.settings
        from wsproto.connection import Connection, ConnectionType
        from wsproto.extensions import PerMessageDeflate

        self.tcp = socket.create_connection((host, port), timeout=20)
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.flush()
        deflate = PerMessageDeflate()
        self.is_over = False
        self.headers = None
        self.websocket = None
        self.early = b""
        while not self.h2.remote_settings.enable_connect_protocol:
            self.receive()
        self.stream = self.h2.get_next_available_stream_id()
        head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", f"{host}:{port}"),
            (":path", "/chat"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
        ]
        if not is_plain:
            head.append(("sec-websocket-extensions", f"{deflate.name}; {deflate.offer()}"))
        self.h2.send_headers(self.stream, head)
        self.flush()
        while self.headers is None:
            self.receive()
        assert self.headers[":status"] == "200", self.headers
        if self.extensions():
            deflate.finalize(self.extensions())
        agreed = [deflate] if self.extensions() else []
        self.websocket = Connection(ConnectionType.CLIENT, extensions=agreed)
        # What came behind the head, in the same read.
        self.websocket.receive_data(self.early)

    def flush(self):
        self.tcp.sendall(self.h2.data_to_send())

    def receive(self):
        import h2.events

        data = self.tcp.recv(65536)
        assert data, "the connection ended"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                if self.websocket is None:
                    self.early += event.data
                elif event.data:
                    self.websocket.receive_data(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.is_over = True
            elif isinstance(event, h2.events.StreamReset):
                raise AssertionError(f"reset: {event.error_code}")
        self.flush()

    def send(self, event):
        data = self.websocket.send(event)
        while data:
            room = self.h2.local_flow_control_window(self.stream)
            piece = data[: min(room, self.h2.max_outbound_frame_size)]
            if not piece:
                self.receive()
                continue
            self.h2.send_data(self.stream, piece)
            self.flush()
            data = data[len(piece) :]

    def events(self):
        while True:
            events = list(self.websocket.events())
            yield from events
            if not events:
                self.receive()

    def agreed(self):
        return self.headers.get("sec-websocket-protocol")

    def extensions(self):
        return self.headers.get("sec-websocket-extensions")

    def exchange(self, message):
        from wsproto.events import BytesMessage, TextMessage

        kind = TextMessage if isinstance(message, str) else BytesMessage
        self.send(kind(data=message))
        return self.whole(kind, message[:0])

    def fragments(self):
        from wsproto.events import BytesMessage

        for piece in FRAGMENTS:
            self.send(BytesMessage(data=piece, message_finished=piece is FRAGMENTS[-1]))
        return bytes(self.whole(BytesMessage, bytearray()))

    def whole(self, kind, whole):
        """A message of a kind, from all its pieces."""
        for event in self.events():
            assert isinstance(event, kind), event
            whole += event.data
            if event.message_finished:
                return whole

    def ping(self):
        from wsproto.events import Ping, Pong

        self.send(Ping(payload=b"there?"))
        event = next(self.events())
        return isinstance(event, Pong) and event.payload == b"there?"

    def pinged(self):
        from wsproto.events import Ping, TextMessage

        self.send(TextMessage(data="ping me"))
        for event in self.events():
            if isinstance(event, TextMessage):
                return event.data
            assert isinstance(event, Ping) and event.payload == b"me", event
            self.send(event.response())

    def close(self, code, reason):
        from wsproto.events import CloseConnection

        self.send(CloseConnection(code=code, reason=reason))
        return self.end(next(self.events()))

    def closed(self, code, reason):
        from wsproto.events import TextMessage

        self.send(TextMessage(data=f"end {code} {reason}"))
        close = next(self.events())
        self.send(close.response())
        return self.end(close)

    def end(self, close):
        """Each side of the stream ends by itself, as the connection of HTTP/1.1 would."""
        while not self.is_over:
            self.receive()
        self.h2.end_stream(self.stream)
        self.flush()
        return close.code, close.reason


def talk(address, is_h2, is_plain):
    host, port = address.rsplit(":", 1)
    client = (OverHttp2 if is_h2 else OverHttp1)(host, int(port), is_plain)
    tell("open", client.agreed())
    for line in sys.stdin:
        what, _, text = line.strip().partition(" ")
        if what == "say":
            tell("said", client.exchange(text))
        elif what == "large":
            tell("large", client.exchange(LARGE) == LARGE)
        elif what == "extensions":
            tell("extensions", client.extensions())
        elif what == "fragments":
            tell("fragments", client.fragments() == b"".join(FRAGMENTS))
        elif what == "ping":
            tell("ping", client.ping())
        elif what == "pinged":
            tell("pinged", client.pinged())
        elif what in ("close", "end"):
            code, _, reason = text.partition(" ")
            usual = ("1000", "") if what == "close" else ("4001", "bye")
            code, reason = (code, reason) if code else usual
            ended = (client.close if what == "close" else client.closed)(int(code), reason)
            return tell("closed", *ended)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve")
    talking = commands.add_parser("talk")
    talking.add_argument("address")
    talking.add_argument("--h2", action="store_true")
    talking.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    if given.command == "serve":
        serve()
    else:
        talk(given.address, given.h2, given.plain)


if __name__ == "__main__":
    main()
