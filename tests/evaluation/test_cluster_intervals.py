"""Intervals over units: against scipy where units are single images, by loops where not, and by how often they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from bandbridge.evaluation.cluster_intervals import (
    MOST_KINSHIP,
    Estimate,
    Units,
    estimate_calibration_error,
    estimate_macro_f1,
    estimate_mean,
    estimate_share,
)

EXACT = 1e-9


def bounds(share: float, images: float, variance: float, sizes: list[int], telling: int) -> tuple[float, float]:
    """The rule of the module once more, with scipy's distributions."""
    kish = sum(size * size for size in sizes) / sum(sizes)
    effect = 1 + (kish - 1) * MOST_KINSHIP
    if telling:
        seen = max(1.0, variance / (share * (1 - share) / (images - 1)))
        known, few, fewer = (stats.t.ppf(0.975, df) for df in (images - 1, len(sizes) - 1, telling))
        fewer = max(few, fewer)
        effect = max(seen * max(1, few / known) ** 2, min(seen * max(1, fewer / known) ** 2, effect))
    hits, misses = share * images / effect, (1 - share) * images / effect
    low = stats.beta.ppf(0.025, hits, misses + 1) if hits > 0 else 0.0
    return low, stats.beta.ppf(0.975, hits + 1, misses) if misses > 0 else 1.0


def drawn(units: int, share: float, correlation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits and sizes of units of 5 to 60 images, whose own shares follow a beta distribution."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(5, 61, units)
    strength = (1 - correlation) / correlation
    return generator.binomial(sizes, generator.beta(share * strength, (1 - share) * strength, units)), sizes


@pytest.mark.parametrize(
    ("hits", "images"), [(0, 1), (1, 1), (0, 2), (0, 40), (40, 40), (1, 40), (17, 40), (998, 1000)]
)
def test_single_images_have_the_exact_interval(hits: int, images: int) -> None:
    found = estimate_share(np.arange(images) < hits, np.ones(images))
    exact = stats.binomtest(hits, images).proportion_ci(0.95, "exact")
    assert (found.value, found.n) == (hits / images, images)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=EXACT)


@pytest.mark.parametrize("seed", range(12))
def test_a_share_of_whole_units_by_loops(seed: int) -> None:
    hits, sizes = drawn((3, 4, 9, 40)[seed % 4], (0.6, 0.9, 0.99)[seed % 3], 0.1, seed)
    images, units = int(sizes.sum()), len(sizes)
    share = sum(int(hit) for hit in hits) / images
    square = sum((int(hit) - share * int(size)) ** 2 for hit, size in zip(hits, sizes, strict=True))
    telling = min(
        sum(hit > 0 for hit in hits.tolist()),
        sum(hit < size for hit, size in zip(hits.tolist(), sizes.tolist(), strict=True)),
    )
    found = estimate_share(np.append(hits, 0), np.append(sizes, 0))  # a unit without images says nothing
    expected = bounds(share, images, units / (units - 1) * square / images**2, sizes.tolist(), telling)
    assert (found.value, found.n) == (share, images)
    assert (found.low, found.high) == pytest.approx(expected, abs=EXACT)


def test_units_that_are_right_or_wrong_as_one_count_as_one_image() -> None:
    hits = np.array([1] * 150 + [0] * 50)
    alone, copies = estimate_share(hits, np.ones(200)), estimate_share(46 * hits, np.full(200, 46))
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high), abs=0.002)


def test_without_an_error_a_correlation_is_assumed() -> None:
    # 46 images a cell, correlated by 0.2, say as much as 4.6: the 920 of 20 cells as 92.
    exact = stats.binomtest(92, 92).proportion_ci(0.95, "exact")
    found = estimate_share(np.full(20, 46), np.full(20, 46))
    assert (found.low, found.high) == pytest.approx((exact.low, 1.0), abs=EXACT)
    mirrored = estimate_share(np.zeros(20), np.full(20, 46))
    assert (mirrored.low, mirrored.high) == pytest.approx((0.0, 1 - exact.low), abs=EXACT)


def test_two_units_of_several_images_have_no_interval() -> None:
    found = estimate_share(np.array([40, 45]), np.array([46, 46]))
    assert found.value == 85 / 92 and found.n == 92 and not found.bounded and math.isnan(found.high)
    assert math.isnan(estimate_share(np.zeros(3), np.zeros(3)).value)
    assert math.isnan(estimate_macro_f1(np.zeros((2, 3, 4))).value)
    assert estimate_mean(np.zeros(2), np.zeros(2), 0).n == 0


def test_hits_beyond_the_images_are_refused() -> None:
    for hits in ([3, 1], [-1, 0], [0]):
        with pytest.raises(ValueError, match="more hits than images"):
            estimate_share(np.array(hits), np.array([2, 2]))


