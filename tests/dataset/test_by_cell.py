"""Preparation by the cell: what must not change when a laboratory frames, magnifies or exposes otherwise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy import stats
from scipy.stats import mstats

from bandbridge.dataset.by_cell import (
    CellMeasure,
    group_by_cell,
    lacks_scale,
    measure_cell,
    prepare_and_trust,
    prepare_beside,
    prepare_cell,
    prepare_images,
    shows_nothing,
)
from bandbridge.dataset.cutout import Cutout, cut_out
from bandbridge.dataset.prepare import BASES, Preparation, described, prepare_image
from bandbridge.synthetic.cells import draw_cell
from bandbridge.synthetic.look import Drawing

BY_CELL = Preparation(size=64, **BASES["by-cell"])


@pytest.fixture(scope="module")
def cell() -> list[np.ndarray]:
    tidy = Drawing(variation=0.4, neighbours=0, overlaps=0, cut=0)
    return [one.image for one in draw_cell("G", 11, 0, tidy)]


def measured(images: list[np.ndarray]) -> tuple[CellMeasure, list[Cutout]]:
    cutouts = [cut_out(image, bright=True) for image in images]
    return measure_cell(cutouts), cutouts


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference in gray levels where either shows something."""
    shown = (first > 0) | (second > 0)
    return float(np.abs(first.astype(float) - second)[shown].mean())


def test_the_typical_length_is_the_trimmed_mean_with_its_standard_error(cell: list[np.ndarray]) -> None:
    found, cutouts = measured(cell)
    lengths = [one.length for one in cutouts]
    assert found.chromosomes == 46
    assert found.length == pytest.approx(stats.trim_mean(lengths, 0.2))
    error = mstats.trimmed_stde(lengths, limits=(0.2, 0.2))
    assert found.length_error == pytest.approx(error / found.length, rel=0.03)


def test_the_error_of_the_scale_is_what_cells_with_missing_chromosomes_show(cell: list[np.ndarray]) -> None:
    """Drawn with replacement, the typical length varies as the measure of one cell says it does."""
    found, cutouts = measured(cell)
    generator = np.random.default_rng(0)
    drawn = [measure_cell([cutouts[row] for row in generator.integers(0, 46, 46)]).length for _ in range(200)]
    assert np.std(np.log(drawn)) == pytest.approx(found.length_error, rel=0.35)


def test_a_shade_is_the_share_of_the_cells_foreground_that_has_less(cell: list[np.ndarray]) -> None:
    found, cutouts = measured(cell)
    pixels = np.concatenate([one.contrast[one.mask] for one in cutouts])
    for level in (12, 40, 90, 160):
        share = (pixels < level).mean() + (pixels == level).mean() / 2
        assert found.shades[level] == pytest.approx(255 * share, abs=1)
    assert found.shades[0] == 0 and (np.diff(found.shades.astype(int)) >= 0).all() and found.shades[1:].min() >= 1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_magnification_is_not_seen(cell: list[np.ndarray], factor: float) -> None:
    def resized(image: np.ndarray) -> np.ndarray:
        size = [max(1, round(side * factor)) for side in reversed(image.shape)]
        return np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BILINEAR))

    plain, other = prepare_cell(cell, BY_CELL), prepare_cell([resized(image) for image in cell], BY_CELL)
    extents = [(views[:, 1] > 0).any(axis=2).sum(axis=1) for views in (plain, other)]
    assert np.abs(np.subtract(*extents)).max() <= 3
    assert difference(plain, other) < 30


def test_exposure_and_the_cameras_curve_are_not_seen(cell: list[np.ndarray]) -> None:
    curve = np.rint(255 - 215 * ((255 - np.arange(256)) / 255) ** 0.75).astype(np.uint8)
    plain, other = prepare_cell(cell, BY_CELL), prepare_cell([curve[image] for image in cell], BY_CELL)
    assert difference(plain, other) < 18  # the palest of the outline goes
    assert difference(plain, prepare_cell([255 - image for image in cell], BY_CELL)) == 0


def test_long_chromosomes_are_long_to_scale_and_as_long_as_all_close_up(cell: list[np.ndarray]) -> None:
    lying = BY_CELL.model_copy(update={"upright": False})
    close, to_scale = np.moveaxis(prepare_cell(cell, lying), 1, 0)
    found, cutouts = measured(cell)
    longer = np.array([max(one.mask.shape) for one in cutouts])
    shown = np.array([max(_extent(image)) for image in to_scale])
    np.testing.assert_allclose(shown, np.minimum(longer * 27 / found.length, 64), atol=1)
    assert {max(_extent(image)) for image in close} <= {61, 62}


def _extent(image: np.ndarray) -> tuple[int, int]:
    return int((image > 0).any(axis=1).sum()), int((image > 0).any(axis=0).sum())


def test_a_fifth_of_the_chromosomes_missing_hardly_changes_the_scale(cell: list[np.ndarray]) -> None:
    generator = np.random.default_rng(5)
    whole = measured(cell)[0].length
    left = [measured([cell[row] for row in generator.permutation(46)[:37]])[0].length for _ in range(30)]
    assert np.std(np.log(left) - np.log(whole)) < 0.05


