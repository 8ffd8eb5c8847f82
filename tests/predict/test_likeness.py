"""Images of another stain, polarity or kind are told from the training images; those of new cells are not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from bandbridge.errors import UserError
from bandbridge.predict.likeness import (
    STATISTICS,
    Likeness,
    describe_image,
    fit_likeness,
    read_likeness,
    write_likeness,
)
from bandbridge.synthetic.cells import draw_cell


def cells_of(stain: str, cells: range) -> tuple[list[np.ndarray], np.ndarray]:
    images, groups = [], []
    for cell in cells:
        drawn = draw_cell(stain, 0, cell)
        images += [one.image for one in drawn]
        groups += [cell] * len(drawn)
    return images, np.array(groups)


@pytest.fixture(scope="module")
def learned() -> Likeness:
    images, groups = cells_of("Q", range(10))
    return fit_likeness(np.array([describe_image(image) for image in images]), groups)


def test_new_cells_of_the_stain_are_like_it(learned):
    images, _ = cells_of("Q", range(20, 24))
    assert learned.unlike(images, np.empty(0)).mean() < 0.05


@pytest.mark.parametrize("kind", ["other stain", "inverted", "noise", "blank"])
def test_other_images_are_not(learned, kind):
    images, _ = cells_of("Q", range(20, 22))
    other = {
        "other stain": lambda: cells_of("G", range(20, 22))[0],
        "inverted": lambda: [255 - image for image in images],
        "noise": lambda: list(np.random.default_rng(0).integers(0, 256, (20, 60, 30)).astype(np.uint8)),
        "blank": lambda: [np.full((60, 30), level, np.uint8) for level in (0, 128, 255)],
    }[kind]()
    assert learned.unlike(other, np.empty(0)).mean() > 0.95


def test_the_distance_is_mahalanobis(learned):
    images, _ = cells_of("Q", range(3))
    statistics = np.array([describe_image(image) for image in images[:5]])
    z = (statistics - np.array(learned.mean)) / np.array(learned.sd)
    expected = [mahalanobis(row, np.zeros(len(row)), np.array(learned.precision)) ** 2 for row in z]
    assert learned.distances(statistics) == pytest.approx(expected)


def test_statistics_by_hand():
    image = np.full((10, 6), 20, np.uint8)
    image[2:8, 1:5] = 120  # 24 pixels, 16 of them on the outline
    found = dict(zip(STATISTICS, describe_image(image), strict=True))
    assert found["ground"] == 20 and found["foreground, mean above ground"] == 100 and found["foreground, SD"] == 0
    assert found["share of foreground"] == pytest.approx(0.4) and found["share of the largest piece"] == 1
    assert found["log area"] == pytest.approx(np.log(25)) and found["log outline"] == pytest.approx(np.log(17))
    assert found["log aspect"] == pytest.approx(np.log(10 / 6))


def test_it_comes_back_from_its_file(learned, tmp_path):
    assert read_likeness(tmp_path) is None
    write_likeness(learned, tmp_path)
    assert read_likeness(tmp_path) == learned
    (tmp_path / "likeness.json").write_text("{")
    with pytest.raises(UserError, match=r"likeness\.json is damaged"):
        read_likeness(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sd", lambda values: [0.0, *values[1:]]),
        ("sd", lambda values: [math.nan, *values[1:]]),
        ("sd", lambda values: [-1.0, *values[1:]]),
        ("sd", lambda values: values[1:]),
        ("mean", lambda values: [*values, 0.0]),
        ("mean", lambda values: [math.inf, *values[1:]]),
        ("precision", lambda rows: rows[1:]),
        ("precision", lambda rows: [rows[0][1:], *rows[1:]]),
        ("precision", lambda rows: [[math.nan, *rows[0][1:]], *rows[1:]]),
        ("farthest", lambda _: -1.0),
        ("farthest", lambda _: math.nan),
        ("images", lambda _: -1),
    ],
)
def test_values_that_make_no_sense_are_damage(learned, tmp_path, name, change):
    write_likeness(learned, tmp_path)
    value = json.loads((tmp_path / "likeness.json").read_text())
    (tmp_path / "likeness.json").write_text(json.dumps({**value, name: change(value[name])}))
    with pytest.raises(UserError, match=rf"likeness\.json is damaged \({name}"):
        read_likeness(tmp_path)


def test_one_cell_teaches_nothing():
    with pytest.raises(ValueError, match="two cells"):
        fit_likeness(np.zeros((5, len(STATISTICS))), np.zeros(5))
