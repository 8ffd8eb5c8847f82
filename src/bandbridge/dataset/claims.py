"""What the headers of an image file claim, looked at before anything is decoded or memory is asked for.

A few hundred bytes can claim any size: in the image's own header, in a directory whose entries all point at the same
bytes, in the tables of a camera within a JPEG or PNG, and once more in each compressed tile of a TIFF, whose codec asks
for as much memory as the tile's own header says. All raise ValueError with the reason.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: 6 megapixels, as 3072 x 2048, hundreds of times a cropped chromosome: what is decoded and prepared in 2 s and 500 MB.
MAX_PIXELS = 6 * 2**20
#: 24 megapixels, as 6000 x 4000: what cameras on microscopes have. Allowed for whole fields alone.
MAX_FIELD_PIXELS = 24 * 10**6
#: Rows, and pixels of a row.
MAX_SIDE = 2**15
#: Bytes of a decoded page and of a tile: four samples of 16 bits a pixel.
MAX_BYTES = 8 * MAX_PIXELS
_MOST_ENTRIES, _MOST_VALUES, _MOST_SCANS = 2**15, 2**21, 100
_SUB_DIRECTORIES = 330
#: Bytes a value, by type; those of one byte are never made Python's numbers of.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_EXIF, _SEVERAL = b"Exif\0\0", b"MPF\0"
_TOO_MANY = "its directory claims more than the file can hold; refused"


_allowed = ContextVar("allowed", default=MAX_PIXELS)


@contextmanager
def allowing(pixels: int) -> Iterator[None]:
    """Let images of up to ``pixels`` be decoded inside, by this thread: whole fields of view in place of crops."""
    before = _allowed.set(pixels)
    try:
        yield
    finally:
        _allowed.reset(before)


def check_size(width: int, height: int) -> None:
    """Refuse images of no pixels, of more than are allowed and of sides longer than ``MAX_SIDE``.

    Allowed are ``MAX_PIXELS``, or what :func:`allowing` says.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width} x {height} pixels")
    if width * height > (most := _allowed.get()):
        raise ValueError(f"{width} x {height} is more than {most} pixels; refused")
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{width} x {height}: a side of more than {MAX_SIDE} pixels; refused")


def check_file(data: bytes) -> None:
    """Refuse the file ``data`` for directories, and for a JPEG's passes over the image, that cost out of proportion."""
    if data[:2] in (b"II", b"MM"):
        check_directories(data)
    elif data[:2] == b"\xff\xd8":
        exif = b""
        for marker, segment in _jpeg_segments(data):
            if marker == 0xE1 and segment.startswith(_EXIF):
                exif += segment[len(_EXIF) :]  # Pillow joins them
            elif marker == 0xE2 and segment.startswith(_SEVERAL):
                check_directories(segment[len(_SEVERAL) :])
        check_directories(exif)
        # In the image's own data this pair of bytes does not occur.
        if data.count(b"\xff\xda") > _MOST_SCANS:
            raise ValueError(f"a JPEG of more than {_MOST_SCANS} scans; refused")


