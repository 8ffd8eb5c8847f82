"""TIFF files: which of them Pillow reads right, the others by tifffile, and a minimal reader of malformed ones.

Files are in circulation in which the numbers of strips, strip offsets and byte counts disagree, while the
pixels simply follow one another from the first offset on. General readers refuse them or, worse, fill the
missing strips with black. Tag numbers and types: TIFF 6.0 specification, sections 2 and 8.
"""

from __future__ import annotations

import io
import logging
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bandbridge.dataset import claims
from bandbridge.dataset.libtiff import quiet_libtiff
from bandbridge.extras import is_installed, need

if TYPE_CHECKING:
    import tifffile

_KIND, _OLD_KIND, _SUB_DIRECTORIES = 254, 255, 330
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _BYTE_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_ORIENTATION, _MOST = 274, 281
_COLOUR_MAP, _TILE_WIDTH, _SAMPLE_FORMAT = 320, 322, 339
#: Photometric interpretations: white is zero, black is zero, RGB, palette, CMYK, YCbCr.
_WHITE, _BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
#: None, fax of one bit, LZW, JPEG, Deflate, PackBits: what Pillow reads of 8 bits and fewer.
_COMMON_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})
_SIGNIFICANT_BITS = re.compile(r'SignificantBits="(\d+)"')
#: Sample formats: unsigned, signed, floating-point; one that is not stated is unsigned.
_UNSIGNED, _SIGNED = (1, 4), 2
_TYPES = {1: "B", 3: "H", 4: "I"}
_MAX_VALUES = 2**20
#: What is read of a directory: nothing that is not used.
_USED = frozenset(
    {_KIND, _OLD_KIND, _SUB_DIRECTORIES, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _OFFSETS}
    | {_SAMPLES, _ROWS_PER_STRIP, _BYTE_COUNTS, _PLANAR, _COLOUR_MAP, _TILE_WIDTH, _SAMPLE_FORMAT}
)
_MOST_SEGMENTS = 2**16
_MOST_PAGES = 4096
#: How many times the samples of its place a tile may have, and how many it may always: half a megapixel in colour.
_PADDED, _LEAST_CLAIM = 4, 2**21


@dataclass(frozen=True)
class Layout:
    """What the first directory of a classic TIFF says about where its pixels lie."""

    order: str  # "<" or ">"
    width: int
    height: int
    tags: dict[int, tuple[int, ...]]
    offset_field: int  # the StripOffsets entry as it stands, offset or pointer
    is_last: bool = True  # no directory follows

    def first(self, tag: int, default: int) -> int:
        """Return the first value of ``tag``, or ``default`` where it is absent."""
        values = self.tags.get(tag, ())
        return values[0] if values else default

    @property
    def white_is_zero(self) -> bool:
        """Say whether 0 is white."""
        return self.first(_PHOTOMETRIC, _BLACK) == _WHITE

    @property
    def is_plain(self) -> bool:
        """Say whether it is one image of 8 bits a sample or 1, of the kinds that Pillow reads right."""
        bits, samples = set(self.tags.get(_BITS, (1,))), self.first(_SAMPLES, 1)
        colours = {_WHITE: 1, _BLACK: 1, _RGB: 3, _CMYK: 4, _YCBCR: 3}
        return (
            self.is_last
            and not self.tags.keys() & {_KIND, _OLD_KIND, _SUB_DIRECTORIES}
            and (bits == {8} or (bits == {1} and samples == 1))
            and colours.get(self.first(_PHOTOMETRIC, _BLACK)) == samples
            and set(self.tags.get(_SAMPLE_FORMAT, (1,))) <= {1}
            and (samples == 1 or self.first(_PLANAR, 1) == 1)
            and self.first(_FILL_ORDER, 1) == 1
            and self.first(_COMPRESSION, 1) in _COMMON_COMPRESSIONS
        )

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
            if tag in _USED and tag not in tags and kind in _TYPES and count <= _MAX_VALUES:
                tags[tag] = _values(data, order, kind, count, place + 8)
            if tag == _OFFSETS:
                (offset_field,) = struct.unpack_from(order + "I", data, place + 8)
        after = data[start + 2 + 12 * entries :][:4]
    except struct.error:
        return None
    if not (tags.get(_WIDTH) and tags.get(_HEIGHT)):
        return None
    is_last = len(after) < 4 or not any(after)
    return Layout(order, tags[_WIDTH][0], tags[_HEIGHT][0], tags, offset_field, is_last)


