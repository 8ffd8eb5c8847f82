"""Chromosomes of a sheet found again on the metaphase that it was made of: their masks there.

Nothing is known of how a crop was turned, mirrored and enlarged. First the crops are given to the pieces of the cut,
all of a cell together, by bands and size. What is left, where the cut is not right, is looked for in every direction
where no piece has an owner yet; its mask is then that of the sheet, laid on the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.optimize import linear_sum_assignment

from bandbridge.dataset.cutout import Cutout, cut_out, is_bright_ground, stand
from bandbridge.metaphase.crops import crop_of
from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.lifted import resized

#: Rows and columns that bands are compared at.
_SIDES = (64, 20)
#: What it costs that a piece is e times as large, or as long, as it should be.
_SIZE, _LENGTH = 1.5, 1.0
#: Likeness from which a piece is a crop's, and from which one looked for is.
LIKE, FOUND = 0.78, 0.9
#: Share of the crops that are pieces of the cut, and how like they are in the middle, if the field is of their cell.
_SHARE, _SAME_CELL = 0.25, 0.84
#: Degrees between directions that are tried; ground around a crop that is compared, pixels.
_TURN, _RING = 5, 2
#: A mask that is found lies in owned pixels by no more than this share.
_TAKEN = 0.5
#: How much smaller than the separator sees it the field is looked through, and least side of it; what is even, squared.
_COARSER, _LEAST_SIDE, _FLAT = 1.6, 64, 1e-4
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
    """Find ``crops``, uint8 [h, w] each on even ground, on ``gray`` [H, W], the field of their cell, which was ``cut``.

    Those that are not found are left out, and all are where the field is none of their cell.
    """
    pieces = cut.chromosomes()
    if not crops or not pieces:
        return []
    bright = is_bright_ground(crops)
    sheets = [cut_out(crop, bright) for crop in crops]
    others = np.zeros(cut.shape, bool)
    for piece in pieces:
        others[piece.box] |= piece.mask
    shown = [crop_of(gray, cut.width, piece, others) for piece in pieces]
    fields = [cut_out(crop, not cut.levelled.bright) for crop in shown]
    likeness, larger = _compared(sheets, fields)
    rows, columns = linear_sum_assignment(-likeness)
    sure = [(a, b) for a, b in zip(rows, columns, strict=True) if likeness[a, b] >= LIKE]
    found = [
        Again(int(a), float(likeness[a, b]), False, pieces[b].top, pieces[b].left, pieces[b].mask) for a, b in sure
    ]
    if len(found) < _SHARE * len(crops) or np.median([one.likeness for one in found]) < _SAME_CELL:
        return []
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
    """The crops ``left``, looked for where nothing is owned. zoom: pixels of the field for one of a crop."""
    if not left:
        return []
    shape = tuple(max(_LEAST_SIDE, round(side / _COARSER)) for side in cut.said.there.shape)
    field = np.maximum(resized(cut.levelled.contrast, (shape[0], shape[1])), 0)
    taken = resized(owned.astype(np.float32), (shape[0], shape[1])) > 0.5
    found = []
    for place in left:
        search = _Search.of(field, taken)
        best = max(
            (search.best(contrast, mask) for contrast, mask in _turned(sheets[place], zoom * cut.scale / _COARSER)),
            key=lambda each: each[0],
        )
        likeness, box, mask = best
        if likeness < FOUND:
            continue
        taken[box] |= mask
        found.append(_on_field(place, likeness, box, mask, cut, shape))
    return found


@dataclass(frozen=True, eq=False)
class _Search:
    """A field [h, w] to look for crops in: the transforms of it, its square and what is owned, and their shape."""

    plain: np.ndarray
    squared: np.ndarray
    owned: np.ndarray
    shape: tuple[int, ...]
    padded: tuple[int, int]

    @classmethod
    def of(cls, field: np.ndarray, owned: np.ndarray) -> _Search:
        padded = (next_fast_len(field.shape[0], real=True), next_fast_len(field.shape[1], real=True))
        plain, squared, taken = (rfft2(each, padded) for each in (field, field**2, owned.astype(float)))
        return cls(plain, squared, taken, field.shape, padded)

    def best(self, contrast: np.ndarray, mask: np.ndarray) -> tuple[float, tuple[slice, slice], np.ndarray]:
        """The best normalised correlation of ``contrast`` [a, b], around ``mask``, with the field, and where it is."""
        height, width = mask.shape
        if height >= self.shape[0] or width >= self.shape[1]:
            return -1.0, np.s_[0:0, 0:0], mask
        near = ndimage.binary_dilation(mask, iterations=_RING)
        count = near.sum()
        values = np.where(near, contrast - contrast[near].mean(), 0)
        values = values / max(float(np.sqrt((values**2).sum())), 1e-6)
        ours, window, own = (np.conj(rfft2(each, self.padded)) for each in (values, near / count, mask / mask.sum()))
        kept = np.s_[: self.shape[0] - height + 1, : self.shape[1] - width + 1]
        products = self.plain * ours, self.plain * window, self.squared * window, self.owned * own
        across, mean, squared, owned = (irfft2(each, self.padded)[kept] for each in products)
        likeness = across / np.sqrt(np.maximum(squared - mean**2, _FLAT) * count)
        likeness[owned > _TAKEN] = -1
        top, left = (int(each) for each in np.unravel_index(int(likeness.argmax()), likeness.shape))
        return float(likeness[top, left]), np.s_[top : top + height, left : left + width], mask


def _turned(one: Cutout, zoom: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The contrast, float32, and mask of a crop at ``zoom``, in every direction, as it is and mirrored."""
    size = [max(3, round(side * zoom)) for side in one.mask.shape]
    contrast, mask = (resized(each.astype(np.float32), (size[0], size[1])) for each in (one.contrast, one.mask))
    for flipped in (False, True):
        for angle in range(0, 360, _TURN):
            both = []
            for image in (contrast, mask):
                picture = Image.fromarray(np.ascontiguousarray(image[:, ::-1]) if flipped else image)
                turned = np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR, expand=True))
                both.append(np.pad(turned, _RING + 1))
            if (both[1] > 0.5).any():
                yield both[0], both[1] > 0.5


def _on_field(
    place: int, likeness: float, box: tuple[slice, slice], mask: np.ndarray, cut: Cut, shape: tuple[int, ...]
) -> Again:
    down, over = (new / old for new, old in zip(cut.shape, shape, strict=True))
    size = (max(1, round(mask.shape[0] * down)), max(1, round(mask.shape[1] * over)))
    large = resized(mask.astype(np.float32), size) > 0.5
    top, left = round(box[0].start * down), round(box[1].start * over)
    return Again(place, likeness, True, top, left, large[: cut.shape[0] - top, : cut.shape[1] - left])
