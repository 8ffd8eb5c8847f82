"""Chromosomes as pictures: turned upright, trimmed for the sheet, and as PNG."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from bandbridge.dataset.prepare import background_level
from bandbridge.predict.sheet import Pose

#: Gray values that a pixel may differ from the ground and still be trimmed away. Far below Otsu's threshold, and each
#: single pixel counts: satellites and thin fibres must stay in the picture.
_GROUND_SPREAD = 12
_MARGIN = 2


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of uint8 ``pixels`` [H, W] and their shape, 64 hexadecimal digits."""
    shape = "x".join(map(str, pixels.shape))
    return hashlib.sha256(f"{shape}:".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def encode_png(pixels: np.ndarray) -> bytes:
    """Return uint8 ``pixels`` [H, W] or [H, W, 3] as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Return uint8 [H, W] of a PNG file written by :func:`encode_png`."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.array(image)


def turn(pixels: np.ndarray, pose: Pose, ground: int) -> np.ndarray:
    """Return uint8 ``pixels`` [H, W] or [H, W, 3] turned by ``pose``, whole; corners that come up empty are ``ground``.

    Quarter turns are exact, others bicubic.
    """
    angle = (pose.angle + (180 if pose.flipped else 0)) % 360
    if angle % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, int(angle // 90)))
    fill = (ground,) * 3 if pixels.ndim == 3 else ground
    turned = Image.fromarray(pixels).rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=fill)
    return np.asarray(turned)


def trim_ground(image: np.ndarray, ground: int) -> np.ndarray:
    """Return uint8 ``image`` [H, W] without its empty edges, all but a margin; whole where it is all ground."""
    seen = np.abs(image.astype(np.int16) - ground) > _GROUND_SPREAD
    if not seen.any():
        return image
    spans = []
    for axis in (1, 0):
        places = np.flatnonzero(seen.any(axis=axis))
        spans.append(slice(max(0, places[0] - _MARGIN), places[-1] + 1 + _MARGIN))
    return image[spans[0], spans[1]]


def tile(image: np.ndarray, pose: Pose) -> np.ndarray:
    """Return uint8 ``image`` [H, W] as it stands on the sheet: upright and trimmed, one pixel to a pixel."""
    ground = background_level(image)
    return trim_ground(turn(image, pose, ground), ground)
