#!/usr/bin/env python3
"""Prints the licence texts of every Rust library that is linked into the program.

    packaging/libraries.py [--target TRIPLE]

Exits with 1 if one has none.
"""

import argparse
import json
import os
import subprocess
import sys

NAMES = ("LICEN", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")


def linked(triple):
    """The packages that the program consists of: neither what only builds it nor what only tests it."""
    said = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple],
                          check=True, stdout=subprocess.PIPE).stdout
    metadata = json.loads(said)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    macros = {key for key, package in packages.items()
              if any("proc-macro" in target["kind"] for target in package["targets"])}
    seen, todo = set(), [metadata["resolve"]["root"]]
    while todo:
        node = todo.pop()
        if node in seen or node in macros:
            continue
        seen.add(node)
        todo.extend(dep["pkg"] for dep in nodes[node]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
    seen.remove(metadata["resolve"]["root"])
    return sorted((packages[key] for key in seen), key=lambda package: (package["name"], package["version"]))


def texts(package):
    folder = os.path.dirname(package["manifest_path"])
    names = sorted(name for name in os.listdir(folder) if name.upper().startswith(NAMES))
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                yield file.read().strip()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    host = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    default = next(line.split()[1] for line in host.splitlines() if line.startswith("host: "))
    arguments.add_argument("--target", default=default)
    places, bare = {}, []
    for package in linked(arguments.parse_args().target):
        about = f"{package['name']} {package['version']} ({package['license']})"
        found = list(texts(package))
        if not found and not package["license"]:
            bare.append(about)
        for text in found or ["(the package has no text of its own)"]:
            places.setdefault(text, []).append(about)
    if bare:
        sys.exit("no licence: " + ", ".join(bare))
    for text, of in sorted(places.items(), key=lambda item: item[1]):
        print("=" * 78, *of, "", text, "", sep="\n")


if __name__ == "__main__":
    main()
