"""The image: what is in it, that it is the same each time, and that it does as a container should."""

import functools
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
import unittest.mock
from pathlib import Path

from support import (
    DEPLOY,
    ROOT,
    InFolder,
    endpoint,
    eventually,
    free_port,
    get,
    name_server,
    needs,
    program,
    ran,
)

import image

try:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation import json as cyclonedx
except ImportError:
    cyclonedx = None

PROGRAM: Path


def setUpModule() -> None:
    global PROGRAM
    PROGRAM = program()


@functools.cache
def shared() -> Path:
    """An image that nobody changes, built once."""
    into = tempfile.TemporaryDirectory(prefix="evenkeel-shipped-")
    unittest.addModuleCleanup(into.cleanup)
    build(Path(into.name), "--archive")
    return Path(into.name)


def build(into: Path, *options: str, **more) -> str:
    return ran(sys.executable, DEPLOY / "image.py", "--program", PROGRAM, "--into", into, *options, **more)


def manifest(folder: Path) -> dict:
    index = json.loads((folder / "oci" / "index.json").read_text())
    return json.loads(blob(folder, index["manifests"][0]))


def blob(folder: Path, descriptor: dict) -> bytes:
    kind, digest = descriptor["digest"].split(":")
    data = (folder / "oci" / "blobs" / kind / digest).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest and len(data) == descriptor["size"]
    return data


