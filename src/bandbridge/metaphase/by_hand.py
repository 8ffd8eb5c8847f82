"""Pieces of a field as a person corrects them: divided along a line, joined, taken where the cut missed one.

Points are (x, y) in pixels of the field, each pixel being one square: the middle of the first is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from bandbridge.errors import UserError
from bandbridge.metaphase.field import shrunk_by
from bandbridge.metaphase.ground import BlankField, level, otsu
from bandbridge.metaphase.lifted import resized
from bandbridge.metaphase.pieces import Piece

#: Pixels of the longer side at which the ground of a field is looked for.
_SIDE = 1100
#: Parts of the threshold above which a pale band is still of a chromosome, and a pale chromosome one; and how much
#: more than the noise of the ground anything is.
_PALE, _PALEST, _NOISE = 0.7, 0.25, 3.0
#: The smallest piece, in squared widths and in pixels.
_SMALLEST, _FEWEST_PIXELS = 0.15, 6
#: What is nowhere so far from its edge, in widths, and has so much of its outline at a chromosome is that one's rim, or
#: a slit in it, and none by itself.
_THIN, _BESIDE = 0.3, 0.25
#: How far a line that ends inside a chromosome is drawn on, in widths.
_FURTHER = 1.5
#: How far from a click a piece may begin, and how far it may reach, in widths.
_NEAR, _REACH = 0.6, 25.0
#: A part counts that is at least this share of the largest.
_PART = 0.2
_BOTH = np.ones((3, 3), bool)
_NOTHING = "nothing is missed there: nothing stands out from the ground that is not a chromosome's already"


@dataclass(frozen=True, eq=False)
class Standing:
    """How far a field stands out from its ground: contrast float32 [H, W], the threshold of strong stain, the lowest
    that is no noise. Of what is paler than the strongly stained, the half of its own contrast bounds it.
    """

    contrast: np.ndarray
    threshold: float
    lowest: float

    def bound(self, found: float) -> float:
        """Return ``found``, a bound in contrast, within what can be one."""
        return float(np.clip(found, self.lowest, max(self.lowest, self.threshold)))


def standing_out(gray: np.ndarray) -> Standing:
    """Return how far ``gray`` [H, W] stands out from its ground; nowhere on a blank field."""
    shape = (gray.shape[0], gray.shape[1])
    try:
        found = level(shrunk_by(gray, max(1, round(max(shape) / _SIDE))))
    except BlankField:
        return Standing(np.zeros(shape, np.float32), 1.0, 1.0)
    threshold = _PALE * found.threshold
    lowest = min(threshold, max(_PALEST * found.threshold, _NOISE * found.floor))
    return Standing(resized(found.contrast, shape), threshold, lowest)


def piece_of(where: np.ndarray) -> Piece:
    """Return the piece that covers ``where``, bool [H, W], with at least one pixel."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    mask = where[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    return Piece(top, left, mask, area=int(mask.sum()))


def join(pieces: Sequence[Piece]) -> Piece:
    """Return the piece that has the pixels of all ``pieces``."""
    top, left = min(one.top for one in pieces), min(one.left for one in pieces)
    bottom, right = (max(one.box[axis].stop for one in pieces) for axis in (0, 1))
    where = np.zeros((bottom - top, right - left), bool)
    for one in pieces:
        rows, columns = one.box
        where[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] |= one.mask
    return Piece(top, left, where, area=int(where.sum()))


def crossed(piece: Piece, line: np.ndarray) -> int:
    """Return how many pixels of ``piece`` lie on ``line``, float [N, 2]."""
    return int((_drawn(line, piece) & piece.mask).sum())


