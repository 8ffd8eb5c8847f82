"""What each kind of TIFF and PNG decodes to: the very pixels that were written, or a refusal that says why.

Files are written by tifffile, by imagecodecs and byte by byte; what is expected is worked out from the pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bandbridge.dataset.decode import DecodeError, decode_gray
from bandbridge.export import example

HEIGHT, WIDTH = 37, 29
#: Samples a pixel: colours, and whether there is alpha.
KINDS = {"gray": (1, False), "gray and alpha": (1, True), "RGB": (3, False), "RGBA": (3, True), "palette": (1, False)}
DEPTHS = {"1": 1, "8": 8, "10": 10, "12": 12, "16": 16, "float16": "<f2", "float32": "<f4", "int8": "i1"}
COMPRESSIONS = (None, "lzw", "zlib", "packbits", "zstd", "lzma", "jpeg2000", "lerc", "png", "jpegxl", "webp")
REFUSED = {"int8": "signed", "float16": "floating-point", "float32": "floating-point"}


def pixels_of(kind: str, depth: str) -> np.ndarray:
    """[H, W, samples] that use the whole depth; an alpha is opaque."""
    generator = np.random.default_rng(len(kind))
    colours, alpha = KINDS[kind]
    bits = DEPTHS[depth]
    shape = (HEIGHT, WIDTH, colours + alpha)
    if isinstance(bits, str):
        made = generator.normal(0, 50, shape).clip(-128, 127).astype(bits)
    else:
        made = generator.integers(0, 1 << bits, shape).astype(np.uint8 if bits <= 8 else np.uint16)
        made[0, 0], made[0, 1] = 0, (1 << bits) - 1
        if alpha:
            made[..., -1] = (1 << bits) - 1
    return made


def expected(pixels: np.ndarray, kind: str, bits: int, *, white_is_zero: bool = False) -> np.ndarray:
    """uint8 [H, W] by whole numbers."""
    values = pixels.astype(np.int64)
    if KINDS[kind][0] == 3:
        gray = (19595 * values[..., 0] + 38470 * values[..., 1] + 7471 * values[..., 2] + 32768) // 65536
    else:
        gray = values[..., 0]
    gray = gray * 255 if bits == 1 else gray // 2 ** max(0, bits - 8)
    return (255 - gray if white_is_zero else gray).astype(np.uint8)


def combinations() -> Iterator[tuple[Any, ...]]:
    for kind, depth, planar, tiled, compression, order, white in product(
        KINDS, DEPTHS, (False, True), (False, True), COMPRESSIONS, "<>", (False, True)
    ):
        if white and kind not in ("gray", "gray and alpha"):
            continue
        if planar and kind in ("gray", "palette"):
            continue
        if kind == "palette" and (depth not in ("8", "16") or compression in ("jpeg2000", "jpegxl", "webp", "lerc")):
            continue
        if compression == "webp" and (kind not in ("RGB", "RGBA") or planar):
            continue  # it holds nothing else
        yield kind, depth, planar, tiled, compression, order, white


def written(
    kind: str, depth: str, planar: bool, tiled: bool, compression: str | None, order: str, white: bool
) -> tuple[bytes, np.ndarray] | None:
    """The file and its pixels; None where there is no such file or nothing here writes it."""
    pixels = pixels_of(kind, depth)
    colours, alpha = KINDS[kind]
    options: dict[str, Any] = {"photometric": "rgb" if colours == 3 else "miniswhite" if white else "minisblack"}
    if kind == "palette":
        options = {"photometric": "palette", "colormap": palette(int(depth))}
    if alpha:
        options["extrasamples"] = ["unassalpha"]
    if depth in ("1", "10", "12"):
        options["bitspersample"] = DEPTHS[depth]
    if tiled:
        options["tile"] = (16, 16)
    else:
        options["rowsperstrip"] = 16
    if compression in ("jpeg2000", "jpegxl", "webp", "png"):
        options["compressionargs"] = {"lossless": True} if compression == "webp" else {}
        if compression == "jpeg2000":
            options["compressionargs"] = {"level": 0, "reversible": True}
        if compression == "jpegxl":
            options["compressionargs"] = {"lossless": True}
    shown = np.moveaxis(pixels, 2, 0) if planar else pixels
    if shown.shape[-1] == 1:
        shown = shown[..., 0]
    if depth == "1":
        shown = shown.astype(bool) if kind == "gray" else shown
        options.pop("bitspersample")
        if kind != "gray":
            return None
    if order == ">" and ((compression == "jpeg2000" and depth != "8") or "bitspersample" in options):
        shown = shown.byteswap()  # tifffile 2026.3.3 swaps what then has no byte order; swapped twice, it is right
    data = io.BytesIO()
    try:
        tifffile.imwrite(
            data,
            shown,
            byteorder=order,
            planarconfig="separate" if planar else "contig" if pixels.shape[2] > 1 else None,
            compression=compression,
            **options,
        )
    except Exception:
        return None
    return data.getvalue(), pixels


def palette(bits: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 65536, (3, 1 << bits)).astype(np.uint16)


def test_every_kind_of_tiff_is_read_right_or_refused_in_words(tmp_path: Path) -> None:
    """1,050 files are read, 860 refused by what they are; what the exported example reads, it reads alike."""
    read = refused = by_example = 0
    wrong: list[tuple[object, str]] = []
    for case in combinations():
        kind, depth, *_, white = case
        made = written(*case)
        if made is None:
            continue
        data, pixels = made
        word = REFUSED.get(depth)
        right = None if word else right_gray(kind, depth, pixels, white)
        try:
            found = decode_gray(data, "a.tif")
            read += 1
            if right is None or not np.array_equal(found, right):
                wrong.append((case, "other pixels"))
        except DecodeError as error:
            refused += 1
            if word is None or word not in error.message:
                wrong.append((case, error.message))
        shown = read_by_example(tmp_path, data)
        by_example += shown is not None
        if shown is not None and not np.array_equal(shown, right):
            wrong.append((case, "other pixels in the example"))
    assert not wrong, wrong[:20]
    assert (read, refused) == (1050, 860) and by_example > 60


def right_gray(kind: str, depth: str, pixels: np.ndarray, white_is_zero: bool) -> np.ndarray:
    if kind == "palette":
        return expected((palette(int(depth)).T >> 8)[pixels[..., 0]], "RGB", 8)
    return expected(pixels, kind, int(depth), white_is_zero=white_is_zero)


def read_by_example(folder: Path, data: bytes) -> np.ndarray | None:
    """What the exported example reads; None where it refuses."""
    (folder / "image").write_bytes(data)
    try:
        return example.read_gray(str(folder / "image"))
    except SystemExit:
        return None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", ["8", "12", "16"])
@pytest.mark.parametrize(("kind", "tiled"), [("gray", False), ("gray", True), ("RGB", False)])
def test_orientations_are_turned_alike(orientation: int, depth: str, kind: str, tiled: bool, tmp_path: Path) -> None:
    pixels = pixels_of(kind, depth)
    options: dict[str, Any] = {"tile": (16, 16)} if tiled else {}
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        pixels[..., 0] if kind == "gray" else pixels,
        photometric="minisblack" if kind == "gray" else "rgb",
        bitspersample=12 if depth == "12" else None,
        extratags=[(274, "H", 1, orientation, True)],
        **options,
    )
    upright = expected(pixels, kind, int(depth))
    across, down = upright[:, ::-1], upright[::-1]
    right = {1: upright, 2: across, 3: across[::-1], 4: down, 5: upright.T, 6: down.T, 7: down[:, ::-1].T, 8: across.T}[
        orientation
    ]
    np.testing.assert_array_equal(decode_gray(stream.getvalue(), "a.tif"), right)
    shown = read_by_example(tmp_path, stream.getvalue())
    assert (shown is not None) == (depth == "8")
    if shown is not None:
        np.testing.assert_array_equal(shown, right)


def png(pixels: np.ndarray, depth: int, colour_type: int, chunks: bytes = b"") -> bytes:
    """A PNG byte by byte; pixels [H, W, samples]."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    if depth == 16:
        packed = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = [np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :].ravel() for row in rows]
        packed = [np.packbits(row).tobytes() for row in bits]
    body = zlib.compress(b"".join(b"\0" + row for row in packed))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


