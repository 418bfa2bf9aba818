#!/usr/bin/env python3
"""What a request costs end to end, beside nginx and HAProxy if they are installed.

    benches/end_to_end/run.py                                   build, then everything: about 6 minutes
    benches/end_to_end/run.py --scenarios small,upload --rounds 9
    benches/end_to_end/run.py --scenarios instructions          by callgrind: slow, and steady
    benches/end_to_end/run.py --scenarios small --peers evenkeel,evenkeel-logs,evenkeel-routes --reference evenkeel
    benches/end_to_end/run.py --scenarios reload --peers evenkeel-routes
    benches/end_to_end/run.py --scenarios start --peers evenkeel,nginx,haproxy,evenkeel-routes

The figure is CPU time per request. One worker of each proxy has a core of its own; load, endpoints
and this program share another, so that what they cost is not in it. The proxies take turns within
each round, each started afresh, so that a drift of the machine meets all alike; a ratio is taken
within a round, and the median over the rounds is shown. Nothing else should run meanwhile: what
others took of the proxy's core is shown too. docs/benchmarks.md tells the reasons.

Needs Linux, two cores, wrk; h2load for `h2`, `h2-tls` (with openssl) and `h2-to-h2c` (with nginx, which serves
it there), with valgrind for `instructions`. Debian: apt install wrk nginx libnginx-mod-stream haproxy
nghttp2-client valgrind.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from peers import Failed, Peer, Site, echoes, endpoints, free_port, h2c_endpoints, known, prepared, running, started, tree

# A browser's, about 600 bytes with the request line.
FIELDS = {
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


# --- What is measured ----------------------------------------------------------------------------


@dataclass
class Run:
    """One proxy that is up, and how to load it."""

    site: Site
    pid: int
    options: argparse.Namespace
    peer: Peer

    def url(self, path: str) -> str:
        scheme = "https" if self.site.protocol == "h2" else "http"
        return f"{scheme}://127.0.0.1:{self.site.port}{path}"


@dataclass(frozen=True)
class Scenario:
    """What one request is. `measure` returns its figures, `figure` first."""

    title: str
    figure: str
    measure: Callable[[Run], dict]
    needs: tuple = ("wrk",)
    wrapper: Callable[[Site], tuple] = lambda site: ()
    rounds: int = 1000
    protocol: str = "http/1.1"
    behind: str = "http/1.1"


def wrk(run: Run, seconds: int, path: str, clients: int, close: bool, upload: int) -> dict:
    """Requests of so many clients, each sending the next when the last was answered."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency"]
    for name, value in {**FIELDS, **({"Connection": "close"} if close else {})}.items():
        command += ["-H", f"{name}: {value}"]
    if upload:
        script = run.site.folder / "upload.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {upload})\n')
        command += ["-s", str(script)]
    said = output([*command, run.url(path)])
    requests = int(re.search(r"(\d+) requests in", said).group(1))
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:?) (\d+)", said)))
    if not requests or failed > requests // 1000:
        raise Failed(f"{failed} of {requests} requests failed")
    latency = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    return {
        "requests": requests,
        "requests/s": requests / seconds,
        "p99 ms": float(latency.group(1)) * {"us": 0.001, "ms": 1, "s": 1000}[latency.group(2)],
    }


def h2load(run: Run, seconds: int) -> dict:
    """Requests of 16 clients, each with ten under way at once."""
    fields = [part for name, value in FIELDS.items() for part in ("-H", f"{name}: {value}")]
    said = output(["h2load", "-t1", "-c16", "-m10", f"-D{seconds}", *fields, run.url("/")])
    succeeded, failed = (int(re.search(rf"(\d+) {word}", said).group(1)) for word in ("succeeded", "failed"))
    if not succeeded or failed > succeeded // 1000:
        raise Failed(f"{failed} requests failed, {succeeded} did not")
    return {"requests": succeeded, "requests/s": succeeded / seconds}


