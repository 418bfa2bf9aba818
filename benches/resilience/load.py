"""Load that does not wait for answers: so many requests a second, however slow they are.

A client that sends its next request when the last was answered asks less of a service that is slow,
and so hides how slow it is ("coordinated omission"). Here each request has its time, and what it took
is counted from then.
"""

import asyncio
import itertools
import time
from dataclasses import dataclass

GIVES_UP = 10.0  # a person has gone by then
numbers = itertools.count(1)


@dataclass
class Answered:
    """One request: when it was due, how long it took, what came of it (0: nothing)."""

    due: float
    took: float
    status: int
    method: str
    name: str


class Client(asyncio.Protocol):
    """A connection that serves one request at a time."""

    def __init__(self, idle):
        self.idle = idle
        self.answer = None

    def connection_made(self, transport):
        self.transport = transport
        self.bytes = bytearray()

    def data_received(self, data):
        self.bytes += data
        end = self.bytes.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.bytes[:end].decode("latin-1").lower()
        length = 0
        for line in head.split("\r\n")[1:]:
            if line.startswith("content-length:"):
                length = int(line[15:])
        if "transfer-encoding: chunked" in head:
            if not self.bytes.endswith(b"0\r\n\r\n"):
                return
        elif len(self.bytes) < end + 4 + length:
            return
        self.bytes.clear()
        answer, self.answer = self.answer, None
        if answer and not answer.done():
            answer.set_result(int(head[9:12]))
            if "connection: close" in head:
                self.transport.close()
            else:
                self.idle.append(self)

    def connection_lost(self, error):
        if self in self.idle:
            self.idle.remove(self)
        if self.answer and not self.answer.done():
            self.answer.set_result(0)

    def ask(self, request):
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer


async def one(port, path, method, due, idle, answers):
    name = f"{next(numbers)}"
    body = b"x" * 64 if method == "POST" else b""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    request = f"{method} {path} HTTP/1.1\r\nHost: bench.example\r\nX-Id: {name}\r\n{length}\r\n".encode() + body
    status, client = 0, None
    try:
        async with asyncio.timeout(GIVES_UP):
            client = idle.pop() if idle else None
            if client is None or client.transport.is_closing():
                loop = asyncio.get_running_loop()
                _, client = await loop.create_connection(lambda: Client(idle), "127.0.0.1", port)
            status = await client.ask(request)
    except (TimeoutError, OSError):
        pass
    if status == 0 and client:
        client.transport.abort()
    answers.append(Answered(due, time.monotonic() - due, status, method, name))


async def run(port, rate, seconds, path="/", posts=0.0, meanwhile=()):
    """Asks, and carries out `meanwhile`: pairs of a time and what is done then. Answers, in order."""
    answers, tasks, idle = [], set(), []  # what has ended is kept: a few thousand
    began = time.monotonic()
    later = sorted(meanwhile, key=lambda pair: pair[0])
    share = 0.0
    for number in range(int(rate * seconds)):
        due = began + number / rate
        while later and began + later[0][0] <= due:
            tasks.add(asyncio.get_running_loop().run_in_executor(None, later.pop(0)[1]))
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        share += posts
        method = "GET"
        if share >= 1:
            share, method = share - 1, "POST"
        tasks.add(asyncio.create_task(one(port, path, method, due, idle, answers)))
    # What was to happen meanwhile must have happened.
    await asyncio.gather(*tasks)
    for client in idle:
        client.transport.abort()
    return sorted(answers, key=lambda answered: answered.due)


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")
