"""A patient's cells signed by those who read them: who may, what a signature holds for, and whether it still does."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from bandbridge.errors import UserError
from bandbridge.files import content_hash
from bandbridge.review.log import Entry, Reader, Role, add_entry, entries

SIGN = "sign"


@dataclass(frozen=True)
class Signature:
    """One signature: who, as which reader, when (UTC), its entry of the log, whether all stands as it was signed."""

    reader: str
    role: Role
    at: str
    entry: int
    hash: str
    stands: bool


def standing(database: sqlite3.Connection, patient: str) -> str:
    """Return a digest of the cells of ``patient``, of their chromosomes and of where and how each stands."""
    told = []
    query = "SELECT id, name, accepted, counted FROM cells WHERE patient = ? AND removed = 0 ORDER BY id"
    for cell in database.execute(query, (patient,)).fetchall():
        columns = "file, image, placed, angle, flipped"
        held = database.execute(
            f"SELECT {columns} FROM chromosomes WHERE cell = ? AND gone = 0 ORDER BY id", (cell["id"],)
        )
        told.append([*cell, [list(one) for one in held.fetchall()]])
    return content_hash(told)


def signatures(database: sqlite3.Connection, patient: str) -> list[Signature]:
    """Return every signature of ``patient``, in order."""
    found = [one for one in entries(database, SIGN) if one.content["patient"] == patient]
    if not found:
        return []
    today = standing(database, patient)
    return [
        Signature(one.reader.name, one.reader.role, one.at, one.id, one.hash, one.content["standing"] == today)
        for one in found
    ]


def sign(database: sqlite3.Connection, patient: str, by: Reader) -> Entry:
    """Sign the cells of ``patient`` as they stand; the caller's transaction keeps it.

    Raises :class:`UserError` where nobody, or no patient, is named, a cell is neither accepted nor counted only, and
    where a second reader signs before a first one has, or is that one.
    """
    _require_closed(database, patient, by)
    before = [one for one in signatures(database, patient) if one.stands]
    same = [one for one in before if _same(one.reader, by.name)]
    firsts = [one for one in before if one.role == "first"]
    if any(one.role == by.role for one in same):
        raise UserError(f"{by.name} has signed {patient} as it stands", "There is nothing left to sign.")
    if by.role == "second" and not firsts:
        raise UserError(
            f"no first reader has signed {patient} as it stands", "The first reader signs, then the second."
        )
    if same:
        raise UserError(
            f"{by.name} has signed {patient} as the {same[0].role} reader", "The other signature is another person's."
        )
    return add_entry(database, by, SIGN, {"patient": patient, "standing": standing(database, patient)})


def _require_closed(database: sqlite3.Connection, patient: str, by: Reader) -> None:
    if not by.name:
        raise UserError("it is not known who signs", "Say who you are: the name at the top of the page.")
    query = "SELECT name, accepted, counted FROM cells WHERE patient = ? AND removed = 0 ORDER BY id"
    cells = database.execute(query, (patient,)).fetchall() if patient else []
    if not cells:
        raise UserError(
            f"there is no cell of patient {patient}" if patient else "the cell has no patient",
            "Write the patient's name under About this cell.",
        )
    still_open = [str(one["name"]) for one in cells if not one["accepted"] and not one["counted"]]
    if still_open:
        named = ", ".join(still_open[:5]) + (f" and {len(still_open) - 5} more" if len(still_open) > 5 else "")
        raise UserError(
            f"of patient {patient} not accepted and not counted only: {named}",
            "Accept these cells, or count them only.",
        )


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
