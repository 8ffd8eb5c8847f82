"""One sheet -> its chromosomes with their classes, how sure each is, and what does not add up.

Three witnesses are heard: what is printed, the order in which groups stand, and how long and large a chromosome is.
What two of them say differently is doubtful, whoever is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from bandbridge.dataset.ideogram import chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.counting import area_scale, length_scale, settle
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
from bandbridge.sheets.naming import Named, contradicts, is_witness, name_frames, name_numbers
from bandbridge.sheets.numbers import find_print
from bandbridge.sheets.pieces import Piece, cut_in_two, find_pieces
from bandbridge.sheets.upright import ARRANGED, LYING, upright_share

#: Fewest and most pieces that a sheet of one cell is of, and least agreement of their sizes with their order.
_FEWEST, _MOST, _LEAST_ORDER = 20, 110, 0.5
#: Fewest numbers that read as their class, for numbers to be what a sheet is divided by.
_FEWEST_WITNESSES = 8
#: How many times larger or smaller than expected a chromosome may be.
_LARGER, _SMALLER = 1.9, 0.45
#: Ratio of the smaller to the larger of two sex chromosomes: X and Y up to the first, two X from the second on,
#: or from the third where Y has a place of its own.
_XY, _XX, _XX_APART = 0.62, 0.72, 0.4

#: A piece so many chromosomes wide may be two, where a seam with no more than this share of full ink divides it.
_WIDE, _EASY = 1.5, 0.3

#: By so much odder a reading by numbers is left for one by order.
_CLEARLY = 2

#: Agreement of sizes with the order below which a sheet stands upside down.
_UPSIDE_DOWN = -0.5
#: What stands out by no more than so many times what is told from noise is doubtful; so are two of a pair whose middles
#: are no further apart than so many times their usual width: parts of both may have been put together.
_HARDLY, _OVER = 2.5, 0.6

#: Areas of one X that two have which touch.
_TOUCHING = 1.6

#: What is to be done with a metaphase.
CUT_IT = "Metaphases are cut first: bandbridge cut METAPHASES DEST"
#: What stands beside all groups is told of from this share of a chromosome 21 on.
_LEAST_ASIDE = 0.4

#: How many classes most laboratories arrange in each row.
_USUAL_ROWS = (5, 7, 6, 6)

SURE, FAIR, DOUBTFUL = "sure", "fair", "doubtful"


class LyingSheet(NoSheet):
    """A picture on which chromosomes lie on their sides: a sheet that was turned by a quarter."""

    def __init__(self) -> None:
        super().__init__(
            "a sheet that lies on its side: turn the picture by a quarter, so that chromosomes stand upright"
        )


@dataclass(frozen=True)
class Expected:
    """What a person says of a sheet. order: labels as they stand; rows: how many of them in each row. counts: of each
    class, where the karyotype is known. karyotype: its text."""

    order: tuple[str, ...] = CLASSES
    rows: tuple[int, ...] = ()
    counts: Mapping[str, int] | None = None
    karyotype: str = ""


@dataclass(frozen=True, eq=False)
class Found:
    """A chromosome on a sheet. number: in the order of reading, from 1. label: its class, "" aside. sure: "sure",
    "fair" or "doubtful", and why. box: (top, left, bottom, right), working pixels; mask: bool, of that size.
    """

    number: int
    label: str
    box: tuple[int, int, int, int]
    mask: np.ndarray
    sure: str
    why: str


@dataclass(frozen=True, eq=False)
class Reading:
    """All of one sheet. doubts: why it does not add up, one sentence each; none: it does. by: what divided
    it. blocked: bool [h, w], lines, print and colour, working pixels."""

    found: tuple[Found, ...]
    doubts: tuple[str, ...]
    by: str
    ink: Ink
    blocked: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """Chromosomes of each class."""
        many = Counter(one.label for one in self.found)
        return {label: many[label] for label in CLASSES}


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
    if not frames and named.witnesses >= _FEWEST_WITNESSES:
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
    return _judged(settled, named, ink, blocked, unit, expected)


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
    if named.witnesses >= _FEWEST_WITNESSES:
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
    if len(ordered) == 2 and (male or (male is None and ordered[1].area / ordered[0].area < _XY)):
        y = replace(first, label="Y", pieces=(ordered[1],), number=None)
        return [*others, replace(first, label="X", pieces=(ordered[0],)), y]
    return [*others, replace(first, label="X", pieces=tuple(held))]


def _require_a_sheet(grouped: Grouped, named: Named) -> None:
    """Raise :class:`NoSheet` where neither numbers nor the order of the sizes speak for a karyogram."""
    held = [(group.label, piece) for group in grouped.groups for piece in group.pieces if group.label in CLASSES]
    if not _FEWEST <= len(held) <= _MOST:
        raise NoSheet(f"no karyogram of one cell: {len(held)} pieces in {len(grouped.groups)} groups")
    order = _agreement(held)
    if order < _UPSIDE_DOWN:
        raise NoSheet("a sheet that stands upside down", "Turn the picture by half, so that chromosomes 1 come first.")
    if named.witnesses >= _FEWEST_WITNESSES + 4 or grouped.by == "frames":
        return
    if order < _LEAST_ORDER:
        raise NoSheet(f"no karyogram: {len(held)} pieces that stand in no order of their sizes")


def _agreement(held: Sequence[tuple[str, Piece]]) -> float:
    """Rank correlation of lengths with those of the ideogram."""
    lengths = [chromosome_length(label) for label, _ in held]
    found = [max(piece.height, piece.width) for _, piece in held]
    return float(spearmanr(lengths, found).statistic) if len(set(found)) > 1 else 0.0


def _judged(grouped: Grouped, named: Named, ink: Ink, blocked: np.ndarray, unit: float, expected: Expected) -> Reading:
    scale = area_scale(grouped.groups), length_scale(grouped.groups)
    doubts: list[str] = []
    rows: list[tuple[Piece, str, str, str]] = []
    numbered = named.witnesses >= _FEWEST_WITNESSES
    for group in grouped.groups:
        for piece in group.pieces:
            if group.label not in CLASSES:
                what = f"under {group.label}" if group.label else "under no number"
                rows.append((piece, "", DOUBTFUL, what))
                continue
            sure, why = _sureness(piece, group, grouped, numbered, scale)
            if doubt := _seen_badly(piece, group, ink):
                sure, why = DOUBTFUL, doubt
            rows.append((piece, group.label, sure, why))
    least = max(0.5 * unit**2, _LEAST_ASIDE * scale[0] * chromosome_length("21"))
    aside = [piece for piece in grouped.aside if piece.area > least]
    rows += [(piece, "", DOUBTFUL, "beside all groups") for piece in aside]
    ordered = [rows[place] for line in in_rows([row[0].box for row in rows]) for place in line]
    found = tuple(
        Found(number, label, piece.box, piece.mask, sure, why)
        for number, (piece, label, sure, why) in enumerate(ordered, start=1)
    )
    doubts += _count_doubts(found, expected)
    doubts += _group_doubts(grouped, named, expected)
    loose = [str(one.number) for one in found if not one.label]
    if loose:
        doubts.append(f"pieces of no class: {', '.join(loose)}")
    doubtful = [f"{one.number} ({one.why})" for one in found if one.label and one.sure == DOUBTFUL]
    if doubtful:
        doubts.append(f"doubtful: {', '.join(doubtful)}")
    return Reading(found, tuple(doubts), grouped.by, ink, blocked)


def _sureness(
    piece: Piece, group: Group, grouped: Grouped, numbered: bool, scale: tuple[float, float]
) -> tuple[str, str]:
    """How sure the class of one piece is, and why."""
    printed = is_witness(group.number, group.label)
    if numbered and contradicts(group.number, group.label):
        return DOUBTFUL, f"the number reads {group.number.best if group.number else ''}"
    expected = [each * chromosome_length(group.label) for each in scale]
    sizes = [
        one / each for one, each in zip((piece.area, max(piece.height, piece.width)), expected, strict=True) if each
    ]
    # A faint one has less area, a bent one less length.
    size = 1.0 if not sizes else min(sizes) if min(sizes) > 1 else max(sizes)
    if group.label != "Y" and not _SMALLER <= size <= _LARGER:
        return DOUBTFUL, f"{size:.1f} times the size of a chromosome {group.label}"
    reasons = [{"frames": "frame", "numbers": "number", "gaps": "order"}[grouped.by]]
    if grouped.by != "numbers" and printed:
        reasons.append("number")
    if grouped.by != "gaps":
        reasons.append("order")
    reasons.append("size")
    said = " and ".join(reasons) + " agree"
    if piece.cut:
        return FAIR, f"{said}; cut from what touched it"
    if piece.joined:
        return FAIR, f"{said}; put together of parts"
    if numbered and not printed:
        return FAIR, "order and size; its number does not read by itself"
    return (SURE if len(reasons) > 2 else FAIR), said


def _seen_badly(piece: Piece, group: Group, ink: Ink) -> str:
    """What of the picture itself speaks against one piece, "" for nothing."""
    top, left, bottom, right = piece.box
    if float(np.quantile(ink.contrast[top:bottom, left:right][piece.mask], 0.9)) < _HARDLY * ink.faint:
        return "it hardly stands out of the ground"
    if len(group.pieces) == 2 and group.label in CLASSES[:22]:
        first, second = (one.box[1] + float(np.nonzero(one.mask)[1].mean()) for one in group.pieces)
        if abs(first - second) < _OVER * float(np.median([one.width for one in group.pieces])):
            return "it may hold a part of the other"
    return ""


def _count_doubts(found: Sequence[Found], expected: Expected) -> list[str]:
    """What the counts of the classes say against a sheet."""
    many = Counter(one.label for one in found if one.label)
    doubts = []
    if expected.counts is not None:
        wrong = [
            f"{many[label]} of {label}, expected {count}"
            for label, count in expected.counts.items()
            if many[label] != count
        ]
        return [f"not as {expected.karyotype or 'expected'}: {'; '.join(wrong)}"] if wrong else []
    missing = [label for label in CLASSES[:23] if not many[label]]
    if missing:
        doubts.append(f"no chromosome {', '.join(missing)}")
    wrong = [f"{many[label]} of {label}" for label in CLASSES[:22] if many[label] not in (0, 2)]
    sexes = many["X"], many["Y"]
    if sexes not in ((2, 0), (1, 1)) and sexes[0]:
        wrong.append(f"{sexes[0]} X and {sexes[1]} Y")
    if wrong:
        doubts.append(f"{sum(many.values())} chromosomes: {', '.join(wrong)}")
    return doubts


def _group_doubts(grouped: Grouped, named: Named, expected: Expected) -> list[str]:
    """What the witnesses say against one another."""
    doubts = []
    held = {group.label: group for group in grouped.groups if group.pieces}
    if grouped.by == "numbers" and not named.usual:
        doubts.append("the numbers do not stand in the order of the karyotype; give --layout if that is meant")
    if (sex := held.get("X")) and expected.counts is None:
        own_place = any(one.label == "Y" and (one.number or one.frame) for one in grouped.groups)
        doubts += _sex_doubts(sex, held.get("Y"), _XX_APART if own_place else _XX)
    pairs = [(label, piece) for label, group in held.items() if label in CLASSES for piece in group.pieces]
    if len(pairs) > 10 and _agreement(pairs) < 0.8:
        doubts.append("the sizes do not follow the order of the classes")
    return doubts


def _sex_doubts(x: Group, y: Group | None, least: float) -> list[str]:
    if y is None and len(x.pieces) == 2:
        small, large = sorted(piece.area for piece in x.pieces)
        if small / large < least:
            return [f"two X, or X and Y? The smaller has {small / large:.0%} of the larger's size"]
    if y is not None and len(x.pieces) == 1 and len(y.pieces) == 1:
        ratio = y.pieces[0].area / x.pieces[0].area
        if ratio > 0.85:
            return [f"X and Y, or two X? The smaller has {ratio:.0%} of the larger's size"]
    return []
