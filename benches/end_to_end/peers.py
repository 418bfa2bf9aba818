"""The proxies that are compared, with the settings that make them do the same.

All have one worker, take turns between two endpoints, keep connections to them open and shared,
stream bodies in both directions, say who asks (X-Forwarded-For, -Proto), check the endpoints' health
every 10 s where they can, keep idle clients for an hour, and write no access log. What one does
besides and cannot be told to leave stays on: it is part of what its requests cost.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass(frozen=True)
class Site:
    """One start of a proxy: where its files are, where it listens, its endpoints, and for how many
    clients it must have room."""

    folder: Path
    port: int
    endpoints: tuple
    clients: int
    protocol: str = "http/1.1"  # what its clients speak: also h2 (within TLS), h2c, tcp, udp
    behind: str = "http/1.1"  # what its endpoints speak: also h2c


@dataclass(frozen=True)
class Peer:
    """A proxy: its program, its configuration, and how it is started in the foreground."""

    name: str
    program: str
    file: str
    configuration: Callable[[Site], str]
    arguments: Callable[[str], list]
    protocols: tuple = ("http/1.1", "h2", "h2c", "tcp", "udp")
    behind: tuple = ("http/1.1", "h2c")

    def version(self) -> str:
        option = "version" if self.file == "evenkeel.toml" else "-v"
        done = subprocess.run([self.program, option], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]


class Failed(Exception):
    """A run that gave no usable figure."""


def known(evenkeel: Path) -> list:
    """The proxies of this machine."""

    def variant(name: str, configuration: Callable[[Site], str]) -> Peer:
        return Peer(name, str(evenkeel), "evenkeel.toml", configuration, lambda file: ["run", "--config", file])

    peers = [
        variant("evenkeel", evenkeel_file),
        variant("evenkeel-logs", lambda site: evenkeel_file(site, access_log=True)),
        variant("evenkeel-routes", lambda site: evenkeel_file(site) + many_routes()),
        Peer(
            "nginx",
            "nginx",
            "nginx.conf",
            nginx_file,
            lambda file: ["-e", "stderr", "-c", file],
            behind=("http/1.1",),
        ),
        Peer(
            "haproxy",
            "haproxy",
            "haproxy.cfg",
            haproxy_file,
            lambda file: ["-db", "-f", file],
            ("http/1.1", "h2", "h2c", "tcp"),
        ),
    ]
    return [peer for peer in peers if shutil.which(peer.program)]


def evenkeel_file(site: Site, access_log: bool = False) -> str:
    endpoints = ", ".join(f'"{endpoint}"' for endpoint in site.endpoints)
    tls = 'tls = { certificates = [{ cert = "site.crt", key = "site.key" }] }' if site.protocol == "h2" else ""
    return f"""
version = 1
workers = 1

[admin]
socket = "{site.folder}/admin.sock"

[log]
access = {str(access_log).lower()}
output = "{site.folder}/access.log"

[shutdown]
grace = "10ms"
drain = "10ms"

[defaults.timeouts]
client_idle = "1h"

[listener.web]
bind = "127.0.0.1:{site.port}"
protocols = ["{site.protocol}"]
upstream = "app"
{tls}

