"""How many chromosomes a group has: pieces cut that touch, parts joined that belong together, until it adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from bandbridge.dataset.ideogram import chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.groups import Group
from bandbridge.sheets.ink import Ink
from bandbridge.sheets.pieces import Piece, cut_in_two, gap_between, join

#: Contrasts, as shares of the group's own strong one, at which it is looked at again where it does not add up.
_LADDER = (0.06, 0.10, 0.16, 0.24, 0.34, 0.46)
#: Areas in expected ones: of a part that may be joined to another, and of a piece that may be two.
_PART, _TWO = 0.62, 1.4
#: What is smaller than this share of a chromosome, in a group with more pieces than it should have, is none.
_SPECK = 0.25
#: Widths of a chromosome that two of them have, where no area is known, and how much of a cut may go through full ink.
_WIDE, _THROUGH = 1.4, 0.8
#: What is fainter than this share of the sheet's strong ink is outlined by its own: at this share of it, and within so
#: many widths of a chromosome.
_DIM, _OWN, _REACH = 0.6, 0.18, 0.5
#: Least area of a piece in a group, in squared widths of a chromosome.
_LEAST = 0.3


def area_scale(groups: Sequence[Group]) -> float:
    """Return the area of a chromosome to its length in the ideogram, from the groups that are pairs; 0: from none."""
    return _scale([(group.label, piece.area) for group in _pairs(groups) for piece in group.pieces])


def length_scale(groups: Sequence[Group]) -> float:
    """Return the longer side of a chromosome's box to its length in the ideogram, as :func:`area_scale`."""
    return _scale([(group.label, max(piece.height, piece.width)) for group in _pairs(groups) for piece in group.pieces])


def _pairs(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.label in CLASSES[:22] and len(group.pieces) == 2]


def _scale(sizes: Sequence[tuple[str, int]]) -> float:
    return float(np.median([size / chromosome_length(label) for label, size in sizes])) if len(sizes) >= 12 else 0.0


def settle(group: Group, ink: Ink, blocked: np.ndarray, unit: float, scale: float, expected: int) -> Group:
    """Return ``group`` with as many pieces as chromosomes, as far as can be told.

    blocked: bool [h, w], lines and print. unit: width of a chromosome. scale: of :func:`area_scale`. expected: how many
    there should be.
    """
    area = scale * chromosome_length(group.label) if scale and group.label in CLASSES else 0.0
    pieces = [piece for piece in group.pieces if piece.area >= _LEAST * unit**2] or list(group.pieces)
    best = _joined(pieces, expected, area, unit)
    if len(best) != expected and best:
        best = _cut(best, ink, area, expected, unit)
    if len(best) != expected or (area and best and max(one.area for one in best) > 2.2 * area):
        near = _window(best or pieces, group, unit)
        if near is not None and (best or area):
            again = _looked_at_again(best, near, ink, blocked, unit, area, expected)
            if again is None and group.frame is not None:
                again = _looked_at_again(best, near, ink, blocked, unit, area, expected, smooth=True)
            best = again or best
    if area and len(best) > expected:
        best = [piece for piece in best if piece.area >= _SPECK * area] or best
    best = [_to_its_own_contrast(piece, best, ink, blocked, unit) for piece in best]
    return replace(group, pieces=tuple(sorted(best, key=lambda piece: piece.x)))


def _to_its_own_contrast(piece: Piece, group: Sequence[Piece], ink: Ink, blocked: np.ndarray, unit: float) -> Piece:
    """Return a faint piece with what belongs to it by its own contrast, not by the sheet's."""
    top, left, bottom, right = piece.box
    strong = float(np.quantile(ink.contrast[top:bottom, left:right][piece.mask], 0.9))
    if strong > _DIM * ink.strong:
        return piece
    reach = max(2, round(_REACH * unit))
    top, left = max(0, top - reach), max(0, left - reach)
    window = np.s_[top : bottom + reach, left : right + reach]
    own, others = np.zeros(ink.mask.shape, bool), blocked.copy()
    for one in group:
        (own if one is piece else others)[one.box[0] : one.box[2], one.box[1] : one.box[3]] |= one.mask
    near = ndimage.binary_dilation(own[window], iterations=reach)
    near &= ~ndimage.binary_dilation(others[window], iterations=2)
    grown = near & (ink.smooth[window] > max(ink.dim, _OWN * strong)) | own[window]
    labels, _ = ndimage.label(grown, structure=np.ones((3, 3)))
    kept = np.isin(labels, np.unique(labels[own[window]]))
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = (top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)
    return replace(piece, box=box, mask=kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _joined(pieces: Sequence[Piece], expected: int, area: float, unit: float) -> list[Piece]:
    """Join parts of one chromosome, lying over one another, as long as there are more than ``expected``."""
    parts = list(pieces)
    while len(parts) > expected:
        pairs = [
            (cost, one, other)
            for place, one in enumerate(parts)
            for other in parts[place + 1 :]
            if (cost := _joining_cost(one, other, area, unit)) < 1
        ]
        if not pairs:
            break
        _, one, other = min(pairs, key=lambda pair: pair[0])
        parts = [piece for piece in parts if piece is not one and piece is not other] + [join(one, other)]
    return parts


def _joining_cost(one: Piece, other: Piece, area: float, unit: float) -> float:
    """Below 1 where two pieces may be parts of one chromosome, the less the likelier."""
    together = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    beside = together / min(one.width, other.width)
    over = (min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])) / min(one.height, other.height)
    small = min(one.area, other.area)
    whole = area or max(one.area, other.area)
    if gap_between(one, other) > 2 * unit or one.area + other.area > 1.6 * whole or small > _PART * whole:
        return np.inf
    chip = small < 0.22 * whole
    if beside < 0.35 and not chip:
        return np.inf
    return (
        0.5 * gap_between(one, other) / unit
        + max(0.0, over) * (0.3 if chip else 1.0)
        - 0.3 * beside
        + small / whole / 2
    )


