"""What a cut may be otherwise, in words and in files.

A record tells of each alternative its cell, the numbers of the pieces that it replaces, how many it gives, what it
says, whether it was nearly even, where it is decided, and its masks: DEST/fields/CELL/alternatives/01.png, of 8 bits,
in which bit k - 1 is where piece k is that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bandbridge.files import load_json
from bandbridge.metaphase.by_hand import piece_of
from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.pieces import Piece
from bandbridge.metaphase.record import ALTERNATIVES, CUT

_COUNTS = {2: "two", 3: "three", 4: "four"}


def whole_text(names: Sequence[str], gives: int, what: str = "") -> str:
    """Say that the pieces called ``names`` may be others, ``gives`` of them. what: what each is called, if anything."""
    called = f"{what}s " if what and len(names) > 1 else f"{what} " if what else ""
    if len(names) == 1:
        return f"{called}{names[0]} {own_text([], gives)}"
    all_of = f"{called}{', '.join(names[:-1])} and {names[-1]}"
    return f"{all_of} may be one chromosome" if gives == 1 else f"{all_of} may be parted another way"


def own_text(others: Sequence[str], gives: int) -> str:
    """Say what a piece may be otherwise, together with ``others``."""
    if not others:
        return f"may be {_COUNTS.get(gives, gives)}" if gives > 1 else "may have another shape"
    named = f"{', '.join(others[:-1])} and {others[-1]}" if len(others) > 1 else others[0]
    return f"may be one with {named}" if gives == 1 else f"may be parted another way from {named}"


def told(cut: Cut, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the record of ``cut`` tells of its alternatives. names: of its cells.

    One that replaces pieces of no cell, or of two, is left out.
    """
    rows: list[dict[str, Any]] = []
    for one, cell, numbers in _in_cells(cut):
        top, left = _corner(one.gives)
        rows.append(
            {
                "cell": names[cell],
                "pieces": numbers,
                "gives": len(one.gives),
                "says": whole_text(list(map(str, numbers)), len(one.gives), "piece"),
                "even": one.even,
                "by": one.by,
                "margin": None if np.isnan(one.margin) else round(one.margin, 3),
                "x": round(one.at[1], 1),
                "y": round(one.at[0], 1),
                "left": left,
                "top": top,
                "masks": f"{ALTERNATIVES}/{len(rows) + 1:02d}.png",
            }
        )
    return rows


def _in_cells(cut: Cut) -> list[tuple[Any, int, list[int]]]:
    where = {place: (cell, number) for cell, all_of in enumerate(cut.cells) for number, place in enumerate(all_of, 1)}
    found = []
    for one in cut.otherwise:
        homes = [where.get(place, (-1, 0)) for place in one.replaces]
        if homes[0][0] >= 0 and len({cell for cell, _ in homes}) == 1:
            found.append((one, homes[0][0], [number for _, number in homes]))
    return found


def write_masks(cut: Cut, folder: Path) -> None:
    """Write the masks of the alternatives that :func:`told` tells, into the ``folder`` of the field."""
    for number, (one, *_) in enumerate(_in_cells(cut), start=1):
        (folder / ALTERNATIVES).mkdir(exist_ok=True)
        Image.fromarray(as_bits(one.gives)).save(folder / ALTERNATIVES / f"{number:02d}.png")


def _corner(pieces: Sequence[Piece]) -> tuple[int, int]:
    return min(one.top for one in pieces), min(one.left for one in pieces)


def as_bits(pieces: Sequence[Piece]) -> np.ndarray:
    """Return uint8 [h, w], from their upper left corner on: bit k - 1 is where piece k is, of 8 at most."""
    top, left = _corner(pieces)
    bottom, right = (max(one.box[axis].stop for one in pieces) for axis in (0, 1))
    found = np.zeros((bottom - top, right - left), np.uint8)
    for bit, one in enumerate(pieces):
        part = found[one.top - top :, one.left - left :][: one.mask.shape[0], : one.mask.shape[1]]
        part[one.mask] |= np.uint8(1 << bit)
    return found


def from_bits(bits: np.ndarray, top: int, left: int) -> list[Piece]:
    """Return the pieces of which :func:`as_bits` made ``bits``, whose corner is at (top, left)."""
    found = [piece_of(where) for bit in range(8) if (where := (bits >> bit & 1).astype(bool)).any()]
    return [replace(one, top=one.top + top, left=one.left + left) for one in found]


def alternatives_in(place: Path, cell: str) -> list[Mapping[str, Any]]:
    """Return what the record of the field in the folder ``place`` tells of the alternatives of ``cell``.

    Nothing in a record of before there were any.
    """
    told_of = load_json(place / CUT)["found"].get("alternatives", [])
    return [one for one in told_of if one["cell"] == cell]
