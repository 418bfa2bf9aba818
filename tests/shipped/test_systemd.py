"""The package under a real systemd, which is the first process of namespaces of its own."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import test_deb
from support import InFolder, eventually, ran
from test_unit import systemd_version

BOOT = Path(__file__).resolve().parent / "boot.sh"
TARGET = "evenkeel-test.target"
UNIT = "evenkeel.service"
CONFIG = "/etc/evenkeel/evenkeel.toml"


def setUpModule() -> None:
    test_deb.setUpModule()


class Machine:
    """A root of its own over this one's files, with systemd, and a network that nobody else has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mounted = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
        cgroups = next((Path(line[1]) for line in mounted if line[2] == "cgroup2"), None)
        if cgroups is None:
            raise OSError("no cgroup2 is mounted")
        self.cgroup = cgroups / f"evenkeel-test-{os.getpid()}"
        self.cgroup.mkdir()
        # Its processes begin in the group that is their root.
        enter = f"echo $$ >{self.cgroup}/cgroup.procs && exec "
        spaces = "unshare --pid --fork --kill-child --mount --net --uts --ipc --cgroup"
        command = f"{enter}{spaces} sh {BOOT} {folder} {self.cgroup} {TARGET}"
        self.log = (folder.parent / "boot.log").open("wb")
        self.process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def first(self) -> str:
        """The first process there, as this machine knows it."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if not (children := path.read_text().split()):
            raise OSError("it has not begun yet")
        return children[0]

    def files(self) -> str:
        """Where this machine finds its files."""
        return f"/proc/{self.first()}/root"

    def is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError((self.folder.parent / "boot.log").read_text())
        return self.systemctl("is-active", TARGET).stdout.strip() == "active"

    def runs(self, *command: str) -> subprocess.CompletedProcess:
        within = ["nsenter", f"--target={self.first()}", "--all", "--root", "--wd=/", "env", "-i"]
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*within, path, "DEBIAN_FRONTEND=noninteractive", *command],
            capture_output=True, text=True, check=False, timeout=120,
        )

    def ran(self, *command: str) -> str:
        done = self.runs(*command)
        if done.returncode:
            journal = self.runs("journalctl", "--no-pager", "--lines=60").stdout
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}{journal}")
        return done.stdout

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.runs("systemctl", "--no-pager", *arguments)

    def shown(self, name: str) -> str:
        return self.ran("systemctl", "show", "--value", f"--property={name}", UNIT).strip()

    def asks(self) -> subprocess.CompletedProcess:
        return self.runs("curl", "-sS", "--max-time", "5", "http://127.0.0.1:8080/")

    def get(self) -> str:
        return self.asks().stdout

    def write(self, path: str, text: str) -> None:
        place = Path(f"{self.files()}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def read(self, path: str) -> str:
        return Path(f"{self.files()}{path}").read_text()

    def bring(self, package: Path) -> str:
        """The package, where the machine has it."""
        shutil.copy(package, f"{self.files()}/opt/{package.name}")
        return f"/opt/{package.name}"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(int(self.first()), 9)
        self.process.wait(60)
        self.log.close()
        # A group goes once those below it are gone, and they once nobody is in them.
        eventually(self.is_without_groups)

    def is_without_groups(self) -> bool:
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(path)
        return not self.cgroup.exists()


@functools.cache
def why_none() -> str | None:
    """Why no such machine can be had here."""
    if os.geteuid() != 0:
        return "only root can boot one"
    needed = ("systemctl", "unshare", "nsenter", "ip", "dpkg", "deb-systemd-invoke", "curl", "pgrep")
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if missing or not Path("/lib/systemd/systemd").exists():
        return f"without {', '.join(missing) or 'systemd'}"
    with tempfile.TemporaryDirectory(prefix="evenkeel-shipped-") as folder:
        root = Path(folder) / "root"
        root.mkdir()
        try:
            machine = Machine(root)
        except OSError as error:
            return str(error)
        try:
            eventually(machine.is_up)
        except (RuntimeError, AssertionError) as error:
            return str(error)
        finally:
            machine.close()
    return None


class Asking:
    """Asks for `/` all the time, and keeps what was not answered."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.answered, self.failed = machine, 0, []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self) -> None:
        while not self.is_over.is_set():
            done = self.machine.asks()
            said = done.stdout + done.stderr
            if "Evenkeel is" in said:
                self.answered += 1
            else:
                self.failed.append(said)

    def stop(self) -> None:
        self.is_over.set()
        self.thread.join(60)


