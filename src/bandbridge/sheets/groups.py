"""Which pieces of a sheet belong together, and where: by frames, by the numbers under them, or by the gaps between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from bandbridge.dataset.ideogram import chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.ink import Ink
from bandbridge.sheets.numbers import Number, read_at
from bandbridge.sheets.pieces import Piece

#: How near its side what is drawn in a frame stands, as a share of it.
_RIM = 0.12
#: What it costs that a group has no, one, two, three, four pieces: autosomes, X, Y.
_COPIES = (3.0, 1.2, 0.0, 1.6, 4.0)
_X_COPIES = (3.0, 0.2, 0.0, 1.6, 4.0)
_Y_COPIES = (0.2, 0.0, 2.0, 4.0, 6.0)
#: What is so many times as high as numbers at most, level with so many of them, is one of them.
_AS_LOW, _LINE = 1.4, 2


@dataclass(frozen=True, eq=False)
class Group:
    """Pieces under one label. label: "" where not known yet. number: what is printed there. row: on the sheet, from 0.

    x: where it stands, across. frame: (top, left, bottom, right) of the one around it.
    """

    label: str
    row: int
    x: float
    pieces: tuple[Piece, ...] = ()
    number: Number | None = None
    frame: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class Grouped:
    """All groups in reading order, and the pieces that belong to none. by: "frames", "numbers" or "gaps"."""

    groups: tuple[Group, ...]
    aside: tuple[Piece, ...]
    by: str
    facts: dict[str, float] = field(default_factory=dict)


def copies_cost(label: str, count: int) -> float:
    """What it costs, in units of a doubt, that ``count`` pieces stand under ``label``."""
    table = {"X": _X_COPIES, "Y": _Y_COPIES}.get(label, _COPIES)
    return table[count] if count < len(table) else table[-1] + 2.0 * (count - len(table) + 1)


def in_rows(boxes: Sequence[tuple[int, int, int, int]], share: float = 0.5) -> list[list[int]]:
    """Return the places of ``boxes`` row by row, each from left to right.

    What overlaps in the middle ``share`` of its height stands in one row.
    """
    if not boxes:
        return []
    rows: list[list[int]] = []
    spans: list[list[float]] = []
    trim = (1 - share) / 2
    for place in sorted(range(len(boxes)), key=lambda each: boxes[each][0] + boxes[each][2]):
        top, _, bottom, _ = boxes[place]
        low, high = top + trim * (bottom - top), bottom - trim * (bottom - top)
        if rows and low < spans[-1][1]:
            rows[-1].append(place)
            spans[-1][1] = max(spans[-1][1], high)
        else:
            rows.append([place])
            spans.append([low, high])
    return [sorted(row, key=lambda each: boxes[each][1]) for row in rows]


def by_frames(
    pieces: Sequence[Piece], frames: Sequence[tuple[int, int, int, int]], numbers: Sequence[Number], ink: Ink
) -> Grouped:
    """Return a group for each frame: what stands in it, and the number that does."""
    numbers = _at_one_place(frames, numbers, ink)
    row_of = {place: row for row, places in enumerate(in_rows(frames)) for place in places}
    inside: list[list[Piece]] = [[] for _ in frames]
    aside = []
    for piece in pieces:
        place = _holder(frames, piece.x, piece.y)
        if place is None:
            aside.append(piece)
        elif not _is_at_rim(piece, frames[place]):
            inside[place].append(piece)
    groups = []
    for place, frame in enumerate(frames):
        own = [one for one in numbers if _holder(frames, one.x, one.y) == place]
        # The number stands at the rim, what else was taken for one is in the middle.
        number = max(own, key=lambda one: one.likeness + _at_rim(one, frame), default=None)
        held = tuple(sorted(inside[place], key=lambda piece: piece.x))
        if held or number or not _is_gap(frames, place, row_of):
            groups.append(Group("", row_of[place], (frame[1] + frame[3]) / 2, held, number, frame))
    return Grouped(tuple(groups), tuple(aside), "frames")


def _is_gap(frames: Sequence[tuple[int, int, int, int]], place: int, row_of: dict[int, int]) -> bool:
    """Whether what is enclosed is only what the frames around it leave: it is not as high as they are."""
    mates = [frame for other, frame in enumerate(frames) if row_of[other] == row_of[place] and other != place]
    if len(mates) < 2:
        return False
    away = max(abs(frames[place][side] - float(np.median([mate[side] for mate in mates]))) for side in (0, 2))
    return away > 3


def _at_one_place(frames: Sequence[tuple[int, int, int, int]], numbers: Sequence[Number], ink: Ink) -> Sequence[Number]:
    """Numbers read again where most of them stand in their frames: faint ones, and joined ones, are found."""
    placed = [(one, frames[place]) for one in numbers if (place := _holder(frames, one.x, one.y)) is not None]
    over = sum(one.y - frame[0] < frame[2] - one.y for one, frame in placed) * 2 > len(placed)
    offsets = [
        (one.y - frame[0 if over else 2], one.box[1] - frame[1], one.box[2] - one.box[0]) for one, frame in placed
    ]
    if len(offsets) < 6:
        return numbers
    down, across, height = np.median(offsets, axis=0)
    close = [abs(one[0] - down) < 0.6 * height and abs(one[1] - across) < height for one in offsets]
    if sum(close) < 0.6 * len(frames) and sum(close) < 6:
        return numbers
    read = []
    for frame in frames:
        middle, left = frame[0 if over else 2] + down, frame[1] + across
        region = (middle - 0.8 * height, left - 0.4 * height, middle + 0.8 * height, left + 1.9 * height)
        if (one := read_at(ink, tuple(round(side) for side in region))) is not None:
            read.append(one)
    return read


def _is_at_rim(piece: Piece, frame: tuple[int, int, int, int]) -> bool:
    """Whether it stands in a corner of its frame, as numbers do, or is a tick at its side."""
    height, width = frame[2] - frame[0], frame[3] - frame[1]
    beside = min(piece.box[1] - frame[1], frame[3] - piece.box[3]) < _RIM * width
    over = min(piece.box[0] - frame[0], frame[2] - piece.box[2]) < _RIM * height
    small = piece.height < 0.25 * height and piece.width < 0.4 * width
    return (beside and over and small) or (beside and piece.height < 0.05 * height + 4)


def _holder(frames: Sequence[tuple[int, int, int, int]], x: float, y: float) -> int | None:
    for place, (top, left, bottom, right) in enumerate(frames):
        if top <= y < bottom and left <= x < right:
            return place
    return None


def _at_rim(number: Number, frame: tuple[int, int, int, int]) -> float:
    away = min(number.box[0] - frame[0], frame[2] - number.box[2])
    return 0.5 if away < 0.15 * (frame[2] - frame[0]) else 0.0


def by_numbers(pieces: Sequence[Piece], named: Sequence[tuple[Number, str]], unit: float) -> Grouped:
    """Return a group for each of the numbers ``named`` with their labels: the pieces that stand above or below it."""
    boxes = [number.box for number, _ in named]
    rows: list[list[tuple[Number | None, str]]] = [[named[place] for place in row] for row in in_rows(boxes, 0.9)]
    _fill_in(rows)
    below = _numbers_are_below(pieces, rows)
    held: list[list[Piece]] = [[] for _ in rows]
    aside: list[Piece] = []
    for piece in pieces:
        reach = [_reach(piece, row, unit, below=below) for row in rows]
        place = int(np.argmin(reach))
        (aside if np.isinf(reach[place]) else held[place]).append(piece)
    groups = []
    for row, (own, standing) in enumerate(zip(rows, held, strict=True)):
        line = min(one.box[0] for one, _ in own if one) if below else None
        standing = [piece if line is None else without_foot(piece, line) for piece in standing]
        shared = _share_out(standing, own, unit)
        for (number, label), part in zip(own, shared, strict=True):
            x = number.x if number else float(np.mean([piece.x for piece in part])) if part else 0.0
            groups.append(Group(label, row, x, tuple(part), number))
    far = {id(piece) for group in groups for piece in group.pieces if _is_far(piece, group, unit)}
    aside += [piece for group in groups for piece in group.pieces if id(piece) in far]
    kept = [replace(one, pieces=tuple(each for each in one.pieces if id(each) not in far)) for one in groups]
    return Grouped(tuple(kept), tuple(aside), "numbers")


def _numbers_are_below(pieces: Sequence[Piece], rows: Sequence[Sequence[tuple[Number | None, str]]]) -> bool:
    """Whether numbers stand under their groups: more stands over the first row of numbers than under the last."""
    first = min(one.box[0] for one, _ in rows[0] if one)
    last = max(one.box[2] for one, _ in rows[-1] if one)
    return sum(piece.y < first for piece in pieces) >= sum(piece.y > last for piece in pieces)


def _fill_in(rows: list[list[tuple[Number | None, str]]]) -> None:
    """Put a place without a number where one between two, or after the last of a row, was not found."""
    named = {label for row in rows for _, label in row}
    for label, after in zip(CLASSES[1:22], CLASSES[:22], strict=False):
        if label in named:
            continue
        for row in rows:
            labels = [text for _, text in row]
            if after in labels:
                row.insert(labels.index(after) + 1, (None, label))
                named.add(label)
                break


def without_foot(piece: Piece, line: int) -> Piece:
    """Return ``piece`` without what reaches below row ``line``, where numbers stand, if that is a small part of it."""
    kept = line - 2 - piece.box[0]
    if not 0 < kept < piece.height or piece.mask[kept:].sum() > 0.2 * piece.mask.sum():
        return piece
    mask = piece.mask[:kept]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = piece.box[:2]
    box = (top, left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)
    return replace(piece, box=box, mask=mask[: rows[-1] + 1, columns[0] : columns[-1] + 1])


def _reach(piece: Piece, row: Sequence[tuple[Number | None, str]], unit: float, *, below: bool) -> float:
    """How far the piece is from the nearest number of ``row``, down; infinite on the wrong side of it."""
    number = min((one for one, _ in row if one), key=lambda one: abs(one.x - piece.x))
    gap = number.box[0] - piece.box[2] if below else piece.box[0] - number.box[2]
    touching = piece.y < number.box[0] if below else piece.y > number.box[2]
    return max(float(gap), 0.0) if gap > -0.6 * unit or (touching and gap > -1.5 * unit) else np.inf


def _share_out(pieces: Sequence[Piece], row: Sequence[tuple[Number | None, str]], unit: float) -> list[list[Piece]]:
    """Share ``pieces`` from left to right out among the numbers of ``row``, at the least cost."""
    ordered = sorted(pieces, key=lambda piece: piece.x)

    def cost(number: int, first: int, last: int) -> float:
        one, label = row[number]
        if one is None and last == first:
            return 0.8
        middle = float(np.mean([piece.x for piece in ordered[first:last]])) if last > first else one.x if one else 0.0
        x = one.x if one else middle
        away = sum(min(abs(piece.x - x) / unit, 6.0) ** 1.5 for piece in ordered[first:last])
        return 0.35 * away + 0.5 * abs(middle - x) / unit + copies_cost(label, last - first)

    bounds = _divide(len(ordered), len(row), cost)
    return [list(ordered[first:last]) for first, last in pairwise(bounds)]


def _divide(items: int, parts: int, cost: Callable[[int, int, int], float], most: int = 6) -> list[int]:
    """Divide 0..``items`` into ``parts`` runs of up to ``most``, at the least sum of ``cost(part, first, last)``.

    Items that nobody can take go to the nearest run all the same. Returns the ``parts`` + 1 bounds.
    """
    most = max(most, -(-items // max(parts, 1)))
    best = np.full((parts + 1, items + 1), np.inf)
    best[0, 0] = 0
    came = np.zeros((parts + 1, items + 1), int)
    for part in range(parts):
        for first in range(items + 1):
            if np.isinf(best[part, first]):
                continue
            for last in range(first, min(items, first + most) + 1):
                total = best[part, first] + cost(part, first, last)
                if total < best[part + 1, last]:
                    best[part + 1, last], came[part + 1, last] = total, first
    bounds = [items]
    for part in range(parts, 0, -1):
        bounds.append(int(came[part, bounds[-1]]))
    return bounds[::-1]


def _is_far(piece: Piece, group: Group, unit: float) -> bool:
    others = [other for other in group.pieces if other is not piece]
    near = min((abs(other.x - piece.x) - (other.width + piece.width) / 2 for other in others), default=np.inf)
    return abs(piece.x - group.x) > 6 * unit and near > 2.5 * unit


def by_gaps(pieces: Sequence[Piece], labels: Sequence[str], unit: float, layout: Sequence[int] = ()) -> Grouped:
    """Return a group for each of ``labels``, in their order: by the gaps, the counts and the sizes.

    layout: how many of the labels stand in each row, where that is known.
    """
    rows = in_rows([piece.box for piece in pieces])
    ordered = [pieces[place] for row in rows for place in row]
    row_of = [number for number, row in enumerate(rows) for _ in row]
    sizes = np.array([float(max(piece.height, piece.width)) for piece in ordered])
    lengths = np.array([chromosome_length(label) if label in CLASSES else np.nan for label in labels])
    scale = float(np.median(sizes) / np.nanmedian(lengths))
    known = len(layout) == len(rows)
    of_row = [number for number, many in enumerate(layout) for _ in range(many)] if known else []

    def cost(part: int, first: int, last: int) -> float:
        label = labels[part]
        total = copies_cost(label, last - first)
        if last == first:
            return total
        if row_of[first] != row_of[last - 1] or (known and of_row[part] != row_of[first]):
            return np.inf
        for place in range(first + 1, last):
            total += 0.8 * min(max(0.0, _gap(ordered, place)) / unit, 4.0)
        if last < len(ordered) and row_of[last] == row_of[last - 1]:
            total -= 0.8 * min(max(0.0, _gap(ordered, last)) / unit, 2.0)
        if not np.isnan(lengths[part]):
            total += sum(
                0.6 * min(abs(np.log(sizes[place] / (scale * lengths[part]))), 1.5) for place in range(first, last)
            )
        return total

    bounds = _divide(len(ordered), len(labels), cost)
    groups = []
    for part, (first, last) in enumerate(pairwise(bounds)):
        own = tuple(ordered[first:last])
        row = row_of[first] if last > first else (row_of[min(first, len(row_of) - 1)] if row_of else 0)
        groups.append(Group(labels[part], row, float(np.mean([one.x for one in own])) if own else 0.0, own))
    return Grouped(tuple(groups), (), "gaps")


def with_numbers(grouped: Grouped, numbers: Sequence[Number], unit: float) -> Grouped:
    """Return ``grouped`` with the number that stands next under or over the middle of each group's pieces, if any."""
    groups = []
    for group in grouped.groups:
        near = [one for one in numbers if group.pieces and _away(one, group) < 3 * unit and abs(one.x - group.x) < unit]
        groups.append(replace(group, number=min(near, key=lambda one: _away(one, group), default=None)))
    return replace(grouped, groups=tuple(groups))


def _away(number: Number, group: Group) -> float:
    """How far a number is from the pieces of a group, down or up; infinite beside them."""
    top, bottom = min(piece.box[0] for piece in group.pieces), max(piece.box[2] for piece in group.pieces)
    return min((gap for gap in (number.y - bottom, top - number.y) if gap > 0), default=np.inf)


def beside_numbers(piece: Piece, numbers: Sequence[Number]) -> bool:
    """Whether ``piece`` stands on a line of numbers and is as low as they are: print that did not read as such."""
    height = float(np.median([one.box[2] - one.box[0] for one in numbers])) if numbers else 0.0
    if not height or piece.height > _AS_LOW * height:
        return False
    level = [one for one in numbers if abs(one.y - piece.y) < 0.5 * height]
    return len(level) >= _LINE


def _gap(ordered: Sequence[Piece], place: int) -> float:
    return float(ordered[place].box[1] - ordered[place - 1].box[3])


def all_lines(ink: Ink, rules: np.ndarray) -> np.ndarray:
    """Return bool [h, w]: the sheet's lines, with the bars that were found among the pieces."""
    return ink.lines | rules
