"""One chromosome cut from its ground: its contrast alone, so that laboratories' grounds and framings drop out.

The contrast of a pixel is how far its gray value is from the ground's, on the chromosome's side of it: dark bands on
white and bright bands on black are the same. Everything that is not the chromosome is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image
from scipy import ndimage

#: Gray levels that a chromosome differs from its ground at least, and what share of its own strong contrast.
_LEAST_CONTRAST, _FAINTEST = 8, 0.25
#: Contrast that counts as strong: the quantile of what differs from the ground at all.
_STRONG = 0.9
#: Least share of the foreground that a separate piece must have to count: smaller ones are dirt.
_SMALLEST_PIECE = 0.05
#: Quantile of the border, towards the ground's side, that is taken for the ground. A crop so tight that the chromosome
#: lies along two thirds of its border still shows it.
_GROUND_QUANTILE = 0.7
#: Ground that is noisy differs from itself: this many times the spread of its own side is no chromosome.
_NOISE = 3.5
#: Share of the border of its box that a foreground covers which is no chromosome but a picture on a canvas, and least
#: share of such a picture that its chromosome, and that its ground, takes.
_PICTURE_EDGE, _LEAST_INNER = 0.98, 0.1
#: Turning by less changes nothing that is to be seen, degrees.
_LEAST_TURN = 1.0


@dataclass(frozen=True, eq=False)
class Cutout:
    """A chromosome without its ground.

    contrast: uint8 [h, w], distance from the ground in gray levels, 0 outside ``mask``, bool [h, w]; both bound the
    foreground. box: (first row, first column, height, width) of it in the source image. turned: degrees it was turned
    counter-clockwise about the middle of the box, and middle: (row, column) in ``contrast`` where that came to lie. A
    blank image gives one pixel of 0.
    """

    contrast: np.ndarray
    mask: np.ndarray
    box: tuple[int, int, int, int]
    turned: float = 0.0
    middle: tuple[float, float] | None = None

    @property
    def is_blank(self) -> bool:
        """Nothing differs from the ground."""
        return not self.mask.any()

    @cached_property
    def levels(self) -> np.ndarray:
        """How many pixels of the foreground have each contrast, int64 [256]."""
        return np.bincount(self.contrast[self.mask], minlength=256)

    @cached_property
    def length(self) -> float:
        """Length along the axis, pixels, however bent.

        That of the ribbon which has this area and this outline: one of length l and width w has the area l w and the
        outline 2 (l + w). A straight or compact chromosome has at least its extent along its principal axis. Holes are
        filled: a pale middle makes a chromosome no longer.
        """
        if self.is_blank:
            return 0.0
        outside, _ = ndimage.label(~np.pad(self.mask, 1))
        whole = outside != outside[0, 0]
        quarter = _outline(whole) / 4
        ribbon = float(quarter + np.sqrt(max(quarter**2 - float(whole.sum()), 0.0)))
        angle, (rows, columns) = np.radians(self.tilt), np.nonzero(self.mask)
        along = rows * np.cos(angle) - columns * np.sin(angle)
        return max(ribbon, float(along.max() - along.min()) + 1)

    @cached_property
    def tilt(self) -> float:
        """Degrees to turn it counter-clockwise so that its principal axis is vertical, -90 to 90.

        The end that is up stays up. A shape without a longer axis is left as it is.
        """
        rows, columns = np.nonzero(self.mask)
        if len(rows) < 2:
            return 0.0
        down, across = rows - rows.mean(), columns - columns.mean()
        return float(-np.degrees(0.5 * np.arctan2(2 * (down @ across), down @ down - across @ across)))


def is_bright_ground(images: Sequence[np.ndarray]) -> bool:
    """Whether uint8 ``images`` [H, W] of one cell show dark chromosomes on a bright ground, judged all together.

    Whatever lies on a ground pulls the mean of the image away from it, to its own side.
    """
    pull = sum((float(image.mean()) - float(np.median(border_of(image)))) * min(image.shape) for image in images)
    if pull == 0:
        return float(np.median([np.median(image) for image in images])) >= 128 if len(images) else False
    return pull < 0


def border_of(image: np.ndarray) -> np.ndarray:
    """Return the pixels on the border of ``image`` [H, W], each once."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def cut_out(image: np.ndarray, bright: bool) -> Cutout:
    """Return the chromosome of uint8 ``image`` [H, W], which lies on a ``bright`` ground or on a dark one.

    A picture with a ground of its own that was pasted on a canvas is taken off it first.
    """
    found = _cut(image, bright)
    row, column, height, width = found.box
    # A picture has straight edges all around; no chromosome fills the whole border of its box.
    if found.mask.size < image.size and min(height, width) > 2 and border_of(found.mask).mean() >= _PICTURE_EDGE:
        picture = image[row : row + height, column : column + width]
        inner = _cut(picture, is_bright_ground([picture]))
        if _LEAST_INNER <= inner.mask.sum() / picture.size <= 1 - _LEAST_INNER:
            top, left, inner_height, inner_width = inner.box
            return replace(inner, box=(row + top, column + left, inner_height, inner_width))
    return found