class Managed(InFolder):
    """One boot for all of it: it is the life of an installation."""

    def setUp(self) -> None:
        super().setUp()
        required = os.environ.get("EVENKEEL_BOOT") == "required"
        why = why_none()
        if why and not required:
            self.skipTest(f"no systemd can be booted here: {why} (EVENKEEL_BOOT)")
        self.assertIsNone(why)
        root = self.folder / "root"
        root.mkdir()
        self.machine = Machine(root)
        self.addCleanup(self.machine.close)
        eventually(self.machine.is_up)

    def test_install_reload_upgrade_hang_and_purge(self) -> None:
        machine = self.machine
        self.is_installed_and_serves()
        self.reloads()
        self.is_upgraded_by_the_next_package()
        self.is_restarted_when_it_hangs()
        self.starts_with_the_last_good()
        machine.ran("dpkg", "--purge", "evenkeel")
        self.assertNotEqual(machine.systemctl("is-active", UNIT).stdout.strip(), "active")
        self.assertEqual(machine.get(), "")
        self.assertNotEqual(machine.runs("pgrep", "-x", "evenkeel").returncode, 0)

    def test_who_says_that_nothing_is_to_be_started_is_heard(self) -> None:
        machine = self.machine
        machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
        machine.ran("chmod", "755", "/usr/sbin/policy-rc.d")
        machine.ran("dpkg", "--install", machine.bring(test_deb.package("1.0.0")))
        self.assertEqual(machine.systemctl("is-active", UNIT).stdout.strip(), "inactive")
        self.assertEqual(machine.systemctl("is-enabled", UNIT).stdout.strip(), "enabled")

    def is_installed_and_serves(self) -> None:
        machine = self.machine
        machine.ran("dpkg", "--install", machine.bring(test_deb.package("1.0.0")))
        self.assertEqual(machine.systemctl("is-enabled", UNIT).stdout.strip(), "enabled")
        self.assertEqual(machine.ran("systemctl", "is-active", UNIT).strip(), "active")
        self.assertIn("Evenkeel is installed", machine.get())
        status = machine.read(f"/proc/{machine.shown('MainPID')}/status")
        user = machine.ran("id", "--user", "evenkeel").strip()
        self.assertRegex(status, rf"(?m)^Uid:\s+{user}\s+{user}\s+{user}\s")
        self.assertRegex(status, r"(?m)^CapBnd:\s+0*400$")
        self.assertRegex(status, r"(?m)^NoNewPrivs:\s+1$")
        self.assertRegex(status, r"(?m)^Seccomp:\s+2$")
        self.assertIn("everything is as it should be", machine.ran("evenkeel", "status"))

    def reloads(self) -> None:
        machine = self.machine
        if systemd_version() < 253:
            # As the unit says.
            drop_in = f"/etc/systemd/system/{UNIT}.d/reload.conf"
            machine.write(drop_in, "[Service]\nExecReload=/usr/bin/evenkeel reload\n")
            machine.ran("systemctl", "daemon-reload")
        written = machine.read(CONFIG)
        machine.write(CONFIG, written.replace("is installed.", "is reloaded."))
        machine.ran("systemctl", "reload", UNIT)
        self.assertIn("Evenkeel is reloaded", machine.get())
        machine.write(CONFIG, "this is no configuration")
        machine.systemctl("reload", UNIT)
        self.assertIn("Evenkeel is reloaded", machine.get())
        self.assertEqual(machine.ran("systemctl", "is-active", UNIT).strip(), "active")
        machine.write(CONFIG, written)
        machine.ran("systemctl", "reload", UNIT)

    def is_upgraded_by_the_next_package(self) -> None:
        machine = self.machine
        before = machine.shown("MainPID")
        asking = Asking(machine)
        machine.ran("dpkg", "--install", machine.bring(test_deb.package("1.0.1")))
        eventually(lambda: machine.shown("MainPID") != before)
        answered = asking.answered
        eventually(lambda: asking.answered > answered + 20)
        asking.stop()
        self.assertEqual(asking.failed, [])
        self.assertEqual(machine.ran("systemctl", "is-active", UNIT).strip(), "active")
        self.assertEqual(machine.shown("NRestarts"), "0")
        # The one before has nothing left to do.
        eventually(lambda: not Path(f"{machine.files()}/proc/{before}").exists())

    def is_restarted_when_it_hangs(self) -> None:
        machine = self.machine
        drop_in = f"/etc/systemd/system/{UNIT}.d/watchdog.conf"
        machine.write(drop_in, "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=1s\nRestartSec=100ms\n")
        machine.ran("systemctl", "daemon-reload")
        machine.ran("systemctl", "restart", UNIT)
        hangs = machine.shown("MainPID")
        machine.ran("kill", "-STOP", hangs)
        eventually(lambda: machine.shown("NRestarts") != "0")
        eventually(lambda: "Evenkeel is installed" in machine.get())
        self.assertNotEqual(machine.shown("MainPID"), hangs)

    def starts_with_the_last_good(self) -> None:
        machine = self.machine
        machine.write(CONFIG, "this is no configuration")
        machine.ran("systemctl", "restart", UNIT)
        self.assertIn("Evenkeel is installed", machine.get())
        self.assertIn("last good", machine.ran("evenkeel", "status"))


if __name__ == "__main__":
    unittest.main()