class Writing(InFolder):
    def layer(self, folder: Path) -> bytes:
        return blob(folder, manifest(folder)["layers"][0])

    def test_two_images_of_one_program_are_the_same(self) -> None:
        said = build(self.folder, "--archive")
        self.assertEqual(tree(self.folder), tree(shared()))
        self.assertRegex(said, r"image sha256:[0-9a-f]{64}")

    def test_the_time_is_the_one_that_is_given(self) -> None:
        build(self.folder, env=os.environ | {"SOURCE_DATE_EPOCH": "86400"})
        config = json.loads(blob(self.folder, manifest(self.folder)["config"]))
        self.assertEqual(config["created"], "1970-01-02T00:00:00Z")
        with tarfile.open(fileobj=io.BytesIO(self.layer(self.folder))) as members:
            self.assertEqual({member.mtime for member in members}, {86_400})

    def test_a_time_that_is_none_is_refused(self) -> None:
        with self.assertRaisesRegex(AssertionError, "SOURCE_DATE_EPOCH has to be seconds"):
            build(self.folder, env=os.environ | {"SOURCE_DATE_EPOCH": "yesterday"})

    @unittest.skipUnless(os.environ.get("EVENKEEL_COMPILE_TWICE"), "takes minutes: EVENKEEL_COMPILE_TWICE")
    def test_a_second_build_elsewhere_is_the_same_program(self) -> None:
        elsewhere = os.environ | {"CARGO_TARGET_DIR": str(self.folder / "target")}
        other = Path(ran(sys.executable, DEPLOY / "program.py", env=elsewhere).strip())
        self.assertEqual(PROGRAM.read_bytes(), other.read_bytes())

    def test_no_path_of_this_machine_is_in_it(self) -> None:
        data = PROGRAM.read_bytes()
        for path in (ROOT, Path.home() / ".cargo", PROGRAM.parent.parent.parent):
            self.assertNotIn(str(path).encode() + b"/", data)

    def test_a_program_that_needs_libraries_is_refused(self) -> None:
        command = [sys.executable, DEPLOY / "image.py", "--program", "/bin/true", "--into", self.folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("/bin/true is not static", done.stderr)
        self.assertFalse((self.folder / "oci").exists())

    def test_a_layer_that_has_grown_too_large_is_refused(self) -> None:
        large = unittest.mock.patch.object(image, "MOST", 1_000_000)
        options = image.argparse.Namespace(program=PROGRAM, into=self.folder, archive=False)
        with large, self.assertRaisesRegex(image.Refused, "the layer has .* bytes, and may have 1,000,000"):
            image.write(options)

    @unittest.skipIf(
        cyclonedx is None and os.environ.get("EVENKEEL_KUBERNETES") != "required",
        "without CycloneDX' own schema, which comes with the tools of the chart (EVENKEEL_KUBERNETES)",
    )
    def test_the_bill_is_what_its_schema_says(self) -> None:
        validator = cyclonedx.JsonStrictValidator(SchemaVersion.V1_5)
        bill = (shared() / "evenkeel.cdx.json").read_text()
        self.assertIsNone(validator.validate_str(bill))
        self.assertIsNotNone(validator.validate_str(bill.replace('"purl"', '"pearl"')))

    def test_the_licences_have_the_texts_of_who_made_it(self) -> None:
        texts = (shared() / "licences.txt").read_text()
        for one in json.loads((shared() / "evenkeel.cdx.json").read_text())["components"]:
            if one["name"] != "glibc":
                self.assertIn(f"\n{one['name']} {one['version']} (", texts)
        self.assertIn("Apache License", texts)

    def test_the_bill_names_every_crate_once_and_who_needs_it(self) -> None:
        bill = json.loads((shared() / "evenkeel.cdx.json").read_text())
        self.assertEqual((bill["bomFormat"], bill["specVersion"]), ("CycloneDX", "1.5"))
        own = bill["metadata"]["component"]
        references = [one["bom-ref"] for one in bill["components"]] + [own["bom-ref"]]
        self.assertEqual(len(references), len(set(references)))
        for edge in bill["dependencies"]:
            self.assertLessEqual({edge["ref"], *edge["dependsOn"]}, set(references))
        names = {one["name"]: one for one in bill["components"]}
        self.assertLessEqual({"rustls", "aws-lc-sys", "tokio", "glibc"}, names.keys())
        # Of the tests, and of nothing that is shipped.
        self.assertFalse({"insta", "rcgen", "ppp"} & names.keys())
        for one in bill["components"]:
            self.assertTrue(one["version"] and one["licenses"], one)
            if one["name"] != "glibc":
                self.assertRegex(one["hashes"][0]["content"], "^[0-9a-f]{64}$")
        with tarfile.open(fileobj=io.BytesIO(self.layer(shared()))) as members:
            shipped = members.extractfile("evenkeel").read()
        self.assertEqual(own["hashes"][0]["content"], hashlib.sha256(shipped).hexdigest())


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Reading(InFolder):
    """What tools of others read in it."""

    def setUp(self) -> None:
        super().setUp()
        self.layout = shared() / "oci"

    @needs("EVENKEEL_CONTAINERS", "skopeo")
    def test_skopeo_reads_what_it_is(self) -> None:
        seen = json.loads(ran("skopeo", "inspect", f"oci:{self.layout}"))
        labels = seen["Labels"]
        self.assertEqual(labels["org.opencontainers.image.title"], "evenkeel")
        self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")
        self.assertRegex(ran(PROGRAM, "version"), re.escape(labels["org.opencontainers.image.revision"]))
        self.assertEqual(len(seen["Layers"]), 1)
        ran("skopeo", "copy", f"oci:{self.layout}:{NAME}", f"dir:{self.folder}/copy")
        config = json.loads(ran("skopeo", "inspect", "--config", f"oci:{self.layout}"))["config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"] + config["Cmd"], ["/evenkeel", "run"])
        self.assertEqual(config["StopSignal"], "SIGTERM")

    @needs("EVENKEEL_CONTAINERS", "umoci")
    def test_umoci_unpacks_the_program_its_directories_and_nothing_else(self) -> None:
        bundle = self.folder / "bundle"
        ran("umoci", "unpack", "--rootless", "--image", f"{self.layout}:{NAME}", bundle)
        root = bundle / "rootfs"
        found = {str(path.relative_to(root)): path.lstat().st_mode for path in root.rglob("*")}
        expected = {"evenkeel": 0o755} | {path: mode for path, mode, _ in image.DIRECTORIES}
        self.assertEqual({path: stat.S_IMODE(mode) for path, mode in found.items()}, expected)
        files = [path for path, mode in found.items() if not stat.S_ISDIR(mode)]
        self.assertEqual(files, ["evenkeel"])