def _cut(image: np.ndarray, bright: bool) -> Cutout:
    border = border_of(image)
    # From dark to bright, or the other way round: what is last is the ground's own side.
    border = np.sort(border) if bright else np.sort(border)[::-1]
    ground, farthest = (int(border[int(share * (len(border) - 1))]) for share in (_GROUND_QUANTILE, 0.95))
    levels = np.arange(256)
    table = np.clip(ground - levels if bright else levels - ground, 0, 255)
    contrast = table.astype(np.uint8)[image]
    mask = _foreground(contrast, max(_LEAST_CONTRAST, _NOISE * abs(farthest - ground)))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Cutout(np.zeros((1, 1), np.uint8), np.zeros((1, 1), bool), (0, 0, *image.shape))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = mask[box]
    place = (int(rows[0]), int(columns[0]), *inside.shape)
    return Cutout(np.where(inside, contrast[box], np.uint8(0)), inside, place)


def _foreground(contrast: np.ndarray, least: float) -> np.ndarray:
    """Return bool [H, W]: more than ``least`` and than a share of the strong contrast, without small pieces."""
    histogram = np.bincount(contrast.ravel(), minlength=256)
    histogram[: int(least) + 1] = 0
    if not histogram.any():
        return np.zeros(contrast.shape, dtype=bool)
    rising = np.cumsum(histogram)
    strong = int(np.searchsorted(rising, _STRONG * rising[-1]))
    mask = contrast > max(least, _FAINTEST * strong)
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return mask
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    return (areas >= _SMALLEST_PIECE * areas.sum())[pieces] & mask


def _outline(mask: np.ndarray) -> float:
    """Length of the outline of bool ``mask`` [H, W], pixels, by Crofton's formula over four directions.

    Nothing of it may lie on the border.
    """
    straight = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    oblique = np.count_nonzero(mask[1:, 1:] != mask[:-1, :-1]) + np.count_nonzero(mask[1:, :-1] != mask[:-1, 1:])
    return float(np.pi / 8 * (straight + oblique / np.sqrt(2)))


def stand(cutout: Cutout, angle: float | None = None) -> Cutout:
    """Return ``cutout`` turned by ``angle`` degrees, None: by its tilt, so that its principal axis is vertical."""
    angle = cutout.tilt if angle is None else angle
    if abs(angle) < _LEAST_TURN:
        return cutout
    # Both are enlarged to the same size, with the middle in the middle.
    mask = _rotated(cutout.mask.astype(np.uint8) * 255, angle, Image.Resampling.BILINEAR) > 127
    contrast = np.where(mask, _rotated(cutout.contrast, angle, Image.Resampling.BICUBIC), np.uint8(0))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return cutout
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = (mask.shape[0] / 2 - float(rows[0]), mask.shape[1] / 2 - float(columns[0]))
    return replace(cutout, contrast=contrast[box], mask=mask[box], turned=angle, middle=middle)


def _rotated(image: np.ndarray, angle: float, resampling: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image).rotate(angle, resampling, expand=True))
