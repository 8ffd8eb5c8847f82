"""What all comparisons tell of one variance: against sampling of the same model, its limits, and how often it holds."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bandbridge.evaluation.comparison import corrected_resampled_t
from bandbridge.evaluation.moderation import _DEGREES, KINSHIP, MANY_COMPARISONS, Spread, fewest_folds, moderate

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "interval_coverage.py"


def test_of_one_comparison_it_is_the_corrected_t() -> None:
    differences = np.array([16.64, 16.75, 12.0])
    (spread,) = moderate(np.array([differences.var(ddof=1)]), 2)
    found, expected = spread.test(differences.mean(), 1 / 3 + 1 / 4), corrected_resampled_t(differences, 1 / 4)
    assert (found.low, found.high, found.p) == pytest.approx((expected.low, expected.high, expected.p))


def test_folds_that_happen_to_agree_are_not_taken_for_certainty() -> None:
    """The two folds of the demonstration beside a comparison whose folds differ as one would expect."""
    agreeing, other = np.array([16.64, 16.75]), np.array([9.0, 15.0])
    variances = np.array([agreeing.var(ddof=1), other.var(ddof=1)])
    test = next(moderate(variances, 1)).test(agreeing.mean(), 1 / 2 + 1)
    alone = corrected_resampled_t(agreeing, 1)
    assert alone.low > 15 and alone.p < 0.01
    assert test.low < 6 and test.high > 27 and test.p > 0.01


@pytest.mark.parametrize("df", [1, 4])
def test_the_mixture_is_the_posterior_that_sampling_gives(df: int) -> None:
    """Importance sampling of d0, s0^2 and the variance itself, with nothing integrated by hand."""
    rng, variances = np.random.default_rng(df), np.array([0.5, 2.0, 3.0])
    edges = np.concatenate([[0], (_share(_DEGREES)[1:] + _share(_DEGREES)[:-1]) / 2, [1]])
    d0 = rng.choice(_DEGREES, size=400_000, p=np.diff(edges))
    scale = np.exp(rng.uniform(-8, 14, size=len(d0)))
    counted = 1 / (1 + 2 * KINSHIP**2)
    density = stats.f.logpdf(variances[:, None] / scale, df, d0) - np.log(scale)
    weight = np.exp(counted * density.sum(axis=0) + (1 - counted) * density[0])
    true = (d0 * scale + df * variances[0]) / rng.chisquare(d0 + df)
    expected = np.average(2 * stats.norm.sf(1.5 / np.sqrt(true)), weights=weight)
    assert next(moderate(variances, df)).p(1.5, 1.0) == pytest.approx(expected, rel=0.02)


def _share(degrees: np.ndarray) -> np.ndarray:
    return degrees / (degrees + 4)


def test_many_alike_are_drawn_towards_one_another() -> None:
    variances = np.random.default_rng(0).chisquare(2, size=50) / 2
    tests = [spread.test(1.0, 1.0) for spread in moderate(variances, 2)]
    half = np.array([one.high - 1 for one in tests])
    alone = np.sqrt(variances) * stats.t.ppf(0.975, 2)
    assert np.ptp(np.log(half)) < 0.5 * np.ptp(np.log(alone))
    assert (np.argsort(half) == np.argsort(alone)).all() and all(one.df > 3 for one in tests)


def test_ends_are_where_the_p_value_is_five_percent() -> None:
    spread = list(moderate(np.array([0.1, 1.0, 4.0]), 2))[1]
    test = spread.test(3.0, 0.7)
    assert spread.p(test.high - 3.0, 0.7) == pytest.approx(0.05) and test.low + test.high == pytest.approx(6)
    assert spread.weight.sum() == pytest.approx(1)
    assert test.t == pytest.approx(3.0 / (test.high - 3.0) * stats.t.ppf(0.975, test.df))
    alone = Spread.alone(2.0, 4).times(3)
    assert (alone.variance, alone.df) == (6, 4)


def test_the_unit_of_the_differences_does_not_matter() -> None:
    variances = np.array([0.1, 1.0, 4.0])
    p = [[one.p(math.sqrt(factor), 1.0) for one in moderate(factor * variances, 2)] for factor in (1.0, 1e4)]
    assert p[0] == pytest.approx(p[1], rel=1e-6)


def test_more_comparisons_make_up_for_folds_to_a_limit() -> None:
    assert [fewest_folds(count) for count in (0, 1, 2, 3, 4, 44)] == [7, 7, 6, 6, 3, 3]
    assert fewest_folds(MANY_COMPARISONS) < fewest_folds(MANY_COMPARISONS - 1)


@pytest.mark.parametrize("variances", [[1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [[1.0]]])
def test_variances_that_are_none_are_refused(variances: list) -> None:
    with pytest.raises(ValueError, match="variances"):
        list(moderate(np.array(variances), 2))


@pytest.mark.slow
@pytest.mark.parametrize("comparisons", [1, 2, 4])
def test_coverage_holds_at_the_fewest_folds_also_where_they_happen_to_agree(comparisons: int) -> None:
    cover = runpy.run_path(str(BENCHMARK))["cover_folds"]
    (_, plain), _, (everywhere, agreeing) = cover(comparisons, fewest_folds(comparisons), 1000, seed=1)
    assert everywhere > 92 and agreeing > 81  # 85, less two standard errors of the least of four
    if comparisons > 1:
        assert agreeing > plain
