"""The review's database: its tables, and what a row of each is as a value."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bandbridge.errors import UserError
from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding, Pose
from bandbridge.review.field import FIELD_TABLES, IncomingField
from bandbridge.review.log import LOG_TABLE
from bandbridge.review.others import OTHER_TABLES

State = Literal["waiting", "ready", "failed"]


def statements(script: str) -> list[str]:
    """Return the statements of ``script``, each of which ends its last line."""
    return [one for one in script.strip().split(";\n") if one.strip()]


#: What each kind of change sets, in which table.
CHANGES = {
    "place": ("chromosomes", ("placed", "corrected")),
    "turn": ("chromosomes", ("angle", "flipped", "certainty")),
    "accept": ("cells", ("accepted",)),
    "count": ("cells", ("counted",)),
}
#: The kinds that change which pieces of its metaphase are a cell's chromosomes: see bandbridge.review.pieces.
TOOLS = ("cut", "join", "erase", "take", "other")
VERSION = 5
SCHEMA = f"""
CREATE TABLE cells (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL, patient TEXT NOT NULL,
    stain TEXT NOT NULL, notes TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', problem TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '', classes TEXT NOT NULL DEFAULT '[]', findings TEXT NOT NULL DEFAULT '[]',
    accepted INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, counted INTEGER NOT NULL DEFAULT 0,
    arm TEXT NOT NULL DEFAULT '', turn INTEGER NOT NULL DEFAULT 0);
CREATE TABLE chromosomes (
    id INTEGER PRIMARY KEY, cell INTEGER NOT NULL REFERENCES cells, file TEXT NOT NULL, image TEXT NOT NULL,
    predicted TEXT NOT NULL DEFAULT '', suggested TEXT NOT NULL DEFAULT '', placed TEXT NOT NULL DEFAULT '',
    corrected INTEGER NOT NULL DEFAULT 0, probabilities TEXT NOT NULL DEFAULT '[]', labels TEXT NOT NULL DEFAULT '[]',
    reasons TEXT NOT NULL DEFAULT '[]', angle REAL NOT NULL DEFAULT 0, flipped INTEGER NOT NULL DEFAULT 0,
    certainty REAL NOT NULL DEFAULT 0.5, margin REAL, gone INTEGER NOT NULL DEFAULT 0, UNIQUE (cell, file));
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cell INTEGER NOT NULL REFERENCES cells, chromosome INTEGER,
    kind TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, at TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX events_of_cell ON events (cell, undone, id);
{FIELD_TABLES.strip()}
{OTHER_TABLES.strip()}
{LOG_TABLE.strip()}
"""
#: What makes a database of an older version one of the next; one of before the log gets its log in the end.
UPGRADES = {
    1: ("ALTER TABLE cells ADD COLUMN version INTEGER NOT NULL DEFAULT 0",),
    2: (
        "ALTER TABLE cells ADD COLUMN counted INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cells ADD COLUMN arm TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE cells ADD COLUMN turn INTEGER NOT NULL DEFAULT 0",
        *statements(LOG_TABLE),
    ),
    3: ("ALTER TABLE chromosomes ADD COLUMN gone INTEGER NOT NULL DEFAULT 0", *statements(FIELD_TABLES)),
    4: tuple(statements(OTHER_TABLES)),
}
WITH_LOG = 3


class StaleError(UserError):
    """A change rests on a state of its cell that another change has replaced."""

    def __init__(self) -> None:
        super().__init__(
            "nothing was saved: this cell was changed in another window since this page showed it",
            "It is shown as it is now: look again, then repeat what still holds",
        )


@dataclass(frozen=True)
class Incoming:
    """A cell to be reviewed: its images as (file, hash of the stored picture). notes: what a reviewer should know.

    field: the metaphase that it was cut from, if it was.
    """

    name: str
    images: tuple[tuple[str, str], ...]
    patient: str = ""
    stain: str = ""
    notes: tuple[str, ...] = ()
    field: IncomingField | None = None


@dataclass(frozen=True)
class CellRecord:
    """A cell as listed. problem: why it could not be classified. model: what classified it. flagged: still to check.

    version: grows with every change that a person makes. counted: whether its chromosomes are counted and no more.
    arm: in a reader study, whether it is shown "with" the model's proposals or "without"; "" elsewhere.
    """

    id: int
    name: str
    patient: str
    stain: str
    notes: tuple[str, ...]
    state: State
    problem: str
    model: str
    accepted: bool
    images: int
    flagged: int
    version: int
    counted: bool = False
    arm: str = ""


@dataclass(frozen=True, eq=False)
class StoredSheet:
    """A cell's sheet as corrected so far. ``ids``, ``images`` (hashes) and ``suggested`` go with its chromosomes."""

    record: CellRecord
    sheet: CellSheet
    ids: tuple[int, ...]
    images: tuple[str, ...]
    suggested: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """One change: of what kind, to which chromosome (None: the cell), from what to what, when (UTC)."""

    id: int
    chromosome: int | None
    kind: str
    before: dict[str, Any]
    after: dict[str, Any]
    at: str
    undone: bool


