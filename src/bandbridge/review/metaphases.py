"""Reviewed metaphases as training data of the separator: each field, and where a person left its chromosomes.

Laid out as drawn ones are (:mod:`bandbridge.synthetic.spread_files`), and read by
``python -m bandbridge.export.separator``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bandbridge.files import csv_lines, replacing, write_text
from bandbridge.metaphase.maps import maps_of
from bandbridge.metaphase.pieces import Piece
from bandbridge.review.database import Store
from bandbridge.review.metaphase import read_gray
from bandbridge.review.picture import encode_png
from bandbridge.review.schema import StoredSheet

METAPHASES = "metaphases"


class Written(NamedTuple):
    """How many metaphases were written, and how many were left out because another cell on them is open."""

    metaphases: int = 0
    left_out: int = 0


def write_metaphases(store: Store, sheets: Sequence[StoredSheet], folder: Path) -> Written:
    """Write the metaphases of ``sheets``, accepted cells, below ``folder``; nothing where none has one.

    Each is the part of the field that shows its cells, under the number of the first, so that no name goes with it. A
    field with a cell that is not accepted is left out: its chromosomes would be learnt as ground.
    """
    accepted = {one.record.id: one for one in sheets}
    cells_on: Mapping[str, list[int]] = defaultdict(list)
    for cell, picture in store.fields().items():
        cells_on[picture].append(cell)
    rows: list[tuple[str, str, str]] = []
    whole = [cells for cells in cells_on.values() if set(cells) <= set(accepted)]
    for cells in whole:
        rows += _write(store, [accepted[cell] for cell in cells], folder / METAPHASES)
    if rows:
        write_text(folder / METAPHASES / "truth" / "labels.csv", csv_lines(("field", "number", "label"), rows))
    return Written(len(whole), sum(bool(set(cells) & set(accepted)) for cells in cells_on.values()) - len(whole))


def _write(store: Store, sheets: Sequence[StoredSheet], home: Path) -> list[tuple[str, str, str]]:
    fields = [field for one in sheets if (field := store.field(one.record.id)) is not None]
    boxes = np.array([field.box for field in fields])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    pieces: list[Piece] = []
    labels = []
    for one, field in zip(sheets, fields, strict=True):
        placed = dict(zip(one.ids, (each.placed for each in one.sheet.chromosomes), strict=True))
        for number, piece in field.pieces.items():
            pieces.append(piece)
            labels.append(placed[number])
    gray = read_gray(store, fields[0].picture)
    name = f"{sheets[0].record.id:05d}"
    part = np.s_[top:bottom, left:right]
    first, second = (each[part] for each in maps_of(pieces, (gray.shape[0], gray.shape[1])))
    truth = home / "truth"
    for place, image in (
        (home / "fields" / f"{name}.png", gray[part]),
        (truth / f"{name}_mask.png", first),
        (truth / f"{name}_overlap.png", second),
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            temporary.write_bytes(encode_png(np.ascontiguousarray(image)))
    return [(f"{name}.png", str(number), label) for number, label in enumerate(labels, start=1)]