#: Colour types of PNG, with their samples.
PNG_TYPES = {"gray": (0, 1), "RGB": (2, 3), "gray and alpha": (4, 2), "RGBA": (6, 4)}


@pytest.mark.parametrize("used", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", PNG_TYPES)
def test_values_of_fewer_bits_in_a_png_of_16_are_brought_to_their_own_scale(
    kind: str, used: int, tmp_path: Path
) -> None:
    colour_type, samples = PNG_TYPES[kind]
    pixels = np.random.default_rng(used).integers(0, 1 << used, (HEIGHT, WIDTH, samples)).astype(np.uint16)
    pixels[0, 0] = (1 << used) - 1
    if colour_type >= 4:
        pixels[..., -1] = 65535
    data = png(pixels, 16, colour_type)
    np.testing.assert_array_equal(decode_gray(data, "a.png"), expected(pixels, kind, used))
    assert read_by_example(tmp_path, data) is None


@pytest.mark.parametrize("kind", ["gray", "gray and alpha", "RGB", "RGBA"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("used", [8, 10, 14])
def test_values_of_fewer_bits_in_a_tiff_of_16_are_too(kind: str, planar: bool, used: int) -> None:
    colours, alpha = KINDS[kind]
    pixels = np.random.default_rng(used).integers(0, 1 << used, (HEIGHT, WIDTH, colours + alpha)).astype(np.uint16)
    pixels[0, 0] = (1 << used) - 1
    if alpha:
        pixels[..., -1] = 65535
    shown = np.moveaxis(pixels, 2, 0) if planar else pixels
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        shown[0] if planar and len(shown) == 1 else shown[..., 0] if shown.shape[-1] == 1 else shown,
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig="separate" if planar else "contig",
        extrasamples=["unassalpha"] if alpha else None,
    )
    np.testing.assert_array_equal(decode_gray(stream.getvalue(), "a.tif"), expected(pixels, kind, used))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("palette_", [False, True])
def test_pngs_of_few_bits(depth: int, palette_: bool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(depth).integers(0, 1 << depth, (HEIGHT, WIDTH, 1))
    colours = np.random.default_rng(7).integers(0, 256, (1 << depth, 3)).astype(np.uint8)
    data = png(pixels, depth, 3 if palette_ else 0, chunk(b"PLTE", colours.tobytes()) if palette_ else b"")
    gray = (pixels[..., 0] * 255 // ((1 << depth) - 1)).astype(np.uint8)
    right = expected(colours[pixels[..., 0]], "RGB", 8) if palette_ else gray
    np.testing.assert_array_equal(decode_gray(data, "a.png"), right)
    np.testing.assert_array_equal(read_by_example(tmp_path, data), right)
