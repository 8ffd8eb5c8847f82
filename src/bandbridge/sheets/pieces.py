"""The pieces of ink on a sheet that may be chromosomes, put together where one is broken, cut where two touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from bandbridge.sheets.ink import Boxed, Ink

#: Of a chromosome, in widths of one: least area (squared) of a piece by itself, and how near a chip lies to its own.
_CHIP, _NEAR = 0.22, 0.5
#: Most height and width of a chromosome, as shares of the sheet's.
_TALLEST, _WIDEST = 0.4, 0.25
#: A bar that fills so much of its box and is so many times longer than wide is a rule, not a chromosome.
_BAR_FILL, _BAR_LONG = 0.9, 9.0
#: Strokes are thinner than this, in widths of a chromosome, and so many times longer than thick.
_STROKE, _STROKE_LONG = 0.35, 2.5
#: What a scan blurs a stroke by, pixels of the scan.
_BLUR = 1.6
#: A seam between two that touch: how much of its way may lie through full ink; least share of the smaller part.
_THROUGH, _SMALLER = 0.45, 0.28
#: A seam leaves this share of the width on either side of it.
_ASIDE = 0.22


@dataclass(frozen=True, eq=False)
class Piece(Boxed):
    """A piece of ink. box: (top, left, bottom, right), working pixels. mask: bool, of the box's size.

    joined: of several parts; cut: from one that touched it.
    """

    box: tuple[int, int, int, int]
    mask: np.ndarray
    joined: bool = False
    cut: bool = False

    @cached_property
    def area(self) -> int:
        """Of its mask, holes filled."""
        return int(ndimage.binary_fill_holes(self.mask).sum())

    @property
    def height(self) -> int:
        """Of its box."""
        return self.box[2] - self.box[0]

    @property
    def width(self) -> int:
        """Of its box."""
        return self.box[3] - self.box[1]


@dataclass(frozen=True, eq=False)
class Pieces:
    """Those of one sheet. unit: the width of a chromosome, working pixels. rules: bool [h, w], bars and strokes, which
    frames may be of."""

    pieces: tuple[Piece, ...]
    unit: float
    rules: np.ndarray


def find_pieces(ink: Ink, printed: np.ndarray) -> Pieces:
    """Return the pieces of a sheet less what is ``printed``, bool [h, w]."""
    mask = ink.mask & ~ndimage.binary_dilation(printed, iterations=3)
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    rules, found = np.zeros_like(mask), []
    least = (0.004 * ink.side) ** 2
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        piece = Piece(_edges(box), labels[box] == number)
        if piece.height * piece.width < least or piece.mask.sum() < least:
            continue
        if _is_bar(piece):
            rules[box] |= piece.mask
        elif piece.height < _TALLEST * mask.shape[0] and piece.width < _WIDEST * mask.shape[1]:
            found.append(piece)
    unit = _width_of(found)
    whole = [piece for piece in found if piece.area >= _CHIP * unit**2]
    chips = [piece for piece in found if piece.area < _CHIP * unit**2]
    for piece in (strokes := [piece for piece in whole if _is_stroke(piece, unit, ink.zoom)]):
        top, left, bottom, right = piece.box
        rules[top:bottom, left:right] |= piece.mask
    whole = [piece for piece in whole if all(piece is not stroke for stroke in strokes)]
    return Pieces(tuple(_with_chips(whole, chips, _NEAR * unit)), unit, rules)


def _edges(box: tuple[slice, ...]) -> tuple[int, int, int, int]:
    return box[0].start, box[1].start, box[0].stop, box[1].stop


def _is_bar(piece: Piece) -> bool:
    long, short = max(piece.height, piece.width), min(piece.height, piece.width)
    return long > _BAR_LONG * short and piece.mask.mean() > _BAR_FILL


def _is_stroke(piece: Piece, unit: float, zoom: float) -> bool:
    """Whether it is a thin stroke: of a tick, an arrow, a letter, the side of a frame."""
    thick = 2 * float(ndimage.distance_transform_edt(np.pad(piece.mask, 1)).max())
    long = max(piece.height, piece.width)
    blurred = min(_STROKE * unit + _BLUR * zoom, 0.65 * unit)
    lying = piece.width > 2.2 * piece.height or piece.height > 6 * piece.width
    return long > _STROKE_LONG * thick and thick < (blurred if lying else _STROKE * unit)


def _width_of(pieces: Sequence[Piece]) -> float:
    """The width of a chromosome: the median over the 44 largest pieces of twice the farthest from their rim."""
    largest = sorted(pieces, key=lambda piece: -piece.area)[:44]
    depths = [2 * float(ndimage.distance_transform_edt(np.pad(piece.mask, 1)).max()) for piece in largest]
    return float(np.median(depths)) if depths else 1.0


def _with_chips(whole: Sequence[Piece], chips: Sequence[Piece], near: float) -> list[Piece]:
    """Give what is too small to stand alone to the nearest piece: satellites, ends behind a pale band."""
    grown = list(whole)
    for chip in chips:
        gaps = [gap_between(piece, chip) for piece in whole]
        if gaps and min(gaps) <= near:
            place = int(np.argmin(gaps))
            grown[place] = join(grown[place], chip)
    return [Piece(piece.box, piece.mask) for piece in grown]  # which is no joining to speak of


def gap_between(one: Piece, other: Piece) -> float:
    """Distance of two boxes, pixels; 0 where they overlap."""
    down = max(one.box[0] - other.box[2], other.box[0] - one.box[2], 0)
    across = max(one.box[1] - other.box[3], other.box[1] - one.box[3], 0)
    return float(np.hypot(down, across))


def join(one: Piece, other: Piece) -> Piece:
    """Return both as one piece."""
    top, left = min(one.box[0], other.box[0]), min(one.box[1], other.box[1])
    bottom, right = max(one.box[2], other.box[2]), max(one.box[3], other.box[3])
    mask = np.zeros((bottom - top, right - left), bool)
    for each in (one, other):
        mask[each.box[0] - top : each.box[2] - top, each.box[1] - left : each.box[3] - left] |= each.mask
    return Piece((top, left, bottom, right), mask, joined=True)


def cut_in_two(piece: Piece, ink: Ink, through: float = _THROUGH) -> tuple[tuple[Piece, Piece], float] | None:
    """Cut a piece of two chromosomes side by side along the palest way from its top to its foot.

    Returns both and which share of that way lies through full ink, 0 to 1; None where no way leaves two of a size, or
    none with up to ``through`` of it.
    """
    top, left, bottom, right = piece.box
    contrast = np.where(piece.mask, ink.contrast[top:bottom, left:right], 0)
    # Of two that are brighter than most, the seam is, too.
    contrast = contrast / max(ink.strong, float(np.quantile(contrast[piece.mask], 0.9)))
    cost = np.minimum(contrast, 1) + 0.02
    margin = max(1, round(_ASIDE * piece.width))
    cost[:, :margin] = cost[:, -margin:] = 10.0  # a way around the piece would divide nothing
    best: tuple[float, tuple[Piece, Piece]] | None = None
    ways = _ways_down(cost)
    for end in np.argsort(ways[0][-1, margin:-margin])[:40] + margin:
        seam = _trace(ways[1], int(end))
        share = float(contrast[np.arange(len(seam)), seam].mean()) if len(seam) else 1.0
        halves = _halves(piece, seam)
        if halves is None or share > through:
            continue
        if best is None or share < best[0]:
            best = share, halves
    return (best[1], best[0]) if best else None


def _ways_down(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cheapest way from the first row to every pixel, a row a step and up to two columns aside: cost, and the column
    that it came from."""
    height, width = cost.shape
    total, came = cost.copy(), np.zeros((height, width), np.int64)
    columns = np.arange(width)
    for row in range(1, height):
        before = np.pad(total[row - 1], 2, constant_values=np.inf)
        choices = np.stack([before[2 + aside : 2 + aside + width] + 0.03 * abs(aside) for aside in (-2, -1, 0, 1, 2)])
        chosen = np.argmin(choices, axis=0)
        total[row] += choices[chosen, columns]
        came[row] = columns + chosen - 2
    return total, came


def _trace(came: np.ndarray, end: int) -> np.ndarray:
    seam = np.empty(len(came), np.int64)
    seam[-1] = end
    for row in range(len(came) - 1, 0, -1):
        seam[row - 1] = came[row, seam[row]]
    return seam


def _halves(piece: Piece, seam: np.ndarray) -> tuple[Piece, Piece] | None:
    columns = np.arange(piece.width)
    sides = [piece.mask & (columns < seam[:, None]), piece.mask & (columns > seam[:, None])]
    cut = [_trimmed(piece, side) for side in sides]
    first, second = cut
    if first is None or second is None:
        return None
    small, large = sorted((first, second), key=lambda each: each.area)
    if small.area < _SMALLER * (small.area + large.area) or small.height < 0.5 * large.height:
        return None
    return first, second


def _trimmed(piece: Piece, mask: np.ndarray) -> Piece | None:
    """The part ``mask`` of ``piece`` as one of its own, without crumbs."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if not count:
        return None
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept = (areas >= 0.1 * areas.max())[labels]
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = piece.box[:2]
    edges = (top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)
    return Piece(edges, kept[box], cut=True)
