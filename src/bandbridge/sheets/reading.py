"""One sheet -> its chromosomes with their classes, how sure each is, and what does not add up.

Three witnesses are heard: what is printed, the order in which groups stand, and how long and large a chromosome is.
What two of them say differently is doubtful, whoever is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from bandbridge.dataset.ideogram import chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.counting import area_scale, settle
from bandbridge.sheets.frames import Frame, around, find_ticks, frames_of, middles
from bandbridge.sheets.groups import (
    Group,
    Grouped,
    all_lines,
    beside_numbers,
    by_frames,
    by_gaps,
    by_numbers,
    in_rows,
    with_numbers,
)
from bandbridge.sheets.ink import Ink, NoSheet, find_ink
from bandbridge.sheets.judging import DOUBTFUL, FEWEST_WITNESSES, XY, Expected, Reading, agreement, judged
from bandbridge.sheets.naming import Named, name_frames, name_numbers
from bandbridge.sheets.numbers import find_print
from bandbridge.sheets.pieces import Piece, cut_in_two, find_pieces
from bandbridge.sheets.upright import ARRANGED, LYING, upright_share

#: Fewest and most pieces that a sheet of one cell is of, and least agreement of their sizes with their order.
_FEWEST, _MOST, _LEAST_ORDER = 20, 110, 0.5
#: A piece so many chromosomes wide may be two, where a seam with no more than this share of full ink divides it.
_WIDE, _EASY = 1.5, 0.3

#: By so much odder a reading by numbers is left for one by order.
_CLEARLY = 2

#: Agreement of sizes with the order below which a sheet stands upside down.
_UPSIDE_DOWN = -0.5
#: Areas of one X that two have which touch.
_TOUCHING = 1.6

#: What is to be done with a metaphase.
CUT_IT = "Metaphases are cut first: bandbridge cut METAPHASES DEST"
#: How many classes most laboratories arrange in each row.
_USUAL_ROWS = (5, 7, 6, 6)


class LyingSheet(NoSheet):
    """A picture on which chromosomes lie on their sides: a sheet that was turned by a quarter."""

    def __init__(self) -> None:
        super().__init__(
            "a sheet that lies on its side: turn the picture by a quarter, so that chromosomes stand upright"
        )


def read_sheet(gray: np.ndarray, colour: np.ndarray | None = None, expected: Expected | None = None) -> Reading:
    """Return what is on a sheet, uint8 [H, W]; ``colour`` as :func:`~bandbridge.sheets.ink.find_ink` has it.

    Raises :class:`~bandbridge.sheets.ink.NoSheet` for a picture that is no sheet of one cell.
    """
    expected = expected or Expected()
    ink = find_ink(gray, colour)
    frames = frames_of(ink)
    # Two small upright chromosomes look like 11.
    middle = middles(frames, ink.mask.shape)
    printed = find_print(ink)
    numbers = [one for one in printed.numbers if not _is_within(one.box, middle)]
    named = name_numbers(numbers, expected.order)
    print_ink = printed.ink([number for number, _ in named.numbers]) & ~(printed.ink([]) & middle)
    ticks = find_ticks(frames, ink)
    walls = around(frames, ink.mask.shape) | ticks.mask
    pieces = find_pieces(replace(ink, mask=ink.mask & ~walls) if frames else ink, print_ink)
    lines = all_lines(ink, pieces.rules) | walls
    if len(pieces.pieces) < _FEWEST // 2 or len(pieces.pieces) > 4 * _MOST:
        raise NoSheet(f"no karyogram: {len(pieces.pieces)} pieces that could be chromosomes")
    if upright_share(piece.mask for piece in pieces.pieces) < LYING:
        if upright_share(piece.mask.T for piece in pieces.pieces) >= ARRANGED:
            raise LyingSheet
        raise NoSheet("a metaphase: its chromosomes lie in all directions", f"{CUT_IT}.")
    blocked = lines | print_ink | ink.coloured
    whole = [piece for piece in pieces.pieces if not ticks.hold(piece)]
    if not frames and named.witnesses >= FEWEST_WITNESSES:
        whole = [piece for piece in whole if not beside_numbers(piece, [number for number, _ in named.numbers])]
    grouped = _grouped(whole, pieces.unit, frames, numbers, named, expected, ink)
    reading = _read_grouped(grouped, named, ink, blocked, pieces.unit, expected)
    if grouped.by == "gaps" and reading.doubts:
        # Without numbers and frames nothing tells that a piece is two, but that all adds up then.
        parts = _cut_where_easy(pieces.pieces, ink, pieces.unit)
        if len(parts) > len(pieces.pieces):
            again = _grouped(parts, pieces.unit, frames, numbers, named, expected, ink)
            other = _read_grouped(again, named, ink, blocked, pieces.unit, expected)
            reading = other if not other.doubts else reading
    if grouped.by == "numbers" and reading.doubts:
        # Where numbers are lost, or misread, what stands under them goes to others: then order and gaps are asked.
        rows = expected.rows or _usual_rows(whole, expected)
        by_order = with_numbers(by_gaps(whole, expected.order, pieces.unit, rows), numbers, pieces.unit)
        with suppress(NoSheet):
            other = _read_grouped(by_order, named, ink, blocked, pieces.unit, expected)
            reading = other if _oddness(other, expected) <= _oddness(reading, expected) - _CLEARLY else reading
    if grouped.by != "frames" and len([one for one in reading.found if one.label]) < _FEWEST:
        raise NoSheet(f"no karyogram of one cell: {len(reading.found)} pieces")
    return reading


def _read_grouped(
    grouped: Grouped, named: Named, ink: Ink, blocked: np.ndarray, unit: float, expected: Expected
) -> Reading:
    settled = _settled(grouped, ink, blocked, unit, expected)
    settled = replace(settled, groups=tuple(_sexes(settled, expected)))
    _require_a_sheet(settled, named)
    return judged(settled, named, ink, blocked, unit, expected)


def _oddness(reading: Reading, expected: Expected) -> int:
    """How many classes have not as many chromosomes as is usual, or as is expected, and chromosomes have a doubt."""
    many, told = reading.counts, expected.counts or {}
    odd = sum(many[label] != told.get(label, 2) for label in CLASSES[:22])
    odd += (many["X"], many["Y"]) not in ((2, 0), (1, 1), (1, 0), (told.get("X", 2), told.get("Y", 0)))
    return odd + sum(one.sure == DOUBTFUL for one in reading.found)


def _cut_where_easy(pieces: Sequence[Piece], ink: Ink, unit: float) -> list[Piece]:
    """The pieces, those cut that are wide and fall in two halves of a size along a pale seam."""
    parts: list[Piece] = []
    for piece in pieces:
        halves = cut_in_two(piece, ink, _EASY) if piece.width > _WIDE * unit else None
        parts += halves[0] if halves else (piece,)
    return parts


def _grouped(
    pieces: Sequence[Piece],
    unit: float,
    frames: Sequence[Frame],
    numbers: Sequence,
    named: Named,
    expected: Expected,
    ink: Ink,
) -> Grouped:
    """Divide the pieces by the best that the sheet offers."""
    if frames:
        framed = by_frames(pieces, frames, numbers, ink)
        rows = expected.rows or (_USUAL_ROWS if expected.order == CLASSES else ())
        labels = name_frames(framed.groups, expected.order, rows)
        groups = [replace(one, label=text) for one, text in zip(framed.groups, labels, strict=True)]
        # Between the frames of classes is no place for chromosomes: what stands there counts if it could be one.
        kept = tuple(one for one in groups if one.label or one.number)
        beside = tuple(piece for one in groups if not (one.label or one.number) for piece in one.pieces)
        return replace(framed, groups=kept, aside=framed.aside + beside)
    if named.witnesses >= FEWEST_WITNESSES:
        return by_numbers(pieces, named.numbers, unit)
    return by_gaps(pieces, expected.order, unit, expected.rows or _usual_rows(pieces, expected))


def _usual_rows(pieces: Sequence[Piece], expected: Expected) -> tuple[int, ...]:
    """The rows that most laboratories arrange a karyogram in, where the sheet has as many."""
    if expected.order != CLASSES or len(in_rows([piece.box for piece in pieces])) != 4:
        return ()
    return _USUAL_ROWS


def _settled(grouped: Grouped, ink: Ink, blocked: np.ndarray, unit: float, expected: Expected) -> Grouped:
    scale = area_scale(grouped.groups)
    settled = grouped
    for _ in range(1 if scale else 2):  # where hardly a pair stands apart, the first round says what one's area is
        groups = []
        for group in grouped.groups:
            many = _copies(group.label, len(group.pieces), grouped, expected)
            many = 2 if many == 1 and group.label == "X" and _are_two_x(group, grouped, expected, scale, unit) else many
            groups.append(settle(group, ink, blocked, unit, scale, many) if _may_hold(group) else group)
        settled = replace(grouped, groups=tuple(groups))
        scale = area_scale(settled.groups)
    return settled


def _is_within(box: tuple[int, int, int, int], region: np.ndarray) -> bool:
    return bool(region[box[0] : box[2], box[1] : box[3]].all())


def _are_two_x(group: Group, grouped: Grouped, expected: Expected, scale: float, unit: float) -> bool:
    """Whether what stands as one X is as large and wide as two that touch, where there is no Y."""
    if len(group.pieces) != 1 or expected.counts is not None:
        return False
    with_y = any(one.label in ("Y", "XY") and one.pieces for one in grouped.groups)
    piece, area = group.pieces[0], scale * chromosome_length("X")
    return not with_y and 0 < _TOUCHING * area < piece.area and piece.width > _WIDE * unit


def _may_hold(group: Group) -> bool:
    """Whether a group has chromosomes: pieces, or a frame that is not a sex chromosome's, where none may be."""
    return bool(group.label) and (bool(group.pieces) or (group.frame is not None and group.label in CLASSES[:22]))