def labelled(units: int, seed: int, share: float = 0.8) -> tuple[Units, np.ndarray, np.ndarray]:
    """Units of unequal size, truth in 0..3 (class 4 of 5 has no image), guesses in -1..4."""
    generator = np.random.default_rng(seed)
    of = np.concatenate([np.arange(units), generator.integers(units, size=12 * units)])
    truth = generator.integers(4, size=len(of))
    return (
        Units(of, units),
        truth,
        np.where(generator.random(len(of)) < share, truth, generator.integers(-1, 5, len(of))),
    )


@pytest.mark.parametrize("seed", range(6))
def test_macro_f1_is_scikit_learns_and_its_variance_that_of_a_small_change_of_each_unit(seed: int) -> None:
    sample, truth, guess = labelled((3, 8, 20)[seed % 3], seed)
    found = estimate_macro_f1(sample.class_counts(truth, guess, 5, np.ones(len(truth), dtype=bool)))
    score = f1_score(truth, guess, labels=range(4), average="macro")
    assert found.value == pytest.approx(score, abs=EXACT) and found.n == len(truth)

    def weighted(unit: int, step: float) -> float:
        weights = np.where(sample.of == unit, 1 + step, 1.0)
        return f1_score(truth, guess, labels=range(4), average="macro", sample_weight=weights)

    slopes = [(weighted(unit, 1e-4) - weighted(unit, -1e-4)) / 2e-4 for unit in range(sample.count)]
    variance = sample.count / (sample.count - 1) * sum(slope**2 for slope in slopes)
    balanced = 16 / sum(1 / int(count) for count in np.bincount(truth))
    wrong = np.bincount(sample.of, guess != truth)
    sizes = np.bincount(sample.of)
    telling = min(int((wrong > 0).sum()), int((wrong < sizes).sum()))
    expected = bounds(score, balanced, variance, sizes.tolist(), telling)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)  # of the difference quotient


def test_the_calibration_error_by_resampling_cells_in_a_loop() -> None:
    generator = np.random.default_rng(4)
    sizes = generator.integers(5, 15, 30)
    excess = generator.normal(0.1, 1.0, size=(30, 6)) * sizes[:, None] / 30
    found = estimate_calibration_error(excess, sizes, 30, np.random.default_rng(0), 2000)
    observed = [sum(excess[:, index]) / sizes.sum() for index in range(6)]
    errors, falls = [], []
    for _ in range(2000):
        cells = [int(generator.integers(30)) for _ in range(30)]
        images = sum(int(sizes[cell]) for cell in cells)
        bins = [sum(float(excess[cell, index]) for cell in cells) / images for index in range(6)]
        errors.append(sum(abs(one) for one in bins))
        falls.append(sum(abs(one - seen) for one, seen in zip(bins, observed, strict=True)))
    value, wider = sum(abs(one) for one in observed), math.sqrt(30 / 29)
    assert found.value == pytest.approx(value, abs=EXACT)
    # Quantiles and deviations of 2,000 resamples are known to some 3%.
    assert value - found.low == pytest.approx(min(value, wider * np.quantile(falls, 0.95)), rel=0.06)
    assert found.high - value == pytest.approx(wider * stats.t.ppf(0.975, 29) * np.std(errors), rel=0.05)
    again = estimate_calibration_error(excess, sizes, 30, np.random.default_rng(0), 2000)
    assert again == found
    assert not estimate_calibration_error(excess, sizes, 9, np.random.default_rng(0)).bounded


def test_a_mean_has_students_interval_over_units() -> None:
    sums = np.random.default_rng(0).normal(20, 4, 25)
    found = estimate_mean(sums, np.full(25, 10), telling=25)
    student = stats.ttest_1samp(sums / 10, 0).confidence_interval(0.95)
    assert (found.value, found.n) == (pytest.approx(sums.mean() / 10, abs=EXACT), 250)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=EXACT)
    fewer = estimate_mean(sums, np.full(25, 10), telling=10)
    ratio = stats.t.ppf(0.975, 10) / stats.t.ppf(0.975, 24)
    assert fewer.high - fewer.value == pytest.approx(ratio * (found.high - found.value), rel=EXACT)
    assert estimate_mean(sums, np.full(25, 10), telling=9) == Estimate(found.value, n=250)


@pytest.mark.parametrize(
    ("cells", "share", "correlation"),
    [(3, 0.7, 0.2), (5, 0.9, 0.2), (10, 0.9, 0.1), (20, 0.98, 0.2), (60, 0.995, 0.2), (60, 0.999, 0.05), (20, 0.98, 0)],
)
def test_intervals_of_cells_hold_as_often_as_they_say(cells: int, share: float, correlation: float) -> None:
    generator = np.random.default_rng([cells, int(1000 * share)])
    rounds, held = 800, 0
    for _ in range(rounds):
        chance = np.full(cells, share)
        if correlation:
            strength = (1 - correlation) / correlation
            chance = generator.beta(share * strength, (1 - share) * strength, cells)
        found = estimate_share(generator.binomial(46, chance), np.full(cells, 46))
        held += found.low <= share <= found.high
    # 93 of 100, and three binomial standard deviations.
    assert held >= rounds * 0.93 - 3 * math.sqrt(rounds * 0.93 * 0.07)
