"""The ground of a field, found where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.metaphase.ground import BlankField, level, otsu, outlined_width, shrunk


def bars(width: int = 10, count: int = 12) -> np.ndarray:
    """Bool [300, 400]: bars ``width`` wide and 60 long on an empty field."""
    field = np.zeros((300, 400), bool)
    for k in range(count):
        top, left = 30 + 90 * (k // 5), 30 + 70 * (k % 5)
        field[top : top + 60, left : left + width] = True
    return field


@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize("slope", [0.0, 60.0])
def test_polarity_ground_and_width_are_found_under_uneven_light(bright: bool, slope: float) -> None:
    rng = np.random.default_rng(1)
    mask = bars(width=12)
    light = (20 if bright else 160) + slope * np.arange(400) / 400
    gray = light + (100 if bright else -80) * mask + rng.normal(0, 2, mask.shape)
    found = level(np.clip(gray, 0, 255).astype(np.uint8))
    assert found.bright == bright
    assert abs(np.median(found.contrast[~mask])) < 0.08
    assert 0.6 < np.median(found.contrast[mask]) < 1.4
    assert 9 <= found.width <= 15
    assert ((found.contrast > found.threshold) == mask).mean() > 0.99


def test_optical_densities_of_dark_stains_add() -> None:
    """Light falls by the same factor again where two lie on each other: contrast there is twice that of one."""
    one = bars()
    two = np.zeros_like(one)
    two[50:60, 10:390] = True
    gray = 200 * 0.6 ** (one.astype(float) + two)
    found = level(gray)
    both, single = found.contrast[one & two], found.contrast[one & ~two]
    assert np.median(both) == pytest.approx(2 * np.median(single), rel=0.08)


def test_a_nucleus_does_not_set_the_width_or_the_threshold() -> None:
    mask = bars()
    rows, columns = np.ogrid[:300, :400]
    nucleus = (rows - 250) ** 2 + (columns - 340) ** 2 < 45**2
    gray = np.where(nucleus, 250, np.where(mask, 90, 10)).astype(np.uint8)
    found = level(gray)
    assert 8 <= found.width <= 13
    assert (found.contrast[mask & ~nucleus] > found.threshold).mean() > 0.95


@pytest.mark.parametrize("gray", [np.zeros((100, 100), np.uint8), np.full((90, 200), 4095, np.uint16)])
def test_a_blank_field_is_said_to_be_blank(gray: np.ndarray) -> None:
    with pytest.raises(BlankField, match="nothing is on it"):
        level(gray)


def test_sixteen_bits_give_the_same_as_eight() -> None:
    gray = np.where(bars(), 200, 30).astype(np.uint8)
    eight, sixteen = level(gray), level(gray.astype(np.uint16) * 257)
    assert sixteen.bright == eight.bright and sixteen.width == eight.width
    assert np.allclose(sixteen.contrast, eight.contrast, atol=0.02)


def test_otsu_lies_between_two_values_and_shrinking_is_a_mean() -> None:
    values = np.repeat([1.0, 9.0], 500) + np.linspace(0, 0.5, 1000)
    assert ((values > otsu(values)) == (values > 5)).mean() > 0.99
    image = np.arange(24.0).reshape(4, 6)
    assert np.array_equal(shrunk(image, 2), [[image[i : i + 2, j : j + 2].mean() for j in (0, 2, 4)] for i in (0, 2)])


def test_the_width_is_that_of_both_chromatids_where_the_line_between_them_is_as_pale_as_the_ground() -> None:
    field = np.full((320, 400), 255, np.uint8)
    for row in range(20, 300, 60):
        for column in range(20, 360, 40):
            field[row : row + 40, column : column + 16] = 60
            field[row + 4 : row + 36, column + 5 : column + 11] = 255  # joined at their ends: a ring
    found = level(field)
    # By thickness alone it would be 5: that of one chromatid.
    assert 14 < found.width < 20
    assert outlined_width(found.contrast, found.threshold) == found.width


def test_too_few_pieces_or_round_ones_tell_no_width_by_outline() -> None:
    field = np.zeros((200, 200), np.float32)
    field[20:60, 20:30] = 1
    assert outlined_width(field, 0.3) == 0
    rows, columns = np.mgrid[:200, :200]
    for row in range(20, 200, 40):
        for column in range(20, 200, 40):
            field[np.hypot(rows - row, columns - column) < 12] = 1
    assert outlined_width(field, 0.3) == 0
