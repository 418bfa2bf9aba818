#!/usr/bin/env python3
"""The licences of everything that the program is made of: each text once, with whose it is.

    deploy/licences.py > licences.txt

Most licences ask that their text and the names of the authors go with the program. The texts are those that
the crates bring along; a crate that brings none is listed with what it declares. The same commit gives the
same bytes.
"""

import sys
from pathlib import Path

import program
import sbom


def main() -> None:
    program.said(lambda: sys.stdout.write(written()))


def written() -> str:
    metadata = sbom.crates()
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    texts: dict[str, list[str]] = {}
    without = []
    for name in sbom.shipped(metadata, root):
        package = packages[name]
        title = f"{package['name']} {package['version']} ({package['license']})"
        found = [text for path in files(package) if (text := normal(path))]
        for text in found:
            texts.setdefault(text, []).append(title)
        if not found:
            without.append(title)
    parts = [INTRODUCTION, *(f"{one}\n" for one in sorted(without) or ["None."])]
    for text, titles in sorted(texts.items(), key=lambda one: (sorted(one[1]), one[0])):
        parts += ["\n", LINE, *(f"{title}\n" for title in sorted(titles)), "\n", text, "\n"]
    return "".join(parts)


def files(package: dict) -> list[Path]:
    """Its texts, and those of what it has within it (C code that a crate brings along)."""
    folder = Path(package["manifest_path"]).parent
    named = package["license_file"]
    found = [folder / named] if named else []
    found += [path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(NAMES)]
    return sorted(set(found))


def normal(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()


NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

LINE = "-" * 80 + "\n"

INTRODUCTION = """Evenkeel is made of the crates that are listed here, under their licences, of the library of
Rust (MIT OR Apache-2.0), and of glibc (LGPL-2.1-or-later: its source is that of the distribution which the
program was built on, and the program can be linked anew from its own source).

These declare a licence and bring no text:

"""

if __name__ == "__main__":
    main()
