"""The package: built, installed, run as its unit would, upgraded, removed and purged."""

import atexit
import contextlib
import functools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import DEPLOY, InFolder, eventually, free_port, get, needs, program, ran

PROGRAM: Path


def setUpModule() -> None:
    global PROGRAM
    PROGRAM = program()


@functools.cache
def package(version: str = "1.0.0") -> Path:
    """Built once, for all modules: packing takes some seconds."""
    into = tempfile.TemporaryDirectory(prefix="evenkeel-shipped-")
    atexit.register(into.cleanup)
    return build(Path(into.name), version)


def build(into: Path, version: str = "1.0.0") -> Path:
    ran(sys.executable, DEPLOY / "deb.py", "--program", PROGRAM, "--into", into, "--version", version)
    return next(into.glob(f"evenkeel_{version}_*.deb"))


class Manager:
    """What a service manager hears."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o777)
        self.socket.settimeout(60)  # only for giving up

    def told(self) -> dict[str, str]:
        lines = self.socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def told_of(self, name: str) -> dict[str, str]:
        """The next message that has this in it."""
        while name not in (message := self.told()):
            pass
        return message


@contextlib.contextmanager
def started(root: Path, user: pwd.struct_passwd, folder: Path, unit: dict, arguments: list[str]):
    """What the unit starts, as who and with what the unit says, and the manager that it tells."""
    manager = Manager(folder / "notify")
    capability = unit["AmbientCapabilities"].removeprefix("CAP_").lower()
    binary, *options = unit["ExecStart"].split()
    command = [
        "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
        f"--bounding-set=-all,+{capability}", f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}",
        "--no-new-privs", "--",
        str(root / binary.lstrip("/")), *options, *arguments,
    ]
    log = (folder / "log").open("wb")
    environment = {
        "PATH": "/usr/bin:/bin",
        "NOTIFY_SOCKET": str(folder / "notify"),
        "STATE_DIRECTORY": str(folder / unit["StateDirectory"]),
    }
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process, manager
    finally:
        process.kill()
        process.wait()
        log.close()
        manager.socket.close()


def settings(path: Path) -> dict[str, str]:
    lines = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {name: value for name, value in lines if not name.startswith("#")}


class Building(InFolder):
    @needs("EVENKEEL_DEB", "dpkg-deb")
    def test_two_packages_of_one_program_are_the_same(self) -> None:
        self.assertEqual(package().read_bytes(), build(self.folder).read_bytes())

    @needs("EVENKEEL_DEB", "lintian")
    def test_lintian_finds_nothing(self) -> None:
        command = ["lintian", "--allow-root", "--fail-on=none", "--display-level=>=warning", package()]
        found = [line for line in ran(*command).splitlines() if re.match("[EW]: ", line)]
        self.assertEqual(found, [])

    @needs("EVENKEEL_DEB", "dpkg-deb", "man")
    def test_every_command_has_a_page_that_man_can_read(self) -> None:
        ran("dpkg-deb", "--extract", package(), self.folder / "root")
        pages = sorted((self.folder / "root/usr/share/man/man1").iterdir())
        names = {page.name for page in pages}
        self.assertLessEqual({"evenkeel.1.gz", "evenkeel-run.1.gz", "evenkeel-config-show.1.gz"}, names)
        for page in pages:
            done = subprocess.run(
                ["man", "--warnings", "--local-file", str(page)],
                capture_output=True, text=True, env=os.environ | {"MANWIDTH": "80"}, check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), page.name)
            self.assertIn("SYNOPSIS", done.stdout)


def dpkg_of(root: Path):
    """dpkg in a root of its own, where nothing else is installed: scripts run outside of it."""
    database = root / "var/lib/dpkg"
    for name in ("info", "updates", "triggers"):
        (database / name).mkdir(parents=True, exist_ok=True)
    (database / "status").touch()
    (root / "etc").mkdir(exist_ok=True)
    return ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends", "--force-confold"]


@unittest.skipUnless(os.geteuid() == 0, "only root may install")
class Installing(InFolder):
    """Everything that dpkg does with it, beside the machine's own packages."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.folder / "root"
        self.root.mkdir()
        self.dpkg = dpkg_of(self.root)

    @needs("EVENKEEL_DEB", "dpkg", "systemd-sysusers", "deb-systemd-helper", "setpriv")
    def test_install_run_upgrade_remove_and_purge(self) -> None:
        ran(*self.dpkg, "--install", package("1.0.0"))
        unit = settings(self.root / "usr/lib/systemd/system/evenkeel.service")
        enabled = self.root / "etc/systemd/system/multi-user.target.wants/evenkeel.service"
        self.assertTrue(enabled.is_symlink())
        self.assertRegex((self.root / "etc/passwd").read_text(), r"(?m)^evenkeel:.*:/usr/sbin/nologin$")

        # Its user is one of that root only; here, nobody is as good.
        config = self.root / "etc/evenkeel/evenkeel.toml"
        runs_as_its_unit(self, self.root, config, pwd.getpwnam("nobody"), unit)

        # Edited files stay as they are.
        edited = config.read_text() + "# edited\n"
        config.write_text(edited)
        ran(*self.dpkg, "--install", package("1.0.1"))
        self.assertEqual(config.read_text(), edited)

        (self.root / "var/lib/evenkeel").mkdir(parents=True)
        ran(*self.dpkg, "--remove", "evenkeel")
        self.assertFalse((self.root / "usr/bin/evenkeel").exists())
        self.assertEqual(config.read_text(), edited)
        self.assertTrue((self.root / "var/lib/evenkeel").exists())

        ran(*self.dpkg, "--purge", "evenkeel")
        left = {str(path.relative_to(self.root)) for path in self.root.rglob("*evenkeel*")}
        self.assertEqual(left, set())