def divide(piece: Piece, line: np.ndarray, width: float) -> list[Piece]:
    """Return what ``line``, float [N, 2] with N at least 2, divides ``piece`` into, the largest first.

    Every pixel belongs to one of them. width: of a chromosome, pixels: splinters far smaller than one stay with what is
    nearest. A line that ends inside is drawn on to the other side. Raises :class:`UserError` where it divides nothing.
    """
    barrier = _drawn(_drawn_on(piece, line, width), piece) & piece.mask
    least = max(_FEWEST_PIXELS, round(_SMALLEST * width**2))
    parts = _parts(piece.mask, barrier, line, piece, least)
    if len(parts) < 2:
        raise UserError("the line does not divide it", "Draw it across, from the ground on one side to the other.")
    numbers = np.zeros(piece.mask.shape, np.int32)
    for number, part in enumerate(parts, start=1):
        numbers[part] = number
    nearest = ndimage.distance_transform_edt(numbers == 0, return_distances=False, return_indices=True)
    numbers = np.where(piece.mask, numbers[tuple(nearest)], 0)
    found = [_moved(piece_of(numbers == number), piece.top, piece.left) for number in range(1, len(parts) + 1)]
    return sorted(found, key=lambda one: -one.area)


def _parts(mask: np.ndarray, barrier: np.ndarray, line: np.ndarray, piece: Piece, least: int) -> list[np.ndarray]:
    labels, count = ndimage.label(mask & ~barrier)
    touched = np.zeros(count + 1, bool)
    whole, _ = ndimage.label(mask, _BOTH)
    for number in np.unique(whole[barrier]):
        touched[np.unique(labels[whole == number])] = True
    touched[0] = False
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    # A part that hangs apart and that the line does not touch goes with the nearest.
    parts = [labels == number for number in range(1, count + 1) if touched[number] and sizes[number] >= least]
    return parts if len(parts) > 1 else _sides(mask, line - (piece.left, piece.top), least)


def _sides(mask: np.ndarray, line: np.ndarray, least: int) -> list[np.ndarray]:
    """The parts of ``mask`` that hang apart, those on one side of ``line`` together."""
    labels, count = ndimage.label(mask, _BOTH)
    along = line[-1] - line[0]
    sides = [np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)]
    for number in range(1, count + 1):
        rows, columns = np.nonzero(labels == number)
        away = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) - line[0]
        sides[int(along[0] * away[1] - along[1] * away[0] > 0)] |= labels == number
    return [side for side in sides if side.sum() >= least]


def _drawn(line: np.ndarray, piece: Piece) -> np.ndarray:
    """Where ``line`` passes, in the box of ``piece``: no step aside leads through it."""
    canvas = Image.new("1", piece.mask.shape[::-1])
    points = [tuple(point) for point in np.floor(line - (piece.left, piece.top)).astype(int).tolist()]
    ImageDraw.Draw(canvas).line(points, fill=1)
    return np.asarray(canvas)


def _drawn_on(piece: Piece, line: np.ndarray, width: float) -> np.ndarray:
    return np.concatenate([_onward(piece, line[::-1], width)[::-1], line, _onward(piece, line, width)])


def _onward(piece: Piece, line: np.ndarray, width: float) -> np.ndarray:
    """The point to draw ``line`` on to, [1, 2], where it ends inside ``piece``; none where it does not."""
    apart = line[-1] - line
    before = np.flatnonzero(np.hypot(*apart.T) > 0.5)
    if not len(before) or not _inside(piece, line[-1]):
        return np.zeros((0, 2))
    toward = apart[before[-1]] / np.hypot(*apart[before[-1]])
    far = 0.0
    while far < _FURTHER * width and _inside(piece, line[-1] + far * toward):
        far += 0.5
    return (line[-1] + (far + 1) * toward)[None]


def _inside(piece: Piece, point: np.ndarray) -> bool:
    row, column = int(np.floor(point[1])) - piece.top, int(np.floor(point[0])) - piece.left
    height, width = piece.mask.shape
    return 0 <= row < height and 0 <= column < width and bool(piece.mask[row, column])


def _moved(piece: Piece, down: int, over: int) -> Piece:
    return replace(piece, top=piece.top + down, left=piece.left + over)