CELLS = """
SELECT cells.*, count(chromosomes.id) AS images, sum(reasons != '[]' AND NOT corrected) AS flagged
FROM cells LEFT JOIN chromosomes ON chromosomes.cell = cells.id AND gone = 0 WHERE {condition} GROUP BY cells.id
ORDER BY cells.turn, cells.id
"""
CHROMOSOMES = "SELECT * FROM chromosomes WHERE cell = ? AND gone = 0 ORDER BY id"
SAVE = """
UPDATE chromosomes SET predicted = ?, suggested = ?, placed = ?, corrected = ?, probabilities = ?, labels = ?,
    reasons = ?, angle = ?, flipped = ?, certainty = ?, margin = ? WHERE id = ?
"""
REDO = """
SELECT * FROM events WHERE cell = ? AND undone = 1
    AND id > (SELECT coalesce(max(id), 0) FROM events WHERE cell = ? AND undone = 0) ORDER BY id LIMIT 1
"""


def which(table: str, cell: int, chromosome: int | None) -> tuple[str, tuple[int | None, ...]]:
    """Return the condition, and its values, that finds a cell or a chromosome in it."""
    return ("id = ?", (cell,)) if table == "cells" else ("cell = ? AND id = ?", (cell, chromosome))


def read_record(row: sqlite3.Row) -> CellRecord:
    """Return a row of ``CELLS``."""
    names = ("id", "name", "patient", "stain", "state", "problem", "model", "images", "version", "arm")
    plain = {name: row[name] for name in names}
    return CellRecord(
        **plain,
        notes=tuple(json.loads(row["notes"])),
        accepted=bool(row["accepted"]),
        flagged=row["flagged"] or 0,
        counted=bool(row["counted"]),
    )


def read_event(row: sqlite3.Row) -> Event:
    """Return a row of the table events."""
    before, after = json.loads(row["before"]), json.loads(row["after"])
    return Event(row["id"], row["chromosome"], row["kind"], before, after, row["at"], bool(row["undone"]))


def write_findings(sheet: CellSheet) -> str:
    """Return the findings of ``sheet``, or the sentence in their place, as the column of the table cells."""
    if sheet.unknown:
        return json.dumps(sheet.unknown)
    return json.dumps([[one.label, one.copies, one.expected, one.log_odds] for one in sheet.findings])


def read_findings(column: str) -> tuple[tuple[CountFinding, ...], str]:
    """Return the findings, and the sentence in their place, that :func:`write_findings` wrote."""
    found = json.loads(column)
    return ((), found) if isinstance(found, str) else (tuple(CountFinding(*fields) for fields in found), "")


def sheet_columns(one: Chromosome) -> tuple[object, ...]:
    """Return the values of ``SAVE`` but the last, which is the id."""
    texts = [json.dumps(list(value)) for value in (one.probabilities.tolist(), one.labels, one.reasons)]
    pose = (one.pose.angle, one.pose.flipped, one.pose.certainty)
    return (one.predicted, one.placed, one.placed, one.corrected, *texts, *pose, one.margin)


def read_chromosome(row: sqlite3.Row, image: np.ndarray) -> Chromosome:
    """Return a row of the table chromosomes, with its picture."""
    return Chromosome(
        row["file"],
        image,
        row["predicted"],
        row["placed"],
        np.array(json.loads(row["probabilities"]), dtype=np.float64),
        tuple(json.loads(row["labels"])),
        tuple(json.loads(row["reasons"])),
        Pose(row["angle"], bool(row["flipped"]), row["certainty"]),
        bool(row["corrected"]),
        # SQLite keeps what is not a number as nothing.
        float("nan") if row["margin"] is None else row["margin"],
    )