@unittest.skipUnless(
    os.environ.get("EVENKEEL_DEB") == "required" and os.geteuid() == 0,
    "changes this machine: EVENKEEL_DEB=required, for root",
)
class InstallingHere(InFolder):
    """The same on this machine, as its user."""

    def test_install_run_upgrade_and_purge(self) -> None:
        self.assertFalse(Path("/usr/bin/evenkeel").exists(), "it is installed here already")
        had_user = has_user()
        self.addCleanup(lambda: had_user or subprocess.run(["userdel", "evenkeel"], check=False))
        self.addCleanup(lambda: subprocess.run(["dpkg", "--purge", "evenkeel"], check=False))
        ran("dpkg", "--install", package("1.0.0"))
        self.assertIn("evenkeel", ran("evenkeel", "version"))
        ran("evenkeel", "check", "--strict")
        if shutil.which("logrotate"):
            ran("logrotate", "--debug", "/etc/logrotate.d/evenkeel")
        unit = settings(Path("/usr/lib/systemd/system/evenkeel.service"))
        runs_as_its_unit(
            self, Path("/"), Path("/etc/evenkeel/evenkeel.toml"), pwd.getpwnam(unit["User"]), unit
        )
        ran("dpkg", "--install", package("1.0.1"))
        self.assertIn("1.0.1", ran("dpkg-query", "--show", "evenkeel"))
        ran("dpkg", "--purge", "evenkeel")
        for path in ("/usr/bin/evenkeel", "/etc/evenkeel", "/var/lib/evenkeel", "/etc/logrotate.d/evenkeel"):
            self.assertFalse(Path(path).exists(), path)


