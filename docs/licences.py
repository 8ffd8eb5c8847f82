"""The licences of everything that Bandbridge may bring: the table of SECURITY.md, from the metadata of the packages.

    python docs/licences.py             prints the table
    python docs/licences.py --write     puts it into SECURITY.md

A row for each package of constraints.txt. What a package says of its licence is taken as it says it: the expression of
its metadata, else its classifiers, else its field. A package that is not installed here keeps the row that it has; the
folder named by ``--also`` may hold further metadata (``pip install --no-deps --target``).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "SECURITY.md"
NOT_STATED = "not stated"
_BEGIN, _END = "<!-- licences: python docs/licences.py --write -->", "<!-- end of licences -->"
_LONGEST = 60
#: What the conditions of a requirement see on each.
_SYSTEMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
)


@dataclass(frozen=True)
class Row:
    """A package, its licence in its own words, and what brings it: core, or an extra."""

    package: str
    licence: str
    by: str

    def __str__(self) -> str:
        return f"| {self.package} | {self.licence} | {self.by} |"


def packages() -> list[str]:
    """Return the names of constraints.txt, normalised, in order."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return sorted(normal(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#"))


def normal(name: str) -> str:
    """Return a package's name as registries compare it.

    >>> normal("Jinja2"), normal("typing_extensions")
    ('jinja2', 'typing-extensions')
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def stated(name: str, also: Iterable[str] = ()) -> str | None:
    """Return what package ``name`` says of its licence; None where it is not installed."""
    found = importlib.metadata.Distribution.discover(name=name, path=[*also, *sys.path])
    metadata = next((one.metadata for one in found if one.metadata), None)
    if metadata is None:
        return None
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or ()
        if text.startswith("License :: ") and text != "License :: OSI Approved"
    ]
    field = " ".join((metadata.get("License") or "").split())
    plain = field if len(field) <= _LONGEST and field.upper() != "UNKNOWN" else ""
    words = metadata.get("License-Expression") or "; ".join(dict.fromkeys(classifiers)) or plain or NOT_STATED
    return words.replace("|", "/")


def installed_version(name: str) -> str | None:
    """Return the version of package ``name`` here; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def brought_by(name: str, also: Iterable[str] = ()) -> str:
    """Return "core" where a plain installation brings package ``name``, else the extras that do, else ""."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"core": project["dependencies"], **project["optional-dependencies"]}
    by = [extra for extra, needs in wanted.items() if name in closure(needs, also)]
    return "core" if "core" in by else ", ".join(sorted(by))


def closure(needs: Iterable[str], also: Iterable[str] = ()) -> set[str]:
    """Return the packages that the requirements ``needs`` bring on any system, of those whose metadata is at hand."""
    waiting: list[tuple[str, str]] = []

    def add(text: str, extra: str) -> None:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra, **system}) for system in _SYSTEMS):
            waiting.extend((normal(requirement.name), each) for each in ("", *requirement.extras))

    for text in needs:
        add(text, "")
    found: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        every = importlib.metadata.Distribution.discover(name=name, path=[*also, *sys.path])
        # The project's own extras have columns of their own.
        for text in next((one.requires or () for one in every if name != "bandbridge"), ()):
            add(text, extra)
    return {name for name, _ in found}


def kept_rows() -> dict[str, Row]:
    """Return the rows of SECURITY.md by package."""
    text = PAGE.read_text(encoding="utf-8")
    inside = text[text.index(_BEGIN) : text.index(_END)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in inside.splitlines() if line[:2] == "| "]
    return {cell[0]: Row(*cell) for cell in cells if len(cell) == 3 and cell[0] != "package"}


def rows(also: Iterable[str] = ()) -> list[Row]:
    """Return a row for each package of constraints.txt."""
    kept, found = kept_rows(), []
    for name in packages():
        licence = stated(name, also)
        if licence is None:
            row = kept.get(name, Row(name, "?", "?"))
            found.append(replace(row, by=brought_by(name, also) or row.by))
        else:
            found.append(Row(name, licence, brought_by(name, also)))
    return found


def main() -> int:
    """Print or write the table; exit code 1 where a package is not known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--also", action="append", default=[], metavar="FOLDER")
    arguments = parser.parse_args()
    found = rows(arguments.also)
    table = "\n".join(["| package | licence | brought by |", "|---|---|---|", *map(str, found)])
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text[: text.index(_BEGIN)], text[text.index(_END) :]
        PAGE.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{after}", encoding="utf-8")
    else:
        print(table)
    return int(any(row.licence == "?" for row in found))


if __name__ == "__main__":
    sys.exit(main())
