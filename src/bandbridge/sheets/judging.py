"""What is made of a sheet's groups: how sure each chromosome's class is, and what does not add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.stats import spearmanr

from bandbridge.dataset.ideogram import chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.counting import area_scale, length_scale
from bandbridge.sheets.groups import Group, Grouped, in_rows
from bandbridge.sheets.ink import Ink
from bandbridge.sheets.naming import Named, contradicts, is_witness
from bandbridge.sheets.pieces import Piece

#: Fewest numbers that read as their class, for numbers to be what a sheet is divided by.
FEWEST_WITNESSES = 8
#: How many times larger or smaller than expected a chromosome may be.
_LARGER, _SMALLER = 1.9, 0.45
#: Ratio of the smaller to the larger of two sex chromosomes: X and Y up to the first, two X from the second on,
#: or from the third where Y has a place of its own.
XY, _XX, _XX_APART = 0.62, 0.72, 0.4
#: What stands out by no more than so many times what is told from noise is doubtful; so are two of a pair whose middles
#: are no further apart than so many times their usual width: parts of both may have been put together.
_HARDLY, _OVER = 2.5, 0.6
#: So many chromosomes with a part apart from them, all over or all under them, hold printed numbers: of sheets that
#: were read right it was five at most, of the same ones turned by two degrees 24 and more.
_WITH_PARTS = 10
#: What stands beside all groups is told of from this share of a chromosome 21 on.
_LEAST_ASIDE = 0.4

SURE, FAIR, DOUBTFUL = "sure", "fair", "doubtful"


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


def agreement(held: Sequence[tuple[str, Piece]]) -> float:
    """Return the rank correlation of lengths with those of the ideogram, 0 where all are alike."""
    lengths = [chromosome_length(label) for label, _ in held]
    found = [max(piece.height, piece.width) for _, piece in held]
    return float(spearmanr(lengths, found).statistic) if min(len(set(lengths)), len(set(found))) > 1 else 0.0


def judged(grouped: Grouped, named: Named, ink: Ink, blocked: np.ndarray, unit: float, expected: Expected) -> Reading:
    """Return what stands in the groups as a reading, with all that speaks against it.

    unit: width of a chromosome, blocked: bool [h, w], lines, print and colour, both in working pixels.
    """
    scale = area_scale(grouped.groups), length_scale(grouped.groups)
    doubts: list[str] = []
    rows: list[tuple[Piece, str, str, str]] = []
    numbered = named.witnesses >= FEWEST_WITNESSES
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
    if grouped.by != "frames":
        doubts += _tilt_doubts(found)
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


def _tilt_doubts(found: Sequence[Found]) -> list[str]:
    """Whether what is printed over or under chromosomes was taken for parts of them, as on a sheet that is askew."""
    over = under = 0
    for one in found:
        labels, count = ndimage.label(one.mask, structure=np.ones((3, 3)))
        if count < 2:
            continue
        rows = [(box[0].start, box[0].stop) for box in ndimage.find_objects(labels)]
        top, bottom = rows[int(np.argmax(np.bincount(labels.ravel())[1:]))]
        over += any(each[1] <= top for each in rows)
        under += any(each[0] >= bottom for each in rows)
    most = max(over, under)
    if most < _WITH_PARTS:
        return []
    return [f"{most} chromosomes may hold printed numbers: is the sheet askew? Turn the picture straight"]


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
    if len(pairs) > 10 and agreement(pairs) < 0.8:
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