def datagrams(run: Run, seconds: int) -> dict:
    """Datagrams of 64 clients, each sending the next when the last came back."""
    said = output([run.options.datagrams, "load", f"127.0.0.1:{run.site.port}", "64", str(seconds)])
    back, lost = map(int, re.match(r"(\d+) back, (\d+) lost", said).groups())
    if not back or lost > back // 1000:
        raise Failed(f"{lost} datagrams did not come back, {back} did")
    return {"requests": back, "pairs/s": back / seconds}


def cpu(path: str = "/", clients: int = 64, close: bool = False, upload: int = 0) -> Callable[[Run], dict]:
    """CPU time per request of a kind."""
    return cpu_of(lambda run, seconds: wrk(run, seconds, path, clients, close, upload))


def cpu_of(load: Callable[[Run, int], dict]) -> Callable[[Run], dict]:
    """CPU time per request under a load for so many seconds."""

    def measure(run: Run) -> dict:
        load(run, 1)
        pids, core = tree(run.pid), run.options.cores[0]
        began, mine, all_of_it = time.monotonic(), ticks(pids), core_ticks(core)
        figures = load(run, run.options.seconds)
        mine, all_of_it = ticks(pids) - mine, core_ticks(core) - all_of_it
        elapsed = (time.monotonic() - began) * TICKS
        figures = {"CPU µs": mine / TICKS * 1e6 / figures.pop("requests"), **figures}
        return {**figures, "core busy": mine / elapsed, "others": max(all_of_it - mine, 0) / elapsed}

    return measure


def idle(run: Run) -> dict:
    """Memory of a client that is connected, has been served once, and is silent."""
    for client in connected(run.site.port, 100):  # what is set up once is no client's
        client.close()
    time.sleep(1)
    before = memory(tree(run.pid))
    clients = connected(run.site.port, run.options.idle)
    time.sleep(1)
    grown = memory(tree(run.pid)) - before
    for client in clients:
        client.setblocking(False)
        try:
            client.recv(1)
            raise Failed("a silent client was cut off")
        except BlockingIOError:
            client.close()
    return {"bytes": grown / len(clients), "MiB before": before / 2**20}


def connected(port: int, count: int) -> list:
    fields = "".join(f"{name}: {value}\r\n" for name, value in FIELDS.items())
    request = f"GET / HTTP/1.1\r\nHost: shop.example.com\r\n{fields}\r\n".encode()
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), 10)
        client.sendall(request)
        received = b""
        while not received.endswith(b"x" * 100):
            piece = client.recv(4096)
            if not piece:
                raise Failed(f"client {len(clients)} was cut off")
            received += piece
        clients.append(client)
    return clients


def callgrind(site: Site) -> tuple:
    options = ("--tool=callgrind", "--trace-children=yes", "-q")
    return ("valgrind", *options, f"--callgrind-out-file={site.folder}/callgrind.%p")


def instructions(run: Run) -> dict:
    """Instructions in user space: two runs of one binary differ by about 1 %."""
    load(run, 3000)
    pids = tree(run.pid)
    control("--zero", pids)
    load(run, INSTRUMENTED)
    control("--dump", pids)
    time.sleep(1)
    dumps = [dump for pid in pids for dump in run.site.folder.glob(f"callgrind.{pid}.*")]
    totals = [re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.M) for dump in dumps]
    return {"instructions": sum(int(total.group(1)) for total in totals if total) / INSTRUMENTED}


def load(run: Run, requests: int) -> None:
    fields = [part for name, value in FIELDS.items() for part in ("-H", f"{name}: {value}")]
    # Few clients: many would let a proxy handle several per wake-up, which flatters it.
    said = output(["h2load", "--h1", "-n", str(requests), "-c", "16", "-t", "1", *fields, run.url("/")])
    if f" {requests} succeeded" not in said:
        raise Failed("not all requests succeeded")


