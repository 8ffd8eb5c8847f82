"""Headers that claim too much are refused before anything is decoded, in the memory that a small file may take."""

from __future__ import annotations

import io
import itertools
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from bandbridge.dataset import claims, tiff
from bandbridge.dataset.decode import DecodeError, decode_gray
from bandbridge.dataset.prepare import _AT_ONCE, Preparation, prepare_image

GRAY = np.random.default_rng(1).integers(0, 256, (37, 29), dtype=np.uint8)


def directory(tags: list[tuple[int, int, int, bytes]], after: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, four bytes of value or offset)."""
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + after


def overlapping(count: int, length: int) -> bytes:
    """A directory whose every entry is the same ``length`` bytes: ``count`` times as much as the file holds."""
    start = 8 + 2 + 12 * count + 4
    tags = [(20_000 + number, 7, length, struct.pack("<I", start)) for number in range(count)]
    return directory(tags, bytes(length))


def test_directories_that_overlap_are_refused_and_whole_ones_are_not() -> None:
    with pytest.raises(ValueError, match="more than the file can hold"):
        claims.check_directories(overlapping(50, 100_000))
    claims.check_directories(overlapping(1, 100_000))
    for compression in (None, "zlib"):
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.stack([GRAY] * 40), bigtiff=compression is None, compression=compression)
        claims.check_directories(stream.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(directory([(256, 3, 1, bytes(4))] * 40_000), id="entries"),
        pytest.param(directory([(256, 4, 3_000_000, struct.pack("<I", 30))], bytes(12_000_100)), id="values"),
    ],
)
def test_directories_without_end_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="more than the file can hold"):
        claims.check_directories(data)


def test_a_circle_of_directories_ends() -> None:
    claims.check_directories(directory([(330, 4, 1, struct.pack("<I", 8))], following=8))


def with_exif(format_: str, exif: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GRAY).save(stream, format_, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("data", [overlapping(40, 2000), with_exif("JPEG", b"Exif\0\0" + overlapping(40, 2000)),
                                  with_exif("PNG", b"Exif\0\0" + overlapping(40, 2000))])  # fmt: skip
def test_a_directory_is_looked_at_in_every_kind_of_file(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^a\.png: .*claims more than the file can hold"):
        decode_gray(data, "a.png")


def test_a_jpeg_of_many_scans_is_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(GRAY).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    decode_gray(data, "a.jpg")
    place = data.rindex(b"\xff\xda")
    with pytest.raises(DecodeError, match="scans; refused"):
        decode_gray(data[:place] + data[place:-2] * 120 + data[-2:], "a.jpg")


CODECS: dict[int, Callable[[np.ndarray], bytes]] = {
    7: imagecodecs.jpeg8_encode,
    34712: imagecodecs.jpeg2k_encode,
    34887: imagecodecs.lerc_encode,
    34933: imagecodecs.png_encode,
    50001: imagecodecs.webp_encode,
    50002: imagecodecs.jpegxl_encode,
}


@pytest.mark.parametrize("shape", [(37, 29, 3), (64, 64, 3), (8, 1000, 3), (1200, 700, 3), (37, 29)])
@pytest.mark.parametrize("compression", CODECS)
def test_a_tile_says_how_large_it_is(compression: int, shape: tuple[int, ...]) -> None:
    """Between what it holds and four samples a pixel, by whichever codec wrote it."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    if compression == 50001 and len(shape) == 2:
        image = np.stack([image] * 3, axis=2)
    claimed = claims.samples_claimed(compression, CODECS[compression](image))
    assert claimed is not None and image.size <= claimed <= image.shape[0] * image.shape[1] * 4