@pytest.mark.parametrize("settings", [{"contrast": "cell"}, {"contrast": "as-is", "upright": False}])
def test_fewer_than_ten_have_no_scale(cell: list[np.ndarray], settings: dict[str, object]) -> None:
    preparation = Preparation(size=32, **{**BASES["by-cell"], **settings})
    blank = [np.full((30, 30), 255, dtype=np.uint8)]
    nine = prepare_cell(cell[:9] + blank, preparation)
    assert lacks_scale(nine, preparation).all() and nine[:9, 0].any(axis=(1, 2)).all()
    assert not lacks_scale(prepare_cell(cell[:10], preparation), preparation).any()
    assert not lacks_scale(nine, Preparation(size=32)).any()


def test_images_are_prepared_cell_by_cell_whatever_their_order(cell: list[np.ndarray]) -> None:
    other = [one.image for one in draw_cell("Q", 2, 1)]
    images, cells = [*cell, *other, cell[0]], ["a"] * 46 + ["b"] * 46 + [""]
    order = np.random.default_rng(1).permutation(len(images))
    found = prepare_images([images[row] for row in order], [cells[row] for row in order], BY_CELL)
    expected = np.concatenate([prepare_cell(part, BY_CELL) for part in (cell, other, cell[:1])])
    np.testing.assert_array_equal(found, expected[order])
    np.testing.assert_array_equal(prepare_beside(cell[7], [*cell[:7], *cell[8:]], BY_CELL), expected[7])
    assert group_by_cell(["a", "", "b", "a", ""]) == [[0, 3], [1], [2], [4]]


@pytest.mark.parametrize(
    ("scale", "views", "contrast", "upright"),
    [
        *product(["cell"], ["close-up", "to-scale", "both"], ["as-is", "cell"], [False]),
        ("common", "both", "as-is", False),
        ("common", "both", "cell", True),
        ("each", "close-up", "cell", True),
    ],
)
def test_every_setting_gives_its_views(
    cell: list[np.ndarray], scale: str, views: str, contrast: str, upright: bool
) -> None:
    preparation = Preparation.model_validate(
        {
            "size": 32,
            "crop": "foreground",
            "scale": scale,
            "extent": 90,
            "views": views,
            "contrast": contrast,
            "upright": upright,
        }
    )
    found = prepare_cell(cell, preparation)
    assert found.shape == (46, *preparation.shape) and preparation.shape == (
        (2, 32, 32) if views == "both" else (32, 32)
    )
    parts = np.moveaxis(found, 1, 0) if views == "both" else [found]
    if contrast == "as-is" and views != "to-scale":
        plain = Preparation(size=32, crop="foreground")
        np.testing.assert_array_equal(parts[0], [prepare_image(image, plain) for image in cell])
    if contrast == "as-is" and scale == "common":
        plain = Preparation(size=32, crop="foreground", scale="common", extent=90)
        np.testing.assert_array_equal(parts[1], [prepare_image(image, plain) for image in cell])


@pytest.mark.parametrize(
    "settings",
    [
        {"views": "both"},
        {"views": "to-scale"},
        {"contrast": "cell"},
        {"contrast": "cell", "crop": "foreground", "padding": "background"},
        {"upright": True},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="needs"):
        Preparation.model_validate(settings)


def test_records_without_the_new_fields_are_written_as_before() -> None:
    before = {"size": 24, "padding": "background", "crop": "foreground", "scale": "common", "extent": None}
    before |= {"polarity": "inverted"}
    assert Preparation.model_validate(before).model_dump() == before
    kept = Preparation.model_validate(BY_CELL.model_dump())
    assert kept == BY_CELL and {"views", "contrast"} <= kept.model_dump().keys()


def test_what_a_study_file_says_of_a_preparation() -> None:
    assert described(Preparation(size=96)) == "published" and described(BY_CELL) == "by-cell"
    for settings in ({"base": "by-cell", "views": "close-up"}, {"base": "published", "crop": "foreground"}):
        base, changed = settings["base"], {key: value for key, value in settings.items() if key != "base"}
        made = Preparation.model_validate({"size": 64, **BASES[base], **changed})
        assert described(made) == "{" + ", ".join(f"{key}: {value}" for key, value in settings.items()) + "}"
    flat = Preparation.model_validate({"size": 64, **BASES["by-cell"], "upright": False})
    assert described(flat) == "{base: by-cell, upright: false}"


def test_images_without_a_chromosome_are_told(cell: list[np.ndarray]) -> None:
    blank = np.full((30, 20), 255, dtype=np.uint8)
    prepared = prepare_cell([*cell, blank], BY_CELL)
    assert shows_nothing(prepared, BY_CELL).tolist() == [False] * 46 + [True]
    assert not shows_nothing(prepared[:, 0], Preparation(size=64)).any()


def test_how_far_the_scale_can_be_trusted_comes_with_the_images(cell: list[np.ndarray]) -> None:
    images, cells = [*cell, *cell[:9]], ["a"] * len(cell) + ["b"] * 9
    prepared, errors = prepare_and_trust(images, cells, BY_CELL)
    assert (prepared == prepare_images(images, cells, BY_CELL)).all()
    assert errors[: len(cell)] == pytest.approx(measured(cell)[0].length_error)
    assert np.isnan(errors[len(cell) :]).all()
    assert np.isnan(prepare_and_trust(images, cells, Preparation(size=32))[1]).all()
