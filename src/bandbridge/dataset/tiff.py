"""A minimal TIFF reader for uncompressed images whose strip tables are wrong.

Files are in circulation in which the numbers of strips, strip offsets and byte counts disagree, while the
pixels simply follow one another from the first offset on. General readers refuse them or, worse, fill the
missing strips with black. Tag numbers and types: TIFF 6.0 specification, sections 2 and 8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

PHOTOMETRIC = 262
_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _BYTE_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_COLOUR_MAP, _TILE_WIDTH, _SAMPLE_FORMAT = 320, 322, 339
_TYPES = {1: "B", 3: "H", 4: "I"}
_MAX_VALUES = 2**20


@dataclass(frozen=True)
class Layout:
    """What the first directory of a classic TIFF says about where its pixels lie."""

    order: str  # "<" or ">"
    width: int
    height: int
    tags: dict[int, tuple[int, ...]]
    offset_field: int  # the StripOffsets entry as it stands, offset or pointer

    def first(self, tag: int, default: int) -> int:
        """Return the first value of ``tag``, or ``default`` where it is absent."""
        values = self.tags.get(tag, ())
        return values[0] if values else default

    @property
    def image_bytes(self) -> int:
        """Bytes of the pixels, rows padded to whole bytes."""
        row_bits = self.width * self.first(_SAMPLES, 1) * self.first(_BITS, 1)
        return (row_bits + 7) // 8 * self.height

    @property
    def is_malformed(self) -> bool:
        """Say whether it is uncompressed with strip tables that do not describe the image."""
        if self.first(_COMPRESSION, 1) != 1 or _TILE_WIDTH in self.tags:
            return False
        rows = min(self.first(_ROWS_PER_STRIP, self.height) or self.height, self.height)
        planes = self.first(_SAMPLES, 1) if self.first(_PLANAR, 1) == 2 else 1
        strips = -(-self.height // rows) * planes
        counts = self.tags.get(_BYTE_COUNTS)
        if len(self.tags.get(_OFFSETS, ())) != strips:
            return True
        return counts is not None and (len(counts) != strips or sum(counts) < self.image_bytes)


def read_layout(data: bytes) -> Layout | None:
    """Read the first directory of a classic TIFF; ``None`` when ``data`` is something else or has none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", data, 4)
    tags: dict[int, tuple[int, ...]] = {}
    offset_field = 0
    try:
        (entries,) = struct.unpack_from(order + "H", data, start)
        for entry in range(entries):
            place = start + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(order + "HHI", data, place)
            if kind in _TYPES and count <= _MAX_VALUES:
                tags[tag] = _values(data, order, kind, count, place + 8)
            if tag == _OFFSETS:
                (offset_field,) = struct.unpack_from(order + "I", data, place + 8)
    except struct.error:
        return None
    if not (tags.get(_WIDTH) and tags.get(_HEIGHT)):
        return None
    return Layout(order, tags[_WIDTH][0], tags[_HEIGHT][0], tags, offset_field)


def _values(data: bytes, order: str, kind: int, count: int, place: int) -> tuple[int, ...]:
    """Return the values of one entry; empty when they would lie outside the file."""
    format_ = f"{order}{count}{_TYPES[kind]}"
    size = struct.calcsize(format_)
    if size > 4:
        (place,) = struct.unpack_from(order + "I", data, place)
    return struct.unpack_from(format_, data, place) if place + size <= len(data) else ()


def read_uncompressed(data: bytes, layout: Layout) -> np.ndarray:
    """Read height x width x samples values that follow one another from the first strip offset.

    Returns uint8 or uint16 [H, W, samples]: gray, or colour where the file has three samples or a palette.
    White-is-zero images are turned round. Raises ValueError for depths other than 1, 8 and 16 bits, for
    planes stored apart and when the pixels do not fit in the file.
    """
    bits, samples = layout.first(_BITS, 1), layout.first(_SAMPLES, 1)
    if bits not in (1, 8, 16) or not 1 <= samples <= 4 or layout.first(_SAMPLE_FORMAT, 1) != 1:
        raise ValueError(f"{samples} samples of {bits} bits with damaged strip tables")
    if bits == 1 and samples > 1:
        raise ValueError("colour of 1 bit with damaged strip tables")
    if layout.first(_PLANAR, 1) == 2 and samples > 1:
        raise ValueError("colour planes stored apart with damaged strip tables")
    raw = data[_pixel_offset(data, layout) :][: layout.image_bytes]
    if bits == 1:
        rows = np.frombuffer(raw, np.uint8).reshape(layout.height, -1)
        pixels = np.unpackbits(rows, axis=1, count=layout.width)[:, :, None] * np.uint8(255)
    else:
        values = np.frombuffer(raw, np.dtype(np.uint8) if bits == 8 else np.dtype(layout.order + "u2"))
        pixels = values.reshape(layout.height, layout.width, samples).astype(f"u{bits // 8}")
    photometric = layout.first(PHOTOMETRIC, 1)
    if photometric == 0:
        return np.iinfo(pixels.dtype).max - pixels
    return _through_palette(pixels, layout) if photometric == 3 else pixels


def _pixel_offset(data: bytes, layout: Layout) -> int:
    """Return where the pixels start: the first listed offset, or the entry itself if its count is a lie."""
    listed = layout.tags.get(_OFFSETS, ())
    ascending = all(earlier < later for earlier, later in pairwise(listed))
    candidates = [*(listed[:1] if ascending else ()), layout.offset_field]
    for offset in candidates:
        if offset >= 8 and offset + layout.image_bytes <= len(data):
            return offset
    raise ValueError(f"{layout.image_bytes} bytes of pixels do not fit in {len(data)} bytes of file; truncated")


def _through_palette(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    palette = np.array(layout.tags.get(_COLOUR_MAP, ()), dtype=np.uint16)
    if pixels.dtype != np.uint8 or palette.size != 3 * 256:
        raise ValueError("a palette image without its palette")
    return (palette.reshape(3, 256).T >> 8).astype(np.uint8)[pixels[:, :, 0]]
