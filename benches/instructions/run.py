#!/usr/bin/env python3
"""Whether the engine has become dearer: instructions of an exchange against what is allowed.

    benches/instructions/run.py                                 all cases; fails where one costs too much
    benches/instructions/run.py --cases small_get,get_16k
    benches/instructions/run.py --move "why it may cost more"   sets the thresholds to what was measured

It counts instructions in user space with callgrind, and drives the proxy in strict turns, so that two
runs of one binary differ by a tenth of a per cent, however busy the machine is. The thresholds are in
allowed.toml beside this file. docs/benchmarks.md tells the reasons.

Needs Linux on x86-64 with AVX2, Python 3.11 and valgrind. Without them nothing is measured, which
is a failure only with EVENKEEL_VALGRIND=required, as in CI.
"""

import argparse
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import allowed
from cases import CASES, Case, configuration
from counted import Failed, Proxy, started
from ends import Client, endpoints, free_port


@dataclass(frozen=True)
class Figure:
    """Instructions of one exchange, and how far apart the batches were that it is the median of."""

    instructions: int
    spread: float


def figure(case: Case, evenkeel: Path) -> Figure:
    """In a process of its own, so that no case depends on what came before it."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder, endpoints() as given:
        port = free_port()
        text = configuration(case, Path(folder), port, given.addresses())
        with started(evenkeel, Path(folder), text, port) as proxy:
            return measured(case, proxy, Client(proxy, given))


def measured(case: Case, proxy: Proxy, client: Client) -> Figure:
    for _ in range(case.count // 4):
        client.exchange(case)
    opened = len(client.endpoints.connections)
    at_rest = idle_rate(proxy)
    costs = []
    for _ in range(BATCHES):
        began = time.monotonic()
        for _ in range(case.count):
            client.exchange(case)
        counted = proxy.counted()
        costs.append((counted - at_rest * (time.monotonic() - began)) / case.count)
    client.close()
    if len(client.endpoints.connections) != opened:
        raise Failed("connections to endpoints were not kept")
    cost = statistics.median(costs)
    return Figure(round(cost), (max(costs) - min(costs)) / cost)


def idle_rate(proxy: Proxy) -> float:
    """Instructions a second without traffic: what timers do, however long the exchanges take."""
    proxy.counted()
    began = time.monotonic()
    time.sleep(IDLE_SECONDS)
    return proxy.counted() / (time.monotonic() - began)


def lacking() -> str:
    """Why nothing can be measured here, or nothing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "the thresholds are those of Linux on x86-64"
    if not re.search(r"^flags\s*:.* avx2( |$)", Path("/proc/cpuinfo").read_text(), re.M):
        return "the thresholds are those of a CPU with AVX2, which this one has not"
    if missing := [tool for tool in ("valgrind", "vgdb") if not shutil.which(tool)]:
        return f"there is no {' and no '.join(missing)}"
    return ""


def surroundings() -> str:
    """What a figure depends on besides the program and its compiler."""
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return f"{valgrind.stdout.strip().replace('-', ' ', 1)}, {os.confstr('CS_GNU_LIBC_VERSION')}"


def report(figures: dict[str, Figure], file: Path) -> bool:
    """Prints what was measured against what is allowed. Says whether all of it is."""
    known = allowed.parsed(file.read_text(), NAMES)
    judgements = allowed.judge(values(figures), known.thresholds)
    print(f"{'instructions of':24}{'measured':>10}{'allowed':>10}{'spread':>8}  against the threshold")
    for judgement in judgements:
        found, threshold = figures[judgement.case], known.thresholds.get(judgement.case)
        limit = f"{threshold.instructions:,}" if threshold else "–"
        print(f"{judgement.case:24}{found.instructions:10,}{limit:>10}{found.spread:8.2%}  {judgement.text}")
    failed = [judgement for judgement in judgements if judgement.is_failure]
    if failed:
        names = ",".join(judgement.case for judgement in failed)
        print(f"\nfailed: {names}")
        print("Make it cheaper. Or, if it is worth that, move the threshold in the same commit, with the reason:")
        print(f'\n    benches/instructions/run.py --cases {names} --move "what is bought with it"\n')
    if (here := surroundings()) != known.measured_with:
        print(f"note: the thresholds were measured with {known.measured_with}; here is {here}")
    return not failed


def move(figures: dict[str, Figure], reason: str, file: Path) -> None:
    """Sets the thresholds of what was measured. Where that is all, the file may have been anything."""
    here = surroundings()
    is_all = figures.keys() >= set(NAMES)
    old = allowed.Allowed(here, {}) if is_all else allowed.parsed(file.read_text(), NAMES)
    new = allowed.moved(old, values(figures), reason, here)
    file.write_text(allowed.written(new, NAMES))
    print(f"{file} has been written: commit it together with what changes the figures")


def values(figures: dict[str, Figure]) -> dict[str, int]:
    return {case: found.instructions for case, found in figures.items()}


def arguments(given: list[str]) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--cases", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--move", metavar="REASON", help="set the thresholds of these cases to what is measured")
    parser.add_argument("--evenkeel", type=Path, default=RELEASED, help="the program, as it is shipped")
    options = parser.parse_args(given)
    options.cases = options.cases.split(",")
    if unknown := set(options.cases) - set(NAMES):
        parser.error(f"no such case: {', '.join(unknown)} (there are {', '.join(NAMES)})")
    if options.move is not None and not options.move.strip():
        parser.error("a threshold is not moved without a reason")
    if not options.evenkeel.exists():
        parser.error(f"there is no {options.evenkeel}: cargo build --locked --release")
    return options


def main(given: list[str]) -> int:
    options = arguments(given)
    if lack := lacking():
        print(f"skipped: no instructions are counted, {lack}")
        return os.environ.get("EVENKEEL_VALGRIND") == "required"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what was started ends
    try:
        if not options.move:
            allowed.parsed(allowed.FILE.read_text(), NAMES)  # a mistake in it is told at once
        cases = [case for case in CASES if case.name in options.cases]
        figures = {case.name: figure(case, options.evenkeel.resolve()) for case in cases}
        if options.move:
            move(figures, options.move, allowed.FILE)
        return 0 if report(figures, allowed.FILE) else 1
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"nothing could be measured: {error}", file=sys.stderr)
    except allowed.Malformed as error:
        print(f"{allowed.FILE}: {error}", file=sys.stderr)
    return 1


NAMES = [case.name for case in CASES]

# Of as many, a median is not moved by one that something disturbed.
BATCHES = 5

# Long enough for several beats of the worker's timers.
IDLE_SECONDS = 1

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release/evenkeel"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
