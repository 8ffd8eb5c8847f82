"""The log of a review: what was done, when and by whom, every entry with the hash of the one before it.

It is only ever added to. An entry that was altered, taken out or put in between is noticed when the work folder is
opened, and so is a cell that does not stand as the log says. What the log alone cannot tell is that its last entries
are gone, or that all of it was written anew: for that the hash of its last entry stands on every page that was signed.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from bandbridge.files import content_hash
from bandbridge.review.field import fields_difference

Role = Literal["first", "second"]
LOG_TABLE = """
CREATE TABLE log (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, reader TEXT NOT NULL, role TEXT NOT NULL, cell INTEGER,
    chromosome INTEGER, kind TEXT NOT NULL, content TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER log_is_not_changed BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is only added to'); END;
CREATE TRIGGER log_is_not_shortened BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is only added to'); END;
"""
#: What is compared with the log: of which table, by which column of it.
_CELL = ("accepted", "counted", "patient", "stain", "removed", "arm", "turn")
_CHROMOSOME = ("placed", "image", "angle", "flipped", "gone")


@dataclass(frozen=True)
class Reader:
    """Who acts: a name, "" where it is not known, and whether as the first or the second to read a patient's cells."""

    name: str = ""
    role: Role = "first"


NOBODY = Reader()


@dataclass(frozen=True)
class Entry:
    """One entry: its number from 1, the time (UTC), who acted, on which cell and chromosome, what, and its hash."""

    id: int
    at: str
    reader: Reader
    cell: int | None
    chromosome: int | None
    kind: str
    content: Mapping[str, Any]
    hash: str


def now() -> str:
    """The time as the log has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def add_entry(
    database: sqlite3.Connection,
    by: Reader,
    kind: str,
    content: Mapping[str, Any],
    cell: int | None = None,
    chromosome: int | None = None,
    at: str = "",
) -> Entry:
    """Add an entry and return it; the caller's transaction keeps it together with what it tells."""
    last = database.execute("SELECT id, hash FROM log ORDER BY id DESC LIMIT 1").fetchone()
    number, before = (last["id"] + 1, last["hash"]) if last else (1, "")
    # As it will be read: a float in JSON is the same again, a tuple is a list.
    content = json.loads(json.dumps(content))
    entry = Entry(number, at or now(), by, cell, chromosome, kind, content, "")
    digest = _hash(entry, before)
    database.execute(
        "INSERT INTO log (id, at, reader, role, cell, chromosome, kind, content, hash) VALUES (?,?,?,?,?,?,?,?,?)",
        (number, entry.at, by.name, by.role, cell, chromosome, kind, json.dumps(content), digest),
    )
    return Entry(number, entry.at, by, cell, chromosome, kind, content, digest)


def _hash(entry: Entry, before: str) -> str:
    who = [entry.reader.name, entry.reader.role]
    what = [entry.cell, entry.chromosome, entry.kind, dict(entry.content)]
    return content_hash([before, entry.id, entry.at, *who, *what])


def entries(database: sqlite3.Connection, kind: str | None = None) -> Iterator[Entry]:
    """Yield every entry in order, or those of one ``kind``."""
    for row in database.execute("SELECT * FROM log WHERE kind = coalesce(?, kind) ORDER BY id", (kind,)):
        by = Reader(row["reader"], row["role"])
        where = (row["cell"], row["chromosome"])
        yield Entry(row["id"], row["at"], by, *where, row["kind"], json.loads(row["content"]), row["hash"])


def head(database: sqlite3.Connection) -> str:
    """Return the hash of the last entry, "" before the first."""
    row = database.execute("SELECT hash FROM log ORDER BY id DESC LIMIT 1").fetchone()
    return str(row["hash"]) if row else ""


def find_fault(database: sqlite3.Connection) -> str:
    """Return in words what is wrong first with the log, or with what does not stand as it says; "" for nothing."""
    before, number = "", 0
    told = []
    try:
        for number, entry in enumerate(entries(database), start=1):
            if entry.id != number:
                return f"entry {number} of its log is gone"
            if _hash(entry, before) != entry.hash:
                return f"entry {number} of its log was altered, or one before it was put in or taken out"
            before = entry.hash
            told.append(entry)
    except (ValueError, TypeError):  # what is no JSON, or not what is ever written
        return f"entry {number + 1} of its log was altered"
    return _find_difference(database, told) or fields_difference(database, [entry.content for entry in told])


def _find_difference(database: sqlite3.Connection, log: Iterable[Entry]) -> str:
    cells, chromosomes = _as_told(log)
    for row in database.execute(f"SELECT id, name, {', '.join(_CELL)} FROM cells"):
        if any(row[name] != value for name, value in cells[row["id"]].items()):
            return f"cell {row['name']} does not stand as its log says"
    for row in database.execute("SELECT * FROM chromosomes"):
        told = chromosomes[row["id"]]
        if any(row[name] != value for name, value in told.items()):
            return f"{row['file']} does not stand as its log says"
    return ""


def _as_told(log: Iterable[Entry]) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, Any]]]:
    """Follow the log: what each cell and each chromosome came to, as far as it tells."""
    cells: dict[int, dict[str, Any]] = defaultdict(dict)
    chromosomes: dict[int, dict[str, Any]] = defaultdict(dict)
    for entry in log:
        for column in _CHROMOSOME:
            for number, value in entry.content.get(column, {}).items():
                chromosomes[int(number)][column] = value
        known = {name: value for name, value in entry.content.get("set", {}).items() if name in (*_CELL, *_CHROMOSOME)}
        if entry.chromosome is not None:
            chromosomes[entry.chromosome].update(known)
        elif entry.cell is not None:
            cells[entry.cell].update(known)
    return cells, chromosomes


def begin_log(database: sqlite3.Connection) -> None:
    """Give a database of before the log its own: the changes made, by nobody known, and how its cells stand."""
    for row in database.execute("SELECT * FROM events ORDER BY id").fetchall():
        content = {
            "before": json.loads(row["before"]),
            "after": json.loads(row["after"]),
            "undone": bool(row["undone"]),
        }
        add_entry(database, NOBODY, row["kind"], content, row["cell"], row["chromosome"], row["at"])
    for row in database.execute("SELECT * FROM cells ORDER BY id").fetchall():
        held = database.execute("SELECT id, placed, image FROM chromosomes WHERE cell = ?", (row["id"],)).fetchall()
        content = {column: {str(one["id"]): one[column] for one in held} for column in ("placed", "image")}
        content["set"] = {name: row[name] for name in _CELL}
        add_entry(database, NOBODY, "earlier", {"name": row["name"], **content}, row["id"])
