"""The frames of a sheet, by their walls: where they are, and the ticks that are drawn in all of them alike.

A wall is told from a chromosome by its course, not by its strength: it stands out across for all of its length. So a
wall of a few gray levels is found beside bright chromosomes, and two that a small scan runs together are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from bandbridge.sheets.groups import in_rows
from bandbridge.sheets.ink import Ink
from bandbridge.sheets.pieces import Piece

Frame = tuple[int, int, int, int]

#: Frames of a sheet have each this share of its area, and there are at least so many.
_SMALLEST, _LARGEST, _FEWEST = 0.003, 0.2, 12
#: Of a wall, as shares of the sheet's longest side: most thickness, two beside each other together; least length; and
#: the longest hole that is bridged.
_THICK, _LONG, _HOLE = 0.015, 0.06, 0.022
#: A wall is no weaker than one of these shares of what most of them are: of that under which frames are most alike.
_WEAK = (0.3, 0.2, 0.1)
#: A frame with one wall missing has so much of those over and under it, within so many pixels.
_SUPPORTED, _OFF = 0.9, 3
#: The soft rim of a wall within its frame, working pixels.
_RIM = 3
#: Where ticks are looked for, as shares of a frame: from its side inward, and of its height not; share of the sides
#: that have one; how far they reach inward at most.
_STRIP, _CORNER, _AGREE, _DEEPEST = (0.015, 0.045), 0.2, 0.6, 0.25
#: What a compressed picture has around a tick reaches so far inward of it, as a share of its frame's width.
_BESIDE = 0.04


def frames_of(ink: Ink) -> list[Frame]:
    """Return the boxes (top, left, bottom, right) of a sheet's frames, working pixels, in reading order; none: []."""
    height, width = (side // 2 for side in ink.contrast.shape)
    half = ink.contrast[: 2 * height, : 2 * width].reshape(height, 2, width, 2).max(axis=(1, 3))
    side = max(half.shape)
    thick, hole = (max(3, round(share * side)) | 1 for share in (_THICK, _HOLE))
    strength = np.maximum(*(_strokes(half, axis, thick, hole, round(_LONG * side)) for axis in (0, 1)))
    stands = strength[strength > ink.faint]
    if not stands.size:
        return []
    usual = float(np.quantile(stands, 0.8))
    ways = [find_frames(strength > max(ink.faint, share * usual)) for share in _WEAK]
    return [(2 * top, 2 * left, 2 * bottom, 2 * right) for top, left, bottom, right in max(ways, key=_alike)]


def _alike(frames: Sequence[Frame]) -> int:
    """How many frames are as high as others of their row and stand level with them, less those that do not."""
    rows = [[frames[place] for place in row] for row in in_rows(frames)]
    level = [
        sum(max(abs(box[0] - other[0]), abs(box[2] - other[2])) <= _OFF for other in row) > len(row) / 2
        for row in rows
        for box in row
    ]
    return sum(1 if one else -1 for one in level)


def _strokes(picture: np.ndarray, axis: int, thick: int, hole: int, long: int) -> np.ndarray:
    """How far strokes along ``axis`` stand out of what lies beside them, at the weakest place of their length."""
    thin = picture - _opened(picture, thick, 1 - axis)
    return _opened(-_opened(-thin, hole, axis), long, axis)


def _opened(picture: np.ndarray, size: int, axis: int) -> np.ndarray:
    low = ndimage.minimum_filter1d(picture, size, axis, mode="constant")
    return np.asarray(ndimage.maximum_filter1d(low, size, axis, mode="constant"))


def find_frames(walls: np.ndarray) -> list[Frame]:
    """Return the boxes (top, left, bottom, right) that ``walls``, bool [h, w], enclose, in reading order.

    One whose wall at one side does not show is found by those over and under it.
    """
    side = max(walls.shape)
    closed = ndimage.binary_dilation(walls, iterations=max(2, side // 400))
    labels, _ = ndimage.label(~closed)
    boxes: list[Frame] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        top, left, bottom, right = box[0].start, box[1].start, box[0].stop, box[1].stop
        area = (bottom - top) * (right - left)
        touches = top == 0 or left == 0 or bottom == walls.shape[0] or right == walls.shape[1]
        filled = float((labels[box] == number).mean())
        if not touches and _SMALLEST <= area / walls.size <= _LARGEST and filled > 0.8:
            boxes.append((top, left, bottom, right))
    if len(boxes) < _FEWEST:
        return []
    boxes = [part for row in in_rows(boxes) for part in _whole_row([boxes[place] for place in row], closed)]
    return [boxes[place] for row in in_rows(boxes) for place in row]


def _whole_row(row: Sequence[Frame], closed: np.ndarray) -> list[Frame]:
    """A row of frames, whole: those divided that lost the wall between them, those put in that lost an outer one."""
    if len(row) < 3:
        return list(row)
    top, bottom = (round(float(np.median([box[side] for box in row]))) for side in (0, 2))
    row = _without_bars(row, top, bottom)
    width = round(float(np.median([box[3] - box[1] for box in row])))
    apart = [after[1] - box[3] for box, after in pairwise(row)]
    between = max(0, min([gap for gap in apart if gap < 0.2 * width], default=2))
    parts: list[Frame] = []
    for box in row:
        many = round((box[3] - box[1] + between) / (width + between))
        same = abs(box[0] - top) <= _OFF and abs(box[2] - bottom) <= _OFF
        if many < 2 or not same or abs((box[3] - box[1] + between) / many - width - between) > 0.1 * width:
            parts.append(box)
            continue
        edges = np.linspace(box[1], box[3] + between, many + 1)
        parts += [(box[0], round(left), box[2], round(right) - between) for left, right in pairwise(edges)]
    for box in list(parts):
        for left in (box[3] + between, box[1] - between - width):
            new = (top, left, bottom, left + width)
            if _is_free(new, parts, closed.shape[1]) and _is_supported(new, closed):
                parts.append(new)
    return sorted(parts, key=lambda each: each[1])


def _without_bars(row: Sequence[Frame], top: int, bottom: int) -> list[Frame]:
    """The frames of a row from ``top`` to ``bottom``, those put together that a tick and what it meets divided."""
    parts = list(row)
    for upper in row:
        for lower in row:
            level = abs(upper[0] - top) <= _OFF and abs(lower[2] - bottom) <= _OFF and upper[2] <= lower[0]
            same = max(abs(upper[side] - lower[side]) for side in (1, 3)) <= 3 * _OFF
            if level and same and lower[0] - upper[2] < 0.2 * (bottom - top):
                parts = [one for one in parts if one not in (upper, lower)]
                parts.append((upper[0], min(upper[1], lower[1]), lower[2], max(upper[3], lower[3])))
    return sorted(parts, key=lambda each: each[1])


def _is_free(box: Frame, others: Sequence[Frame], width: int) -> bool:
    inside = box[1] >= 0 and box[3] <= width
    return inside and all(box[3] <= other[1] + _OFF or box[1] >= other[3] - _OFF for other in others)


def _is_supported(box: Frame, closed: np.ndarray) -> bool:
    """Whether there are walls over and under ``box``, just where its neighbours have them."""
    top, left, bottom, right = box
    inner = np.s_[left + _OFF : right - _OFF]
    over = closed[max(0, top - _OFF) : top, inner], closed[top + _OFF : top + 2 * _OFF, inner]
    under = closed[bottom : bottom + _OFF, inner], closed[bottom - 2 * _OFF : bottom - _OFF, inner]
    return all(
        wall.any(axis=0).mean() > _SUPPORTED and free.any(axis=0).mean() < 1 - _SUPPORTED
        for wall, free in (over, under)
    )


def around(frames: Sequence[Frame], shape: tuple[int, ...]) -> np.ndarray:
    """Return bool [h, w]: the walls of ``frames`` and what lies just outside of them, where no chromosome stands."""
    outside, inside = np.zeros(shape, bool), np.zeros(shape, bool)
    reach = round(_THICK * max(shape)) + 2 * _RIM
    for top, left, bottom, right in frames:
        outside[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = True
        inside[top + _RIM : bottom - _RIM, left + _RIM : right - _RIM] = True
    return outside & ~inside


def middles(frames: Sequence[Frame], shape: tuple[int, ...]) -> np.ndarray:
    """Return bool [h, w]: the middles of ``frames``, where chromosomes stand and no number does."""
    middle = np.zeros(shape, bool)
    for top, left, bottom, right in frames:
        aside = round(_CORNER * (bottom - top))
        middle[top + aside : bottom - aside, left:right] = True
    return middle


@dataclass(frozen=True, eq=False)
class Ticks:
    """Marks at the sides of frames that all of a row have at one height. mask: bool [h, w], working pixels. zones:
    (top, left, bottom, right) each, where they are and what a compressed picture has around them."""

    mask: np.ndarray
    zones: tuple[Frame, ...]

    def hold(self, piece: Piece) -> bool:
        """Whether a piece is one of them: mostly, or no chromosome by its size and in no other place."""
        top, left, bottom, right = piece.box
        if float(self.mask[top:bottom, left:right][piece.mask].mean()) > 0.5:
            return True
        return any(
            zone[1] <= left
            and right <= zone[3]
            and zone[0] < bottom
            and top < zone[2]
            and bottom - top < 2 * (zone[2] - zone[0])
            for zone in self.zones
        )


def find_ticks(frames: Sequence[Frame], ink: Ink) -> Ticks:
    """Return the ticks of all ``frames``, working pixels."""
    ticks, zones = np.zeros(ink.contrast.shape, bool), []
    for row in in_rows(frames):
        own = [frames[place] for place in row]
        height = min(box[2] - box[0] for box in own)
        first, last = round(_CORNER * height), round((1 - _CORNER) * height)
        sides = [side for box in own for side in _sides(box, ink.contrast, height)]
        profiles = []
        for side in sides:
            near = side[
                :, round(_STRIP[0] * side.shape[1] / _DEEPEST) : round(_STRIP[1] * side.shape[1] / _DEEPEST) + 1
            ]
            profile = near.mean(axis=1)
            profiles.append(profile - np.median(profile))
        middle = np.median(profiles, axis=0)
        at = first + int(np.argmax(middle[first:last]))
        reach = max(1, round(0.02 * height))
        has = [float(profile[max(0, at - reach) : at + reach + 1].max()) > ink.faint for profile in profiles]
        if middle[at] <= ink.faint or np.mean(has) < _AGREE:
            continue
        rows = _around(middle > 0.2 * middle[at], at)
        deep = min(side.shape[1] for side in sides)
        course = np.median([side[rows, :deep].max(axis=0) for side in sides], axis=0)
        long = int(np.argmax(course < max(ink.faint, 0.2 * middle[at]))) or deep
        for top, left, _, right in own:
            first, last, aside = top + rows.start - 2, top + rows.stop + 2, long + 3
            ticks[first:last, left : left + aside] = ticks[first:last, right - aside : right] = True
            around = round(0.04 * height)
            wide = aside + round(_BESIDE * (right - left))
            zones += [
                (first - around, left - around, last + around, left + wide),
                (first - around, right - wide, last + around, right + around),
            ]
    return Ticks(ticks, tuple(zones))


def _sides(box: Frame, contrast: np.ndarray, height: int) -> list[np.ndarray]:
    """The left and the right part of a frame, each from its wall inward."""
    top, left, _, right = box
    deep = round(_DEEPEST * (right - left))
    return [
        contrast[top : top + height, left : left + deep],
        contrast[top : top + height, right - deep : right][:, ::-1],
    ]


def _around(above: np.ndarray, at: int) -> slice:
    """The unbroken run of ``above`` that holds ``at``."""
    below = np.flatnonzero(~above)
    first = int(below[below < at].max(initial=-1)) + 1
    return slice(first, int(below[below > at].min(initial=len(above))))
