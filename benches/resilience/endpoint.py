#!/usr/bin/env python3
"""An endpoint that fails as it is told: HTTP/1.1 over keep-alive, one process.

    endpoint.py PORT            listens on every address of the loopback network
    GET /_be?…                  from now on, for the address that was asked (127.0.0.1, 127.1.0.7 …):
                                delay=SECONDS  status=CODE  hang_every=N  retry_after=SECONDS  all=1
    GET /_said                  what came, by address: requests, ids that came more than once

Requests carry an id (X-Id), so that it can be told which were carried out twice.
"""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Behaviour:
    delay: float = 0.0
    status: int = 200
    hang_every: int = 0
    retry_after: int = 0


@dataclass
class Said:
    requests: int = 0
    posts: Counter = field(default_factory=Counter)


behaviours: dict = {}
said: dict = {}
usual = Behaviour()


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[0]
        self.bytes = bytearray()
        self.waiting = None

    def connection_lost(self, error):
        if self.waiting:
            self.waiting.cancel()

    def data_received(self, data):
        self.bytes += data
        if not self.waiting:
            self.next()

    def next(self):
        """Takes a request once all of it is there."""
        self.waiting = None
        end = self.bytes.find(b"\r\n\r\n")
        if end < 0 or self.transport.is_closing():
            return
        lines = self.bytes[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", 0))
        if len(self.bytes) < end + 4 + length:
            return
        del self.bytes[: end + 4 + length]
        method, target, _ = lines[0].split(" ")
        if target.startswith("/_"):
            self.control(target)
        else:
            self.serve(method, fields.get("x-id"))

    def control(self, target):
        parts = urlsplit(target)
        if parts.path == "/_be":
            told = dict(parse_qsl(parts.query))
            everywhere = told.pop("all", None)
            behaviour = Behaviour(**{name: type(getattr(usual, name))(value) for name, value in told.items()})
            if everywhere:
                behaviours.clear()
                behaviours["all"] = behaviour
            else:
                behaviours[self.address] = behaviour
            self.answer(200, b"")
        else:
            text = {
                address: {"requests": each.requests, "twice": sum(1 for count in each.posts.values() if count > 1),
                          "posts": list(each.posts)}
                for address, each in said.items()
            }
            self.answer(200, json.dumps(text).encode())

    def serve(self, method, name):
        behaviour = behaviours.get(self.address) or behaviours.get("all") or usual
        counted = said.setdefault(self.address, Said())
        counted.requests += 1
        if method == "POST":
            counted.posts[name] += 1
        if behaviour.hang_every and counted.requests % behaviour.hang_every == 0:
            self.waiting = asyncio.get_running_loop().create_future()  # for good
            return
        extra = f"Retry-After: {behaviour.retry_after}\r\n" if behaviour.retry_after else ""
        answer = (behaviour.status, b"x" * 100, extra)
        if behaviour.delay:
            self.waiting = asyncio.get_running_loop().call_later(behaviour.delay, self.answer, *answer)
        else:
            self.answer(*answer)

    def answer(self, status, body, extra=""):
        head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.transport.write(head.encode() + body)
        self.waiting = None
        if self.bytes:
            self.next()


async def main(port):
    server = await asyncio.get_running_loop().create_server(Connection, "0.0.0.0", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
