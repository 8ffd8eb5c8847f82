"""Writing files so that a crash leaves either the old file or the new one, and hashing values canonically."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandbridge.disk import cannot_write, flush, flush_folder, put_in_place, reachable, rename
from bandbridge.errors import EnvironmentFault, UserError, visible
from bandbridge.filenames import file_stem, folded, free_name
from bandbridge.leftovers import beside, clear_once

if TYPE_CHECKING:
    import pandas as pd

#: How a text begins that a spreadsheet computes, in full width too
#: (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]\s*\S")
#: What a text file of ours, or of a user's, may have: many times the largest that is written.
MAX_TEXT_BYTES = 2**27


def is_present(path: Path) -> bool:
    """Say whether there is a file or folder ``path``; :class:`EnvironmentFault` if that cannot be told."""
    try:
        return path.exists()
    except PermissionError as fault:
        raise EnvironmentFault(f"cannot look at {path}: {fault.strerror}", "Check the permissions.") from fault
    except OSError:  # no name that a file could have
        return False


def default_mode() -> int:
    """Return the permissions of a new file, as the process's umask leaves them."""
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def read_regular(path: Path, limit: int = MAX_TEXT_BYTES, too_large: str = "Is it the right file?") -> bytes:
    """Return the content of the file ``path``, of no more than ``limit`` bytes.

    Raises :class:`UserError` for no regular file (a folder, a pipe, a device) and, with ``too_large``, a larger one,
    :class:`EnvironmentFault` for one that cannot be read, FileNotFoundError and NotADirectoryError where there is none.
    """
    try:
        # A pipe without a writer would be waited for.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(reachable(path), flags)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{path} is no file, but a folder, a pipe or a device", "Name a file.")
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except IsADirectoryError:
        raise UserError(f"{path} is no file, but a folder", "Name a file.") from None
    except OSError as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from fault
    except ValueError as fault:  # a name with NUL in it
        raise UserError(f"{str(path)!r} is no name of a file", "Correct it.") from fault
    if len(data) > limit:
        raise UserError(f"{path} is larger than {limit} bytes", too_large)
    return data


def parse_json(text: str | bytes) -> Any:
    """Return the value of JSON ``text``; ValueError for what is none, or is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def load_json(path: Path, limit: int = MAX_TEXT_BYTES) -> Any:
    """Return the value of the JSON file ``path``.

    Raises ValueError for what is none, else as :func:`read_regular` does.
    """
    return parse_json(read_regular(path, limit))


def require_folder(folder: Path, writable: bool = True) -> None:
    """Look whether files can be put into ``folder``, which need not be there yet; nothing is made.

    Raises :class:`UserError` where a file is in its place or that of a folder above it, and where ``writable``
    :class:`EnvironmentFault` where it cannot be written.
    """
    remedy = "Choose another folder, or move that file away."
    for place in (folder, *folder.absolute().parents):
        if not is_present(place) and not place.is_symlink():
            continue
        if not place.is_dir():
            what = "the file" if place == folder else f"the file {place}"
            raise UserError(f"cannot write into {folder}: {what} is in the place of a folder", remedy)
        if writable and not os.access(place, os.W_OK | os.X_OK):
            raise EnvironmentFault(
                f"cannot write into {folder}: {place} is closed to you", "Choose another folder, or open that one."
            )
        return


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed to disk and renamed over ``path``.

    The file is on the disk before the rename, and the folder after it, so that a power cut leaves the old file or the
    new one. On any exception the temporary file is removed and ``path`` is untouched. A full disk raises
    :class:`EnvironmentFault` with the file's name. What killed processes left in the folder is removed. Where Windows
    does not let go of ``path``, as a spreadsheet has it open, the new file stays beside it under a name of its own.
    """
    temporary = beside(path)
    try:
        make_folder(path.parent)
        clear_once(path.parent)
        yield temporary
        flush(temporary)
        put_in_place(temporary, path)
        flush_folder(path.parent)
    except OSError as fault:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, fault) from fault
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
            rename(path, aside)
        rename(temporary, path)
        flush_folder(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as fault:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists() and not path.exists():
            rename(aside, path)
        if isinstance(fault, OSError):
            raise cannot_write(path, fault) from fault
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


def file_stems(names: Iterable[str], default: str) -> Iterator[str]:
    """Yield for each of ``names`` what :func:`bandbridge.filenames.file_stem` makes of it.

    Those that would come out alike are numbered, so that no file is written over another, also where the file system
    does not tell case apart.
    """
    taken: set[str] = set()
    for name in names:
        unique = free_name(file_stem(name, default), lambda stem: folded(stem) in taken)
        taken.add(folded(unique))
        yield unique


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def csv_text(table: pd.DataFrame) -> str:
    """Return ``table`` without its index as CSV that is safe to open in a spreadsheet: see :func:`guard_formula`.

    Signs that a terminal would obey are written out (:func:`bandbridge.errors.visible`).
    """
    import pandas as pd

    guarded = {
        place: column if column.dtype.kind in "biufc" else column.map(_guard_shown)
        for place, (_, column) in enumerate(table.items())
    }
    header = [_guard_shown(name) for name in table.columns]
    return pd.DataFrame(guarded, index=table.index).to_csv(index=False, header=header, lineterminator="\n")


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a header and ``rows`` of texts as CSV that is safe to open in a spreadsheet."""
    lines = []
    for row in (columns, *rows):
        stream = io.StringIO()
        # With this end of a line, a carriage return in a text is quoted too: unquoted, nothing could read it.
        csv.writer(stream, lineterminator="\r\n").writerow([guard_formula(cell) for cell in row])
        lines.append(stream.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def _guard_shown(cell: Any) -> Any:
    return guard_formula(visible(cell) if isinstance(cell, str) else cell)


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


def read_json(path: Path, remedy: str | None = None) -> dict[str, Any]:
    """Return the JSON object in ``path``, or {} when there is none.

    Raises :class:`UserError` when it is damaged, with ``remedy``, or its folder is none, and :class:`EnvironmentFault`
    when it cannot be read.
    """
    damaged = f"Delete {path.parent}: that run is then made again." if remedy is None else remedy
    try:
        value = load_json(path)
    except FileNotFoundError:
        return {}
    except NotADirectoryError as fault:
        raise UserError(
            f"{path.parent} is not a folder", "Name the folder of a run or of an exported model."
        ) from fault
    except OSError as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from fault
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{path} is damaged ({fault})", damaged) from fault
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (not an object)", damaged)
    return value


def markdown_text(text: str) -> str:
    """Return ``text`` on one line, with the characters escaped that Markdown would take for its own."""
    text = re.sub(r"([\\`*|<\[])", r"\\\1", visible(text).replace("\n", " "))
    # Inside a word an underscore is only itself; at its edge it would start emphasis.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one value, one string. NaN and infinity are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
