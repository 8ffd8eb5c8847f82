"""Codes in the place of names: the same name has the same code for as long as its key is kept, and no code tells it.

A code is a keyed hash (HMAC, RFC 2104): who does not have the key cannot try names against it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import csv_lines, read_regular, unguard_formula, write_text

#: 40 bits: two of a thousand names share a code once in two million keys.
_SIGNS = 8
_KEY = re.compile(r"[0-9a-f]{64}")
#: The key of the codes in the folder that keeps them, and what each stands for.
KEY, TABLE = "codes.key", "codes.csv"


class Codes:
    """Codes of one key, and the names that they were given for.

    >>> codes = Codes(bytes(32))
    >>> codes.code("patient", "Doe, Jane")
    'patient-GJB2BBF7'
    >>> codes.code("patient", "Doe, Jane") == codes.code("patient", "Doe, Jane") != codes.code("cell", "Doe, Jane")
    True
    >>> list(codes.names())
    [('patient-GJB2BBF7', 'Doe, Jane'), ('cell-HWJT6JKJ', 'Doe, Jane')]
    """

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes."""
        self._key = key
        self._names: dict[str, str] = {}

    def code(self, kind: str, name: str) -> str:
        """Return the code of ``name``, "" for no name; a name is another one where it is of another ``kind``."""
        if not name:
            return ""
        digest = hmac.new(self._key, f"{kind}\0{name}".encode(), hashlib.sha256).digest()
        code = f"{kind}-{base64.b32encode(digest).decode()[:_SIGNS]}"
        self._names[code] = name
        return code

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield each code that was asked for, with its name, in their order."""
        yield from self._names.items()


def open_codes(path: Path) -> Codes:
    """Return the codes of the key in the file ``path``, which is made, readable by its owner alone, if absent.

    Raises :class:`UserError` for a file that holds no key, and :class:`EnvironmentFault` where it cannot be made.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secrets.token_hex(32) + "\n", encoding="ascii", newline="\n")
        text = path.read_bytes()
    except OSError as fault:
        raise EnvironmentFault(
            f"cannot keep the key {path}: {fault.strerror or fault}", "Name another place."
        ) from fault
    if not _KEY.fullmatch(text.decode("ascii", errors="replace").strip()):
        raise UserError(
            f"{path} holds no key of codes",
            "Bring the file back from a copy; without it the same names get other codes.",
        )
    return Codes(bytes.fromhex(text.decode("ascii").strip()))


def open_kept(folder: Path) -> Codes:
    """Return the codes of the key in ``folder``, which is made if absent, with every name that its table holds.

    Raises as :func:`open_codes` does, and :class:`UserError` where the table is there without the key.
    """
    if not (folder / KEY).exists() and (folder / TABLE).is_file():
        raise UserError(
            f"{folder / KEY} is gone, and {folder / TABLE} has codes of it",
            "Bring the key back from a copy, or name a new folder for codes.",
        )
    codes = open_codes(folder / KEY)
    for code, name in read_names(folder / TABLE).items():
        codes.code(code.rpartition("-")[0], name)
    return codes


@contextmanager
def kept_codes(folder: Path) -> Iterator[Codes]:
    """Give the codes of :func:`open_kept`; what they stand for is written into ``folder`` once the work is done."""
    codes = open_kept(folder)
    yield codes
    write_names(folder / TABLE, codes)


def write_names(path: Path, codes: Codes) -> None:
    """Write a table of what each code of ``codes`` stands for to the file ``path``, for its owner alone."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    write_text(path, csv_lines(("code", "name"), codes.names()))
    path.chmod(0o600)


def read_names(path: Path) -> dict[str, str]:
    """Return what each code stands for by the table at ``path``; nothing where there is none.

    Raises :class:`UserError` for a file that is no such table: it would be written over.
    """
    if not path.is_file():
        return {}
    rows = list(csv.reader(read_regular(path).decode("utf-8-sig", errors="replace").splitlines()))
    if rows[:1] != [["code", "name"]]:
        raise UserError(f"{path} is no table of codes and names", "Bring it back from a copy, or move it away.")
    return {row[0]: unguard_formula(row[1]) for row in rows[1:] if len(row) == 2}
