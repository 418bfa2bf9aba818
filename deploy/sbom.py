#!/usr/bin/env python3
"""The bill of materials: which crates the program is made of, in CycloneDX 1.5.

    deploy/sbom.py > evenkeel.cdx.json

Versions, sources and hashes are those of Cargo.lock, licences those that the crates declare. What only
the build runs (macros) is marked as `excluded`; what only tests use is left out. The hash of a crate is
that of its archive in the registry. The same commit gives the same bytes.
"""

import json
import sys
import tomllib
import uuid

import program
from program import Refused


def main() -> None:
    program.said(lambda: sys.stdout.write(written(None, program.epoch())))


def written(digest: str | None, epoch: int) -> str:
    """The bill of a program with this SHA-256, where it is known."""
    metadata = crates()
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    edges = shipped(metadata, root)
    checksums = hashes()
    own = component(packages.pop(root), checksums) | {"type": "application"}
    if digest:
        own["hashes"] = [{"alg": "SHA-256", "content": digest}]
    others = [component(packages[name], checksums) for name in edges if name != root]
    c_library = libc()
    if c_library:
        others.append(c_library)
    references = {name: reference(package) for name, package in packages.items()} | {root: own["bom-ref"]}
    dependencies = [
        {"ref": references[name], "dependsOn": sorted(references[other] for other in edges[name])}
        for name in edges
    ]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": program.moment(epoch),
            "component": own,
        },
        "components": sorted(others, key=lambda one: one["bom-ref"]),
        "dependencies": sorted(dependencies, key=lambda one: one["ref"]),
    }
    # Of what is in it, so that the same bill has the same number.
    name = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"
    return json.dumps(bill, indent=2, sort_keys=True) + "\n"


def crates() -> dict:
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    return json.loads(program.output([*command, "--filter-platform", program.host()]))


def shipped(metadata: dict, root: str) -> dict[str, list[str]]:
    """What the program is built of, by who needs it: neither tests nor build scripts."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    edges, open_ = {}, [root]
    while open_:
        name = open_.pop()
        if name not in edges:
            needed = nodes[name]["deps"]
            edges[name] = [one["pkg"] for one in needed if any(k["kind"] is None for k in one["dep_kinds"])]
            open_.extend(edges[name])
    return edges


def component(package: dict, checksums: dict[tuple[str, str], str]) -> dict:
    name, version = package["name"], package["version"]
    found = {
        "type": "library",
        "bom-ref": reference(package),
        "purl": reference(package),
        "name": name,
        "version": version,
    }
    if package["license"]:
        # The slash is what expressions were written with before SPDX.
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package["description"]:
        found["description"] = " ".join(package["description"].split())
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    checksum = checksums.get((name, version))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if any("proc-macro" in target["kind"] for target in package["targets"]):
        found["scope"] = "excluded"
    return found


def reference(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def hashes() -> dict[tuple[str, str], str]:
    with (program.ROOT / "Cargo.lock").open("rb") as file:
        packages = tomllib.load(file)["package"]
    return {(one["name"], one["version"]): one["checksum"] for one in packages if "checksum" in one}


def libc() -> dict | None:
    """The C library that is linked into it, with glibc."""
    if not program.host().endswith("-gnu"):
        return None
    first = program.output(["getconf", "GNU_LIBC_VERSION"]).split()
    if len(first) != 2:
        raise Refused("the version of glibc is not known: `getconf GNU_LIBC_VERSION` does not say it")
    reference = f"pkg:generic/glibc@{first[1]}"
    return {
        "type": "library",
        "bom-ref": reference,
        "purl": reference,
        "name": "glibc",
        "version": first[1],
        "licenses": [{"expression": "LGPL-2.1-or-later"}],
    }


if __name__ == "__main__":
    main()
