"""What the tests of packages share: tools that may be missing, waiting, ports, an endpoint, a name server."""

import contextlib
import http.server
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(DEPLOY))


def program() -> Path:
    """The static program, which EVENKEEL_PROGRAM names where it has been built before."""
    given = os.environ.get("EVENKEEL_PROGRAM")
    if given:
        return Path(given)
    import program as building

    return building.built()


def needs(variable: str, *tools: str):
    """Skips a test where a tool is missing, unless the variable says `required`."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    required = os.environ.get(variable) == "required"
    return unittest.skipIf(missing and not required, f"without {', '.join(missing)} ({variable})")


def ran(*command: object, **options) -> str:
    """What a command that has to succeed prints."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def eventually(question, seconds: float = 60) -> object:
    """What a question is answered, once that is anything; the time is only for giving up."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            answer = question()
        except (OSError, urllib.error.URLError, AssertionError) as error:
            last, answer = error, None
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s; last: {last}")


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return response.read().decode()


@contextlib.contextmanager
def endpoint():
    """Says `hello`; at `/held`, once `release` is set, and `began` says that somebody waits there."""

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/held":
                server.began.set()
                server.release.wait(60)
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.began, server.release = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def name_server(name: str):
    """Answers at port 53 of a loopback address of its own: one name is at 127.0.0.1, no other is."""

    class Answers(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            question, sock = self.request
            asked, end = [], 12
            while question[end]:
                asked.append(question[end + 1 : end + 1 + question[end]].decode().lower())
                end += 1 + question[end]
            kind = struct.unpack_from(">H", question, end + 1)[0]
            is_known, is_v4 = ".".join(asked) == name, kind == 1
            flags = 0x8180 if is_known else 0x8183
            head = question[:2] + struct.pack(">HHHHH", flags, 1, is_known and is_v4, 0, 0)
            answer = head + question[12 : end + 5]
            if is_known and is_v4:
                answer += struct.pack(">HHHIH4B", 0xC00C, 1, 1, 60, 4, 127, 0, 0, 1)
            sock.sendto(answer, self.client_address)

    server = socketserver.ThreadingUDPServer((NAME_SERVER, 53), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield NAME_SERVER
    finally:
        server.shutdown()
        server.server_close()


class InFolder(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="evenkeel-shipped-")))
        # Whoever it runs as may read there.
        self.folder.chmod(0o755)


# Nobody else is likely to have this one.
NAME_SERVER = "127.53.53.53"
