"""What a cut may be otherwise, as a review keeps it: offered for as long as the pieces stand that it replaces."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bandbridge.files import content_hash
from bandbridge.metaphase.pieces import Piece

#: What the cut may be otherwise, of each cell that it was read of, as keep_others writes it.
OTHER_TABLES = """
CREATE TABLE alternatives (cell INTEGER PRIMARY KEY REFERENCES cells, told TEXT NOT NULL);
"""


@dataclass(frozen=True, eq=False)
class Other:
    """Other pieces in the place of some of the cut: the chromosomes that it replaces, by name of image as handed in and
    by number as stored, the pieces it gives, and whether that was nearly even.
    """

    replaces: tuple[str, ...] | tuple[int, ...]
    gives: tuple[Piece, ...]
    even: bool


def encode_mask(mask: np.ndarray) -> bytes:
    """Return bool ``mask`` [H, W] as a PNG file of 1 bit."""
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def decode_mask(data: bytes) -> np.ndarray:
    """Return bool [H, W] of what :func:`encode_mask` wrote."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.array(image, bool)


def keep_others(database: sqlite3.Connection, cell: int, others: Sequence[Other]) -> dict[str, Any]:
    """Keep what the cut of a cell, whose chromosomes are kept, may be otherwise; return what the log is to tell."""
    if not others:
        return {}
    held = {
        row["file"]: row["id"] for row in database.execute("SELECT id, file FROM chromosomes WHERE cell = ?", (cell,))
    }
    told = json.dumps(
        [
            {
                "replaces": [held[str(file)] for file in one.replaces],
                "gives": [[each.top, each.left, encode_mask(each.mask).hex()] for each in one.gives],
                "even": one.even,
            }
            for one in others
        ]
    )
    database.execute("INSERT INTO alternatives (cell, told) VALUES (?, ?)", (cell, told))
    return {"alternatives": {str(cell): content_hash([told])}}


def has_others(database: sqlite3.Connection, cell: int) -> bool:
    """Whether it is kept what the cut of a cell may be otherwise."""
    return database.execute("SELECT 1 FROM alternatives WHERE cell = ?", (cell,)).fetchone() is not None


def others_of(database: sqlite3.Connection, cell: int, standing: Mapping[int, Piece]) -> dict[int, Other]:
    """Return what the cut of a cell may be otherwise, by place: where all that is replaced is ``standing``."""
    row = database.execute("SELECT told FROM alternatives WHERE cell = ?", (cell,)).fetchone()
    found = {}
    for place, one in enumerate(json.loads(row["told"]) if row else []):
        if set(one["replaces"]) <= set(standing):
            masks = [(top, left, decode_mask(bytes.fromhex(mask))) for top, left, mask in one["gives"]]
            given = tuple(Piece(top, left, mask, area=int(mask.sum())) for top, left, mask in masks)
            found[place] = Other(tuple(one["replaces"]), given, one["even"])
    return found


def others_difference(database: sqlite3.Connection, told: Mapping[int, str]) -> str:
    """Return in words that what is kept is not as the log ``told``, by cell; "" where it is."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alternatives'").fetchone():
        return ""  # of a version before
    kept = {row["cell"]: content_hash([row["told"]]) for row in database.execute("SELECT * FROM alternatives")}
    return "" if kept == told else "what a cut may be otherwise is not as its log says"
