#!/usr/bin/env python3
"""Builds the program as it is shipped: one static binary that is the same wherever it is built.

    deploy/program.py            builds it, and prints where it is

Static, so that it runs in an image that holds nothing else, and on any Linux with its processor. No
path of the machine is in it: the checkout, the crates and the build go by names of their own. The
symbols stay, for profilers and backtraces; packages strip them.

CARGO_TARGET_DIR says where it is built, EVENKEEL_REVISION what `evenkeel version` says of it; without
it that is what Git says. Needs cargo, a C compiler, and Python 3.11.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Refused(Exception):
    """Why nothing is shipped."""


def main() -> None:
    said(lambda: print(built()))


def said(work) -> None:
    """Does it, and says in one line why it could not be done."""
    try:
        work()
    except Refused as refused:
        sys.exit(f"error: {refused}")


def built() -> Path:
    """The program, built if it is not there yet."""
    target, triple = target_folder(), host()
    environment = os.environ | {
        "CARGO_TARGET_DIR": str(target),
        "EVENKEEL_REVISION": revision(),
        # What C code says of when it was compiled (`__TIME__`), which is then.
        "SOURCE_DATE_EPOCH": "0",
        # The separator of the one that takes spaces.
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(["-Ctarget-feature=+crt-static", *remapped(target)]),
        "CFLAGS": " ".join([c_flags(), *c_remapped(target)]),
    }
    environment.pop("RUSTFLAGS", None)
    # --target keeps the flags away from what only the build runs: macros are libraries.
    command = ["cargo", "build", "--locked", "--release", "--target", triple, "--bin", "evenkeel"]
    ran(command, env=environment)
    program = target / triple / "release" / "evenkeel"
    refuse_dynamic(program)
    return program


def remapped(target: Path) -> list[str]:
    return [f"--remap-path-prefix={old}={new}" for old, new in places(target)]


def c_remapped(target: Path) -> list[str]:
    return [f"-ffile-prefix-map={old}={new}" for old, new in places(target)]


def places(target: Path) -> list[tuple[Path, str]]:
    """Paths of this machine, and what stands for them; the last one that fits counts."""
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    return [(cargo, "/cargo"), (ROOT, "/evenkeel"), (target, "/target")]


def c_flags() -> str:
    """What the C code is built with in any case: setting CFLAGS takes the place of it."""
    with (ROOT / ".cargo" / "config.toml").open("rb") as file:
        return tomllib.load(file)["env"]["CFLAGS"]


def target_folder() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


def host() -> str:
    """The compiler's own target."""
    verbose = output(["rustc", "-vV"])
    triple = re.search(r"^host: (.+)$", verbose, re.MULTILINE).group(1)
    if "linux" not in triple:
        raise Refused(f"{triple}: only Linux is supported")
    return triple


def architecture(program: Path) -> str:
    """The processor that a program is for, as images name it."""
    with program.open("rb") as file:
        machine = struct.unpack_from("<H", file.read(20), 18)[0]
    names = {62: "amd64", 183: "arm64"}
    if machine not in names:
        raise Refused(f"{program} is for a processor that has no name here: {machine}")
    return names[machine]


def version() -> str:
    with (ROOT / "Cargo.toml").open("rb") as file:
        return tomllib.load(file)["package"]["version"]


def revision() -> str:
    """What is built, as `evenkeel version` says it."""
    given = os.environ.get("EVENKEEL_REVISION")
    return given if given is not None else described("--always", "--dirty", "--abbrev=12")


def described(*options: str) -> str:
    done = subprocess.run(
        ["git", "describe", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def epoch() -> int:
    """The time of everything that is built: SOURCE_DATE_EPOCH, or that of the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        given = output(["git", "log", "-1", "--format=%ct"]).strip()
    if not given.isdecimal():
        raise Refused(f"SOURCE_DATE_EPOCH has to be seconds since 1970, not `{given}`")
    return int(given)


def moment(epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def refuse_dynamic(program: Path) -> None:
    """A program that asks for an interpreter, which is what loads libraries, ends before it begins
    where there is none."""
    data = program.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        raise Refused(f"{program} is no program of 64 bits")
    table, (size, count) = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, table + index * size)[0] for index in range(count)]
    if INTERPRETER in kinds:
        raise Refused(f"{program} is not static: it asks for a loader of libraries")


def stripped(program: Path, into: Path) -> Path:
    """A copy without symbols: a third of the size, and all that runs."""
    if shutil.which("strip") is None:
        raise Refused("`strip` is missing (Debian: binutils)")
    ran(["strip", "--strip-all", "-o", str(into), str(program)])
    return into


def ran(command: list[str], **options) -> None:
    """What it prints goes where errors go: stdout is for results."""
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False, **options).returncode:
        raise Refused(f"`{command[0]}` failed")


def output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


# Of the kinds of segments (elf(5)): PT_INTERP.
INTERPRETER = 3

if __name__ == "__main__":
    main()
