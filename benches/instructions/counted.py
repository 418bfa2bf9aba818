"""The proxy under callgrind: started, its counters read, and known to be at rest.

Only the instructions of user space are counted, so neither the machine's speed nor its load is in a
figure. What could still be in it is *how often the worker wakes up*: of two events that come close
together it handles both in one turn of its loop, or each in its own. So whoever talks to the
proxy waits after each step until the worker is at rest ([`Proxy.await_rest`]).
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

class Failed(Exception):
    """A run that gave no usable figure."""


@dataclass
class Proxy:
    """One process with one worker."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    worker: int  # the kernel's id of the worker's thread
    dumps: int = 0

    def await_rest(self) -> None:
        """Returns when the worker waits for events, and thus has handled those that there were."""
        until = time.monotonic() + PATIENCE
        while waits_in(self.process.pid, self.worker) not in EVENTS:
            if time.monotonic() > until:
                raise Failed(f"the worker does not come to rest: {self.said()}")
            time.sleep(0.00005)  # gives way, where the worker has to share this core

    def counted(self) -> int:
        """Instructions of all threads since the last call."""
        self.dumps += 1
        prefix = f"--vgdb-prefix={self.folder}/vgdb"
        asked = ["vgdb", prefix, f"--pid={self.process.pid}", "dump"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=PATIENCE)
        dump = self.folder / f"counters.{self.dumps}"
        if done.returncode or not dump.exists():
            raise Failed(f"no dump of the counters: {done.stderr.strip()[-300:]} {self.said()}")
        self.await_rest()  # it was woken for the dump
        total = re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.M)
        if not total:
            raise Failed(f"a dump without a total: {dump.name}")
        return int(total[1])

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace").strip()[-300:]


@contextmanager
def started(evenkeel: Path, folder: Path, configuration: str, port: int) -> Iterator[Proxy]:
    """A proxy that is ready to serve on the port that the configuration names."""
    file, log = folder / "evenkeel.toml", folder / "log"
    file.write_text(configuration)
    options = [f"--callgrind-out-file={folder}/counters", f"--vgdb-prefix={folder}/vgdb"]
    program = [str(evenkeel), "run", "--config", str(file)]
    command = ["valgrind", "--tool=callgrind", "-q", *options, *program]
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT)
    try:
        await_port(port, process, log)
        proxy = Proxy(process, folder, port, worker_of(process.pid))
        proxy.await_rest()
        yield proxy
    finally:
        process.kill()  # what it would count at its end is of no interest
        process.wait()


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"the proxy does not listen: {log.read_text()[-300:]}") from None
            time.sleep(0.02)


def worker_of(pid: int) -> int:
    """The kernel's id of the worker's thread, which starts after its port has been bound."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().strip() == WORKER:
                return int(task.name)
        time.sleep(0.02)
    raise Failed(f"no thread of the proxy is called {WORKER}")


def waits_in(pid: int, thread: int) -> str:
    """The number of the system call that a thread waits in, or `running`."""
    try:
        return Path(f"/proc/{pid}/task/{thread}/syscall").read_text().split()[0]
    except (OSError, IndexError) as error:
        raise Failed(f"the kernel does not tell what a thread waits for: {error}") from None


# Seconds, for a step that takes milliseconds, and a start that takes some seconds.
PATIENCE = 60

WORKER = "worker-0"

# epoll_wait and epoll_pwait of x86-64. Who waits for valgrind's own lock waits in another call.
EVENTS = ("232", "281")

# Nothing of the caller's may change what the proxy or its allocator does.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath)}