@pytest.mark.parametrize("compression", [one for one in CODECS if one != 7])  # JPEG is libtiff's, which compares itself
def test_a_tile_larger_than_its_tiff_says_is_refused_undecoded(
    compression: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile of 1000 x 1000 in the place of one of 16 x 16: no codec is asked."""
    tile = CODECS[compression](np.zeros((1000, 1000, 3), np.uint8))
    start = 8 + 2 + 12 * 9 + 4
    values = [(256, 16), (257, 16), (258, 8), (259, compression), (262, 1), (273, start), (277, 1), (278, 16)]
    entries = [(tag, 4, 1, struct.pack("<I", value)) for tag, value in (*values, (279, len(tile)))]
    data = directory(entries, tile, following=0)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(DecodeError, match="a tile claims"):
        decode_gray(data, "a.tif")


def test_a_compression_that_does_not_say_its_size_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be told beforehand"):
        claims.samples_claimed(22610, b"")
    for compression in CODECS:
        with pytest.raises(ValueError):
            claims.samples_claimed(compression, b"\xff\xd8 no header")


def test_samples_and_tiles_without_bound_are_refused() -> None:
    entries = [(256, 2000), (257, 2000), (258, 16), (259, 1), (262, 1), (273, 8), (277, 60_000), (278, 2000), (279, 99)]
    data = directory([(tag, 4, 1, struct.pack("<I", value)) for tag, value in entries], bytes(200))
    with pytest.raises(DecodeError):
        decode_gray(data, "a.tif")


@pytest.mark.parametrize("shape", [(1, 3001), (3001, 1), (40, 2500), (2499, 41), (2100, 2100), (3, 2048)])
@pytest.mark.parametrize(("padding", "size"), [("black", 64), ("background", 256), ("background", 31)])
def test_a_line_is_squared_as_if_its_square_were_made(shape: tuple[int, int], padding: str, size: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    image[0], image[-1] = 77, 77
    preparation = Preparation(size=size, padding=padding)
    side = max(shape)
    fill = int(np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])))
    square = np.full((side, side), fill if padding == "background" else 0, np.uint8)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    square[top : top + shape[0], left : left + shape[1]] = image
    expected = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR))
    assert side**2 > _AT_ONCE or shape == (3, 2048)
    np.testing.assert_array_equal(prepare_image(image, preparation), expected)


_ONE_LINE = """
import resource, sys
import numpy as np
from bandbridge.dataset.decode import DecodeError, decode_gray
from bandbridge.dataset.by_cell import prepare_images
from bandbridge.dataset.prepare import BASES, Preparation
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = sys.stdin.buffer.read()
try:
    image = decode_gray(data, "a.png")
    for settings in BASES.values():
        prepare_images([image], ["c"], Preparation(**settings))
except DecodeError as error:
    print(error.message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def line_png(width: int) -> bytes:
    """One pixel high, some hundred bytes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(bytes(width + 1), 9)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="needs a bound on memory")
@pytest.mark.parametrize("width", [claims.MAX_SIDE, claims.MAX_SIDE + 1])
def test_a_line_of_one_pixel_takes_no_square_of_its_length(width: int) -> None:
    """It was a square of 32768 x 32768: 1 GB."""
    data = line_png(width)
    assert len(data) < 300
    done = subprocess.run([sys.executable, "-c", _ONE_LINE], input=data, capture_output=True, check=True, timeout=60)
    *said, megabytes = done.stdout.decode().splitlines()
    assert int(megabytes) < 100
    assert bool(said) == (width > claims.MAX_SIDE)


class _Pages:
    """Pages as tifffile gives them; there is no file of such in these tests, for tifffile itself would not end."""

    def __init__(self, offset: int) -> None:
        self.offset, self.pages = offset, None


@pytest.mark.parametrize("offsets", [itertools.cycle((8, 200, 400)), itertools.count(8, 6)])
def test_pages_that_lead_back_to_themselves_and_endless_ones_are_refused(offsets):
    with pytest.raises(ValueError, match="lead back to themselves"):
        list(tiff._pages(map(_Pages, offsets)))


def test_pages_and_those_within_them_are_found(tmp_path):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(GRAY, subifds=1)
        writer.write(GRAY[::2, ::2], subfiletype=1)
        writer.write(GRAY)
    with tiff.open_quietly(stream.getvalue()) as file:
        assert len(list(tiff._pages(file.pages))) == 3


@pytest.mark.parametrize("place", [500, 2**31 + 5, 2**32 - 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_behind_the_end_of_the_file_are_none(order, place):
    start = b"II*\0" if order == "<" else b"MM\0*"
    tags = struct.pack(f"{order}HHII", 330, 4, 3, place)
    data = start + struct.pack(f"{order}IH", 8, 1) + tags + bytes(4)
    claims.check_directories(data)  # asks for nothing