def check_directories(data: bytes) -> None:
    """Refuse a TIFF, or the like in another file, whose directories hold more together than the file does."""
    form = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}.get(data[:4])
    if form is None:
        return
    big = b"+" in data[:4]
    try:
        waiting = list(struct.unpack_from(form + ("Q" if big else "I"), data, 8 if big else 4))
    except struct.error:
        return
    seen: set[int] = set()
    entries = size = values = 0
    while waiting:
        place = waiting.pop()
        if place in seen or not 0 < place < len(data):
            continue
        seen.add(place)
        found, following = _entries(data, form, big, place, _MOST_ENTRIES - entries)
        waiting += following
        entries += len(found) + 1
        for tag, kind, count, at in found:
            bytes_each = _VALUE_BYTES.get(kind, 1)
            size += min(count * bytes_each, max(0, len(data) - at))
            values += count if bytes_each > 1 and at + count * bytes_each <= len(data) else 0
            if tag == _SUB_DIRECTORIES and bytes_each in (4, 8):
                held = max(0, min(count, (len(data) - at) // bytes_each, _MOST_ENTRIES))
                if held:  # else they lie behind the file's end
                    waiting += struct.unpack_from(f"{form}{held}{'I' if bytes_each == 4 else 'Q'}", data, at)
        if entries > _MOST_ENTRIES or values > _MOST_VALUES or size > 2 * len(data):
            raise ValueError(_TOO_MANY)


def _entries(
    data: bytes, form: str, big: bool, place: int, most: int
) -> tuple[list[tuple[int, int, int, int]], tuple[int, ...]]:
    """The (tag, type, count, offset of the values) of one directory, and where the next one is."""
    count_form, entry_form, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    length, inner = (20, 8) if big else (12, 4)
    found = []
    try:
        (count,) = struct.unpack_from(form + count_form, data, place)
        if count > most:
            raise ValueError(_TOO_MANY)
        place += struct.calcsize(form + count_form)
        for _ in range(count):
            tag, kind, number = struct.unpack_from(form + entry_form, data, place)
            at = place + length - inner
            if number * _VALUE_BYTES.get(kind, 1) > inner:
                (at,) = struct.unpack_from(form + pointer, data, at)
            found.append((tag, kind, number, at))
            place += length
        return found, struct.unpack_from(form + pointer, data, place)
    except struct.error:  # it ends within
        return found, ()


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker and the content of each segment of a JPEG, up to its first scan."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            place += 1  # readers search for the next marker too
            continue
        marker = data[place + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):
            return
        (length,) = struct.unpack_from(">H", data, place + 2)
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)


def samples_claimed(compression: int, data: bytes) -> int | None:
    """Return how many samples the image ``data``, a tile of a TIFF, says that it has.

    None where the codec of ``compression`` goes by what the TIFF says. Raises ValueError for a header that is not
    understood, and for codecs whose headers are not known here.
    """
    if compression in _GO_BY_THE_TIFF:
        return None
    reader = _HEADERS.get(compression)
    if reader is None:
        raise ValueError("a compression whose size cannot be told beforehand")
    try:
        return reader(data)
    except (struct.error, IndexError):
        raise ValueError("the header of a tile is cut off") from None


def _jpeg(data: bytes) -> int:
    for marker, segment in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, samples = struct.unpack_from(">HHB", segment, 1)
            return int(height * width * samples)
    raise ValueError("a tile without the header of a JPEG")


def _jpeg2000(data: bytes) -> int:
    place = data.find(b"\xff\x4f\xff\x51")
    if place < 0:
        raise ValueError("a tile without the header of a JPEG 2000")
    right, lower, left, upper = struct.unpack_from(">4I", data, place + 8)
    (samples,) = struct.unpack_from(">H", data, place + 40)
    return int(max(0, right - left) * max(0, lower - upper) * samples)


def _png(data: bytes) -> int:
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("a tile without the header of a PNG")
    width, height, _, kind = struct.unpack_from(">IIBB", data, 16)
    return int(width * height * {0: 1, 2: 3, 4: 2}.get(kind, 4))


def _webp(data: bytes) -> int:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        raise ValueError("a tile without the header of a WebP")
    return int(width * height * 4)


def _lerc(data: bytes) -> int:
    """All bands of a LERC2, each a blob of its own (https://github.com/Esri/lerc, header of version 2 to 6)."""
    total = 0
    for found in re.finditer(b"Lerc2 ", data):
        (version,) = struct.unpack_from("<i", data, found.end())
        place = found.end() + (8 if version >= 3 else 4)
        rows, columns, depth = struct.unpack_from("<iii", data, place)
        total += rows * columns * (max(1, depth) if version >= 4 else 1)
    if not data.startswith(b"Lerc2 ") or total <= 0:
        raise ValueError("a tile without the header of a LERC2")
    return total


def _jpeg_xl(data: bytes) -> int:
    """Four samples a pixel of the size in a JPEG XL (ISO/IEC 18181-1, SizeHeader), bare or in its container."""
    start = 0
    if not data.startswith(b"\xff\x0a"):
        boxes = [place for kind, skipped in ((b"jxlc", 4), (b"jxlp", 8)) if (place := data.find(kind) + skipped) > 8]
        start = min(boxes, default=0)
        if data[start : start + 2] != b"\xff\x0a":
            raise ValueError("a tile without the header of a JPEG XL")
    bits, used = int.from_bytes(data[start + 2 : start + 14], "little"), 0

    def take(count: int) -> int:
        nonlocal used
        used += count
        return bits >> (used - count) & (1 << count) - 1

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    ratios = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
    width = side() if ratio == 0 else height * ratios[ratio][0] // ratios[ratio][1]
    return width * height * 4


#: None, fax, LZW, Deflate, PackBits, LZMA, Zstandard: tifffile gives them room for what the TIFF says, and no more.
_GO_BY_THE_TIFF = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000})
_HEADERS = {
    6: _jpeg, 7: _jpeg, 33007: _jpeg, 34892: _jpeg,
    33003: _jpeg2000, 33004: _jpeg2000, 33005: _jpeg2000, 34712: _jpeg2000,
    34933: _png, 34927: _webp, 50001: _webp, 34887: _lerc, 50002: _jpeg_xl, 52546: _jpeg_xl,
}  # fmt: skip