def is_tiff(data: bytes) -> bool:
    """Whether ``data`` begins as a TIFF does, classic or big."""
    return data[:4] in (b"II*\0", b"MM\0*") or is_big(data)


def is_big(data: bytes) -> bool:
    """Whether ``data`` is a BigTIFF, whose offsets have 64 bits."""
    return data[:4] in (b"II+\0", b"MM\0+")


@dataclass(frozen=True, eq=False)
class Page:
    """The image of a TIFF that is meant: one that is neither a thumbnail nor a mask.

    Of several the largest, and of these the first. images: how many of them there are, times the channels that are
    neither colours nor alpha. problem: why it cannot be read at all, "" if it can. stated_bits: how many are used as
    the file's OME-XML says.
    """

    page: Any
    images: int
    problem: str
    stated_bits: int | None = None

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return int(self.page.imagewidth)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.page.imagelength)

    @property
    def bits(self) -> int:
        """Bits a sample; a palette's colours have 8."""
        return 8 if self._photometric == _PALETTE else int(self.page.bitspersample)

    @property
    def significant_bits(self) -> int | None:
        """How many bits are used; None where 16 are stored and nothing is said of them.

        MaxSampleValue is the largest value in some files, the largest possible in others: a full number of bits tells.
        """
        if self.bits <= 8:
            return 8
        if self.bits < 16:
            return self.bits
        if self.stated_bits is not None and 8 <= self.stated_bits <= 16:
            return self.stated_bits
        tag = self.page.tags.get(_MOST)
        most = {int(value) for value in np.ravel(tag.value)} if tag is not None else set()
        stated = max(most, default=0) + 1
        return stated.bit_length() - 1 if stated.bit_count() == 1 and 1 << 8 <= stated <= 1 << 16 else None

    @property
    def white_is_zero(self) -> bool:
        """Whether 0 is white."""
        return self._photometric == _WHITE

    @property
    def orientation(self) -> int:
        """The tag Orientation, 1 where there is none."""
        tag = self.page.tags.get(_ORIENTATION)
        return int(tag.value) if tag is not None and isinstance(tag.value, int) else 1

    @property
    def has_alpha(self) -> bool:
        """Whether the last sample says how opaque a pixel is."""
        return self.premultiplied or _alpha(self.page) == 2

    @property
    def premultiplied(self) -> bool:
        """Whether colours have been multiplied with alpha."""
        return _alpha(self.page) == 1

    @property
    def described(self) -> str:
        """Samples, depth, compression and kind in words."""
        page = self.page
        samples, name = int(page.samplesperpixel), getattr(page.compression, "name", str(page.compression))
        kind = {2: "signed", 3: "floating-point"}.get(page.sampleformat, "")
        layout = ", planes apart" if int(page.planarconfig or 1) == 2 and samples > 1 else ""
        noun = "sample" if samples == 1 else "samples"
        colours = getattr(page.photometric, "name", str(page.photometric))
        packed = "uncompressed" if int(page.compression) == 1 else f"compression {name}"
        return f"a TIFF of {samples} {kind} {noun} of {page.bitspersample} bits, {colours}, {packed}{layout}".replace(
            "  ", " "
        )

    @property
    def _photometric(self) -> int:
        return int(self.page.photometric)

    def pixels(self, data: bytes) -> np.ndarray:
        """Return [H, W, samples] of the file ``data``, of its own type; bits fewer than 8 are stretched to 0..255.

        Gray of several channels comes as the first of them, colours as three samples. Raises whatever tifffile and its
        codecs do for damaged data, ValueError for strips or tiles that are not there or claim other sizes,
        :class:`UserError` for a compression that takes imagecodecs where that is not installed.
        """
        require_segments(self.page, data)
        pixels = _by_pillow(self.page, data) if lacks_codec(self.page) else by_tifffile(self.page)
        axes = self.page.axes
        for axis in [axis for axis in axes if axis not in "YXS"]:  # depth and the like: the first plane
            pixels, axes = pixels.take(0, axis=axes.index(axis)), axes.replace(axis, "", 1)
        if "S" not in axes:
            pixels, axes = pixels[..., None], axes + "S"
        pixels = np.moveaxis(pixels, [axes.index(axis) for axis in "YXS"], [0, 1, 2])
        if self._photometric == _PALETTE:
            return np.asarray(_colours(self.page.colormap)[pixels[:, :, 0]])
        count = pixels.shape[2]
        kept = _colour_samples(self.page)
        pixels = np.concatenate([pixels[:, :, :kept], pixels[:, :, count - self.has_alpha : count]], axis=2)
        if self.bits < 8:
            pixels = np.rint(pixels.astype(np.float32) * (255 / ((1 << self.bits) - 1))).astype(np.uint8)
        return pixels


