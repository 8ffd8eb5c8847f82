"""Decoding against arrays written by hand or by Pillow; malformed TIFFs are built byte by byte."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from bandbridge.dataset.decode import MAX_PIXELS, DecodeError, decode_gray, decode_image
from bandbridge.errors import UserError

# Pillow remarks on the damage that these files have by intent.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

GENERATOR = np.random.default_rng(5)
GRAY = GENERATOR.integers(0, 256, (23, 17), dtype=np.uint8)
WIDE = GENERATOR.integers(0, 65536, (23, 17), dtype=np.uint16)
RGB = GENERATOR.integers(0, 256, (23, 17, 3), dtype=np.uint8)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, format_, **options)
    return data.getvalue()


def tiff(
    pixels: np.ndarray,
    order: str = "<",
    *,
    offsets: list[int] | None = None,
    counts: list[int] | None = None,
    rows_per_strip: int | None = None,
    photometric: int = 1,
    size: tuple[int, int] | None = None,
    offset_entry: tuple[int, int] | None = None,
    before: bytes = b"",
    more: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """A TIFF with the pixels after the header (and ``before``), and tables as given, right or wrong."""
    height, width = size or pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    body = before + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    start = 8 + len(before)
    offsets = [start] if offsets is None else offsets
    counts = [pixels.nbytes] if counts is None else counts
    entries: dict[int, tuple[int, list[int]]] = {
        256: (3, [width]) if width < 65536 else (4, [width]),
        257: (3, [height]) if height < 65536 else (4, [height]),
        258: (3, [8 * pixels.itemsize] * samples),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, offsets),
        277: (3, [samples]),
        278: (4, [height if rows_per_strip is None else rows_per_strip]),
        279: (4, counts),
    }
    if not counts:
        del entries[279]
    entries |= more or {}
    extra = b""
    place = 8 + len(body)
    table = place + sum(12 for _ in entries) + 6
    directory = struct.pack(order + "H", len(entries))
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        count = len(values)
        if tag == 273 and offset_entry is not None:
            count, value = offset_entry
            packed = struct.pack(order + "I", value)
        elif len(packed) > 4:
            extra, packed = extra + packed, struct.pack(order + "I", table + len(extra))
        directory += struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\0")
    directory += struct.pack(order + "I", 0)
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, place)
    return header + body + directory + extra


def imwritten(*pages: np.ndarray, **options: object) -> bytes:
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        for page in pages:
            file.write(page, **options)
    return data.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    data = encoded(Image.fromarray(GRAY), "PNG")
    header = struct.pack(">II", width, height) + data[24:29]
    return data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(format_: str) -> None:
    decoded = decode_gray(encoded(Image.fromarray(GRAY), format_), "a")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, GRAY)


def test_jpeg_is_read() -> None:
    smooth = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8)
    decoded = decode_gray(encoded(Image.fromarray(smooth), "JPEG", quality=95), "a.jpg")
    assert np.abs(decoded.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_is_read(compression: str) -> None:
    data = encoded(Image.fromarray(GRAY), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode_gray(data, "a.tiff"), GRAY)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sound_tiff_with_strips_in_any_order_is_read(order: str) -> None:
    # Two strips, the lower half stored first: a reader of "everything from the first offset" would fail here.
    upper, lower = GRAY[:12], GRAY[12:]
    stored = np.concatenate([lower, upper])
    data = tiff(
        stored,
        order,
        offsets=[8 + lower.nbytes, 8],
        counts=[upper.nbytes, lower.nbytes],
        rows_per_strip=12,
    )
    np.testing.assert_array_equal(decode_gray(data, "a.tiff"), GRAY)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("offsets", "counts", "rows_per_strip"),
    [
        ([8], [17] * 23, 1),  # one offset, one count for each row
        ([8], [17], 1),  # tables of one row only
        ([8], [17], 23),  # one strip, said to hold one row
        ([8, 25], [23 * 17], 23),  # an offset too many
        ([8], [], 4),  # no byte counts, too few offsets
    ],
)
def test_malformed_strip_tables(order: str, offsets: list[int], counts: list[int], rows_per_strip: int) -> None:
    data = tiff(GRAY, order, offsets=offsets, counts=counts, rows_per_strip=rows_per_strip)
    np.testing.assert_array_equal(decode_gray(data, "bad.tiff"), GRAY)


@pytest.mark.parametrize("order", ["<", ">"])
def test_strip_offset_that_claims_to_be_a_table(order: str) -> None:
    # The entry says "23 offsets at 8", yet 8 is where the pixels start.
    data = tiff(GRAY, order, offset_entry=(23, 8), counts=[GRAY.nbytes], rows_per_strip=23)
    np.testing.assert_array_equal(decode_gray(data, "bad.tiff"), GRAY)


def test_malformed_tiff_with_pixels_further_on() -> None:
    data = tiff(GRAY, offsets=[40], counts=[17], rows_per_strip=1, before=b"\xaa" * 32)
    np.testing.assert_array_equal(decode_gray(data, "bad.tiff"), GRAY)


@pytest.mark.parametrize("order", ["<", ">"])
def test_malformed_tiff_of_16_bits(order: str) -> None:
    data = tiff(WIDE, order, counts=[34], rows_per_strip=1)
    np.testing.assert_array_equal(decode_gray(data, "bad.tiff"), WIDE >> 8)


def test_malformed_rgb_tiff_gives_the_luma_that_pillow_gives() -> None:
    data = tiff(RGB, counts=[51], rows_per_strip=1, photometric=2)
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    np.testing.assert_array_equal(decode_gray(data, "bad.tiff"), expected)


def test_malformed_palette_tiff() -> None:
    palette = GENERATOR.integers(0, 256, (3, 256), dtype=np.uint16)
    data = tiff(
        GRAY,
        counts=[17],
        rows_per_strip=1,
        photometric=3,
        more={320: (3, (palette.astype(int) * 257).ravel().tolist())},
    )
    colours = palette.T.astype(np.uint8)[GRAY]
    np.testing.assert_array_equal(decode_gray(data, "bad.tiff"), np.asarray(Image.fromarray(colours).convert("L")))


@pytest.mark.parametrize("malformed", [False, True])
@pytest.mark.parametrize("pixels", [GRAY, WIDE])
def test_white_is_zero_is_turned_round(pixels: np.ndarray, malformed: bool) -> None:
    broken = {"counts": [17], "rows_per_strip": 1} if malformed else {}
    expected = 255 - (pixels if pixels.dtype == np.uint8 else pixels >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode_gray(tiff(pixels, photometric=0, **broken), "a.tiff"), expected)


def test_truncated_malformed_tiff_is_refused() -> None:
    data = tiff(GRAY, counts=[17], rows_per_strip=1, size=(60, 60))
    with pytest.raises(DecodeError, match=r"bad\.tiff.*truncated"):
        decode_gray(data, "bad.tiff")


@pytest.mark.parametrize(
    ("values", "shift"), [(WIDE % 256, 0), (WIDE % 4096, 4), (WIDE, 8)], ids=["8 bits", "12 bits", "16 bits"]
)
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "big-endian TIFF"])
def test_16_bit_images_are_scaled_by_what_their_values_say(values: np.ndarray, shift: int, format_: str) -> None:
    if format_ == "big-endian TIFF":
        data = tiff(values, ">")
    else:
        data = encoded(Image.fromarray(values), format_)
    np.testing.assert_array_equal(decode_gray(data, "a"), values >> shift)


def test_gray_stored_as_rgb_comes_back_exactly() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = encoded(Image.fromarray(np.dstack([every] * 3)), "BMP")
    np.testing.assert_array_equal(decode_gray(data, "a.bmp"), every)


@pytest.mark.parametrize("ground", [12, 240])
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "16-bit PNG", "premultiplied TIFF"])
def test_what_a_mask_hides_takes_the_images_own_ground(format_: str, ground: int) -> None:
    gray = np.full((30, 20), ground, dtype=np.uint8)
    gray[10:20, 6:14] = 128
    alpha = np.zeros_like(gray)
    alpha[6:24, 4:16] = 255  # the chromosome, with some of its ground
    hidden = np.where(alpha > 0, gray, 255 - gray)  # what lies below the mask is not to be seen
    if format_ == "PNG":
        data = encoded(Image.fromarray(np.dstack([hidden, alpha]), "LA"), "PNG")
    elif format_ == "16-bit PNG":
        data = imagecodecs.png_encode(np.dstack([hidden, alpha]).astype(np.uint16) * 257)
    else:
        premultiplied = format_ != "TIFF"
        stored = np.where(alpha > 0, gray, 0).astype(np.uint8) if premultiplied else hidden
        data = imwritten(np.dstack([stored, alpha]), extrasamples=["assocalpha" if premultiplied else "unassalpha"])
    np.testing.assert_array_equal(decode_gray(data, "a"), gray)


@pytest.mark.parametrize("bright", [False, True])
def test_a_mask_along_the_chromosome_leaves_it_on_its_own_side_of_the_ground(bright: bool) -> None:
    down, across = np.mgrid[-20:20, -10:10]
    depth = np.clip(1 - np.hypot(down / 18, across / 7), 0, 1)  # 1 in the middle of the chromosome, 0 outside
    gray = np.rint(230 - 180 * depth if bright else 20 + 180 * depth).astype(np.uint8)
    alpha = np.where(depth > 0.15, 255, 0).astype(np.uint8)
    decoded = decode_gray(encoded(Image.fromarray(np.dstack([gray, alpha]), "LA"), "PNG"), "a.png")
    outside, rim = int(decoded[0, 0]), gray[(depth > 0.15) & (depth < 0.25)]
    assert outside >= np.median(rim) > gray.min() if bright else outside <= np.median(rim) < gray.max()


@pytest.mark.parametrize("kind", ["PNG", "palette PNG", "16-bit PNG", "TIFF", "16-bit TIFF"])
def test_a_mask_that_hides_everything_hides_nothing(kind: str) -> None:
    nothing = np.zeros_like(GRAY)
    if kind == "PNG":
        data = encoded(Image.fromarray(np.dstack([RGB, nothing]), "RGBA"), "PNG")
    elif kind == "palette PNG":
        palette = Image.fromarray(GRAY).convert("P")
        data = encoded(palette, "PNG", transparency=bytes(256))
    elif kind == "16-bit PNG":
        data = imagecodecs.png_encode(np.dstack([WIDE, nothing]).astype(np.uint16))
    else:
        colours = RGB if kind == "TIFF" else np.dstack([WIDE] * 3)
        pixels = np.dstack([colours, nothing]).astype(colours.dtype)
        data = imwritten(pixels, photometric="rgb", extrasamples=["unassalpha"])
    found = decode_image(data, "a")
    right = {"palette PNG": GRAY, "16-bit PNG": WIDE >> 8, "16-bit TIFF": WIDE >> 8}.get(
        kind, np.asarray(Image.fromarray(RGB).convert("L"))
    )
    assert found.hidden
    np.testing.assert_array_equal(decode_gray(data, "a"), right)


@pytest.mark.parametrize("place", ["before", "within", "old tag", "mask before", "two before"])
@pytest.mark.parametrize("pixels", [GRAY, WIDE], ids=["8 bits", "16 bits"])
def test_the_image_is_read_and_no_thumbnail_or_mask_of_it(place: str, pixels: np.ndarray) -> None:
    small, data = pixels[::4, ::4], io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        if place == "within":
            file.write(small, subfiletype=1, subifds=1)
            file.write(pixels)
        elif place == "old tag":
            file.write(small, extratags=[(255, "H", 1, 2, True)])
            file.write(pixels)
        else:
            if place == "mask before":
                file.write(small > 99, subfiletype=4, photometric="mask")
            for _ in range({"before": 1, "two before": 2}.get(place, 0)):
                file.write(small, subfiletype=1)
            file.write(pixels)
    found = decode_image(data.getvalue(), "a.tif")
    np.testing.assert_array_equal(found.values, pixels)
    assert found.images == 1


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "planar int16"])
def test_signed_pixels_below_0_are_refused_as_that(kind: str) -> None:
    pixels = np.arange(-60, 60).reshape(10, 12).astype(kind.split()[-1])
    data = imwritten(np.stack([pixels] * 3), photometric="rgb") if "planar" in kind else imwritten(pixels)
    with pytest.raises(DecodeError, match="signed"):
        decode_gray(data, "a.tif")


@pytest.mark.parametrize("kind", ["int16", "int32", "uint32"])
def test_wide_types_that_hold_16_bits_are_read(kind: str) -> None:
    data = imwritten((WIDE >> 1).astype(kind))
    np.testing.assert_array_equal(decode_gray(data, "a.tif", 15), WIDE >> 8)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("full", [255, 65535])
def test_a_palette_of_8_bits_in_16_is_read_as_that(bits: int, full: int) -> None:
    entries = GENERATOR.integers(0, 256, (3, 1 << bits)).astype(np.uint16)
    entries[:, 0] = 255
    indices = GRAY if bits == 8 else WIDE
    data = imwritten(indices, photometric="palette", colormap=entries * (full // 255))
    colours = entries.T.astype(np.uint8)[indices]
    np.testing.assert_array_equal(decode_gray(data, "a.tif"), np.asarray(Image.fromarray(colours).convert("L")))


@pytest.mark.parametrize(
    ("data", "images"),
    [
        pytest.param(imwritten(GRAY, GRAY[::-1], GRAY), 3, id="pages"),
        pytest.param(imwritten(WIDE, WIDE[::-1]), 2, id="pages of 16 bits"),
        pytest.param(imwritten(np.stack([GRAY, GRAY[::-1], GRAY, GRAY]), photometric="minisblack"), 4, id="stack"),
        pytest.param(
            imwritten(np.stack([GRAY, GRAY[::-1]]), photometric="minisblack", planarconfig="separate"), 2, id="c"
        ),
        pytest.param(
            imwritten(np.dstack([GRAY, GRAY[::-1]]), photometric="minisblack", planarconfig="contig"), 2, id="s"
        ),
    ],
)
def test_of_several_images_the_first_is_read_and_they_are_counted(data: bytes, images: int) -> None:
    found = decode_image(data, "a.tif")
    assert found.images == images
    np.testing.assert_array_equal(found.values, GRAY if found.values.dtype == np.uint8 else WIDE)


def test_time_series_of_imagej_and_moving_pngs_are_counted() -> None:
    series = io.BytesIO()
    tifffile.imwrite(series, np.stack([WIDE, WIDE[::-1]]), imagej=True, metadata={"axes": "TYX"})
    assert decode_image(series.getvalue(), "a.tif").images == 2
    frames = [Image.fromarray(GRAY), Image.fromarray(GRAY[::-1])]
    moving = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    found = decode_image(moving, "a.png")
    assert found.images == 2
    np.testing.assert_array_equal(found.values, GRAY)


@pytest.mark.parametrize(
    ("tag", "most", "shift"), [(281, 4095, 4), (281, 1023, 2), (281, 65535, 8), (281, 3840, 8), (281, 255, 0)]
)
def test_the_largest_possible_value_says_how_many_bits_are_used(tag: int, most: int, shift: int) -> None:
    pixels = np.minimum(WIDE, most if most in (1023, 255) else 4095)
    pixels[0, 0] = 60_000 if most == 3840 else 0  # 3840 is this image's own brightest pixel, and says nothing
    data = imwritten(pixels, extratags=[(tag, "H", 1, most, True)])
    np.testing.assert_array_equal(decode_gray(data, "a.tif"), (pixels >> shift).astype(np.uint8))


def test_a_png_that_states_its_significant_bits_is_stretched_to_all_of_them() -> None:
    """The PNG specification asks for it: what is stated are the high bits."""
    plain = imagecodecs.png_encode(WIDE >> 6)
    stated = plain[:33] + struct.pack(">I4sBI", 1, b"sBIT", 10, zlib.crc32(b"sBIT\x0a")) + plain[33:]
    np.testing.assert_array_equal(decode_gray(plain, "a.png"), WIDE >> 8)
    np.testing.assert_array_equal(decode_gray(stated, "a.png"), WIDE >> 14)


@pytest.mark.parametrize(("bits", "compression"), [(16, 50013), (8, 34713), (12, 65000)])
def test_what_no_codec_reads_is_named_by_depth_samples_and_compression(bits: int, compression: int) -> None:
    data = tiff(WIDE, more={258: (3, [bits]), 259: (3, [compression])})
    with pytest.raises(DecodeError, match=rf"1 sample of {bits} bits, MINISBLACK, compression") as caught:
        decode_gray(data, "a.tif")
    assert "save it as PNG" in caught.value.remedy


def test_missing_strips_are_not_read_as_black() -> None:
    data = imwritten(WIDE, rowsperstrip=4, compression="zlib")
    with pytest.raises(DecodeError, match="strips or tiles are missing"):
        decode_gray(without_last_strip(data), "a.tif")


def without_last_strip(data: bytes) -> bytes:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[273]
        place = tag.valueoffset + (tag.count - 1) * (4 if tag.dtype == 4 else 8)
    return data[:place] + bytes(4) + data[place + 4 :]


def test_palette_and_one_bit_images() -> None:
    palette = Image.fromarray(GRAY).convert("P")
    palette.putpalette([255 - value for value in range(256) for _ in range(3)])
    np.testing.assert_array_equal(decode_gray(encoded(palette, "PNG"), "a.png"), 255 - GRAY)
    bits = Image.fromarray(GRAY > 99)
    for format_ in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(decode_gray(encoded(bits, format_), "a"), np.where(GRAY > 99, 255, 0))


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    data = encoded(Image.fromarray(GRAY), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_gray(data, "a.png"), np.rot90(GRAY, -1))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png_claiming(100_000, 100_000), id="png"),
        pytest.param(png_claiming(MAX_PIXELS + 1, 1), id="png just over"),
        pytest.param(tiff(GRAY, size=(90_000, 90_000)), id="tiff"),
        pytest.param(tiff(GRAY, size=(90_000, 90_000), counts=[1], rows_per_strip=1), id="malformed tiff"),
    ],
)
def test_bombs_are_refused_by_their_header(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"bomb\.png.*refused"):
        decode_gray(data, "bomb.png")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(40),
        b"no image at all",
        encoded(Image.fromarray(GRAY), "PNG")[:60],
        encoded(Image.fromarray(GRAY), "BMP")[:-30],
        encoded(Image.fromarray(GRAY), "TIFF", compression="tiff_lzw")[:120],
        encoded(Image.fromarray(np.zeros((200, 200), np.uint8)), "JPEG")[:300],
        encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"),
        encoded(Image.fromarray(GRAY.astype(np.int32) * 100_000), "TIFF"),
        encoded(Image.fromarray(RGB), "GIF"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^cell 7/12a\.bmp: "):
        decode_gray(data, "cell 7/12a.bmp")


def test_damage_anywhere_gives_an_image_or_a_decode_error() -> None:
    generator = np.random.default_rng(11)
    sound = [
        encoded(Image.fromarray(GRAY), "PNG"),
        encoded(Image.fromarray(RGB), "BMP"),
        encoded(Image.fromarray(GRAY), "JPEG"),
        tiff(GRAY, ">"),
        tiff(GRAY, counts=[17], rows_per_strip=1),
    ]
    for turn in range(600):
        data = bytearray(sound[turn % len(sound)])
        for place in generator.integers(0, len(data), 1 + turn % 4):
            data[place] = generator.integers(0, 256)
        try:
            decoded = decode_gray(bytes(data), "a")
        except DecodeError:
            continue
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 2


def test_pillow_is_left_as_it_was_and_threads_agree() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    images = [GENERATOR.integers(0, 256, (20, 10 + k), dtype=np.uint8) for k in range(40)]
    data = [encoded(Image.fromarray(image), ("PNG", "BMP", "TIFF")[k % 3]) for k, image in enumerate(images)]
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(decode_gray, data * 5, ["a"] * 200))
    for expected, found in zip(images * 5, decoded, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_the_error_is_a_user_error_and_crosses_processes() -> None:
    error = DecodeError("a.png", "the file is empty")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, UserError)
    assert (copy.message, copy.remedy) == (error.message, error.remedy)


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("kind", ["PNG", "palette PNG", "16-bit PNG", "16-bit TIFF"])
def test_a_dye_shown_in_one_colour_is_that_channel(kind: str, channel: int) -> None:
    deep = "16" in kind
    colours = np.zeros((*GRAY.shape, 3), dtype=np.uint16 if deep else np.uint8)
    colours[..., channel] = WIDE if deep else GRAY
    if kind == "palette PNG":
        palette = Image.fromarray(GRAY).convert("P")
        palette.putpalette([value if place == channel else 0 for value in range(256) for place in range(3)])
        data = encoded(palette, "PNG")
    elif kind == "16-bit PNG":
        data = imagecodecs.png_encode(colours)
    else:
        data = imwritten(colours, photometric="rgb") if deep else encoded(Image.fromarray(colours), "PNG")
    np.testing.assert_array_equal(decode_gray(data, "a"), WIDE >> 8 if deep else GRAY)


@pytest.mark.parametrize("small_first", [True, False])
def test_of_unmarked_pages_the_largest_is_read_and_they_are_counted(small_first: bool) -> None:
    pages = [RGB[::3, ::3], GRAY] if small_first else [GRAY, GRAY[::3, ::3]]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack")
    found = decode_image(stream.getvalue(), "a.tif")
    np.testing.assert_array_equal(found.values, GRAY)
    assert found.images == 2


@pytest.mark.parametrize(("stated", "bits"), [("12", 12), ("16", 16), ("40", None)])
def test_the_significant_bits_of_ome_are_read(stated: str, bits: int | None) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, WIDE >> 6, ome=True, metadata={"axes": "YX", "SignificantBits": int(stated)})
    assert f'SignificantBits="{stated}"'.encode() in stream.getvalue()
    assert decode_image(stream.getvalue(), "a.ome.tif").bits == bits
