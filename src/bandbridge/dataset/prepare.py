"""From a gray image of any size to a square one: the paper's way, and ways that keep what the paper's erases."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

#: Part of every store's key; raised when the same settings would give other pixels.
PREPARATION_VERSION = 1
#: Least share of the foreground that a separate piece must have to count, so that specks do not widen the crop.
_SMALLEST_PIECE = 0.05


class Preparation(BaseModel):
    """How an image becomes a square. The defaults are the paper's: pad with black, resize each to fit.

    size: side of the result, pixels.
    padding: what fills the square beside the image, ``black`` (0) or the image's own ``background``.
    crop: ``foreground`` first cuts away the empty ground around the chromosome.
    scale: ``each`` stretches every image to fill the square (a long and a short chromosome become equally long);
        ``common`` shrinks or enlarges all images by one factor, so that length is kept.
    extent: side in source pixels that ``common`` maps to ``size``; None measures the largest of the set.
    polarity: ``inverted`` maps gray value g to 255 - g before anything else (G-band's dark bands are Q-band's
        bright ones).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=256, ge=16, le=4096)
    padding: Literal["black", "background"] = "black"
    crop: Literal["none", "foreground"] = "none"
    scale: Literal["each", "common"] = "each"
    extent: int | None = Field(default=None, ge=1)
    polarity: Literal["as-is", "inverted"] = "as-is"


def background_level(image: np.ndarray) -> int:
    """Return the gray value of the ground: the median of the pixels on the border of uint8 ``image`` [H, W]."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return int(np.median(border))


def foreground_mask(image: np.ndarray) -> np.ndarray:
    """Return bool [H, W], true where uint8 ``image`` [H, W] differs from its ground by more than Otsu's threshold.

    The ground is :func:`background_level`; pieces smaller than 5% of the foreground are left out. An image of one
    gray value gives an all-false mask.
    """
    contrast = np.abs(image.astype(np.int16) - background_level(image)).astype(np.uint8)
    mask = contrast > _otsu_threshold(contrast) // 2
    if not contrast.any():
        return np.zeros_like(mask)
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    kept = areas >= _SMALLEST_PIECE * areas.sum()
    kept[0] = False
    return kept[pieces]


def _otsu_threshold(values: np.ndarray) -> int:
    """Gray value that best separates two classes by between-class variance (Otsu 1979)."""
    histogram = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    weight = np.cumsum(histogram)
    moment = np.cumsum(histogram * np.arange(256))
    total, mean = weight[-1], moment[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean * weight - total * moment) ** 2 / (weight * (total - weight))
    return int(np.nanargmax(np.where(np.isfinite(between), between, 0.0)))


def crop_to_foreground(image: np.ndarray) -> np.ndarray:
    """Return the part of uint8 ``image`` [H, W] that bounds its foreground; the whole image if it has none."""
    found = ndimage.find_objects(foreground_mask(image).astype(np.int8))
    return image[found[0]] if found else image


def trim(image: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Apply the steps that come before scaling: polarity, then crop. uint8 [H, W] to uint8 [H', W']."""
    if preparation.polarity == "inverted":
        image = 255 - image
    if preparation.crop == "foreground":
        image = crop_to_foreground(image)
    return image


def prepare_image(image: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return uint8 [size, size] from uint8 ``image`` [H, W].

    The image is centred on a square of its longer side (``scale: each``) or of ``extent`` source pixels
    (``scale: common``; an image longer than that is shrunk to fit), then resized by bilinear interpolation
    (Pillow's, which averages over the source area when it shrinks). Raises ValueError when ``scale`` is ``common``
    and ``extent`` is not set.
    """
    image = trim(image, preparation)
    side = max(image.shape)
    if preparation.scale == "common":
        if preparation.extent is None:
            raise ValueError("a common scale needs an extent; measure it over the set first")
        side = max(side, preparation.extent)
    fill = background_level(image) if preparation.padding == "background" else 0
    height, width = image.shape
    square = np.full((side, side), fill, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    size = preparation.size
    if side == size:
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR))