class Storage:
    """Images and containers of one test, beside those of the machine."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="evenkeel-podman-"))
        self.podman = [
            "podman",
            f"--root={self.folder}/root",
            f"--runroot={self.folder}/run",
            "--storage-driver=vfs",
            "--runtime=runc",
            # Not every machine has systemd, which is the usual one.
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]

    def load(self, archive: Path) -> None:
        said = ran(*self.podman, "load", "--input", archive)
        assert NAME in said, said

    def end(self) -> None:
        subprocess.run([*self.podman, "rm", "--all", "--force"], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Container:
    """A container that runs, with its log and its end."""

    def __init__(self, storage: Storage, folder: Path, *options: str, command: tuple = ()) -> None:
        self.storage, self.log, self.errors = storage, folder / "log", folder / "errors"
        self.name = f"evenkeel-test-{os.getpid()}-{next(NUMBERS)}"
        with self.log.open("wb") as log, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    *storage.podman, "run", "--rm", "--name", self.name, "--sig-proxy=false",
                    # Some sandboxes allow no more.
                    "--ulimit=nofile=1024:4096", "--ulimit=nproc=1024:2048",
                    "--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL",
                    "--security-opt=no-new-privileges", "--tmpfs=/run/evenkeel",
                    f"--volume={folder}/config:/etc/evenkeel:ro", "--pull=never", *options, NAME, *command,
                ],
                stdout=log, stderr=errors, stdin=subprocess.DEVNULL,
            )

    def asked(self, *command: str) -> str:
        return ran(*self.storage.podman, "exec", self.name, "/evenkeel", *command)

    def signal(self, name: str) -> None:
        ran(*self.storage.podman, "kill", "--signal", name, self.name)

    def inspected(self, path: str) -> str:
        return ran(*self.storage.podman, "inspect", "--format", "{{" + path + "}}", self.name).strip()

    def ended(self) -> int:
        return self.process.wait(60)

    def logged(self) -> str:
        """What it wrote to stdout."""
        return self.log.read_text(errors="replace")

    def said(self) -> str:
        """That, and what is told of errors, also by podman."""
        return self.logged() + self.errors.read_text(errors="replace")


def children(pid: str) -> str:
    """Ids of what a process would have to wait for; a kernel may not tell."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text() if path.exists() else ""


def may_run() -> bool:
    """Whether a container can be made here: not every sandbox lets one."""
    return os.environ.get("EVENKEEL_CONTAINERS") == "required" or all(
        shutil.which(tool) for tool in ("podman", "runc")
    )


