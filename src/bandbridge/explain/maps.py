"""Class activation maps as numbers: stretched for the eye, enlarged, and freed of the half pixel that they are off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image


def normalise(maps: np.ndarray) -> np.ndarray:
    """Return raw ``maps``, float [B, h, w], stretched to [0, 1] one by one as published, float32 [B, h, w].

    A map without evidence stays 0 everywhere; one that is positive and equal everywhere becomes 1.
    """
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    low = np.where(low == high, 0, low)
    stretched = np.divide(maps - low, high - low, out=np.zeros_like(maps, dtype=np.float32), where=high > 0)
    return stretched.astype(np.float32)


def upsample(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return ``maps``, float [B, h, w], at the size of the input by bilinear interpolation, float32 [B, H, W].

    The middles of pixels correspond, not their corners. The maps may not be larger than that.
    """
    images = [Image.fromarray(np.ascontiguousarray(one, dtype=np.float32)) for one in maps]
    grown = [np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) for image in images]
    return np.stack(grown) if grown else np.zeros((0, height, width), dtype=np.float32)


def centred_maps(raw: Callable[[np.ndarray], np.ndarray], prepared: np.ndarray) -> np.ndarray:
    """Return the ``raw`` maps of uint8 ``prepared`` [B, ..., S, S], enlarged to it and centred, float32 [B, S, S].

    ``raw`` gives float [B, h, w]. Each map is the mean of that of the image upright and upside down: a convolution that
    halves an image of even size looks half a pixel to one side, so a map lies up to half of its places off, to the
    upper left or the lower right, as the padding has it. Of the image turned by 180 degrees it is off to the other
    side; the mean is not. For measuring where evidence lies, this matters more than its own coarseness.
    """
    size = prepared.shape[-1]
    upright, turned = (upsample(raw(images), size, size) for images in (prepared, prepared[..., ::-1, ::-1]))
    return (upright + turned[:, ::-1, ::-1]) / 2
