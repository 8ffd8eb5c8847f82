"""Chromosomes as pictures: turned upright, trimmed for the sheet, and as PNG."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from bandbridge.dataset.prepare import background_level
from bandbridge.explain.overlay import display_factor, enlarge
from bandbridge.karyogram.sheet import Pose

#: Gray values that a pixel may differ from the ground and still be trimmed away. Far below Otsu's threshold, and each
#: single pixel counts: satellites and thin fibres must stay in the picture.
_GROUND_SPREAD = 12
_MARGIN = 2
_LARGE_MARGIN = 8


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
    return image[_seen(image, ground, _MARGIN)]


def _seen(image: np.ndarray, ground: int, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of uint8 ``image`` [H, W] that are not ground, with ``margin`` pixels around."""
    seen = np.abs(image.astype(np.int16) - ground) > _GROUND_SPREAD
    if not seen.any():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )


def tile(image: np.ndarray, pose: Pose) -> np.ndarray:
    """Return uint8 ``image`` [H, W] as it stands on the sheet: upright and trimmed, one pixel to a pixel."""
    ground = background_level(image)
    return trim_ground(turn(image, pose, ground), ground)


def close_up(image: np.ndarray, pose: Pose, overlay: np.ndarray | None = None) -> np.ndarray:
    """Return uint8 ``image`` [H, W], or an ``overlay`` on it, upright and enlarged with ample margin: uint8 RGB.

    ``overlay`` is uint8 [H x f, W x f, 3] with f the ``display_factor`` of ``image``, which enlarges the image alone.
    """
    ground, factor = background_level(image), display_factor(image)
    bare = turn(enlarge(image, factor), pose, ground)
    place = _seen(bare[:, :, 0], ground, _LARGE_MARGIN * factor)
    return (bare if overlay is None else turn(overlay, pose, ground))[place]