@unittest.skipUnless(os.geteuid() == 0, "only root may mount")
class Scripts(InFolder):
    """What the scripts ask of systemd, which only seems to run: in mounts that nobody else sees."""

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("unshare"):
            tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"]
            if subprocess.run(tried, capture_output=True, check=False).returncode:
                self.skipTest("this machine does not allow mounts")

    def asked(
        self, script: str, *arguments: str, policy: int = 0, active: bool = True, upgrade: int = 0
    ) -> list[str]:
        """What a script does, and with what it asks the machine's policy, which answers with a code."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            place = Path(place)
            log = place / "log"
            log.touch()
            for name, ends in {
                "bin/systemctl": f'case "$*" in *is-enabled*) echo enabled;; *is-active*) exit {3 * (not active)};; esac',
                "bin/evenkeel": f"exit {upgrade}",
                "bin/deb-systemd-helper": "",
                "bin/systemd-sysusers": "",
                "sbin/policy-rc.d": f"exit {policy}",
            }.items():
                path = place / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(f'#!/bin/sh\necho "{path.name} $*" >>{log}\n{ends}\n')
                path.chmod(0o755)
            seems = (
                "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && "
                f"mount -t overlay overlay -o lowerdir={place}/sbin:/usr/sbin /usr/sbin && exec \"$@\""
            )
            ran(
                "unshare", "--mount", "sh", "-c", seems, "sh", "sh", DEPLOY / "debian" / script, *arguments,
                env={"PATH": f"{place}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            )
            return log.read_text().splitlines()

    def assert_asked(self, wanted: list[str], *arguments: str, **machine: object) -> None:
        """Of what changes the service, exactly this is done."""
        done = self.asked(*arguments, **machine)
        harmless = ("is-enabled", "is-active", "daemon-reload", "systemd-sysusers", "deb-systemd-helper")
        self.assertEqual([one for one in done if not any(word in one for word in harmless)], wanted, done)

    @needs("EVENKEEL_DEB", "unshare", "deb-systemd-invoke")
    def test_a_first_installation_enables_and_starts_it_if_it_may(self) -> None:
        done = self.asked("postinst", "configure", "")
        self.assertIn("deb-systemd-helper enable evenkeel.service", done)
        self.assertIn("systemctl --system daemon-reload", done)
        asks, starts = "policy-rc.d evenkeel.service start", "systemctl --quiet --system start evenkeel.service"
        self.assert_asked([asks, starts], "postinst", "configure", "")
        self.assert_asked([asks, starts], "postinst", "abort-remove")
        self.assert_asked([asks], "postinst", "configure", "", policy=101)

    @needs("EVENKEEL_DEB", "unshare", "deb-systemd-invoke")
    def test_a_later_version_takes_the_running_ones_place_if_it_may(self) -> None:
        later = ("postinst", "configure", "1.0.0")
        asks, upgrades = "policy-rc.d evenkeel.service restart", "evenkeel upgrade"
        self.assert_asked([asks, upgrades], *later)
        self.assert_asked([asks, upgrades], *later, policy=104)
        self.assert_asked([asks, upgrades], *later, upgrade=1)
        self.assert_asked([asks], *later, policy=101)
        self.assert_asked([], *later, active=False)

    @needs("EVENKEEL_DEB", "unshare", "deb-systemd-invoke")
    def test_a_removal_stops_it_if_it_may_and_an_upgrade_does_not(self) -> None:
        asks, stops = "policy-rc.d evenkeel.service stop", "systemctl stop evenkeel.service"
        self.assert_asked([asks, stops], "prerm", "remove")
        self.assert_asked([asks], "prerm", "remove", policy=101)
        self.assert_asked([], "prerm", "upgrade", "1.0.1")
        self.assertEqual(
            self.asked("postrm", "remove"),
            ["systemctl --system daemon-reload", "deb-systemd-helper mask evenkeel.service"],
        )


def has_user() -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam("evenkeel"))
    return False


def runs_as_its_unit(
    test: InFolder, root: Path, config: Path, user: pwd.struct_passwd, unit: dict[str, str]
) -> None:
    """The default configuration but for its ports, which may be taken here, and what systemd would hear."""
    written, port, admin = config.read_text(), free_port(), free_port()
    text = written.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace(":9901", f":{admin}")
    text += '[shutdown]\ngrace = "100ms"\n'
    config.write_text(text)
    # Where the state is comes from StateDirectory= alone, so that what the file says comes before it.
    test.assertNotIn("EVENKEEL__", (DEPLOY / "evenkeel.service").read_text())
    runtime, state = test.folder / "runtime", test.folder / unit["StateDirectory"]
    for made in (runtime, state):
        made.mkdir()
        os.chown(made, user.pw_uid, user.pw_gid)
    arguments = ["--config", str(config), "--admin", str(runtime / "admin.sock")]
    try:
        with started(root, user, test.folder, unit, arguments) as (process, manager):
            ready = manager.told_of("READY")
            test.assertEqual(ready["READY"], "1")
            test.assertIn("Evenkeel is installed", get(port))
            test.assertIn("evenkeel_build_info", get(admin, "/metrics"))
            eventually(lambda: (state / "last-good").exists())
            status = Path(f"/proc/{process.pid}/status").read_text()
            test.assertRegex(status, rf"(?m)^Uid:\s+{user.pw_uid}\s")
            test.assertRegex(status, r"(?m)^CapEff:\s+0*400$")

            # A reload, in the order that Type=notify-reload waits for, whatever becomes of it.
            for changed in (text.replace("installed.", "reloaded."), "this is no configuration"):
                config.write_text(changed)
                process.send_signal(signal.SIGHUP)
                reloading = manager.told_of("RELOADING")
                test.assertGreater(int(reloading["MONOTONIC_USEC"]), 0)
                test.assertEqual(manager.told_of("READY")["READY"], "1")
                test.assertIn("reloaded", get(port))

            process.send_signal(signal.SIGTERM)
            test.assertEqual(manager.told_of("STOPPING")["STOPPING"], "1")
            test.assertEqual(process.wait(60), 0)
    finally:
        config.write_text(written)


if __name__ == "__main__":
    unittest.main()