def control(option: str, pids: list) -> None:
    for pid in pids:
        subprocess.run(["callgrind_control", option, str(pid)], capture_output=True, check=False)


def reloads(run: Run) -> dict:
    """What a reload takes, and what one client sees of it. For `evenkeel-routes`: 10,000 endpoints."""
    file = run.site.folder / "evenkeel.toml"
    if "[route.r998]" not in file.read_text():
        raise Failed("only for evenkeel-routes")
    for task in Path(f"/proc/{run.pid}/task").iterdir():  # the control thread may use the other core
        os.sched_setaffinity(int(task.name), set(run.options.cores))
    client = socket.create_connection(("127.0.0.1", run.site.port), 10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    quiet = latencies(client, 5)
    taken = []
    done = threading.Event()

    def reload() -> None:
        written = file.read_text()
        for turn in range(10):
            file.write_text(written.replace("10.1.7.1:80", f"10.9.{turn}.1:80"))
            began = time.monotonic()
            subprocess.run(
                [run.options.evenkeel, "reload", "--admin", run.site.folder / "admin.sock"],
                check=True,
                capture_output=True,
            )
            taken.append(time.monotonic() - began)
            time.sleep(0.3)
        done.set()

    thread = threading.Thread(target=reload)
    thread.start()
    busy = latencies(client, 60, done)
    thread.join()
    client.close()
    at = lambda values, share: sorted(values)[int(len(values) * share)] * 1000
    return {
        "ms a reload": statistics.median(taken) * 1000,
        "p99 ms": at(quiet, 0.99),
        "p99 ms meanwhile": at(busy, 0.99),
        "p99.9 ms": at(quiet, 0.999),
        "p99.9 ms meanwhile": at(busy, 0.999),
    }


def start(run: Run) -> dict:
    """From the start of the program to its first answer, and what it holds a second later."""
    folder = run.site.folder / "again"
    folder.mkdir()
    site = replace(run.site, folder=folder, port=free_port())
    command = prepared(run.peer, site)
    began = time.monotonic()
    with started(command, run.options.cores[0], folder / "log") as process:
        while not answers(site.port):
            if process.poll() is not None or time.monotonic() > began + 60:
                raise Failed(f"no answer: {(folder / 'log').read_text()[-300:]}")
            time.sleep(0.0005)
        took = time.monotonic() - began
        time.sleep(1)
        return {"ms to the first answer": took * 1000, "MiB at rest": memory(tree(process.pid)) / 2**20}


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return client.recv(4096).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def latencies(client: socket.socket, seconds: float, done: threading.Event | None = None) -> list:
    """Of one request after the other, about 500 a second, for so long or until it is done."""
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    end, seen = time.monotonic() + seconds, []
    while time.monotonic() < end and not (done and done.is_set()):
        began = time.monotonic()
        client.sendall(request)
        received = b""
        while not received.endswith(b"x" * 100):
            received += client.recv(4096) or b"x" * 100
        seen.append(time.monotonic() - began)
        time.sleep(0.002)
    return seen


INSTRUMENTED = 20_000  # requests; enough that a health check in between does not show

SCENARIOS = {
    "small": Scenario("GET of 100 bytes, 64 clients that stay", "CPU µs", cpu()),
    "connect": Scenario("GET of 100 bytes, a new connection each", "CPU µs", cpu(close=True)),
    "download": Scenario("GET of 1 MiB, 16 clients", "CPU µs", cpu("/size/1048576", clients=16)),
    "upload": Scenario("POST of 64 KiB, 64 clients", "CPU µs", cpu(upload=65536)),
    "h2": Scenario(
        "GET of 100 bytes over HTTP/2, 16 clients with 10 at once", "CPU µs", cpu_of(h2load), ("h2load",), protocol="h2c"
    ),
    "h2-tls": Scenario(
        "GET of 100 bytes over HTTP/2 within TLS, 16 clients with 10 at once",
        "CPU µs",
        cpu_of(h2load),
        ("h2load", "openssl"),
        protocol="h2",
    ),
    "h2-to-h2c": Scenario(
        "GET of 100 bytes over HTTP/2, to endpoints of HTTP/2",
        "CPU µs",
        cpu_of(h2load),
        ("h2load", "nginx"),
        protocol="h2c",
        behind="h2c",
    ),
    "relay": Scenario("TCP: a request and a response of 100 bytes, 64 clients that stay", "CPU µs", cpu(), protocol="tcp"),
    "relay-download": Scenario(
        "TCP: a response of 1 MiB, 16 clients", "CPU µs", cpu("/size/1048576", clients=16), protocol="tcp"
    ),
    "datagrams": Scenario(
        "UDP: a datagram of 100 bytes there and back, 64 clients", "CPU µs", cpu_of(datagrams), (), protocol="udp"
    ),
    "idle": Scenario("Memory of an idle client", "bytes", idle, needs=(), rounds=3),
    "start": Scenario("Start", "ms to the first answer", start, needs=()),
    "reload": Scenario("Reloads of 10,000 endpoints", "ms a reload", reloads, needs=(), rounds=3),
    "instructions": Scenario(
        "User-space instructions of a GET of 100 bytes",
        "instructions",
        instructions,
        needs=("valgrind", "h2load"),
        wrapper=callgrind,
        rounds=1,
    ),
}
USUAL = [name for name in SCENARIOS if name not in ("instructions", "reload", "start")]


# --- What the kernel knows -----------------------------------------------------------------------

TICKS = os.sysconf("SC_CLK_TCK")


def ticks(pids: list) -> int:
    """CPU time of processes with all their threads, and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            continue
        total += sum(map(int, stat.rsplit(")", 1)[1].split()[11:15]))
    return total


def core_ticks(core: int) -> int:
    """CPU time that was used on a core, by whomever: a hypervisor's share is nobody's here."""
    line = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.M).group(1)
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[:8])
    return user + nice + system + irq + softirq + steal


def memory(pids: list) -> int:
    """Bytes of memory, pages that are shared counted once (PSS)."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1)) for text in texts) * 1024


def output(command: list) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise Failed(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


# --- Rounds, and what came out -------------------------------------------------------------------


def measure(scenario: Scenario, peers: list, options: argparse.Namespace, given: tuple) -> dict:
    """The figures of each peer by round."""
    peers = [peer for peer in peers if scenario.protocol in peer.protocols and scenario.behind in peer.behind]
    figures: dict = {peer.name: {} for peer in peers}
    for turn in range(min(options.rounds, scenario.rounds)):
        first = turn % len(peers)
        for peer in peers[first:] + peers[:first]:
            try:
                figures[peer.name][turn] = one(scenario, peer, options, given)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                print(f"round {turn + 1}, {peer.name}: {error}", file=sys.stderr)
    return figures


def one(scenario: Scenario, peer: Peer, options: argparse.Namespace, given: tuple) -> dict:
    with tempfile.TemporaryDirectory(prefix="end-to-end-") as folder:
        clients = options.idle + 200
        site = Site(Path(folder), free_port(), given, clients, scenario.protocol, scenario.behind)
        with running(peer, site, options.cores[0], scenario.wrapper(site)) as process:
            return scenario.measure(Run(site, process.pid, options, peer))


def table(scenario: Scenario, figures: dict, reference: str) -> str:
    """Markdown: medians, the extremes of the figure, and its ratio to that of the reference."""
    measured = {name: rounds for name, rounds in figures.items() if rounds}
    if not measured:
        return f"### {scenario.title}\n\nNothing could be measured.\n"
    columns = list(next(iter(next(iter(measured.values())).values())))
    rows = [["", *columns, "least – most", f"to {reference}"]]
    theirs = measured.get(reference, {})
    for name, rounds in measured.items():
        values = [[figures[column] for figures in rounds.values()] for column in columns]
        row = [name, *(shown(statistics.median(column)) for column in values)]
        rows.append([*row, f"{shown(min(values[0]))} – {shown(max(values[0]))}"])
        shared = rounds.keys() & theirs.keys()
        ratios = [rounds[turn][scenario.figure] / theirs[turn][scenario.figure] for turn in shared]
        rows[-1].append(f"{statistics.median(ratios):.2f}" if ratios else "–")
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|--:" * (len(rows[0]) - 1) + "|")
    return f"### {scenario.title}\n\n" + "\n".join(lines) + "\n"


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# --- Command line --------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    known_names = ", ".join(SCENARIOS)
    parser.add_argument("--scenarios", default=",".join(USUAL), help=f"of {known_names}")
    parser.add_argument("--peers", default="evenkeel,nginx,haproxy", help="also: evenkeel-logs, evenkeel-routes")
    parser.add_argument("--reference", default="nginx", help="the proxy that ratios are taken to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of a measurement")
    parser.add_argument("--idle", type=int, default=5000, help="idle clients")
    parser.add_argument("--cores", default="0,1", help="the proxy's core and the load's")
    parser.add_argument("--evenkeel", type=Path, help="the program, instead of building it")
    parser.add_argument("--endpoint", type=Path, help="the example `endpoint`, instead of building it")
    parser.add_argument("--datagrams", type=Path, help="the example `datagrams`, instead of building it")
    options = parser.parse_args()
    options.cores = [int(core) for core in options.cores.split(",")]
    options.scenarios = options.scenarios.split(",")
    if unknown := set(options.scenarios) - SCENARIOS.keys():
        parser.error(f"no such scenario: {', '.join(unknown)} (there are {known_names})")
    return options


def build(options: argparse.Namespace) -> None:
    """Builds what was not named."""
    root = Path(__file__).resolve().parents[2]
    target = root / os.environ.get("CARGO_TARGET_DIR", "target")
    examples = {"endpoint": options.endpoint, "datagrams": options.datagrams}
    wanted = [f"--example={name}" for name, given in examples.items() if not given]
    # Each by itself: what examples need besides would be built into the program as well, features
    # of tokio that make it dearer.
    for targets in (["--bin=evenkeel"] * (not options.evenkeel), wanted):
        if targets:
            subprocess.run(["cargo", "build", "--locked", "--release", *targets], cwd=root, check=True)
    options.evenkeel = (options.evenkeel or target / "release/evenkeel").resolve()
    options.endpoint = (options.endpoint or target / "release/examples/endpoint").resolve()
    options.datagrams = (options.datagrams or target / "release/examples/datagrams").resolve()


def main() -> None:
    options = arguments()
    build(options)
    peers = [peer for peer in known(options.evenkeel) if peer.name in options.peers.split(",")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 3 * options.idle + 1000:
        options.idle = (hard - 1000) // 3
        print(f"only {hard} open files are allowed: {options.idle} idle clients", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what was started ends
    os.sched_setaffinity(0, {options.cores[1]})
    print(*(f"- {peer.name}: {peer.version()}" for peer in peers), "", sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="end-to-end-") as folder:
        core, log = options.cores[1], Path(folder) / "log"
        with endpoints(options.endpoint, core, log) as served, echoes(options.datagrams, core, log) as echoed:
            for name in options.scenarios:
                scenario = SCENARIOS[name]
                if absent := [tool for tool in scenario.needs if not shutil.which(tool)]:
                    print(f"{name} is left out: there is no {', '.join(absent)}", file=sys.stderr)
                    continue
                given = echoed if scenario.protocol == "udp" else served
                with h2c_endpoints(core, Path(folder)) if scenario.behind == "h2c" else nullcontext(given) as given:
                    figures = measure(scenario, peers, options, given)
                print(table(scenario, figures, options.reference), flush=True)


if __name__ == "__main__":
    main()
