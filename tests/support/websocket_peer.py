#!/usr/bin/env python3
"""A client and a server of WebSockets as others write them: `websockets` over HTTP/1.1, and `wsproto`
on `h2` for a client over HTTP/2, since no library has both.

    websocket_peer.py serve
        prints its port, sends messages back, and tells how each connection was closed
    websocket_peer.py talk ADDRESS [--h2]
        opens a WebSocket and prints what was agreed on; then obeys its standard input, a line at a time
        (`say TEXT`, `large`, `ping`, `close`, `end`), and prints what came of each
"""

import argparse
import contextlib
import socket
import sys

LARGE = bytes(range(256)) * 4096  # 1 MiB


def tell(*facts):
    print(*facts, flush=True)


def serve():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve as server

    def echo(websocket):
        try:
            while True:
                message = websocket.recv()
                if message == "end":
                    websocket.close(4001, "bye")
                else:
                    websocket.send(message)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            tell("closed", code)

    with server(echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=None) as running:
        tell(running.socket.getsockname()[1])
        running.serve_forever()


class OverHttp1:
    def __init__(self, host, port):
        from websockets.sync.client import connect

        url = f"ws://{host}:{port}/chat"
        opening = connect(url, subprotocols=["chat"], max_size=None, proxy=None)
        self.socket = contextlib.ExitStack().enter_context(opening)

    def agreed(self):
        return self.socket.subprotocol

    def exchange(self, message):
        self.socket.send(message)
        return self.socket.recv()

    def ping(self):
        return self.socket.ping().wait(10)

    def close(self):
        self.socket.close(1000)
        return self.socket.close_code

    def closed(self):
        from websockets.exceptions import ConnectionClosed

        self.socket.send("end")
        try:
            self.socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code


class OverHttp2:
    def __init__(self, host, port):
        import h2.connection
        import h2.events
        import h2.settings
        from wsproto.connection import Connection, ConnectionType

        self.tcp = socket.create_connection((host, port), timeout=20)
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.flush()
        self.websocket = Connection(ConnectionType.CLIENT)
        self.is_over = False
        self.headers = None
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
        self.h2.send_headers(self.stream, head)
        self.flush()
        while self.headers is None:
            self.receive()
        assert self.headers[":status"] == "200", self.headers

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
                if event.data:
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

    def exchange(self, message):
        from wsproto.events import BytesMessage, TextMessage

        kind = TextMessage if isinstance(message, str) else BytesMessage
        self.send(kind(data=message))
        whole = message[:0]
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

    def close(self):
        from wsproto.events import CloseConnection

        self.send(CloseConnection(code=1000))
        code = next(self.events()).code
        return self.end(code)

    def closed(self):
        from wsproto.events import TextMessage

        self.send(TextMessage(data="end"))
        close = next(self.events())
        self.send(close.response())
        return self.end(close.code)

    def end(self, code):
        """Each side of the stream ends by itself, as the connection of HTTP/1.1 would."""
        while not self.is_over:
            self.receive()
        self.h2.end_stream(self.stream)
        self.flush()
        return code


def talk(address, is_h2):
    host, port = address.rsplit(":", 1)
    client = (OverHttp2 if is_h2 else OverHttp1)(host, int(port))
    tell("open", client.agreed())
    for line in sys.stdin:
        what, _, text = line.strip().partition(" ")
        if what == "say":
            tell("said", client.exchange(text))
        elif what == "large":
            tell("large", client.exchange(LARGE) == LARGE)
        elif what == "ping":
            tell("ping", client.ping())
        elif what == "close":
            return tell("closed", client.close())
        elif what == "end":
            return tell("closed", client.closed())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve")
    talking = commands.add_parser("talk")
    talking.add_argument("address")
    talking.add_argument("--h2", action="store_true")
    given = parser.parse_args()
    if given.command == "serve":
        serve()
    else:
        talk(given.address, given.h2)


if __name__ == "__main__":
    main()