def open_quietly(data: bytes) -> tifffile.TiffFile:
    """Open the TIFF ``data``, to be closed. Raises whatever tifffile does for what is no TIFF; it logs nothing.

    Raises ValueError for a chain of pages that leads back to itself, or is too long.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters of it is raised here
    file = tifffile.TiffFile(io.BytesIO(data))
    try:
        list(_pages(file.pages))  # before anything asks for all of them
    except BaseException:
        file.close()
        raise
    return file


def open_page(data: bytes) -> Page:
    """Find the image of the TIFF ``data`` that is meant. Raises whatever tifffile does for what is no TIFF."""
    with open_quietly(data) as file:
        pages: list[Any] = list(_pages(file.pages))
        found = [page for page in pages if not _is_secondary(page)] or pages[:1]
        page = max(found, key=lambda one: int(one.imagelength) * int(one.imagewidth))  # thumbnails may be unmarked
        frames = file.imagej_metadata.get("images", 1) if file.is_imagej and file.imagej_metadata else 1
        channels = max(1, int(page.samplesperpixel) - _colour_samples(page) - bool(_alpha(page)) + 1)
        depth = int(np.prod([size for size, axis in zip(page.shape, page.axes, strict=True) if axis not in "YXS"]))
        images = max(len(found), int(frames)) * (channels if _colour_samples(page) == 1 else 1) * depth
        told = _SIGNIFICANT_BITS.search(file.ome_metadata or "") if file.is_ome else None
        return Page(page, images, _problem(page), int(told[1]) if told else None)


def _pages(pages: Any) -> Iterator[Any]:
    """Yield the pages and what lies in them; ValueError for a chain that leads back to itself, or is too long."""
    seen: set[int] = set()
    for page in pages:
        for one in (page, *(page.pages or ())):
            if one.offset in seen or len(seen) >= _MOST_PAGES:  # tifffile would follow it for ever
                raise ValueError(f"its pages lead back to themselves, or are more than {_MOST_PAGES}; refused")
            seen.add(one.offset)
            yield one


def _is_secondary(page: Any) -> bool:
    """Whether a page is a thumbnail or a mask of another one."""
    old = page.tags.get(_OLD_KIND)
    return bool(int(page.subfiletype) & 0b101) or (old is not None and old.value == 2)


def lacks_codec(page: Any) -> bool:
    """Whether tifffile cannot unpack a page for want of imagecodecs."""
    import tifffile

    return not is_installed("imagecodecs") and page.compression not in tifffile.TIFF.DECOMPRESSORS


def by_tifffile(part: Any) -> np.ndarray:
    """Return the pixels of a page or series; :class:`UserError` where that takes imagecodecs, which is not here.

    Raises whatever else tifffile and its codecs do.
    """
    try:
        return np.asarray(part.asarray())
    except Exception as fault:
        # What tifffile does by itself may take a module of a later Python, or whole bytes a sample.
        if isinstance(fault, ImportError) or "imagecodecs" in str(fault):
            need("imagecodecs")
        raise


def _by_pillow(page: Any, data: bytes) -> np.ndarray:
    """Gray of 16 bits in a file's first page, [H, W], whose compression libtiff knows; else the extra is asked for."""
    plain = page.index == 0 and page.axes == "YX" and page.dtype == np.uint16
    if plain and int(page.compression) in _COMMON_COMPRESSIONS:
        quiet_libtiff()
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            if image.mode.startswith("I;16"):
                return np.asarray(image).astype(np.uint16)
    need("imagecodecs")
    raise AssertionError("imagecodecs is there, and tifffile does not use it")


