"""How much an installation takes on the disk, by package.

    python benchmarks/installed.py [PYTHON]

PYTHON: the interpreter of another environment; by default the one that this runs on. What pip wrote down as a package's
files counts, and what Python compiled of them; pip, setuptools and wheel, which every environment has, do not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

_NOT_OURS = {"pip", "setuptools", "wheel"}
_COUNT = """
import importlib.metadata, json, os
found = {}
for package in importlib.metadata.distributions():
    files = {os.path.realpath(package.locate_file(file)) for file in package.files or ()}
    sizes = [os.stat(file).st_blocks * 512 if hasattr(os.stat(file), "st_blocks") else os.path.getsize(file)
             for file in files if os.path.isfile(file)]
    found[package.metadata["Name"]] = [package.version, sum(sizes)]
print(json.dumps(found))
"""


def installed_bytes(python: str = sys.executable) -> dict[str, tuple[str, int]]:
    """Return (version, bytes on the disk) of every package in the environment of ``python``, the largest first."""
    done = subprocess.run([python, "-c", _COUNT], capture_output=True, text=True, check=True)
    found = {name: (version, size) for name, (version, size) in json.loads(done.stdout).items()}
    kept = {name: facts for name, facts in found.items() if name.lower() not in _NOT_OURS}
    return dict(sorted(kept.items(), key=lambda one: (-one[1][1], one[0])))


def table(found: dict[str, tuple[str, int]], least: int = 2_000_000) -> str:
    """Return ``found`` as Markdown; packages below ``least`` bytes in one line."""
    rows = [(f"{name} {version}", size) for name, (version, size) in found.items() if size >= least]
    small = [size for _, size in found.values() if size < least]
    rows += [(f"{len(small)} smaller ones", sum(small)), ("**together**", sum(size for _, size in found.values()))]
    return "\n".join(["| package | MB |", "|---|---:|", *(f"| {name} | {size / 1e6:.1f} |" for name, size in rows)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", nargs="?", default=sys.executable)
    print(table(installed_bytes(parser.parse_args().python)))
