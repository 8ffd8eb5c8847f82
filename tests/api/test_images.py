"""Arrays, PIL images, lists and cells of them, given where files are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bandbridge.api.images import hand_over_anything
from bandbridge.dataset.decode import decode_gray
from bandbridge.errors import UserError
from bandbridge.synthetic.sets import draw_cells

GRAY = np.arange(60, dtype=np.uint8).reshape(10, 6) * 4
COLOUR = np.stack([GRAY, GRAY // 2, 255 - GRAY], axis=2)


def pixels(images: object) -> list[np.ndarray]:
    return [decode_gray(one.read(), one.name) for one in hand_over_anything(images)]


def test_an_array_is_read_as_the_file_of_the_same_picture(tmp_path: Path) -> None:
    for image in (GRAY, COLOUR):
        Image.fromarray(image).save(tmp_path / "a.png")
        (from_file,) = pixels(tmp_path / "a.png")
        for given in (
            image,
            Image.fromarray(image),
            [image],
            {"cell 1": [image]},
            image[:, ::1],
            str(tmp_path / "a.png"),
        ):
            np.testing.assert_array_equal(pixels(given)[0], from_file)


def test_a_view_that_is_not_contiguous_is_read_as_it_looks() -> None:
    np.testing.assert_array_equal(pixels(GRAY[::-1, ::2])[0], GRAY[::-1, ::2])


def test_names_and_cells_of_lists_mappings_and_stacks(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "b.png")

    def facts(images: object) -> list[tuple[str, str]]:
        return [(one.name, one.cell) for one in hand_over_anything(images)]

    assert facts(GRAY) == [("image 1", "")]
    assert facts([GRAY, Image.fromarray(GRAY)]) == [("image 1", ""), ("image 2", "")]
    assert facts(np.stack([GRAY, GRAY])) == [("image 1", ""), ("image 2", "")]
    assert facts(np.stack([COLOUR, COLOUR])) == [("image 1", ""), ("image 2", "")]
    assert facts({"a": [GRAY, GRAY], 2: GRAY}) == [("a/1", "a"), ("a/2", "a"), ("2/1", "2")]
    assert facts([tmp_path / "b.png"]) == [(str(tmp_path / "b.png"), "")]
    assert facts({"c": tmp_path / "b.png"}) == [(str(tmp_path / "b.png"), "c")]


def test_a_drawn_set_is_handed_over_with_its_cells_and_labels() -> None:
    cells = draw_cells("G", 1, seed=3)
    handed = hand_over_anything(cells)
    assert [one.label for one in handed] == cells.samples["label"].tolist()
    assert {one.cell for one in handed} == {"synthetic-g0001"}
    stream = io.BytesIO(handed[0].read())
    assert Image.open(stream).format == "PNG"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GRAY.astype(float), r"array of float64 \[10, 6\], expected uint8"),
        (GRAY.astype(np.uint16), "array of uint16"),
        (GRAY[:0], r"array of uint8 \[0, 6\]"),
        ([GRAY, 7], "image 2 is a int, not an image"),
        ([[GRAY]], "image 1 is a list, not an image"),
        ([], "no image in what was given"),
        ({}, "no image in what was given"),
        ({"a": []}, "no image in what was given"),
        ("", "path of the images is empty"),
        (None, "NoneType is nothing that holds images"),
        (3.5, "float is nothing that holds images"),
        ({"a": 4}, "cell 'a' is given as int"),
        ("nowhere", "nowhere does not exist"),
        (["nowhere.png"], "nowhere.png is no file"),
        (GRAY[0], r"array of uint8 \[6\]"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(given: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        hand_over_anything(given)
    assert error.value.remedy


def test_a_picture_of_real_numbers_is_refused_by_name() -> None:
    (one,) = hand_over_anything(Image.fromarray(GRAY.astype(np.float32)))
    with pytest.raises(UserError, match="image 1 is a picture of mode F"):
        one.read()
