"""Whether every version of constraints.txt has a wheel for the systems that laboratories work with, and is named there.

    python docs/wheels.py                     the plain installation: Windows, macOS on both processors, Linux
    python docs/wheels.py --extra train       and an extra; can be given again
    python docs/wheels.py --python 3.12 --system windows

It asks pip for each package and follows what it needs *there*: pip itself, asked for another system, still judges
``sys_platform`` and the like by the one that it runs on, and so misses what Windows alone needs. Nothing is installed;
of an index without metadata files pip fetches whole wheels to read them. Ends with 1 where something is missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class System:
    """A system, by pip's name of its wheels, and by what markers say there."""

    name: str
    platforms: tuple[str, ...]
    markers: Mapping[str, str]


SYSTEMS = {
    "windows": System(
        "Windows",
        ("win_amd64",),
        {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
    ),
    "macos-arm": System(
        "macOS 14, Apple",
        ("macosx_14_0_arm64",),
        {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    ),
    "macos-intel": System(
        "macOS 14, Intel",
        ("macosx_14_0_x86_64",),
        {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "x86_64"},
    ),
    "linux": System(
        "Linux",
        (*(f"manylinux_2_{number}_x86_64" for number in range(28, 4, -1)), "manylinux2014_x86_64", "linux_x86_64"),
        {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    ),
}


@dataclass
class Found:
    """What an installation takes there: versions by name, and what is in its way, a sentence each."""

    versions: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def pins(path: Path = ROOT / "constraints.txt") -> dict[str, str]:
    """Return the version of each package that the file names."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    named = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): version for name, version in named}


def wanted(extras: Sequence[str], path: Path = ROOT / "pyproject.toml") -> list[Requirement]:
    """Return what the package itself asks for, with ``extras``; KeyError for one that it does not have."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    asked = [Requirement(text) for text in project["dependencies"]]
    open_, seen = list(extras), set()
    while open_:
        extra = open_.pop()
        if extra not in seen:
            seen.add(extra)
            for one in map(Requirement, project["optional-dependencies"][extra]):
                if one.name == project["name"]:
                    open_ += one.extras
                else:
                    asked.append(one)
    return asked


def follow(asked: Iterable[Requirement], system: System, python: str, versions: Mapping[str, str]) -> Found:
    """Look for a wheel of all that ``asked`` takes on ``system``, at the ``versions`` that are pinned."""
    found = Found()
    open_ = [(one, "bandbridge") for one in asked]
    extras_of: dict[str, set[str]] = {}
    while open_:
        ready: dict[str, None] = {}
        for one, whose in open_:
            name = canonicalize_name(one.name)
            if not _applies(one, system, python, {""}):
                continue
            known = extras_of.get(name)
            if known is not None and one.extras <= known:
                continue
            extras_of[name] = (known or set()) | one.extras
            if name not in versions:
                found.problems.append(f"{name} is not in constraints.txt; {whose} needs it")
                found.versions.setdefault(name, "")
            elif not one.specifier.contains(versions[name], prereleases=True):
                found.problems.append(f"{whose} wants {one}, and {versions[name]} is pinned")
            if name in versions:
                ready[name] = None
        metadata = _ask([f"{name}=={versions[name]}" for name in ready], system, python)
        open_ = []
        for name in ready:
            found.versions[name] = versions[name]
            if name not in metadata:
                found.problems.append(f"{name} {versions[name]} has no wheel")
                continue
            for text in metadata[name]:
                one = Requirement(text)
                if _applies(one, system, python, {"", *extras_of[name]}):
                    # What is left of its condition is judged: it holds here.
                    one.marker = None
                    open_.append((one, name))
    return found


def _applies(one: Requirement, system: System, python: str, extras: Iterable[str]) -> bool:
    if one.marker is None:
        return True
    here = {
        **system.markers,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_version": "",
    }
    return any(one.marker.evaluate({**here, "extra": extra}) for extra in extras)


def _ask(packages: Sequence[str], system: System, python: str) -> dict[str, list[str]]:
    """Return what each of ``packages`` that has a wheel there needs, by its name."""
    if not packages:
        return {}
    abi = f"cp{python.replace('.', '')}"
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += [
            "--ignore-installed",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
            place,
            "--report",
            str(report),
        ]
        command += [
            "--python-version",
            python,
            "--implementation",
            "cp",
            "--abi",
            abi,
            "--abi",
            "abi3",
            "--abi",
            "none",
        ]
        for platform in system.platforms:
            command += ["--platform", platform]
        done = subprocess.run([*command, *packages], capture_output=True, text=True)
        if done.returncode == 0:
            items = json.loads(report.read_text(encoding="utf-8"))["install"]
            metadata = (item["metadata"] for item in items)
            return {canonicalize_name(each["name"]): each.get("requires_dist", []) for each in metadata}
    if len(packages) > 1:  # pip names the first that is missing alone
        half = len(packages) // 2
        return _ask(packages[:half], system, python) | _ask(packages[half:], system, python)
    if "No matching distribution" not in done.stderr:
        raise SystemExit(f"pip failed for {packages[0]}:\n{done.stderr}")
    return {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each system and Python, then what is missing; return 1 where something is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml to look at, too")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="all by default")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="all by default")
    asked = parser.parse_args(arguments)
    versions, needed = pins(), wanted(asked.extra)
    print("| system | Python | packages | missing | only there |\n| --- | --- | --- | --- | --- |")
    missing = False
    for python in asked.python or PYTHONS:
        here = follow(needed, SYSTEMS["linux"], python, versions)
        for key in asked.system or SYSTEMS:
            system = SYSTEMS[key]
            found = here if key == "linux" else follow(needed, system, python, versions)
            own = ", ".join(sorted(found.versions.keys() - here.versions.keys()))
            cells = (system.name, python, str(len(found.versions)), "; ".join(found.problems) or "-", own or "-")
            print(f"| {' | '.join(cells)} |", flush=True)
            missing |= bool(found.problems)
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
