"""Temporary files and folders that say which process made them, and the removal of those that a killed one left."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from bandbridge.disk import is_too_long
from bandbridge.processes import Owner, has_ended, this_process

#: What :func:`beside` makes: whose it is, and whether it was put aside.
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<life>(?:[0-9a-f]{8})?)\.\d+(?P<old>\.old)?\.tmp",
    re.DOTALL,
)
_LEFT_AFTER_S = 24 * 3600
#: Bytes of a file's name that leave room for the name of its process; most systems allow 255.
_LONGEST_NAME = 180

_numbers = itertools.count(1)
_cleared: set[Path] = set()


def beside(path: Path, kind: str = "") -> Path:
    """Return a name beside ``path`` that says which process made it, and that no other process, or thread, has."""
    name, ending = path.name, f"{this_process()}.{next(_numbers)}{kind}.tmp"
    made = path.with_name(f".{name}.{ending}")
    if len(os.fsencode(name)) > _LONGEST_NAME or is_too_long(made):
        made = path.with_name(f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.{ending}")
    return made


def clear_once(folder: Path) -> None:
    """:func:`clear_leftovers`, the first time that this process comes to ``folder``."""
    if folder not in _cleared:
        _cleared.add(folder)
        clear_leftovers(folder)


def clear_leftovers(folder: Path, *, claimed: bool = False) -> None:
    """Remove what processes that have ended left half written in ``folder``, and put back what they had put aside.

    What a process of another machine left counts as left after a day without a change. claimed: no other process may
    write here, so that what earlier builds left, which do not say where their process ran, goes too.
    """
    try:
        found = [entry for entry in folder.iterdir() if entry.name.startswith(".") and entry.name.endswith(".tmp")]
    except OSError:  # no such folder, or none that may be read
        return
    for entry in found:
        named = _TEMPORARY.fullmatch(entry.name)
        if claimed if named is None else _is_left(entry, named):
            with suppress(OSError):
                _clear(entry, named)


def _clear(entry: Path, named: re.Match[str] | None) -> None:
    if named is not None and named["old"] and not entry.with_name(named["name"]).exists():
        entry.rename(entry.with_name(named["name"]))
    elif entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _is_left(entry: Path, named: re.Match[str]) -> bool:
    ended = has_ended(Owner(named["machine"], int(named["pid"]), named["life"]))
    if ended is not None:
        return ended
    try:
        return time.time() - entry.stat().st_mtime > _LEFT_AFTER_S
    except OSError:
        return False
