"""Writing files so that a crash leaves either the old file or the new one, and hashing values canonically."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.leftovers import beside, clear_once

if TYPE_CHECKING:
    import pandas as pd

#: How a text begins that a spreadsheet computes, in full width too
#: (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]\s*\S")
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How a system says that it does not flush folders, or opens none.
_NO_SUCH_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR, errno.ENOSYS}


def is_present(path: Path) -> bool:
    """Say whether there is a file or folder ``path``; :class:`EnvironmentFault` if that cannot be told."""
    try:
        return path.exists()
    except PermissionError as fault:
        raise EnvironmentFault(f"cannot look at {path}: {fault.strerror}", "Check the permissions.") from fault
    except OSError:  # no name that a file could have
        return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed to disk and renamed over ``path``.

    The file is on the disk before the rename, and the folder after it, so that a power cut leaves the old file or the
    new one. On any exception the temporary file is removed and ``path`` is untouched. A full disk raises
    :class:`EnvironmentFault` with the file's name. What killed processes left in the folder is removed.
    """
    temporary = beside(path)
    try:
        make_folder(path.parent)
        clear_once(path.parent)
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as fault:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise EnvironmentFault(f"cannot write {path}: {fault.strerror or fault}", _remedy(fault)) from fault
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that takes its place on success: see :func:`replacing`.

    flushed: its files are on the disk before that. A folder that was there is gone only after the new one is in its
    place; a process killed between the two leaves it aside, and it is put back when the place is next used.
    """
    temporary, aside = beside(path), beside(path, ".old")
    try:
        make_folder(path.parent)
        clear_once(path.parent)
        temporary.mkdir()
        yield temporary
        if flushed:
            for place, _, files in os.walk(temporary, topdown=False):
                for name in files:
                    flush(Path(place) / name)
                flush_folder(Path(place))
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
        flush_folder(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as fault:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists() and not path.exists():
            aside.rename(path)
        if isinstance(fault, OSError):
            raise EnvironmentFault(f"cannot write {path}: {fault.strerror or fault}", _remedy(fault)) from fault
        raise


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that is removed in the end, by a later process if this one is killed."""
    temporary = beside(path)
    make_folder(path.parent)
    clear_once(path.parent)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it that are missing, each flushed to disk. Raises OSError."""
    missing = list(itertools.takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        flush_folder(made.parent)


def flush(path: Path) -> None:
    """Have the content of ``path`` on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Have what was made and renamed in ``folder`` on the disk, where the system can be asked for that."""
    try:
        flush(folder)
    except OSError as fault:
        if fault.errno not in _NO_SUCH_FLUSH:
            raise


def _remedy(fault: OSError) -> str:
    if fault.errno in _OUT_OF_SPACE:
        return (
            "The disk is full, or a limit on the size of files is reached. Make room and run the same command again: "
            "finished work is kept."
        )
    if isinstance(fault, FileExistsError | NotADirectoryError):
        return "A file is in the place of a folder: choose another folder, or move that file away."
    return "Check the folder and its permissions, then run the same command again."


def file_stems(names: Iterable[str], default: str) -> Iterator[str]:
    """Yield for each of ``names`` one that is safe in a file's name, ``default`` where nothing is left of it.

    Names that would come out alike are numbered, so that no file is written over another, also where the file system
    does not tell case apart.
    """
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or default
        unique, number = stem, 1
        while unique.casefold() in taken:
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique.casefold())
        yield unique


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def csv_text(table: pd.DataFrame) -> str:
    """Return ``table`` without its index as CSV that is safe to open in a spreadsheet: see :func:`guard_formula`."""
    import pandas as pd

    guarded = {
        place: column if column.dtype.kind in "biufc" else column.map(guard_formula)
        for place, (_, column) in enumerate(table.items())
    }
    header = [guard_formula(name) for name in table.columns]
    return pd.DataFrame(guarded, index=table.index).to_csv(index=False, header=header, lineterminator="\n")


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a header and ``rows`` of texts as CSV that is safe to open in a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([guard_formula(cell) for cell in row] for row in (columns, *rows))
    return stream.getvalue()


def guard_formula(cell: Any) -> Any:
    """Return ``cell`` of a table with an apostrophe before it, where it is a text that a spreadsheet would compute.

    A number is none, with a sign or without. :func:`unguard_formula` gives every text back as it was.

    >>> [guard_formula(text) for text in ("=1+1", "-1.5", "cell 7", "'=1+1")]
    ["'=1+1", '-1.5', 'cell 7', "''=1+1"]
    """
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell.lstrip("'")) else cell


def unguard_formula(cell: str) -> str:
    """Return the text that :func:`guard_formula` made ``cell`` of.

    >>> unguard_formula(guard_formula("@SUM(A1)"))
    '@SUM(A1)'
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def _is_formula(text: str) -> bool:
    if not _FORMULA.match(text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``, or {} when there is none.

    Raises :class:`UserError` when it is damaged or its folder is none, :class:`EnvironmentFault` when it cannot be
    read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as fault:
        remedy = "Name the folder of a run or of an exported model."
        raise UserError(f"{path.parent} is not a folder", remedy) from fault
    except OSError as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from fault
    except ValueError as fault:
        raise UserError(
            f"{path} is damaged ({fault})", f"Delete {path.parent}: that run is then made again."
        ) from fault
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (not an object)", f"Delete {path.parent}: that run is then made again.")
    return value


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one value, one string. NaN and infinity are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
