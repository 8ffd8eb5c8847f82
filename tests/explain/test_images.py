"""The images that a person asks about, and the others of their cell where that is known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bandbridge.explain.images import gather_images


def fill(place, names):
    for number, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 4 + number), 40, np.uint8)).save(place / name)
    return place


@pytest.mark.parametrize(
    ("names", "mates"),
    [
        (["a.png", "b.png", "c.png"], {"a.png": 2, "b.png": 2, "c.png": 2}),
        (["c1/a.png", "c1/b.png", "loose.png"], {"c1/a.png": 1, "c1/b.png": 1, "loose.png": 0}),
    ],
)
def test_the_folder_of_one_cell_is_that_cell_as_it_is_for_predict(tmp_path, names, mates):
    place = fill(tmp_path / "cell", names)
    found, problems, _ = gather_images([place], None, 10, 0)
    assert problems == []
    assert {str(one.name).removeprefix(f"{place}/"): len(one.mates(None)) for one in found} == mates


@pytest.mark.parametrize("named", ["file", "folder", "dataset"])
@pytest.mark.parametrize(("given", "shift"), [(None, 4), (14, 6)])
def test_a_deep_image_is_read_on_the_scale_of_those_beside_it_or_as_told(tmp_path, named, given, shift):
    place = tmp_path / "cell"
    place.mkdir()
    pixels = {name: np.full((6, 5), value, np.uint16) for name, value in (("dim", 700), ("bright", 4000))}
    for name, image in pixels.items():
        Image.fromarray(image).save(place / f"{name}.png")
    if named == "dataset":
        (place / "metadata.csv").write_text("file_name,label\ndim.png,1\nbright.png,2\n")
    asked = place / "dim.png" if named == "file" else place
    found, _, _ = gather_images([asked], None, 10, 0, bit_depth=given)
    (dim,) = [one for one in found if "dim" in one.name]
    np.testing.assert_array_equal(dim.gray(None), pixels["dim"] >> shift)
    assert bool(dim.depth.remarks()) == (given is None)
