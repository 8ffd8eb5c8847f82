"""One image file -> gray values. PNG, BMP, TIFF and JPEG; malformed TIFFs survive, bombs are refused.

What a pixel becomes:

* gray of 8 bits: itself; fewer: stretched to 0..255; palette: the colour it stands for.
* colour: ITU-R 601 luma (a gray image stored as RGB comes back exactly); a dye shown in one colour: that channel.
* transparency: what is hidden takes the gray value of the image's own ground. Where all is hidden, all is shown.
* more than 8 bits: shifted by what its bits exceed 8. How many of the 16 in a file are used, is seldom written in it;
  it is a matter of the camera and so of the whole set, not of this image (:mod:`bandbridge.dataset.reader`).
* an orientation is turned upright; of several pages the largest is read, the first of those; of channels the first.

Pillow reads what it reads right. TIFFs of other kinds are tifffile's, PNGs of 16 bits imagecodecs'.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bandbridge.dataset import claims, tiff
from bandbridge.dataset.claims import MAX_PIXELS
from bandbridge.dataset.libtiff import quiet_libtiff
from bandbridge.errors import UserError
from bandbridge.extras import need

FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
#: How many bits cameras give.
DEPTHS = (8, 10, 12, 14, 16)
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)
_ORIENTATION = 274
#: Where the other two channels of a colour image vary by no more than this share of one, that one alone is the image.
_OTHER_CHANNELS = 1 / 16


class DecodeError(UserError):
    """An image file that cannot be read; the message begins with its name."""

    def __init__(self, name: str, problem: str, remedy: str = "Replace the file, or leave it out.") -> None:
        super().__init__(f"{name}: {problem}", remedy)
        self.name = name
        self.problem = problem

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str, str]]:
        return DecodeError, (self.name, self.problem, self.remedy)


def in_want_of_package(name: str, fault: UserError) -> DecodeError:
    """Return what to say of the file ``name`` where ``fault`` asks for a package that is not installed.

    The remedy is a part of the message, for lists of files leave remedies out.
    """
    return DecodeError(name, f"{fault.message}; {fault.remedy[:1].lower()}{fault.remedy[1:]}", "")


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image as its file holds it.

    values: uint8 or uint16 [H, W], gray. bits: how many of them are used as far as the file says so; None where it does
    not. inverted: whether 0 is white. images: how many pages, time points and channels there were to choose from.
    hidden: whether all of it was transparent.
    """

    values: np.ndarray
    bits: int | None = 8
    inverted: bool = False
    images: int = 1
    hidden: bool = False

    def gray(self, bits: int) -> np.ndarray:
        """Return uint8 [H, W], of values that use ``bits``, 8 to 16."""
        narrow = self.values
        if narrow.dtype != np.uint8:
            narrow = np.minimum(narrow >> (bits - 8), 255).astype(np.uint8)
        return 255 - narrow if self.inverted else narrow


def depth_for(largest: int) -> int:
    """Return the least of ``DEPTHS`` that holds values up to ``largest``."""
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def decode_gray(data: bytes, name: str, bits: int | None = None) -> np.ndarray:
    """Decode the bytes of one image file, which is of no set, to uint8 gray [H, W].

    bits: how many the camera used, of files that do not say it; None: as few as hold this image. Raises as
    :func:`decode_image`.
    """
    found = decode_image(data, name)
    return found.gray(found.bits or bits or depth_for(int(found.values.max())))


def decode_image(data: bytes, name: str) -> Decoded:
    """Decode the bytes of one image file.

    Raises :class:`DecodeError` naming ``name`` for empty, truncated or unreadable data, for other formats,
    for floating-point and negative pixels and, before any pixel is decoded, for what its headers claim beyond the
    bounds of :mod:`bandbridge.dataset.claims`.
    """
    if not data:
        raise DecodeError(name, "the file is empty")
    try:
        claims.check_file(data)
    except ValueError as fault:
        raise DecodeError(name, str(fault)) from None
    layout = tiff.read_layout(data)
    if layout is not None:
        _check_size(layout.width, layout.height, name)
        if layout.is_malformed:
            return _decode_malformed(data, layout, name)
    try:
        if (layout is not None and not layout.is_plain) or tiff.is_big(data):
            return _decode_tiff(data, name)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size, name)
            if image.format == "PNG" and data[24] == 16:
                return _decode_deep_png(data, image)
            return _decode_by_pillow(image)
    except DecodeError:
        raise
    except UserError as fault:
        raise in_want_of_package(name, fault) from fault
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(name, f"more than {MAX_PIXELS} pixels; refused") from None
    except UnidentifiedImageError:
        raise DecodeError(name, "not a PNG, BMP, TIFF or JPEG image, or its header is damaged") from None
    # Decoders let many kinds of exception through on damaged input.
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
    try:
        claims.check_size(width, height)
    except ValueError as fault:
        raise DecodeError(name, str(fault)) from None


def _decode_malformed(data: bytes, layout: tiff.Layout, name: str) -> Decoded:
    try:
        pixels = tiff.read_uncompressed(data, layout)
    except ValueError as fault:
        raise DecodeError(name, f"a malformed TIFF: {fault}") from None
    gray = _luma(pixels[:, :, :3]) if pixels.shape[2] >= 3 else pixels[:, :, 0]
    return Decoded(np.ascontiguousarray(gray), 8 if gray.dtype == np.uint8 else None, layout.white_is_zero)