def _copies(label: str, found: int, grouped: Grouped, expected: Expected) -> int:
    """How many a group should have, before anything is known of the sex."""
    if expected.counts is not None and label in expected.counts:
        return expected.counts[label] or found
    if label == "Y":
        return 1
    if label == "X":
        with_y = any(one.label == "Y" and one.pieces for one in grouped.groups)
        return 1 if with_y else max(1, min(found, 2))
    return 2


def _sexes(grouped: Grouped, expected: Expected) -> list[Group]:
    """Tell X and Y apart where both stand under one label, and where nothing but their order named them."""
    groups = grouped.groups
    placed = {group.label for group in groups if group.pieces or group.number or group.frame}
    male = expected.counts.get("Y", 0) > 0 if expected.counts is not None else None
    held = [piece for group in groups if group.label in ("X", "Y", "XY") for piece in group.pieces]
    apart = "Y" in placed and "XY" not in placed
    if apart and not (grouped.by == "gaps" and len(held) == 2):
        return list(groups)
    first = next((group for group in groups if group.label in ("X", "XY")), None)
    if first is None:
        return list(groups)
    others = [group for group in groups if group.label not in ("X", "Y", "XY")]
    ordered = sorted(held, key=lambda piece: -piece.area)
    if len(ordered) == 2 and (male or (male is None and ordered[1].area / ordered[0].area < XY)):
        y = replace(first, label="Y", pieces=(ordered[1],), number=None)
        return [*others, replace(first, label="X", pieces=(ordered[0],)), y]
    return [*others, replace(first, label="X", pieces=tuple(held))]


def _require_a_sheet(grouped: Grouped, named: Named) -> None:
    """Raise :class:`NoSheet` where neither numbers nor the order of the sizes speak for a karyogram."""
    held = [(group.label, piece) for group in grouped.groups for piece in group.pieces if group.label in CLASSES]
    if not _FEWEST <= len(held) <= _MOST:
        raise NoSheet(f"no karyogram of one cell: {len(held)} pieces in {len(grouped.groups)} groups")
    order = agreement(held)
    if order < _UPSIDE_DOWN:
        raise NoSheet("a sheet that stands upside down", "Turn the picture by half, so that chromosomes 1 come first.")
    if named.witnesses >= FEWEST_WITNESSES + 4 or grouped.by == "frames":
        return
    if order < _LEAST_ORDER:
        raise NoSheet(
            f"no karyogram: {len(held)} pieces that stand in no order of their sizes",
            f"Give a larger or cleaner picture of the sheet, if it is one. {CUT_IT}.",
        )