[upstream.app]
{'protocol = "h2c"' if site.behind == "h2c" else ""}
balance = "round_robin"
endpoints = [{endpoints}]
health = {{ {EVENKEEL_CHECKS.get(site.protocol, 'http = { path = "/" }')}, interval = "10s" }}
"""


# Of what is relayed: an endpoint that takes a connection, or sends a datagram back, is well.
EVENKEEL_CHECKS = {"tcp": "tcp = {}", "udp": 'udp = { send = "x", expect = "x" }'}


def many_routes() -> str:
    """A thousand routes to ten endpoints each. One of them takes what the load asks for."""
    text = f'[route.used]\nhosts = ["127.0.0.1"]\nupstream = "app"\n'
    for number in range(999):
        first = f"10.{number // 250}.{number % 250}"
        endpoints = ", ".join(f'"{first}.{last}:80"' for last in range(1, 11))
        text += f'[route.r{number}]\nhosts = ["host-{number}.example.com"]\nupstream = "u{number}"\n'
        text += f"[upstream.u{number}]\nendpoints = [{endpoints}]\n"
    return text


def nginx_stream_file(site: Site) -> str:
    """Of what is relayed. Debian keeps the module in a file of its own."""
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    load = f"load_module {module};" if module.exists() else ""
    servers = " ".join(f"server {endpoint};" for endpoint in site.endpoints)
    return f"""
{load}
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {site.folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {2 * site.clients}; }}
stream {{
    upstream app {{ {servers} }}
    server {{
        listen 127.0.0.1:{site.port}{' udp' if site.protocol == 'udp' else ''};
        proxy_pass app;
        proxy_timeout 3600s;
        tcp_nodelay on;
    }}
}}
"""


def nginx_file(site: Site) -> str:
    if site.protocol in ("tcp", "udp"):
        return nginx_stream_file(site)
    servers = " ".join(f"server {endpoint};" for endpoint in site.endpoints)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {site.folder}/nginx-{kind};" for kind in kinds)
    # As the user who measures: else its workers cannot be observed by valgrind's own tools.
    user = "user root;" if os.geteuid() == 0 else ""
    tls = f"ssl_certificate {site.folder}/site.crt; ssl_certificate_key {site.folder}/site.key;"
    return f"""
{user}
daemon off;
worker_processes 1;
pid {site.folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {2 * site.clients}; }}
http {{
    {folders}
    {tls if site.protocol == "h2" else ""}
    access_log off;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream app {{ {servers} keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{site.port}{NGINX_LISTENS.get(site.protocol, "")};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_request_buffering off;
            proxy_buffers 8 16k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


NGINX_LISTENS = {"h2c": " http2", "h2": " ssl http2"}


def nginx_endpoint_file(folder: Path, addresses: tuple) -> str:
    """Of endpoints that speak h2c: 100 bytes, whatever is asked for."""
    listens = " ".join(f"listen {address} http2;" for address in addresses)
    return f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {folder}/endpoints.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    server {{ {listens} location / {{ return 200 {"x" * 100}; }} }}
}}
"""


def haproxy_file(site: Site) -> str:
    servers = enumerate(site.endpoints)
    spoken = " proto h2 check-proto h2" if site.behind == "h2c" else ""
    lines = "\n".join(f"    server s{number} {endpoint} check inter 10s{spoken}" for number, endpoint in servers)
    if site.protocol == "tcp":
        return f"""
global
    nbthread 1
    maxconn {site.clients}
defaults
    mode tcp
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    option splice-auto
listen raw
    bind 127.0.0.1:{site.port}
    balance roundrobin
{lines}
"""
    binds = {"h2c": " proto h2", "h2": f" ssl crt {site.folder}/site.pem alpn h2"}
    return f"""
global
    nbthread 1
    maxconn {site.clients}
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    timeout http-keep-alive 3600s
    timeout http-request 60s
    http-reuse always
frontend web
    bind 127.0.0.1:{site.port}{binds.get(site.protocol, "")}
    option forwardfor
    http-request set-header X-Forwarded-Proto {"https" if site.protocol == "h2" else "http"}
    default_backend app
backend app
    balance roundrobin
    option httpchk GET /
{lines}
"""


@contextmanager
def running(peer: Peer, site: Site, core: int, wrapper: tuple = ()):
    """The proxy's process, on one core, ready to serve."""
    command = [*wrapper, *prepared(peer, site)]
    with started(command, core, site.folder / "log") as process:
        await_port(site.port, process, site.folder / "log", site.protocol)
        yield process


def prepared(peer: Peer, site: Site) -> list:
    """Writes what the proxy needs, and says how it is started."""
    if site.protocol == "h2":
        certify(site.folder)
    file = site.folder / peer.file
    file.write_text(peer.configuration(site))
    return [shutil.which(peer.program), *peer.arguments(str(file))]


@contextmanager
def endpoints(program: Path, core: int, log: Path):
    """The addresses of two endpoints, in one process."""
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    with started([program, *addresses], core, log) as process:
        for address in addresses:
            await_port(int(address.rsplit(":", 1)[1]), process, log)
        yield addresses


@contextmanager
def h2c_endpoints(core: int, folder: Path):
    """The addresses of two endpoints that speak HTTP/2 without TLS: nginx's."""
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    file, log = folder / "endpoints.conf", folder / "endpoints.log"
    file.write_text(nginx_endpoint_file(folder, addresses))
    with started(["nginx", "-e", "stderr", "-c", file], core, log) as process:
        for address in addresses:
            await_port(int(address.rsplit(":", 1)[1]), process, log)
        yield addresses


def certify(folder: Path) -> None:
    """A key and a certificate that it signed itself: the same kind for all."""
    key, certificate = folder / "site.key", folder / "site.crt"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    done = subprocess.run(["openssl", *made.split(), *names], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"openssl: {done.stderr.strip()[-300:]}")
    (folder / "site.pem").write_text(certificate.read_text() + key.read_text())


@contextmanager
def echoes(program: Path, core: int, log: Path):
    """The addresses of two endpoints that send datagrams back."""
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    with started([program, "echo", *addresses], core, log) as process:
        for address in addresses:
            await_port(int(address.rsplit(":", 1)[1]), process, log, "udp")
        yield addresses


@contextmanager
def started(command: list, core: int, log: Path):
    """A process of ours on one core. It, and what it started, ends with the block."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    try:
        yield process
    finally:
        family = tree(process.pid)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in family[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def tree(root: int) -> list:
    """The ids of a process and of all that descend from it."""
    children: dict = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found = [root]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port: int, process: subprocess.Popen, log: Path, protocol: str = "tcp") -> None:
    until = time.monotonic() + 60  # valgrind starts slowly
    while True:
        try:
            return reach(port, protocol)
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{process.args[0]} does not listen: {log.read_text()[-300:]}") from None
            time.sleep(0.01)


def reach(port: int, protocol: str) -> None:
    """Fails if nobody is there: with datagrams, if none comes back."""
    if protocol != "udp":
        return socket.create_connection(("127.0.0.1", port), 1).close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", port))
        client.send(b"x")
        client.recv(1)
