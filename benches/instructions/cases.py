"""What is counted: kinds of exchange, each as the pieces that its two sides send."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One kind of exchange. A piece is sent at once, and has passed before the next one is sent."""

    name: str
    request: tuple[bytes, ...]
    response: tuple[bytes, ...]
    count: int  # of exchanges between two looks at the counters: some millions of instructions
    is_logged: bool = False
    is_connected_anew: bool = False
    routes: int = 0
    # Of the client and of the endpoints; of a relay the latter does not matter.
    protocols: tuple[str, str] = ("http/1.1", "http1")


def configuration(case: Case, folder: Path, port: int, endpoints: list[str]) -> str:
    """One worker, two endpoints in turn, no health checks, and no limit of time that could be met."""
    routes = many_routes(case.routes) if case.routes else ""
    return f"""
version = 1
workers = 1

[admin]
socket = "{folder}/admin.sock"

[log]
access = {str(case.is_logged).lower()}
output = "{folder}/access.log"

[defaults.timeouts]
body_idle = "1h"
client_idle = "1h"
request_head = "1h"
response_head = "1h"
upstream_idle = "1h"

[listener.web]
bind = "127.0.0.1:{port}"
protocols = ["{case.protocols[0]}"]
upstream = "app"

[upstream.app]
protocol = "{case.protocols[1]}"
balance = "round_robin"
endpoints = ["{'", "'.join(endpoints)}"]
{routes}"""


def many_routes(count: int) -> str:
    """So many routes by host, to an upstream of their own each. One of them takes the requests."""
    text = f'[route.used]\nhosts = ["{HOST}"]\nupstream = "app"\n'
    for number in range(1, count):
        text += f'[route.r{number}]\nhosts = ["host-{number}.example.com"]\nupstream = "u{number}"\n'
        text += f'[upstream.u{number}]\nendpoints = ["10.0.{number // 250}.{number % 250}:80"]\n'
    return text


def head(line: str, fields: dict[str, str]) -> bytes:
    return "".join(f"{line}\r\n" for line in [line, *map(": ".join, fields.items()), ""]).encode()


def request(method: str, more: dict[str, str]) -> bytes:
    return head(f"{method} /products/list?page=2 HTTP/1.1", FIELDS | more)


def response(more: dict[str, str]) -> bytes:
    return head("HTTP/1.1 200 OK", {"Date": DATE, "Server": "endpoint"} | more)


def request_h2() -> list[tuple[str, str]]:
    pseudo = {":method": "GET", ":scheme": "http", ":authority": HOST, ":path": "/products/list?page=2"}
    return [*pseudo.items(), *((name, value) for name, value in FIELDS.items() if name != "Host")]


def chunk(size: int) -> bytes:
    return f"{size:x}\r\n".encode() + BODY * size + b"\r\n"


HOST = "shop.example.com"

DATE = "Sun, 22 Nov 2026 12:00:00 GMT"

# A browser's, about 600 bytes with the request line.
FIELDS = {
    "Host": HOST,
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://shop.example.com/products/list?page=1",
    "Cookie": "session=0f8c1e7a5b3d4f6e9a2c8b7d1e3f5a6c; theme=dark; consent=1",
    "Cache-Control": "max-age=0",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}

# What bodies are made of, and no head has: both ends see how much of a body came, however framed.
BODY = b"~"

# A body ends with it if it comes in chunks.
LAST_CHUNK = b"0\r\n\r\n"

# As much as the kernel certainly delivers at once: of a larger piece the worker may see a part first.
PIECE = BODY * (16 * 1024)

GET = (request("GET", {}),)
SMALL = (response({"Content-Length": "100"}) + BODY * 100,)

# The same answer in fields, with its body.
SMALL_H2 = [(":status", "200"), ("content-length", "100"), ("date", DATE), ("server", "endpoint")], BODY * 100

CASES = (
    Case("small_get", GET, SMALL, 500),
    Case("small_get_logged", GET, SMALL, 500, is_logged=True),
    Case("small_get_1000_routes", GET, SMALL, 500, routes=1000),
    Case("new_connection", (request("GET", {"Connection": "close"}),), SMALL, 400, is_connected_anew=True),
    Case("get_16k", GET, (response({"Content-Length": "16384"}) + PIECE,), 500),
    Case("get_1m", GET, (response({"Content-Length": "1048576"}) + PIECE, *[PIECE] * 63), 50),
    Case("post_64k", (request("POST", {"Content-Length": "65536"}), *[PIECE] * 4), SMALL, 300),
    Case(
        "chunked",
        GET,
        (response({"Transfer-Encoding": "chunked"}) + chunk(4000), *[chunk(4000)] * 3, LAST_CHUNK),
        300,
    ),
    Case("h2_small_get", GET, SMALL, 500, protocols=("h2c", "http1")),
    Case("h2_to_h2c", GET, SMALL, 500, protocols=("h2c", "h2c")),
    # Nobody reads what these say: a relay passes it on, within one session.
    Case("tcp_message", GET, SMALL, 1000, protocols=("tcp", "http1")),
    Case(
        "tcp_bulk",
        GET,
        (response({"Content-Length": "1048576"}) + PIECE, *[PIECE] * 63),
        50,
        protocols=("tcp", "http1"),
    ),
)
