"""Which pieces of a metaphase are a cell's chromosomes: every change of it as one step that goes back and forth.

A piece is never altered and never deleted: what is cut, joined or erased is gone, what comes of it is new, and taking
the step back turns both around. With a change the whole cell is classified again; how all of it stood before and
after is kept with the step, so that undoing restores it to the last digit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bandbridge.karyogram.sheet import CellSheet, Chromosome
from bandbridge.metaphase.pieces import Piece
from bandbridge.review.field import keep_masks
from bandbridge.review.schema import CHROMOSOMES, SAVE, TOOLS, read_chromosome, sheet_columns, write_findings

_OF_CHROMOSOME = (
    *("predicted", "suggested", "placed", "corrected", "probabilities", "labels", "reasons"),
    *("angle", "flipped", "certainty", "margin", "gone"),
)
_OF_CELL = ("model", "classes", "findings")
#: What the log tells of every chromosome of a cell whose pieces were changed.
_TOLD = ("placed", "image", "gone", "angle", "flipped")


@dataclass(frozen=True, eq=False)
class Made:
    """A new piece: the name and the stored picture's hash of its image, and where it lies."""

    file: str
    image: str
    piece: Piece


@dataclass(frozen=True, eq=False)
class Reshaping:
    """A change of a cell's pieces.

    tool: one of :data:`~bandbridge.review.schema.TOOLS`. gone: numbers of the chromosomes that it ends. made: the new
    ones. sheet: the cell that comes of it, classified by ``model``. told: what was done, for the log.
    """

    tool: str
    gone: tuple[int, ...]
    made: tuple[Made, ...]
    sheet: CellSheet
    model: str
    told: Mapping[str, Any]


def reshape(database: sqlite3.Connection, cell: int, change: Reshaping, blind: bool) -> dict[str, Any]:
    """Make ``change``; the caller's transaction keeps it.

    Where a person had placed a chromosome that stays, it stays there, and one that was turned stays turned. blind: of a
    reader study's cell without proposals, where nothing is placed by the model. Returns ``before`` and ``after``, as
    :func:`restore` takes them, and ``told``, for the log. Raises ValueError when the sheet is not of its images.
    """
    assert change.tool in TOOLS
    new = {}
    for one in change.made:
        values = (cell, one.file, one.image)
        row = database.execute("INSERT INTO chromosomes (cell, file, image, gone) VALUES (?, ?, ?, 1)", values)
        assert row.lastrowid is not None
        new[row.lastrowid] = one.piece
    masks = keep_masks(database, new)
    before = _snapshot(database, cell) | {"chosen": next(iter(change.gone), None)}
    for numbers, gone in ((change.gone, 1), (new, 0)):
        database.executemany("UPDATE chromosomes SET gone = ? WHERE id = ?", [(gone, number) for number in numbers])
    _save(database, cell, change, blind)
    after = _snapshot(database, cell) | {"chosen": next(iter(new), None)}
    told = {**change.told, "from": list(change.gone), "to": list(new), "mask": masks, **told_of(database, cell)}
    return {"before": before, "after": after, "told": told}


def _save(database: sqlite3.Connection, cell: int, change: Reshaping, blind: bool) -> None:
    held = {row["file"]: row for row in database.execute(CHROMOSOMES, (cell,)).fetchall()}
    if sorted(held) != sorted(one.file for one in change.sheet.chromosomes):
        raise ValueError(f"the sheet of cell {cell} is not of its images")
    query = "SELECT DISTINCT chromosome FROM events WHERE cell = ? AND kind = 'turn' AND undone = 0"
    turned = {row["chromosome"] for row in database.execute(query, (cell,)).fetchall()}
    saved, placed = [], []
    for one in change.sheet.chromosomes:
        row = held[one.file]
        saved.append((*sheet_columns(_kept(one, row, row["id"] in turned)), row["id"]))
        # What the model suggests is told apart from where a person has placed it.
        placed.append((one.placed, row["placed"] if row["corrected"] else "" if blind else one.placed, row["id"]))
    database.executemany(SAVE, saved)
    database.executemany("UPDATE chromosomes SET suggested = ?, placed = ? WHERE id = ?", placed)
    values = (change.model, json.dumps(change.sheet.classes), write_findings(change.sheet), cell)
    database.execute("UPDATE cells SET model = ?, classes = ?, findings = ? WHERE id = ?", values)


def _kept(one: Chromosome, row: sqlite3.Row, turned: bool) -> Chromosome:
    """``one`` as it is judged anew, with what a person had made of it."""
    if turned:
        one = replace(one, pose=read_chromosome(row, one.image).pose)
    return replace(one, corrected=bool(row["corrected"]))


def _snapshot(database: sqlite3.Connection, cell: int) -> dict[str, Any]:
    query = f"SELECT id, {', '.join(_OF_CHROMOSOME)} FROM chromosomes WHERE cell = ? ORDER BY id"
    rows = database.execute(query, (cell,)).fetchall()
    (of_cell,) = database.execute(f"SELECT {', '.join(_OF_CELL)} FROM cells WHERE id = ?", (cell,)).fetchall()
    return {"chromosomes": [list(row) for row in rows], "cell": list(of_cell)}


def restore(database: sqlite3.Connection, cell: int, stood: Mapping[str, Any]) -> dict[str, Any]:
    """Let a cell stand again as ``stood`` says; return what the log is to tell of it."""
    of_chromosome = ", ".join(f"{name} = ?" for name in _OF_CHROMOSOME)
    rows = [(*values, number) for number, *values in stood["chromosomes"]]
    database.executemany(f"UPDATE chromosomes SET {of_chromosome} WHERE id = ?", rows)
    of_cell = ", ".join(f"{name} = ?" for name in _OF_CELL)
    database.execute(f"UPDATE cells SET {of_cell} WHERE id = ?", (*stood["cell"], cell))
    return told_of(database, cell)


def told_of(database: sqlite3.Connection, cell: int) -> dict[str, dict[str, Any]]:
    """Return what the log tells of each chromosome of a cell, those that are gone too."""
    rows = database.execute("SELECT * FROM chromosomes WHERE cell = ? ORDER BY id", (cell,)).fetchall()
    return {column: {str(row["id"]): row[column] for row in rows} for column in _TOLD}


def files_of(database: sqlite3.Connection, cell: int) -> Sequence[str]:
    """Return the name of every image that a cell ever had."""
    rows = database.execute("SELECT file FROM chromosomes WHERE cell = ? ORDER BY id", (cell,)).fetchall()
    return [str(row["file"]) for row in rows]
