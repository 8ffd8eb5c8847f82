"""Shares of evidence by brute force, on an image whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.dataset.prepare import Preparation
from bandbridge.evaluation.comparison import percentile_bootstrap
from bandbridge.explain.attention import SHARES, chance_shares, find_regions, mean_over_cells, measure_shares

SIZE = 80


def chromosome(ground: int, ink: int) -> np.ndarray:
    """A bar of 60 x 12 with a waist 20 from its top, on 80 x 32: prepared to 80, only padding is added."""
    image = np.full((80, 32), ground, dtype=np.uint8)
    image[10:70, 10:22] = ink
    image[29:31, 10:13] = image[29:31, 19:22] = ground
    image[50:54, 14:18] = ground  # a pale band
    return image


@pytest.fixture(params=[(0, 200), (255, 60)], ids=["dark ground", "bright ground"])
def regions(request):
    return find_regions(chromosome(*request.param), Preparation(size=SIZE))


def test_padding_is_neither_content_nor_chromosome(regions) -> None:
    content = np.zeros((SIZE, SIZE), dtype=bool)
    content[:, 24:56] = True
    np.testing.assert_array_equal(regions.content, content)
    inked = np.zeros((SIZE, SIZE), dtype=bool)
    inked[10:70, 34:46] = True
    inked[29:31, 34:37] = inked[29:31, 43:46] = False
    np.testing.assert_array_equal(regions.chromosome, inked)


def test_the_ring_lies_astride_the_outline(regions) -> None:
    """A tenth of the width of 12 is a pixel and a bit to either side."""
    row = regions.border[20]
    assert np.flatnonzero(row).tolist() == [33, 34, 45, 46]
    assert not regions.border[~regions.content].any() and not regions.border[52, 38:42].any()


def test_the_arms_are_those_above_and_below_the_waist(regions) -> None:
    assert regions.arms.short[10:29, 34:46].all() and not regions.arms.short[32:].any()
    assert regions.arms.long[32:70, 34:46].all() and not regions.arms.long[:29].any()


def test_even_evidence_gives_the_shares_of_the_area(regions) -> None:
    chance = chance_shares(regions)
    inside, content = regions.chromosome.sum(), 80 * 32
    assert chance["padding"] == pytest.approx(1 - 32 / 80)
    assert chance["chromosome"] == pytest.approx(inside / content)
    assert chance["border"] == pytest.approx(regions.border.sum() / content)
    assert chance["short_arm"] == pytest.approx(regions.arms.short.sum() / inside)
    assert chance["both_arms"] == pytest.approx(1)
    assert set(chance) == set(SHARES)


def test_shares_are_sums_over_pixels(regions) -> None:
    evidence = np.random.default_rng(0).gamma(0.3, size=(SIZE, SIZE)).astype(np.float32)
    sums = dict.fromkeys(("padding", "content", "chromosome", "border", "short"), 0.0)
    for y in range(SIZE):
        for x in range(SIZE):
            value = float(evidence[y, x])
            sums["padding"] += value * (not regions.content[y, x])
            sums["content"] += value * regions.content[y, x]
            sums["chromosome"] += value * regions.chromosome[y, x]
            sums["border"] += value * regions.border[y, x]
            sums["short"] += value * regions.arms.short[y, x]
    shares = measure_shares(evidence, regions)
    assert shares["padding"] == pytest.approx(sums["padding"] / (sums["padding"] + sums["content"]))
    assert shares["chromosome"] == pytest.approx(sums["chromosome"] / sums["content"])
    assert shares["border"] == pytest.approx(sums["border"] / sums["content"])
    assert shares["short_arm"] == pytest.approx(sums["short"] / sums["chromosome"])
    assert shares["short_arm"] + shares["long_arm"] == pytest.approx(1)
    area = regions.arms.short.sum() / regions.chromosome.sum()
    densities = shares["short_arm"] / area, shares["long_arm"] / (1 - area)
    assert shares["both_arms"] == pytest.approx(min(densities)) and shares["both_arms"] < 1


def test_evidence_on_one_arm_leaves_the_other_without(regions) -> None:
    shares = measure_shares(regions.arms.long.astype(np.float32), regions)
    assert (shares["short_arm"], shares["long_arm"], shares["both_arms"], shares["chromosome"]) == (0, 1, 0, 1)


def test_arms_without_a_waist_between_them_have_no_share() -> None:
    """A drop: narrowest at its tip, as an acrocentric chromosome is."""
    image = np.full((80, 40), 255, dtype=np.uint8)
    for row in range(10, 70):
        image[row, 20 - row // 6 : 20 + row // 6] = 60
    drop = find_regions(image, Preparation(size=SIZE))
    assert drop.arms is not None and not drop.arms.waisted
    for shares in (chance_shares(drop), measure_shares(np.ones((SIZE, SIZE)), drop)):
        assert np.isnan([shares["short_arm"], shares["long_arm"], shares["both_arms"]]).all()
        assert 0 < shares["chromosome"] < 1 and 0 < shares["border"] < 1


def test_nothing_to_share_is_not_a_number(regions) -> None:
    assert all(np.isnan(value) for value in measure_shares(np.zeros((SIZE, SIZE)), regions).values())
    beside = measure_shares((~regions.content).astype(np.float32), regions)
    assert beside["padding"] == 1 and np.isnan(beside["chromosome"])


def test_a_blank_image_has_no_chromosome() -> None:
    blank = find_regions(np.full((40, 20), 7, dtype=np.uint8), Preparation(size=SIZE))
    assert blank.arms is None and not blank.chromosome.any() and not blank.border.any()
    shares = measure_shares(np.ones((SIZE, SIZE)), blank)
    assert shares["chromosome"] == 0 and np.isnan(shares["short_arm"])


def test_a_mean_over_cells_counts_each_cell_once() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0, 9.0, 10.0, *range(17)])
    cells = ["a", "a", "a", "b", "c", "c", *(f"d{number:02}" for number in range(17))]
    means = np.array([2.0, 5.0, 9.5, *range(17)])
    found = mean_over_cells(values, cells, np.random.default_rng(3))
    assert found == percentile_bootstrap(means, 2000, generator=np.random.default_rng(3))
    assert found.mean == pytest.approx(means.mean()) and found.low < found.mean < found.high


def test_nineteen_cells_have_a_mean_and_no_interval() -> None:
    found = mean_over_cells(np.arange(19.0), [f"c{number}" for number in range(19)], np.random.default_rng(0))
    assert found.mean == 9 and np.isnan(found.low) and np.isnan(found.high)


def test_one_cell_has_no_interval_and_no_value_no_mean() -> None:
    one = mean_over_cells(np.array([1.0, 2.0]), ["a", "a"], np.random.default_rng(0))
    assert one.mean == 1.5 and np.isnan(one.low)
    assert np.isnan(mean_over_cells(np.array([np.nan]), ["a"], np.random.default_rng(0)).mean)
