"""Chromosomes of a sheet found again on the metaphase that it was made of: their masks there.

Nothing is known of how a crop was turned, mirrored and enlarged. First the crops are given to the pieces of the cut, all
of a cell together, by bands and size. What is left, where the cut is not right, is looked for in every direction where
no piece has an owner yet; its mask is then that of the sheet, laid on the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.signal import fftconvolve

from bandbridge.dataset.cutout import Cutout, cut_out, is_bright_ground, stand
from bandbridge.metaphase.crops import crop_of
from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.lifted import resized

#: Rows and columns that bands are compared at.
_SIDES = (64, 20)
#: What it costs that a piece is e times as large, or as long, as it should be.
_SIZE, _LENGTH = 1.0, 1.0
#: Likeness from which a piece is a crop's, and from which one looked for is.
LIKE, FOUND = 0.55, 0.75
#: Degrees between directions that are tried; ground around a crop that is compared, pixels.
_TURN, _RING = 5, 2
#: A mask that is found lies in owned pixels by no more than this share.
_TAKEN = 0.5
#: Rounds in which scale and owners are found.
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Again:
    """A crop's place on the field. crop: its place among the crops. likeness: to what is there, up to 1. looked_for:
    whether its mask is the sheet's, laid on the field, and not a piece of the cut. top, left, mask: bool, of the field.
    """

    crop: int
    likeness: float
    looked_for: bool
    top: int
    left: int
    mask: np.ndarray


def find_again(crops: Sequence[np.ndarray], gray: np.ndarray, cut: Cut) -> list[Again]:
    """Find ``crops``, uint8 [h, w] each on even ground, on the field ``gray`` [H, W] of the same cell, which was ``cut``.

    Those that are not found are left out.
    """
    pieces = cut.chromosomes()
    if not crops or not pieces:
        return []
    bright = is_bright_ground(crops)
    sheets = [cut_out(crop, bright) for crop in crops]
    others = np.zeros(cut.shape, bool)
    for piece in pieces:
        others[piece.box] |= piece.mask
    shown = [crop_of(gray, cut, piece, others) for piece in pieces]
    fields = [cut_out(crop, not cut.levelled.bright) for crop in shown]
    likeness, larger = _compared(sheets, fields)
    rows, columns = linear_sum_assignment(-likeness)
    sure = [(a, b) for a, b in zip(rows, columns, strict=True) if likeness[a, b] >= LIKE]
    found = [
        Again(int(a), float(likeness[a, b]), False, pieces[b].top, pieces[b].left, pieces[b].mask) for a, b in sure
    ]
    left = sorted(set(range(len(crops))) - {a for a, _ in sure}, key=lambda a: -sheets[a].mask.sum())
    owned = np.zeros(cut.shape, bool)
    for one in found:
        owned[_box(one)] |= one.mask
    # One pixel of the sheet in pixels of the field.
    return found + _looked_for(left, sheets, cut, owned, float(np.exp(-larger / 2)))


def _box(one: Again) -> tuple[slice, slice]:
    return slice(one.top, one.top + one.mask.shape[0]), slice(one.left, one.left + one.mask.shape[1])


def _compared(sheets: Sequence[Cutout], fields: Sequence[Cutout]) -> tuple[np.ndarray, float]:
    """How like each crop is to each piece, and by how much, as a logarithm, crops have more pixels than pieces."""
    ours, theirs = (np.stack([_bands(one) for one in each]) for each in (sheets, fields))
    turned = np.stack([theirs, theirs[:, ::-1], theirs[:, :, ::-1], theirs[:, ::-1, ::-1]])
    bands = np.einsum("axy,tbxy->tab", ours, turned).max(axis=0)
    areas, lengths = (
        np.array([[max(size(one), 1.0) for one in each] for size in (_area, _length)]) for each in (sheets, fields)
    )
    area, length = np.log(areas[0][:, None] / lengths[0]), np.log(areas[1][:, None] / lengths[1])
    larger = float(np.median(np.log(areas[0])) - np.median(np.log(lengths[0])))
    for _ in range(_ROUNDS):
        off = np.abs(area - larger) * _SIZE / 2 + np.abs(length - larger / 2) * _LENGTH
        likeness = bands - off
        rows, columns = linear_sum_assignment(-likeness)
        good = likeness[rows, columns] >= LIKE
        if good.sum() > 5:
            larger = float(np.median(area[rows[good], columns[good]]))
    return likeness, larger


def _area(one: Cutout) -> float:
    return float(one.mask.sum())


def _length(one: Cutout) -> float:
    return one.length


def _bands(one: Cutout) -> np.ndarray:
    """Its contrast upright, stretched to one size, of mean 0 and length 1."""
    upright = stand(one).contrast.astype(np.float32)
    values = resized(upright, _SIDES)
    values = values - values.mean()
    return values / max(float(np.sqrt((values**2).sum())), 1e-6)


def _looked_for(left: Sequence[int], sheets: Sequence[Cutout], cut: Cut, owned: np.ndarray, zoom: float) -> list[Again]:
    shape = cut.said.there.shape
    field = np.maximum(resized(cut.levelled.contrast, (shape[0], shape[1])), 0)
    taken = resized(owned.astype(np.float32), (shape[0], shape[1])) > 0.5
    found = []
    for place in left:
        best = _best_place(sheets[place], np.where(taken, np.float32(0), field), zoom * cut.scale)
        if best is None or best[0] < FOUND or (taken[best[1]] & best[2]).sum() > _TAKEN * best[2].sum():
            continue
        likeness, box, mask = best
        taken[box] |= mask
        found.append(_on_field(place, likeness, box, mask, cut))
    return found


def _best_place(one: Cutout, field: np.ndarray, zoom: float) -> tuple[float, tuple[slice, slice], np.ndarray] | None:
    """The best likeness of a crop at ``zoom`` with the field, in any direction: that, where, and its mask there."""
    best = None
    squared = field**2
    for contrast, mask in _turned(one, zoom):
        if any(size >= whole for size, whole in zip(mask.shape, field.shape, strict=True)):
            continue
        near = ndimage.binary_dilation(mask, iterations=_RING)
        weight = near / near.sum()
        values = np.where(near, contrast - (contrast * weight).sum(), 0)
        values = values / max(float(np.sqrt((values**2).sum())), 1e-6)
        across = fftconvolve(field, values[::-1, ::-1], "valid")
        mean, mean_squared = (fftconvolve(each, weight[::-1, ::-1], "valid") for each in (field, squared))
        spread = np.sqrt(np.maximum(mean_squared - mean**2, 1e-4) * near.sum())
        likeness = across / spread
        top, left = np.unravel_index(int(likeness.argmax()), likeness.shape)
        if best is None or likeness[top, left] > best[0]:
            box = np.s_[int(top) : int(top) + mask.shape[0], int(left) : int(left) + mask.shape[1]]
            best = float(likeness[top, left]), box, mask
    return best


def _turned(one: Cutout, zoom: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The contrast, float32, and mask of a crop at ``zoom``, in every direction, as it is and mirrored."""
    pad = _RING + 1
    size = [max(3, round(side * zoom)) for side in one.mask.shape]
    contrast = resized(one.contrast.astype(np.float32), (size[0], size[1]))
    mask = resized(one.mask.astype(np.float32), (size[0], size[1]))
    for flipped in (False, True):
        for angle in range(0, 360, _TURN):
            both = []
            for image in (contrast, mask):
                picture = Image.fromarray(image[:, ::-1] if flipped else image)
                turned = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
                both.append(np.pad(np.asarray(turned), pad))
            yield both[0], both[1] > 0.5


def _on_field(place: int, likeness: float, box: tuple[slice, slice], mask: np.ndarray, cut: Cut) -> Again:
    down, over = (new / old for new, old in zip(cut.shape, cut.said.there.shape, strict=True))
    size = (max(1, round(mask.shape[0] * down)), max(1, round(mask.shape[1] * over)))
    large = resized(mask.astype(np.float32), size) > 0.5
    top, left = round(box[0].start * down), round(box[1].start * over)
    large = large[: cut.shape[0] - top, : cut.shape[1] - left]
    return Again(place, likeness, True, top, left, large)