def take_inside(standing: Standing, owned: np.ndarray, outline: np.ndarray, width: float) -> Piece:
    """Return what stands out from the ground inside ``outline``, float [N, 2], and is nobody's.

    owned: bool [H, W], what is another chromosome's. Where the missed one lies across another, what they share is of
    both. Raises :class:`UserError` where nothing is missed there.
    """
    left, top = np.maximum(0, np.floor(outline.min(axis=0))).astype(int).tolist()
    right, bottom = np.ceil(outline.max(axis=0)).astype(int).tolist()
    contrast, owned = (each[top : bottom + 1, left : right + 1] for each in (standing.contrast, owned))
    canvas = Image.new("1", contrast.shape[::-1])
    # A pixel is inside whose middle is.
    points = [tuple(point) for point in (outline - (left + 0.5, top + 0.5)).tolist()]
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    inside = np.asarray(canvas)
    values = contrast[inside & ~owned]
    above = contrast > standing.bound(otsu(values) if values.size else np.inf)
    free = ndimage.binary_fill_holes(above & inside & ~owned) & inside & ~owned
    labels, count = ndimage.label(free, _BOTH)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[~_stands_alone(labels, count, owned, width)] = 0
    if not count or sizes.max() < max(_FEWEST_PIXELS, _SMALLEST * width**2):
        raise UserError(_NOTHING, "Draw around all of it, or erase first what lies over it.")
    kept = np.isin(labels, np.flatnonzero(sizes >= max(1.0, _PART * sizes.max())))
    if ndimage.label(kept, _BOTH)[1] > 1:
        kept |= _between(kept) & above & inside & owned
    return _moved(piece_of(kept), top, left)


def take_at(standing: Standing, owned: np.ndarray, at: np.ndarray, width: float) -> Piece:
    """Return the piece at the point ``at``, float [2], that stands out from the ground and is nobody's.

    owned: as in :func:`take_inside`. Raises :class:`UserError` where there is none.
    """
    reach, near = round(_REACH * width), max(1, round(_NEAR * width))
    row, column = int(np.floor(at[1])), int(np.floor(at[0]))
    box = np.s_[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach]
    contrast, owned = standing.contrast[box], owned[box]
    rows, columns = np.ogrid[: contrast.shape[0], : contrast.shape[1]]
    away = np.hypot(rows - (row - box[0].start), columns - (column - box[1].start))
    around = contrast[(away <= near) & ~owned]
    # Half of what is at the click, its noise left out.
    bound = standing.bound(float(np.quantile(around, 0.8)) / 2 if around.size else np.inf)
    free = ndimage.binary_fill_holes((contrast > bound) & ~owned) & ~owned
    labels, count = ndimage.label(free)
    far = np.where(_stands_alone(labels, count, owned, width)[labels], away, np.inf)
    first = np.unravel_index(np.argmin(far), far.shape)
    found = labels == labels[first]
    if far[first] > near or found.sum() < max(_FEWEST_PIXELS, _SMALLEST * width**2):
        raise UserError(_NOTHING, "Click into it, or draw around it.")
    return _moved(piece_of(found), box[0].start, box[1].start)


def _stands_alone(labels: np.ndarray, count: int, owned: np.ndarray, width: float) -> np.ndarray:
    """Which of ``count`` parts, numbered in ``labels``, are no rim and no slit of what is ``owned``, bool by number."""
    depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1))[1:-1, 1:-1]
    found = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        near = tuple(slice(max(0, each.start - 1), each.stop + 1) for each in box)
        part = labels[near] == number
        around = ndimage.binary_dilation(part, _BOTH) & ~part
        thick = float(depth[near][part].max()) >= _THIN * width
        found[number] = thick or float(owned[near][around].mean()) < _BESIDE
    return found


def _between(parts: np.ndarray) -> np.ndarray:
    """The convex hull of bool ``parts`` [H, W]."""
    points = np.argwhere(parts)[:, ::-1]
    try:
        corners = points[ConvexHull(points).vertices]
    except QhullError:  # all on one line
        return parts
    canvas = Image.new("1", parts.shape[::-1])
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in corners.tolist()], fill=1)
    return np.asarray(canvas)