def _decode_by_pillow(image: Image.Image) -> Decoded:
    """Images of 8 bits a sample and fewer."""
    quiet_libtiff()
    image.load()
    frames = getattr(image, "n_frames", 1)
    claims.check_directories(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layered = np.asarray(upright.convert("RGBA"))
        gray, hidden = _on_its_ground(_luma(layered[:, :, :3]), layered[:, :, 3])
        return Decoded(gray, images=frames, hidden=hidden)
    if upright.mode in ("P", "RGB"):
        return Decoded(_luma(np.asarray(upright.convert("RGB"))), images=frames)
    return Decoded(np.array(upright.convert("L"), dtype=np.uint8), images=frames)


def _decode_deep_png(data: bytes, image: Image.Image) -> Decoded:
    """A PNG of 16 bits a sample, of which Pillow keeps the upper 8 of colours and of gray with transparency."""
    frames = getattr(image, "n_frames", 1)
    image.load()  # what stands after the pixels is read then
    claims.check_directories(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
    pixels = deep_png(data, image)
    pixels = _upright(pixels.reshape(*pixels.shape[:2], -1), image.getexif().get(_ORIENTATION, 1))
    gray, hidden = _flattened(pixels, pixels.shape[2] % 2 == 0)
    return Decoded(gray, _significant_bits(data), images=frames, hidden=hidden)


def deep_png(data: bytes, image: Image.Image) -> np.ndarray:
    """Return uint16 [H, W] or [H, W, samples] of the PNG of 16 bits ``data``, which ``image`` is to Pillow.

    Pillow keeps all bits of gray without transparency; of the others imagecodecs does, and :class:`UserError` asks for
    it where it is not installed.
    """
    if image.mode == "I;16" and not image.has_transparency_data:
        return np.asarray(image).astype(np.uint16)
    pixels: np.ndarray = need("imagecodecs").png_decode(data)
    return pixels


def _significant_bits(data: bytes) -> int | None:
    """16 where a PNG says that its values were stretched to all of them (chunk sBIT; PNG specification, 11.3.2.7)."""
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"sBIT":
            return 16
        if kind == b"IDAT":
            break
        place += 12 + length
    return None


def _decode_tiff(data: bytes, name: str) -> Decoded:
    found = tiff.open_page(data)
    _check_size(found.width, found.height, name)
    if found.problem:
        raise DecodeError(name, f"{found.problem}: {found.described}", "Save it as PNG or TIFF of 8 or 16 bits.")
    try:
        pixels = found.pixels(data)
    except UserError:
        raise
    except Exception as fault:
        remedy = (
            "If other programs show it whole, save it as PNG or as TIFF of 8 or 16 bits, gray or RGB, uncompressed."
        )
        raise DecodeError(name, f"cannot be read: {found.described} ({fault})", remedy) from fault
    if pixels.min() < 0:
        raise DecodeError(name, f"signed pixels, some below 0: {found.described}", "Save it with unsigned ones.")
    if pixels.max() > 0xFFFF:
        raise DecodeError(name, "pixel values beyond 16 bits have no agreed range", "Save with 8 or 16 bits.")
    pixels = _upright(pixels.astype(np.uint8 if found.bits <= 8 else np.uint16), found.orientation)
    gray, hidden = _flattened(pixels, found.has_alpha, premultiplied=found.premultiplied)
    return Decoded(gray, found.significant_bits, found.white_is_zero, found.images, hidden)


def _flattened(pixels: np.ndarray, has_alpha: bool, *, premultiplied: bool = False) -> tuple[np.ndarray, bool]:
    """Gray from unsigned [H, W, samples], the last of which may be alpha; and whether all of it was transparent."""
    colours = pixels[:, :, :-1] if has_alpha else pixels
    gray = _luma(colours[:, :, :3]) if colours.shape[2] >= 3 else np.ascontiguousarray(colours[:, :, 0])
    return _on_its_ground(gray, pixels[:, :, -1], premultiplied=premultiplied) if has_alpha else (gray, False)


def _luma(colours: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma of unsigned ``colours`` [H, W, 3], as Pillow has it; of a dye shown in one colour, that channel.

    Luma would leave a tenth of blue, in which fluorescence is often shown.
    """
    ranges = np.ptp(colours.reshape(-1, 3), axis=0).astype(int)
    _, second, most = np.argsort(ranges)
    if ranges[second] <= ranges[most] * _OTHER_CHANNELS and ranges[most]:
        return np.ascontiguousarray(colours[:, :, most])
    return ((colours @ _LUMA + 0x8000) >> 16).astype(colours.dtype)


def _on_its_ground(gray: np.ndarray, alpha: np.ndarray, *, premultiplied: bool = False) -> tuple[np.ndarray, bool]:
    """``gray`` [H, W] with its own ground where ``alpha`` [H, W] hides it; and whether that was everywhere.

    An alpha that hides everything is a writer's mistake: the colours are whole.
    """
    largest = int(alpha.max())
    if largest == 0 or int(alpha.min()) == largest:
        return gray, largest == 0
    # As many bits as the colours may be said to have in fewer: an opaque alpha then has all of those.
    share = alpha / float((1 << depth_for(largest)) - 1)
    shown = gray if premultiplied else gray * share
    return np.rint(shown + (1 - share) * _ground_of(gray, share > 0.5)).astype(gray.dtype), False


def _ground_of(gray: np.ndarray, visible: np.ndarray) -> float:
    """The gray value of the ground, from the rim of what is ``visible``, bool [H, W].

    A mask that is wide shows ground there. One that follows the chromosome shows its rim, which is nearer to the ground
    than its middle: the value farthest on that side is taken.
    """
    from scipy.ndimage import binary_erosion

    if not visible.any():
        return float(np.median(gray))
    middle = binary_erosion(visible)
    rim = gray[visible & ~middle]
    bright = not middle.any() or np.median(rim) >= np.median(gray[middle])
    return float(np.quantile(rim, 0.9 if bright else 0.1))


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """``pixels`` [H, W, samples] turned as the tag Orientation (TIFF 6.0, section 8) says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
