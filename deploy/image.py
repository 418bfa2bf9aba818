#!/usr/bin/env python3
"""Writes the image: an OCI layout of one layer with one program, and what it is made of beside it.

    deploy/image.py                              builds the program, writes target/image
    deploy/image.py --archive                    and target/image/evenkeel.tar, the same in one file
    deploy/image.py --program FILE --into DIR    of a program that was built before, somewhere else

    skopeo copy oci:target/image/oci:evenkeel:0.1.0 docker://registry.example.com/evenkeel:0.1.0
    docker load -i target/image/evenkeel.tar     or: podman load -i target/image/evenkeel.tar

No engine and no daemon is needed, and two builds of one commit are the same to the last byte: times are
that of the commit (or SOURCE_DATE_EPOCH), order is fixed, and the program holds no path of the machine.
The digest of the compressed layer also depends on zlib; what is in it does not.

Into it go the program and the directories that it needs, and nothing else: no shell, no libraries, no
certificates (`roots = "webpki"` needs none, a file can be mounted). It runs as 65532, writes nothing
outside /run/evenkeel and /var/lib/evenkeel, and logs to stdout. Beside it are the bill
of materials, evenkeel.cdx.json, in CycloneDX 1.5, and the texts of the licences, licences.txt: whoever passes
the image on passes them on.
"""

import argparse
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import licences
import program
import sbom
from program import Refused


@dataclass(frozen=True)
class Blob:
    """Some bytes, and as what they are found."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    def descriptor(self, **more: object) -> dict:
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.data),
        } | more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--program", type=Path, metavar="FILE", help="one that was built before")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: image, in the build's folder")
    parser.add_argument("--archive", action="store_true", help="write evenkeel.tar as well")
    arguments = parser.parse_args()
    program.said(lambda: write(arguments))


def write(arguments: argparse.Namespace) -> None:
    built = (arguments.program or program.built()).resolve()
    program.refuse_dynamic(built)
    into = (arguments.into or program.target_folder() / "image").resolve()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        content = program.stripped(built, Path(folder) / "evenkeel").read_bytes()
    epoch = program.epoch()
    written = tar(content, epoch)
    layer = Blob("application/vnd.oci.image.layer.v1.tar+gzip", squeezed(written))
    if len(layer.data) > MOST:
        raise Refused(f"the layer has {len(layer.data):,} bytes, and may have {MOST:,}")
    blobs = image(layer, written, epoch, built)
    layout(into / "oci", blobs)
    bill = sbom.written(hashlib.sha256(content).hexdigest(), epoch)
    (into / "evenkeel.cdx.json").write_text(bill)
    (into / "licences.txt").write_text(licences.written())
    if arguments.archive:
        archive(into / "oci", into / "evenkeel.tar", epoch)
    print(f"image {blobs[0].digest}, in {into / 'oci'}")
    print(f"program {len(content):,} bytes, layer {len(layer.data):,} bytes compressed")


def image(layer: Blob, written: bytes, epoch: int, built: Path) -> list[Blob]:
    """The manifest, and what it refers to behind it."""
    labels = labels_of(built)
    config = {
        "architecture": program.architecture(built),
        "os": "linux",
        "created": program.moment(epoch),
        "config": {
            "User": f"{NOBODY}:{NOBODY}",
            "Entrypoint": ["/evenkeel"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels,
            # Docker's, which OCI leaves to engines. Kubernetes has probes of its own.
            "Healthcheck": {
                "Test": ["CMD", "/evenkeel", "status", "--ready", "--quiet"],
                "Interval": 5 * SECOND,
                "Timeout": 3 * SECOND,
                "StartPeriod": 10 * SECOND,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(written).hexdigest()]},
        "history": [{"created": program.moment(epoch), "created_by": "deploy/image.py"}],
    }
    described = Blob("application/vnd.oci.image.config.v1+json", compact(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": labels | {"org.opencontainers.image.created": program.moment(epoch)},
    }
    return [Blob(MANIFEST, compact(manifest)), described, layer]


def labels_of(built: Path) -> dict[str, str]:
    """What it is: of the package, and what the program says of itself."""
    revision = json.loads(program.output([str(built), "version", "--json"]))["revision"]
    with (program.ROOT / "Cargo.toml").open("rb") as file:
        package = tomllib.load(file)["package"]
    named = {
        "title": package["name"],
        "description": package["description"],
        "version": package["version"],
        "revision": revision,
        "licenses": package["license"],
    }
    return {f"org.opencontainers.image.{name}": value for name, value in named.items()}


def tar(content: bytes, epoch: int) -> bytes:
    """The layer, before it is compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as layer:
        for path, mode, owner in DIRECTORIES:
            entry = entry_of(path, mode, owner, epoch)
            entry.type = tarfile.DIRTYPE
            layer.addfile(entry)
        entry = entry_of("evenkeel", 0o755, 0, epoch)
        entry.size = len(content)
        layer.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def entry_of(path: str, mode: int, owner: int, epoch: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.uid, entry.gid, entry.mtime = mode, owner, owner, epoch
    return entry


def squeezed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def layout(folder: Path, blobs: list[Blob]) -> None:
    """The directory that tools of OCI read, in place of one that may be there."""
    shutil.rmtree(folder, ignore_errors=True)
    places = folder / "blobs" / "sha256"
    places.mkdir(parents=True)
    for blob in blobs:
        (places / blob.digest.removeprefix("sha256:")).write_bytes(blob.data)
    name = f"evenkeel:{program.version()}"
    named = {
        "org.opencontainers.image.ref.name": name,
        # As `docker load` finds it.
        "io.containerd.image.name": f"docker.io/library/{name}",
    }
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [blobs[0].descriptor(annotations=named)],
    }
    (folder / "index.json").write_bytes(compact(index))
    (folder / "oci-layout").write_bytes(compact({"imageLayoutVersion": "1.0.0"}))


def archive(folder: Path, into: Path, epoch: int) -> None:
    """The layout in one file."""
    with tarfile.open(into, mode="w", format=tarfile.USTAR_FORMAT) as written:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            entry = entry_of(name, 0o755 if path.is_dir() else 0o644, 0, epoch)
            if path.is_dir():
                entry.type = tarfile.DIRTYPE
                written.addfile(entry)
            else:
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    written.addfile(entry, file)


def compact(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


MANIFEST = "application/vnd.oci.image.manifest.v1+json"

# "nonroot" by convention: no user of any machine.
NOBODY = 65532

# Bytes of the compressed layer. What is pulled at every start of a node should not grow unnoticed.
MOST = 15_000_000

# Durations of health checks are in nanoseconds.
SECOND = 1_000_000_000

# What is mounted over, and the two that are written to: sockets, and what a restart remembers. A tmpfs is
# root's, but gets the mode of what it covers, so everybody may write to the one for sockets.
DIRECTORIES = [
    ("etc", 0o755, 0),
    ("etc/evenkeel", 0o755, 0),
    ("run", 0o755, 0),
    ("run/evenkeel", 0o1777, NOBODY),
    ("var", 0o755, 0),
    ("var/lib", 0o755, 0),
    ("var/lib/evenkeel", 0o700, NOBODY),
]

if __name__ == "__main__":
    main()