def _cut(pieces: Sequence[Piece], ink: Ink, area: float, expected: int, unit: float) -> list[Piece]:
    """Cut the largest as long as there are fewer than ``expected`` and it is large enough to be two."""
    parts = list(pieces)
    while 0 < len(parts) < expected:
        largest = max(parts, key=lambda piece: piece.area)
        others = [piece.area for piece in parts if piece is not largest]
        whole = area or (float(np.median(others)) if others else largest.area / 2)
        if largest.area < _TWO * whole or (not area and largest.width < _WIDE * unit):
            break
        halves = cut_in_two(largest, ink, _THROUGH)
        if halves is None:
            break
        parts = [piece for piece in parts if piece is not largest] + list(halves[0])
    return parts


def _window(pieces: Sequence[Piece], group: Group, unit: float) -> tuple[int, int, int, int] | None:
    """Where a group's chromosomes lie: around its pieces, or in its frame less the rim."""
    if group.frame is not None:
        top, left, bottom, right = group.frame
        rim = round(0.13 * (right - left))
        below = round(0.13 * (bottom - top))
        return top + below, left + rim, bottom - below, right - rim
    if not pieces:
        return None
    reach = round(0.6 * unit)
    return (
        max(0, min(piece.box[0] for piece in pieces) - reach),
        max(0, min(piece.box[1] for piece in pieces) - reach),
        max(piece.box[2] for piece in pieces) + reach,
        max(piece.box[3] for piece in pieces) + reach,
    )


def _looked_at_again(
    pieces: Sequence[Piece],
    near: tuple[int, int, int, int],
    ink: Ink,
    blocked: np.ndarray,
    unit: float,
    area: float,
    expected: int,
    *,
    smooth: bool = False,
) -> list[Piece] | None:
    """Look at the box ``near`` at other contrasts; return what adds up best, None where nothing does.

    smooth: whether without the noise of single pixels, by which the faintest are seen.
    """
    top, left, bottom, right = near
    window = np.s_[top:bottom, left:right]
    contrast = np.where(blocked[window], 0, (ink.smooth if smooth else ink.contrast)[window])
    least = ink.dim if smooth else ink.faint
    own = np.zeros(ink.mask.shape, bool)
    for piece in pieces:
        own[piece.box[0] : piece.box[2], piece.box[1] : piece.box[3]] |= piece.mask
    own = own[window]
    strong = float(np.quantile(contrast[own], 0.9)) if own.any() else float(np.quantile(contrast, 0.99))
    best: tuple[float, list[Piece]] | None = None
    for share in _LADDER:
        found = _pieces_of(contrast > max(least, share * strong), (top, left))
        found = [piece for piece in found if piece.area >= 0.08 * unit**2]
        found = _joined(found, expected, area, unit)
        found = [piece for piece in found if piece.area >= _LEAST * (unit**2 if not area else min(unit**2, area))]
        if len(found) != expected:
            continue
        areas = [piece.area for piece in found]
        misfit = float(np.log(max(areas) / min(areas)))
        misfit += float(np.mean([abs(np.log(one / area)) for one in areas])) if area else 0.0
        misfit += 0.5 * share
        if best is None or misfit < best[0]:
            best = misfit, found
    return best[1] if best and best[0] < 2.0 else None


def _pieces_of(mask: np.ndarray, corner: tuple[int, int]) -> list[Piece]:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    top, left = corner
    return [
        Piece(
            (box[0].start + top, box[1].start + left, box[0].stop + top, box[1].stop + left),
            labels[box] == number,
        )
        for number, box in enumerate(ndimage.find_objects(labels), start=1)
    ]
