#!/usr/bin/env python3
"""Writes the package for Debian and Ubuntu, with dpkg-deb alone.

    deploy/deb.py                              builds the program, writes target/deb/evenkeel_VERSION_ARCH.deb
    deploy/deb.py --program FILE --into DIR    of a program that was built before, somewhere else

In it: the program, which is static and needs no version of any library; its unit, user, manual pages and
completions; the configuration, which stays as it is edited; logrotate's file; examples. Two builds of one
commit are the same to the last byte. The program writes its own manual pages and completions, so it has to
run on this machine.
"""

import argparse
import email.utils
import gzip
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import licences
import program
from program import ROOT, Refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--program", type=Path, metavar="FILE", help="one that was built before")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: deb, in the build's folder")
    parser.add_argument("--version", default=program.version(), help="default: that of Cargo.toml")
    parser.add_argument("--maintainer", default=MAINTAINER, metavar="NAME", help="who answers for it")
    arguments = parser.parse_args()
    program.said(lambda: write(arguments))


def write(arguments: argparse.Namespace) -> None:
    if shutil.which("dpkg-deb") is None:
        raise Refused("`dpkg-deb` is missing (Debian: dpkg)")
    built = (arguments.program or program.built()).resolve()
    program.refuse_dynamic(built)
    into = (arguments.into or program.target_folder() / "deb").resolve()
    into.mkdir(parents=True, exist_ok=True)
    architecture, epoch = program.architecture(built), program.epoch()
    package = into / f"evenkeel_{arguments.version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="deb-") as folder:
        root = Path(folder) / "root"
        files(root, built)
        documentation(root, arguments, epoch)
        control(root, arguments, architecture)
        settle(root, epoch)
        command = ["dpkg-deb", "--root-owner-group", "--uniform-compression", "-Zxz", "--threads-max=1"]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        program.ran([*command, "--build", str(root), str(package)], env=environment)
    print(f"{package}: {package.stat().st_size:,} bytes")


def files(root: Path, built: Path) -> None:
    """What runs, and what others need to run it."""
    own = root / "usr/bin/evenkeel"
    own.parent.mkdir(parents=True)
    program.stripped(built, own)
    for source, place in PLACES.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "deploy" / source, target)
    for shell, place in COMPLETIONS.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(program.output([str(built), "completions", shell]))
    pages = root / "usr/share/man/man1"
    pages.mkdir(parents=True)
    program.output([str(built), "man", "--into", str(pages)])
    for page in sorted(pages.iterdir()):
        pressed(page)


def documentation(root: Path, arguments: argparse.Namespace, epoch: int) -> None:
    folder = root / "usr/share/doc/evenkeel"
    shutil.copytree(ROOT / "config", folder / "examples")
    shutil.copyfile(ROOT / "deploy/evenkeel.socket", folder / "examples/evenkeel.socket")
    for name in ("operations", "configuration"):
        shutil.copyfile(ROOT / f"docs/{name}.md", folder / f"{name}.md")
        pressed(folder / f"{name}.md")
    (folder / "licences.txt").write_text(licences.written())
    pressed(folder / "licences.txt")
    shutil.copyfile(ROOT / "CHANGELOG.md", folder / "changelog")
    pressed(folder / "changelog")
    date = email.utils.formatdate(epoch)
    (folder / "changelog.Debian").write_text(
        f"evenkeel ({arguments.version}) unstable; urgency=medium\n\n"
        "  * A package of this version; changelog.gz says what is new in it.\n\n"
        f" -- {arguments.maintainer}  {date}\n"
    )
    pressed(folder / "changelog.Debian")
    shutil.copyfile(ROOT / "deploy/debian/copyright", folder / "copyright")


def control(root: Path, arguments: argparse.Namespace, architecture: str) -> None:
    """What dpkg is told."""
    folder = root / "DEBIAN"
    folder.mkdir()
    kib = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    fields = {
        "Package": "evenkeel",
        "Version": arguments.version,
        "Section": "net",
        "Priority": "optional",
        "Architecture": architecture,
        "Maintainer": arguments.maintainer,
        "Installed-Size": str(kib),
        # Who makes the user, and who is asked whether the unit is enabled.
        "Depends": "systemd | systemd-standalone-sysusers, init-system-helpers (>= 1.54~)",
        "Suggests": "logrotate",
        "Description": DESCRIPTION,
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (folder / "control").write_text(text)
    settings = [path for path in sorted((root / "etc").rglob("*")) if path.is_file()]
    (folder / "conffiles").write_text("".join(f"/{path.relative_to(root)}\n" for path in settings))
    for script in ("postinst", "prerm", "postrm"):
        shutil.copyfile(ROOT / "deploy/debian" / script, folder / script)
    # In the order of their names, as dpkg itself writes it.
    sums = [path for path in sorted(root.rglob("*")) if path.is_file() and folder not in path.parents]
    lines = [f"{md5(path)}  {path.relative_to(root)}\n" for path in sums if path not in settings]
    (folder / "md5sums").write_text("".join(lines))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def pressed(path: Path) -> None:
    """What Debian wants of documentation: gzip, as small as it gets, without name and time."""
    with gzip.GzipFile(path.with_name(path.name + ".gz"), "wb", compresslevel=9, mtime=0) as file:
        file.write(path.read_bytes())
    path.unlink()


def settle(root: Path, epoch: int) -> None:
    """Modes and times, whatever those of the checkout are."""
    runs = {"usr/bin/evenkeel", "DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm"}
    for path in [*root.rglob("*"), root]:
        is_run = path.is_dir() or str(path.relative_to(root)) in runs
        path.chmod(0o755 if is_run else 0o644)
        os.utime(path, (epoch, epoch))


MAINTAINER = "Evenkeel <packages@evenkeel.example>"

# Of deploy/, and where it goes. What is below /etc belongs to who runs it: dpkg asks before it changes.
PLACES = {
    "evenkeel.service": "usr/lib/systemd/system/evenkeel.service",
    "debian/sysusers.conf": "usr/lib/sysusers.d/evenkeel.conf",
    "debian/evenkeel.toml": "etc/evenkeel/evenkeel.toml",
    "debian/logrotate": "etc/logrotate.d/evenkeel",
    "debian/lintian-overrides": "usr/share/lintian/overrides/evenkeel",
}

COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/evenkeel",
    "zsh": "usr/share/zsh/vendor-completions/_evenkeel",
    "fish": "usr/share/fish/vendor_completions.d/evenkeel.fish",
}

DESCRIPTION = """load balancer and reverse proxy that keeps services up
 Evenkeel forwards HTTP/1.1, HTTP/2, gRPC, WebSocket, TCP and UDP, ends TLS, and
 keeps serving while its configuration, its endpoints or its own log change or
 fail. A change is checked as a whole before it takes effect, a reload costs no
 request, and every request that fails can be explained."""

if __name__ == "__main__":
    main()