@unittest.skipUnless(may_run(), "without podman or runc (EVENKEEL_CONTAINERS)")
class Running(InFolder):
    """As a user would, with all that can be taken away taken away."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.storage = Storage()
        cls.addClassCleanup(cls.storage.end)
        cls.storage.load(shared() / "evenkeel.tar")

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "config").mkdir()
        self.port = free_port()

    def write(self, text: str) -> None:
        (self.folder / "config" / "evenkeel.toml").write_text(text)

    def forwards(self, address: str, more: str = "") -> None:
        """Configured to forward, and to answer `/version` by itself."""
        self.write(f"""
            [shutdown]
            grace = "100ms"
            [listener.web]
            bind = "127.0.0.1:{self.port}"
            upstream = "app"
            [upstream.app]
            endpoints = ["{address}"]
            {more}
        """)

    def run_it(self, *options: str, command: tuple = ()) -> Container:
        container = Container(self.storage, self.folder, *options, command=command)

        def end() -> None:
            subprocess.run(
                [*self.storage.podman, "rm", "--force", "--time=0", container.name],
                capture_output=True, check=False,
            )
            container.process.wait(60)

        self.addCleanup(end)
        return container

    def up(self, container: Container, path: str = "/") -> str:
        def asked() -> str:
            if container.process.poll() is not None:
                raise SystemExit(f"it ended: {container.said()}")
            return get(self.port, path)

        return eventually(asked)

    def test_it_serves_reloads_and_drains_without_privileges(self) -> None:
        with endpoint() as app:
            port = app.server_address[1]
            # A name that only the container's own hosts file has.
            self.forwards(f"app.test:{port}")
            container = self.run_it("--add-host=app.test:127.0.0.1")
            self.assertEqual(self.up(container), "hello")

            # The first process, of nobody, without a capability.
            pid = container.inspected(".State.Pid")
            status = dict(re.findall(r"^(\w+):\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M))
            self.assertEqual(status["NSpid"].split()[-1], "1")
            self.assertEqual(status["Uid"].split(), ["65532"] * 4)
            self.assertEqual(int(status["CapEff"], 16), 0)
            self.assertEqual(int(status["CapBnd"], 16), 0)
            self.assertEqual(status["NoNewPrivs"], "1")
            # What is mounted can be written to, and nothing else of it.
            mounts = [line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
            root = next(mount for mount in mounts if mount[1] == "/")
            self.assertIn("ro", root[3].split(","))

            # The health check; those that asked leave nothing behind.
            container.asked("status", "--ready", "--quiet")
            self.assertIn("app", container.asked("status"))
            eventually(lambda: not children(pid))

            # SIGHUP, and a bad file that changes nothing.
            answer = '[route.version]\npath = "/version"\nrespond = { body = "two" }\n'
            self.forwards(f"app.test:{port}", answer)
            container.signal("HUP")
            eventually(lambda: get(self.port, "/version") == "two")
            self.write("this is no configuration")
            container.signal("HUP")
            eventually(lambda: "config_rejected" in container.said())
            self.assertEqual(get(self.port, "/version"), "two")

            # SIGTERM: what runs is finished, then it ends.
            got = []
            held = threading.Thread(target=lambda: got.append(get(self.port, "/held")))
            held.start()
            self.assertTrue(app.began.wait(60))
            container.signal("TERM")
            eventually(lambda: "draining" in container.said())
            app.release.set()
            held.join(60)
            self.assertEqual(got, ["hello"])
            self.assertEqual(container.ended(), 0)

        lines = [json.loads(line) for line in container.logged().splitlines()]
        kinds = {line.get("kind") for line in lines}
        self.assertLessEqual({"access", "event"}, kinds)

    def test_the_first_process_obeys_both_signals_that_end(self) -> None:
        for name in ("INT", "TERM"):
            with self.subTest(name), endpoint() as app:
                self.forwards(f"127.0.0.1:{app.server_address[1]}")
                container = self.run_it()
                self.up(container)
                container.signal(name)
                self.assertEqual(container.ended(), 0, container.said())

    def test_names_come_from_the_servers_that_the_container_is_told(self) -> None:
        with endpoint() as app, name_server("app.shop.test") as server:
            self.forwards(f"app:{app.server_address[1]}")
            container = self.run_it(f"--dns={server}", "--dns-search=shop.test")
            self.assertEqual(self.up(container), "hello")

    def test_a_name_that_nobody_knows_ends_it_with_the_reason(self) -> None:
        with name_server("app.shop.test") as server:
            self.forwards("nobody.shop.test:80")
            container = self.run_it(f"--dns={server}")
            self.assertEqual(container.ended(), 1)
            self.assertIn("nobody.shop.test:80", container.said())

    def test_without_a_file_it_says_which_one_it_looked_for(self) -> None:
        container = self.run_it()
        self.assertEqual(container.ended(), 1)
        self.assertIn("/etc/evenkeel/evenkeel.toml", container.said())

    def test_roots_are_those_of_the_program_or_a_clear_error(self) -> None:
        tls = '[upstream.app.tls]\nroots = "{}"'
        self.forwards("127.0.0.1:443", tls.format("webpki"))
        self.assertEqual(self.run_it(command=("check",)).ended(), 0)
        self.forwards("127.0.0.1:443", tls.format("system"))
        container = self.run_it(command=("run",))
        self.assertEqual(container.ended(), 1)
        self.assertIn("the system has no certificates of authorities", container.said())


NUMBERS = itertools.count()

NAME = f"evenkeel:{image.program.version()}"

if __name__ == "__main__":
    unittest.main()
