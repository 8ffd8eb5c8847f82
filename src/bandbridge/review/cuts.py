"""What a person does to a cut: a line through a piece, pieces joined or erased, one that was missed taken.

What the page asks is looked through here; the masks are changed, the crops of new pieces are made as ``bandbridge cut``
makes them, and the whole cell is classified again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.errors import UserError
from bandbridge.metaphase.by_hand import crossed, divide, join, take_at, take_inside
from bandbridge.metaphase.crops import crop_of
from bandbridge.metaphase.pieces import Piece
from bandbridge.review.database import Store
from bandbridge.review.field import StoredField
from bandbridge.review.intake import MAX_SIDE
from bandbridge.review.metaphase import read_gray, read_standing
from bandbridge.review.pieces import Made, Reshaping
from bandbridge.review.schema import StoredSheet
from bandbridge.review.worker import Worker

#: Points of a line or an outline at most, and pieces that a line may come to.
MOST_POINTS, _MOST_PARTS = 400, 8


def plan(store: Store, worker: Worker, stored: StoredSheet, tool: str, values: dict[str, Any]) -> Reshaping:
    """Return the change that ``tool`` with ``values`` makes to a cell, classified again; nothing is kept yet.

    values: ``line`` and maybe ``chromosome`` for "cut", ``chromosomes`` for "join", ``chromosome`` for "erase",
    ``outline`` or ``at`` for "take", ``other``, its place in what was handed in, for "other"; points are (x, y) in
    pixels of the field.
    Raises :class:`UserError`, or the answer to a request that makes no sense.
    """
    field = store.field(stored.record.id)
    if field is None:
        raise HTTPException(409, "this cell was not cut from a metaphase: its pieces cannot be changed")
    gone, new, told = _TOOLS[tool](store, field, values)
    left = len(stored.ids) - len(gone) + len(new)
    if not 1 <= left <= MOST_IN_CELL:
        raise UserError(f"the cell would have {left} pieces", f"A cell has 1 to {MOST_IN_CELL}.")
    made = _made(store, field, stored.record.id, new)
    kept = [
        (one.file, one.image, image)
        for one, number, image in zip(stored.sheet.chromosomes, stored.ids, stored.images, strict=True)
        if number not in gone
    ]
    kept += [(one.file, store.read_image(one.image), one.image) for one in made]
    sheet = worker.judge(
        stored.record.name, [(file, image) for file, image, _ in kept], {file: name for file, _, name in kept}
    )
    return Reshaping(tool, tuple(gone), tuple(made), sheet, worker.model, told)


_Change = tuple[list[int], list[Piece], dict[str, Any]]


def _cut(_: Store, field: StoredField, values: dict[str, Any]) -> _Change:
    line = _points(values.get("line"), field, least=2)
    meant = values.get("chromosome")
    hit = {number: crossed(piece, line) for number, piece in field.pieces.items()}
    if not any(hit.values()):
        raise UserError("the line crosses no chromosome", "Draw it across the one to be cut.")
    # The chosen one, where the line crosses it; else the one that most of the line lies on.
    number = meant if isinstance(meant, int) and hit.get(meant) else max(hit, key=lambda one: hit[one])
    parts = divide(field.pieces[number], line, field.width)
    if len(parts) > _MOST_PARTS:
        raise UserError(f"the line cuts it into {len(parts)} pieces", "Draw one that crosses it once.")
    return [number], parts, {"line": line.tolist()}


def _join(_: Store, field: StoredField, values: dict[str, Any]) -> _Change:
    numbers = values.get("chromosomes")
    if not isinstance(numbers, list) or len(numbers) > MOST_IN_CELL:
        raise HTTPException(400, "chromosomes is a list of those to be joined")
    known = list(dict.fromkeys(_known(field, number) for number in numbers))
    if len(known) < 2:
        raise UserError("one piece alone cannot be joined", "Choose two or more.")
    return known, [join([field.pieces[number] for number in known])], {}


def _erase(_: Store, field: StoredField, values: dict[str, Any]) -> _Change:
    return [_known(field, values.get("chromosome"))], [], {}


def _take(store: Store, field: StoredField, values: dict[str, Any]) -> _Change:
    standing = read_standing(store, field.picture)
    owned = _covered(field)
    if values.get("outline") is not None:
        outline = _points(values["outline"], field, least=3)
        return [], [take_inside(standing, owned, outline, field.width)], {"outline": outline.tolist()}
    (at,) = _points([values.get("at")], field, least=1)
    return [], [take_at(standing, owned, at, field.width)], {"at": at.tolist()}


def _other(_: Store, field: StoredField, values: dict[str, Any]) -> _Change:
    """Take the other way of a decision of the cut, whose pieces still stand."""
    place = values.get("other")
    if not isinstance(place, int) or isinstance(place, bool) or place not in field.others:
        raise HTTPException(404, "there is no such other way of this cut any more")
    one = field.others[place]
    return [int(number) for number in one.replaces], list(one.gives), {"other": place}


_TOOLS: dict[str, Callable[[Store, StoredField, dict[str, Any]], _Change]] = {
    "cut": _cut,
    "join": _join,
    "erase": _erase,
    "take": _take,
    "other": _other,
}


def _points(given: Any, field: StoredField, least: int) -> np.ndarray:
    """Return points of the part of the field that is shown, float [N, 2], or raise the answer what is wrong."""
    if not isinstance(given, list) or not least <= len(given) <= MOST_POINTS:
        raise HTTPException(400, f"a line is a list of {least} to {MOST_POINTS} points")
    left, top, right, bottom = field.box
    found = []
    for point in given:
        if not isinstance(point, list) or len(point) != 2 or not all(_is_number(value) for value in point):
            raise HTTPException(400, "a point is two numbers, x and y")
        x, y = float(point[0]), float(point[1])
        if not (left <= x <= right and top <= y <= bottom):
            raise HTTPException(400, "a point lies outside the metaphase")
        found.append((x, y))
    return np.array(found)


def _is_number(value: Any) -> bool:
    # A whole number of any length is valid JSON, and none that long is a place.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**31


def _known(field: StoredField, number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number not in field.pieces:
        raise HTTPException(404, "there is no such chromosome in this cell")
    return number


def _covered(field: StoredField) -> np.ndarray:
    """Where the chromosomes of the cell lie, bool [H, W]."""
    covered = np.zeros(field.found.shape, bool)
    for piece in field.pieces.values():
        covered[piece.box] |= piece.mask
    return covered


def _made(store: Store, field: StoredField, cell: int, pieces: Sequence[Piece]) -> list[Made]:
    """Return ``pieces`` with their crops, which are kept, and names that no image of the cell ever had."""
    if not pieces:
        return []
    gray, others = read_gray(store, field.picture), field.found | _covered(field)
    for piece in pieces:
        others[piece.box] |= piece.mask
    found = []
    for number, piece in enumerate(pieces, start=_next_number(store.files_of(cell))):
        crop = crop_of(gray, field.width, piece, others)
        if max(crop.shape) > MAX_SIDE:
            raise UserError(
                f"{crop.shape[1]} x {crop.shape[0]} pixels are more than one chromosome", "Choose pieces of one."
            )
        found.append(Made(f"{number:02d}.png", store.put_image(crop), piece))
    return found


def _next_number(files: Iterable[str]) -> int:
    return 1 + max((int(stem) for file in files if (stem := file.removesuffix(".png")).isdecimal()), default=0)
