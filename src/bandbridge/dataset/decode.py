"""One image file -> an 8-bit gray array. PNG, BMP, TIFF and JPEG; malformed TIFFs survive, bombs are refused.

What a pixel becomes:

* gray of 8 bits: itself; 1 bit: 0 or 255; palette: the colour it stands for.
* colour: ITU-R 601 luma (a gray image stored as RGB comes back exactly).
* transparency: composited over white, as an image viewer shows it. Opaque images are not touched.
* 16 bits: by what the values say. Largest value below 256: an 8-bit image in a wide container, kept as is.
  Below 4096: a 12-bit camera, shifted by 4. Otherwise the full range, shifted by 8. No per-image stretch: the
  steps are far apart, so that images of one camera get one scale.
* a TIFF or JPEG that carries an orientation is turned upright; of several pages the first is read.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bandbridge.dataset import tiff
from bandbridge.errors import UserError

FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
#: 8192 x 8192, twenty thousand times a cropped chromosome.
MAX_PIXELS = 2**26
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)


class DecodeError(UserError):
    """An image file that cannot be read; the message begins with its name."""

    def __init__(self, name: str, problem: str, remedy: str = "Replace the file, or drop its row.") -> None:
        super().__init__(f"{name}: {problem}", remedy)
        self.name = name
        self.problem = problem

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str, str]]:
        return DecodeError, (self.name, self.problem, self.remedy)


def decode_gray(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of one image file to uint8 gray [H, W].

    Raises :class:`DecodeError` naming ``name`` for empty, truncated or unreadable data, for other formats,
    for floating-point pixels and, before any pixel is decoded, for more than ``MAX_PIXELS`` pixels.
    """
    if not data:
        raise DecodeError(name, "the file is empty")
    layout = tiff.read_layout(data)
    if layout is not None:
        _check_size(layout.width, layout.height, name)
        if layout.is_malformed:
            return _decode_malformed(data, layout, name)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size, name)
            return _to_gray(image, name)
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(name, f"more than {MAX_PIXELS} pixels; refused") from None
    except UnidentifiedImageError:
        raise DecodeError(name, "not a PNG, BMP, TIFF or JPEG image, or its header is damaged") from None
    # Pillow's plugins let many kinds of exception through on damaged input.
    except Exception as fault:
        raise DecodeError(name, f"cannot be decoded, truncated or damaged ({fault})") from fault


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings on damaged files from the user: what matters of them is a :class:`DecodeError`.

    Warnings are switched for all threads, so this goes around a whole set and not around one image.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise DecodeError(name, f"an image of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise DecodeError(name, f"{width} x {height} is more than {MAX_PIXELS} pixels; refused")


def _decode_malformed(data: bytes, layout: tiff.Layout, name: str) -> np.ndarray:
    try:
        pixels = tiff.read_uncompressed(data, layout)
    except ValueError as fault:
        raise DecodeError(name, f"a malformed TIFF: {fault}") from None
    gray = to_8_bits(pixels)
    if gray.shape[2] >= 3:
        gray = ((gray[:, :, :3] @ _LUMA + 0x8000) >> 16).astype(np.uint8)[:, :, None]
    return np.ascontiguousarray(gray[:, :, 0])


def _to_gray(image: Image.Image, name: str) -> np.ndarray:
    image.load()
    inverted = image.format == "TIFF" and image.tag_v2.get(tiff.PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return _narrow(np.asarray(upright), inverted, name)
    if upright.mode == "F":
        raise DecodeError(name, "floating-point pixels have no agreed range", "Save with 8 or 16 bits.")
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    elif upright.mode == "P":
        upright = upright.convert("RGB")
    return np.array(upright.convert("L"), dtype=np.uint8)


def _narrow(values: np.ndarray, inverted: bool, name: str) -> np.ndarray:
    if values.min() < 0 or values.max() > 0xFFFF:
        raise DecodeError(name, "pixel values beyond 16 bits have no agreed range", "Save with 8 or 16 bits.")
    gray = to_8_bits(values)
    # Pillow leaves the 16-bit TIFFs that store white as zero as they are; it turns those of 8 bits round.
    return 255 - gray if inverted else gray


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Bring unsigned values of up to 16 bits (any shape) to uint8: a shift by 0, 4 or 8, as stated above."""
    if values.dtype == np.uint8:
        return values
    largest = int(values.max())
    shift = 0 if largest < 1 << 8 else 4 if largest < 1 << 12 else 8
    return (values >> shift).astype(np.uint8)
