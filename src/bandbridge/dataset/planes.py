"""One plane of a file that holds several: a page, time point or depth, and a channel."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from bandbridge.dataset import claims, tiff
from bandbridge.dataset.claims import MAX_PIXELS
from bandbridge.dataset.decode import FORMATS, DecodeError, deep_png, in_want_of_package
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.extras import need

#: Planes of a file of the largest size are read together, to choose one.
_MOST_PLANES = 16
_REMEDY = "Choose another with --page and --channel, or leave the file out."


def choose_plane(data: bytes, name: str, page: int, channel: int, bit_depth: int | None) -> tuple[bytes, int | None]:
    """Return one plane of an image file as PNG, gray of 8 or 16 bits, and how many of 16 it uses if the file says so.

    page counts pages, time points and depths, channel samples of a pixel and pages of one channel each, from 1.
    bit_depth: as a person states it. Raises :class:`DecodeError` where there is no such plane, and for what cannot be
    read.
    """
    try:
        claims.check_file(data)
        planes, bits, inverted = _tiff_planes(data, name) if tiff.is_tiff(data) else _other_planes(data)
    except DecodeError:
        raise
    except UserError as fault:
        raise in_want_of_package(name, fault) from fault
    except Exception as fault:  # decoders let many kinds through on damaged input
        raise DecodeError(name, f"cannot be decoded, truncated or damaged ({fault})") from fault
    pages, _, _, channels = planes.shape
    if page > pages or channel > channels:
        held = f"{counted(pages, 'page')} and {counted(channels, 'channel')}"
        raise DecodeError(name, f"holds {held}; page {page}, channel {channel} is none of them", _REMEDY)
    if planes.dtype.kind not in "ub" or planes.dtype.itemsize > 2:
        raise DecodeError(name, f"pixels of type {planes.dtype}", "Save it with 8 or 16 bits.")
    plane = np.ascontiguousarray(planes[page - 1, :, :, channel - 1])
    if bits < 8 or plane.dtype == bool:
        plane = np.rint(plane * (255 / ((1 << bits) - 1))).astype(np.uint8)
    deep = plane.dtype == np.uint16
    stated = (bits if bits < 16 else bit_depth) if deep else None
    if inverted and deep and stated is None:
        raise DecodeError(name, "0 is white, and how many of 16 bits are used is not said", "Give --bit-depth.")
    if inverted:
        plane = np.clip((1 << (stated or 8)) - 1 - plane.astype(np.int32), 0, None).astype(plane.dtype)
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, format="PNG")
    return stream.getvalue(), stated


def _tiff_planes(data: bytes, name: str) -> tuple[np.ndarray, int, bool]:
    """[pages, H, W, channels] of the first series, bits a sample, and whether 0 is white."""
    with tiff.open_quietly(data) as file:
        series = file.series[0]
        if series.size > MAX_PIXELS * _MOST_PLANES:
            raise DecodeError(name, f"{' x '.join(map(str, series.shape))} are more pixels than are read; refused")
        page = series.keyframe
        if tiff.lacks_codec(page):
            need("imagecodecs")
        for one in series.pages:
            if one is not None:
                tiff.require_segments(one, data)
        found, axes = tiff.by_tifffile(series), series.axes
        channels = [axis for axis in axes if axis in "CS" and axes.count(axis) == 1]
        order = [axis for axis in axes if axis not in "YXCS"] + ["Y", "X", *channels]
        moved = np.moveaxis(found, [axes.index(axis) for axis in order], range(len(order)))
        height, width = found.shape[axes.index("Y")], found.shape[axes.index("X")]
        return (
            moved.reshape(-1, height, width, int(np.prod([found.shape[axes.index(axis)] for axis in channels]))),
            int(page.bitspersample),
            int(page.photometric) == 0,
        )


def _other_planes(data: bytes) -> tuple[np.ndarray, int, bool]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        claims.check_size(*image.size)
        if image.format == "PNG" and data[24] == 16:
            pixels = deep_png(data, image)
            return pixels.reshape(1, *pixels.shape[:2], -1), 16, False
        frames = []
        count = getattr(image, "n_frames", 1)
        if image.width * image.height * count > MAX_PIXELS * _MOST_PLANES:
            raise ValueError(f"{count} times {image.width} x {image.height} are more pixels than are read; refused")
        for number in range(count):
            image.seek(number)
            shown = image.convert("RGBA" if image.has_transparency_data else "RGB") if image.mode == "P" else image
            frames.append(np.asarray(shown.convert("L") if shown.mode == "1" else shown))
    planes = np.stack(frames)
    return planes.reshape(*planes.shape[:3], -1), 8, False