def _problem(page: Any) -> str:
    """Why the pixels of a page mean nothing here."""
    bits = page.bitspersample
    if not isinstance(bits, int) or page.dtype is None:
        return "samples of different or unknown depth"
    if page.sampleformat == _SIGNED and bits == 8:
        return "signed pixels"
    if page.sampleformat not in (*_UNSIGNED, _SIGNED):
        return "floating-point or complex pixels have no agreed range"
    if int(page.photometric) not in (_WHITE, _BLACK, _RGB, _PALETTE, _YCBCR):
        return "colours of another kind than gray, RGB and palettes"
    if int(page.photometric) == _YCBCR and int(page.compression) not in (6, 7, 34712, 33003, 33005, 50001, 50002):
        return "colours of another kind than gray, RGB and palettes"
    return ""


def _colour_samples(page: Any) -> int:
    return 3 if int(page.photometric) in (_RGB, _YCBCR) else 1


def _alpha(page: Any) -> int:
    """1: multiplied alpha, 2: alpha, 0: none; ExtraSamples of the last sample (TIFF 6.0, section 18)."""
    extra = [int(one) for one in page.extrasamples or ()]
    return extra[-1] if extra and extra[-1] in (1, 2) else 0


def _colours(table: np.ndarray) -> np.ndarray:
    """uint8 [entries, 3] of a colour map [3, entries], whose 16 bits some writers leave half empty."""
    wide = np.asarray(table).T
    return (wide >> 8 if wide.max() > 255 else wide).astype(np.uint8)


def require_segments(page: Any, data: bytes) -> None:
    """Raise ValueError where a strip or tile of a page of the file ``data`` is not there, or larger than the page says.

    tifffile would leave it black; its codecs would ask for as much memory as the tile's own header claims.
    """
    area = int(np.prod(page.chunks))
    if page.nbytes > claims.MAX_BYTES or area * page.dtype.itemsize > claims.MAX_BYTES:
        raise ValueError(f"more than {claims.MAX_BYTES} bytes of pixels, or of a tile; refused")
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    expected = int(np.prod(page.chunked))
    if len(places) < expected or any(count <= 0 or place <= 0 or place + count > len(data) for place, count in places):
        raise ValueError("strips or tiles are missing or cut off")
    if len(places) > _MOST_SEGMENTS:
        raise ValueError(f"more than {_MOST_SEGMENTS} strips or tiles; refused")
    for place, count in places:
        claimed = claims.samples_claimed(int(page.compression), data[place : place + count])
        if claimed is None:
            return
        # Codecs of colour pad gray to four samples.
        if claimed > max(_PADDED * area, _LEAST_CLAIM):
            raise ValueError(f"a tile claims {claimed} samples where the file has {area}; refused")


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
    White-is-zero images are not turned round. Raises ValueError for depths other than 1, 8 and 16 bits, for
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
    return _through_palette(pixels, layout) if layout.first(_PHOTOMETRIC, _BLACK) == _PALETTE else pixels


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
    return np.asarray(_colours(palette.reshape(3, 256))[pixels[:, :, 0]])
