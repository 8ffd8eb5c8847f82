"""One scale for the deep images of a set: against shifts by hand, whatever a single image looks like."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from bandbridge.dataset.audit import audit_dataset
from bandbridge.dataset.contents import contents_of
from bandbridge.dataset.decode import DecodeError, decode_gray
from bandbridge.dataset.depth import NeedsSetError, SetDepth
from bandbridge.dataset.formats import import_distribution
from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.dataset.joined import join
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.store import build_store
from bandbridge.errors import ManyErrors
from bandbridge.predict.intake import decoded, hand_over, in_whole_cells

SHAPE = (12, 9)


def ramp(brightest: int) -> np.ndarray:
    return np.linspace(0, brightest, SHAPE[0] * SHAPE[1]).astype(np.uint16).reshape(SHAPE)


def as_png(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def as_colour_png(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(np.dstack([pixels] * 3)))


def as_tiff(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, pixels)
    return data.getvalue()


#: One camera of 12 bits: no image but the second shows it.
BRIGHTEST = {"dark": 900, "bright": 4095, "middle": 3840, "black": 0}


def dataset(folder: Path, encode: Callable[[np.ndarray], bytes], bits: dict[str, str] | None = None) -> ImageFolder:
    folder.mkdir(parents=True)
    rows = [["file_name", "label", "cell", *(["bits"] if bits else [])]]
    for number, (name, brightest) in enumerate(BRIGHTEST.items()):
        (folder / f"{name}.img").write_bytes(encode(ramp(brightest)))
        rows.append([f"{name}.img", str(number + 1), "c", *([bits.get(name, "")] if bits else [])])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return open_dataset(folder)


@pytest.mark.parametrize("encode", [as_png, as_colour_png, as_tiff])
def test_all_images_of_a_set_have_the_scale_of_its_brightest_pixel(encode: Callable, tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", encode)
    for name, brightest in BRIGHTEST.items():
        np.testing.assert_array_equal(found.gray(f"{name}.img"), ramp(brightest) >> 4)
        alone = decode_gray(encode(ramp(brightest)), name)  # which has no set to go by
        np.testing.assert_array_equal(alone, ramp(brightest) >> {900: 2, 0: 0}.get(brightest, 4))
    assert found.decided_bits() == 12


def test_what_is_stated_goes_before_what_is_seen(tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", as_png, {"dark": "10", "bright": "16"})
    for name, shift in {"dark": 2, "bright": 8, "middle": 4}.items():  # of the others, 3840 is the brightest
        np.testing.assert_array_equal(found.gray(f"{name}.img"), ramp(BRIGHTEST[name]) >> shift)
    plain = dataset(tmp_path / "plain", as_png)
    assert contents_of(found).fingerprint != contents_of(plain).fingerprint


def test_images_of_8_bits_ask_nobody(tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", lambda pixels: as_png((pixels >> 4).astype(np.uint8)))
    np.testing.assert_array_equal(found.gray("middle.img"), ramp(3840) >> 4)
    assert found.depth.largest is None and found.decided_bits() is None


@pytest.mark.parametrize("text", ["7", "17", "twelve", "12.0"])
def test_bits_that_are_no_such_number_are_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(ManyErrors, match=r"(?s)bits.*row 2"):
        dataset(tmp_path / "set", as_png, {"dark": text})


def test_a_value_beyond_the_stated_bits_is_named(tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", as_png, {"bright": "10"})
    with pytest.raises(DecodeError, match="4,095 is more than 10 bits"):
        found.gray("bright.img")


@pytest.mark.parametrize(("expected", "shift"), [(None, 4), (10, 4), (14, 6)])
def test_a_models_own_depth_holds_unless_the_images_exceed_it(expected: int | None, shift: int) -> None:
    images = [("a", as_png(ramp(3000))), ("b", as_png(ramp(500)))]
    depth = SetDepth(lambda: [(name, partial(bytes, data)) for name, data in images])
    np.testing.assert_array_equal(depth.gray(images[1][1], "b", expected), ramp(500) >> shift)


def test_a_part_of_a_set_knows_that_it_needs_the_rest(tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", as_png)
    with pytest.raises(NeedsSetError):
        found.only(["dark.img"]).gray("dark.img")
    found.settle()
    np.testing.assert_array_equal(found.only(["dark.img"]).gray("dark.img"), ramp(900) >> 4)


@pytest.mark.parametrize("preparation", [Preparation(size=16), Preparation(size=16, scale="common")])
def test_a_store_is_built_on_one_scale_and_says_which(preparation: Preparation, tmp_path: Path) -> None:
    deep, shallow = dataset(tmp_path / "deep", as_png), dataset(tmp_path / "shallow", as_twelve_bits_seen_as_8)
    stores = [build_store(one, preparation, tmp_path / "stores") for one in (deep, shallow)]
    np.testing.assert_array_equal(stores[0].images, stores[1].images)
    assert [store.preparation.bits for store in stores] == [12, None]
    assert "bits" not in stores[1].preparation.model_dump()


def test_a_set_that_goes_to_another_process_takes_its_scale_along(tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", as_png)
    found.settle()
    for one in (found, found.only(["dark.img"]), join({"a": found}).parts["a"]):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).gray("dark.img"), ramp(900) >> 4)


def as_twelve_bits_seen_as_8(pixels: np.ndarray) -> bytes:
    return as_png((pixels >> 4).astype(np.uint8))


def test_sets_of_two_cameras_keep_a_scale_each(tmp_path: Path) -> None:
    twelve = dataset(tmp_path / "a", as_png)
    sixteen = dataset(tmp_path / "b", lambda pixels: as_png(pixels * 16))
    both = join({"a": twelve, "b": sixteen})
    np.testing.assert_array_equal(both.gray("a/middle.img"), both.gray("b/middle.img"))
    assert both.decided_bits() is None
    stated = join({"a": dataset(tmp_path / "stated" / "a", as_png, {"dark": "10"})})
    assert contents_of(stated).fingerprint != contents_of(join({"a": twelve})).fingerprint
    assert join({"a": twelve, "c": dataset(tmp_path / "c", as_tiff)}).decided_bits() == 12


@pytest.mark.parametrize(("given", "shift"), [(None, 4), (16, 8)])
def test_a_folder_that_is_classified_has_one_scale_over_all_its_cells(
    given: int | None, shift: int, tmp_path: Path
) -> None:
    for name, brightest in BRIGHTEST.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(as_png(ramp(brightest)))
    handed = hand_over(tmp_path, given)
    for kept, images, _, refused in decoded(in_whole_cells(handed, 1), lambda *_: None):
        assert not refused
        for one, image in zip(kept, images, strict=True):
            np.testing.assert_array_equal(image, ramp(BRIGHTEST[one.cell]) >> shift)
    said = handed[0].depth.remarks()
    assert bool(said) == (given is None) and all("16 bits" in line and "of 12" in line for line in said)


def test_the_audit_says_what_was_decided_and_passed_over(tmp_path: Path) -> None:
    deep = dataset(tmp_path / "set", as_png)
    pages = io.BytesIO()
    tifffile.imwrite(pages, np.stack([ramp(4000)] * 3), photometric="minisblack")
    (tmp_path / "set" / "dark.img").write_bytes(pages.getvalue())
    hidden = np.dstack([np.asarray(ramp(200), np.uint8), np.zeros(SHAPE, np.uint8)])
    stream = io.BytesIO()
    Image.fromarray(hidden, "LA").save(stream, "PNG")
    (tmp_path / "set" / "black.img").write_bytes(stream.getvalue())
    kinds = {finding.kind: finding for finding in audit_dataset(deep).findings}
    assert "12 bits" in kinds["bit-depth"].sentence and "4,095" in kinds["bit-depth"].examples[0]
    assert kinds["several-pages"].examples == ("dark.img: 3",)
    assert kinds["all-transparent"].examples == ("black.img",)


def imported(tmp_path: Path, data: bytes, **options: int) -> ImageFolder:
    (tmp_path / "given" / "1").mkdir(parents=True)
    (tmp_path / "given" / "1" / "a.tif").write_bytes(data)
    import_distribution("folder", tmp_path / "given", tmp_path / "set", **options)
    return open_dataset(tmp_path / "set")


def test_an_import_writes_the_depth_down(tmp_path: Path) -> None:
    found = imported(tmp_path, as_tiff(ramp(900)), bit_depth=14)
    np.testing.assert_array_equal(found.gray("images/1/a.tif"), ramp(900) >> 6)


@pytest.mark.parametrize(("page", "channel"), [(1, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("kind", ["imagej", "ome", "pages of colours"])
def test_an_import_takes_the_page_and_channel_that_are_meant(
    kind: str, page: int, channel: int, tmp_path: Path
) -> None:
    planes = np.random.default_rng(1).integers(0, 256, (3, 2, *SHAPE)).astype(np.uint8)  # page, channel
    data = io.BytesIO()
    if kind == "pages of colours":
        colours = np.concatenate([planes, planes[:, :1]], axis=1)
        tifffile.imwrite(data, np.moveaxis(colours, 1, 3), photometric="rgb")
    else:
        tifffile.imwrite(data, planes, photometric="minisblack", **{kind: True}, metadata={"axes": "ZCYX"})
    found = imported(tmp_path, data.getvalue(), page=page, channel=channel)
    np.testing.assert_array_equal(found.gray("images/1/a.png"), planes[page - 1, channel - 1])


def test_a_packed_depth_is_kept_where_a_page_is_chosen(tmp_path: Path) -> None:
    data = io.BytesIO()
    tifffile.imwrite(data, np.stack([ramp(900), ramp(700)]), photometric="minisblack", bitspersample=12)
    found = imported(tmp_path, data.getvalue(), page=2)
    np.testing.assert_array_equal(found.gray("images/1/a.png"), ramp(700) >> 4)


def test_a_page_that_is_not_there_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ManyErrors, match=r"(?s)a\.tif: holds 1 page and 1 channel; page 2"):
        imported(tmp_path, as_tiff(ramp(900)), page=2)


@pytest.mark.parametrize("cameras", ["a hot pixel", "two"])
def test_a_scale_that_makes_most_images_black_is_doubted(cameras: str, tmp_path: Path) -> None:
    found = dataset(tmp_path / "set", as_png)
    assert found.depth.doubt() == "" and "bit-depth-in-doubt" not in {one.kind for one in audit_dataset(found).findings}
    pixels = ramp(3000)
    if cameras == "two":
        pixels = pixels * 20
    pixels[0, 0] = 65_535
    (tmp_path / "set" / "black.img").write_bytes(as_png(pixels))
    again = open_dataset(tmp_path / "set")
    kinds = {one.kind: one for one in audit_dataset(again).findings}
    assert "have no value above 4,095" in kinds["bit-depth-in-doubt"].examples[0]
    assert any("hot pixel" in line for line in again.depth.remarks())
