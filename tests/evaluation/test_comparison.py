"""The paper's bootstrap against every one of the 5^5 resamples, pairing by fold, and the t tests.

The t tests are checked against scipy and against two published examples: the sleep data of Student (1908, The
Probable Error of a Mean, Biometrika 6:1-25), and scikit-learn's "Statistical comparison of models using grid search".
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from bandbridge.evaluation.comparison import (
    Interval,
    corrected_resampled_t,
    detectable_difference,
    equivalence_p,
    equivalence_power,
    folds_for_equivalence,
    holm,
    paired_differences,
    percentile_bootstrap,
    student_t,
)

#: Extra hours of sleep of ten patients on each of two drugs.
SLEEP = (
    np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]),
    np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]),
)
DIFFERENCES = np.array([0.8, -0.3, 1.9, 0.4, 3.1])


@pytest.mark.parametrize("seed", range(10))
def test_bootstrap_agrees_with_the_exact_enumeration(seed: int) -> None:
    exact = np.array([np.mean(draw) for draw in product(DIFFERENCES, repeat=5)])
    assert len(exact) == 3125
    interval = percentile_bootstrap(DIFFERENCES, generator=np.random.default_rng(seed))
    # The share of resampled means below an exact quantile is binomial: 5 standard deviations at n = 10,000.
    slack = 500 * np.sqrt(0.025 * 0.975 / 10_000)
    for end, percentile in ((interval.low, 2.5), (interval.high, 97.5)):
        low, high = np.percentile(exact, [percentile - slack, percentile + slack])
        assert low <= end <= high
    assert interval.mean == pytest.approx(DIFFERENCES.mean(), abs=1e-12)


def test_bootstrap_equals_a_plain_loop_over_the_same_draws() -> None:
    draws = np.random.default_rng(5).integers(5, size=(400, 5))
    means = [sum(DIFFERENCES[index] for index in draw) / 5 for draw in draws]
    interval = percentile_bootstrap(DIFFERENCES, 400, generator=np.random.default_rng(5))
    assert interval.low == pytest.approx(np.quantile(means, 0.025), abs=1e-12)
    assert interval.high == pytest.approx(np.quantile(means, 0.975), abs=1e-12)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    first, again, other = (
        percentile_bootstrap(DIFFERENCES, 50, generator=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_equal_differences_have_an_interval_of_no_width() -> None:
    interval = percentile_bootstrap(np.full(5, 0.25), generator=np.random.default_rng(0))
    assert interval == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, np.nan], [[1.0, 2.0], [3.0, 4.0]]])
def test_bootstrap_refuses_what_it_cannot_resample(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="two finite differences"):
        percentile_bootstrap(np.array(differences), generator=np.random.default_rng(0))


def test_differences_pair_by_fold_not_by_position() -> None:
    two_step = pd.Series({2: 0.9, 0: 0.5, 3: 0.7})
    imagenet = pd.Series({0: 0.4, 1: 0.1, 2: 0.95})
    differences = paired_differences(two_step, imagenet)
    assert list(differences.index) == [0, 2]
    assert differences.to_list() == pytest.approx([0.1, -0.05], abs=1e-12)


def test_a_fold_scored_twice_is_refused() -> None:
    twice = pd.Series([0.9, 0.8], index=[1, 1])
    with pytest.raises(ValueError, match=r"folds \[1\]"):
        paired_differences(pd.Series({1: 0.4}), twice)


def test_student_t_of_the_sleep_data_is_the_published_one() -> None:
    result = student_t(SLEEP[0] - SLEEP[1])
    # As R prints it for t.test(extra ~ group, data = sleep, paired = TRUE), to its digits.
    assert (round(result.t, 4), result.df, round(result.p, 6)) == (-4.0621, 9, 0.002833)
    assert (round(result.low, 6), round(result.high, 6)) == (-2.459886, -0.700114)
    assert result.mean == pytest.approx(-1.58, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5, 40])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_student_t_equals_scipy(count: int, level: float) -> None:
    values = np.random.default_rng(count).normal(0.3, 1, count)
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval(level)
    result = student_t(values, level)
    assert (result.t, result.p, result.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
    assert (result.low, result.high) == pytest.approx((low, high))


def test_corrected_t_is_the_one_scikit_learn_publishes() -> None:
    """SVC with an rbf against a linear kernel on the moons, ten times ten folds: t 0.750, one-sided p 0.227."""
    from sklearn.datasets import make_moons
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (cross_val_score(SVC(kernel=k), x, y, scoring="roc_auc", cv=folds) for k in ("rbf", "linear"))
    corrected, plain = corrected_resampled_t(rbf - linear, 10 / 90), student_t(rbf - linear)
    assert (round(corrected.t, 3), round(corrected.p / 2, 3), corrected.df) == (0.750, 0.227, 99)
    assert (round(plain.t, 3), round(plain.p / 2, 3)) == (2.611, 0.005)


def test_corrected_t_widens_the_plain_one_by_the_variance_factor() -> None:
    plain, corrected = student_t(DIFFERENCES), corrected_resampled_t(DIFFERENCES, 1 / 4)
    # (1/5 + 1/4) / (1/5) = 2.25, whose root is 1.5.
    assert corrected.t == pytest.approx(plain.t / 1.5, rel=1e-12)
    assert corrected.high - corrected.mean == pytest.approx(1.5 * (plain.high - plain.mean), rel=1e-12)
    assert corrected.p == pytest.approx(2 * stats.t.sf(plain.t / 1.5, 4), rel=1e-12)


def test_equal_differences_leave_a_t_test_undefined() -> None:
    for values in (np.full(5, 0.25), np.zeros(3), 100 * (np.array([0.95, 0.85, 0.75]) - np.array([0.9, 0.8, 0.7]))):
        result = student_t(values)
        assert result.mean == pytest.approx(values[0])
        assert np.isnan([result.low, result.high, result.t, result.p]).all()
    assert student_t(np.array([1.0, 1.0 + 1e-6])).p < 1e-5


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, np.inf], [[1.0, 2.0], [3.0, 4.0]]])
def test_a_t_test_refuses_what_has_no_variance(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="a t test needs at least two finite differences"):
        student_t(np.array(differences))


@pytest.mark.parametrize(("test_share", "level"), [(-0.1, 0.95), (np.nan, 0.95), (0.25, 1.0), (0.25, 0.0)])
def test_a_t_test_refuses_impossible_settings(test_share: float, level: float) -> None:
    with pytest.raises(ValueError, match="test share of at least 0"):
        corrected_resampled_t(DIFFERENCES, test_share, level)


def test_holm_by_hand() -> None:
    # Sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 is 0.04 0.06 0.06 0.04; no value falls below the one before it.
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06], abs=1e-15)
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])
    assert holm(np.array([0.2])) == pytest.approx([0.2])
    assert len(holm(np.array([]))) == 0


def test_holm_leaves_out_what_is_missing() -> None:
    adjusted = holm(np.array([np.nan, 0.01, np.nan, 0.04]))
    assert adjusted[[1, 3]] == pytest.approx([0.02, 0.04], abs=1e-15)
    assert np.isnan(adjusted[[0, 2]]).all()


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        p_values = rng.beta(0.3, 1, size=8)
        rejected = np.zeros(8, dtype=bool)
        for step, index in enumerate(np.argsort(p_values)):
            if p_values[index] > 0.05 / (8 - step):
                break
            rejected[index] = True
        assert ((holm(p_values) <= 0.05) == rejected).all()


def test_holm_refuses_what_is_no_p_value() -> None:
    with pytest.raises(ValueError, match="one row of numbers"):
        holm(np.array([0.5, 1.2]))


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
@pytest.mark.parametrize("test_share", [0.0, 0.25])
def test_detectable_difference_has_the_power_it_names(folds: int, test_share: float) -> None:
    """Power by quadrature: the chance that a normal mean clears the critical value of a chi-distributed deviation."""
    difference = detectable_difference(2.0, folds, test_share, power=0.8, alpha=0.05)
    noncentrality = difference / (2.0 * np.sqrt(1 / folds + test_share))
    critical = stats.t.ppf(0.975, folds - 1)
    spread = stats.chi(folds - 1, scale=1 / np.sqrt(folds - 1))
    power, _ = integrate.quad(lambda w: stats.norm.sf(critical * w - noncentrality) * spread.pdf(w), 0, np.inf)
    assert power == pytest.approx(0.8, abs=1e-6)


def test_detectable_difference_agrees_with_a_simulation_of_the_corrected_test() -> None:
    """Differences of five folds that correlate by 1/5, as the corrected test supposes (n_test / n = 1 / k)."""
    rng = np.random.default_rng(0)
    difference = detectable_difference(np.sqrt(1 - 1 / 5), 5, 1 / 4)
    shared, own = rng.normal(size=(40_000, 1)), rng.normal(size=(40_000, 5))
    folds = difference + np.sqrt(1 / 5) * shared + np.sqrt(1 - 1 / 5) * own
    t = folds.mean(axis=1) / (folds.std(axis=1, ddof=1) * np.sqrt(1 / 5 + 1 / 4))
    # Binomial standard deviation 0.002; four of them.
    assert np.mean(t > stats.t.ppf(0.975, 4)) == pytest.approx(0.8, abs=0.008)


def test_nothing_is_detectable_without_a_variance() -> None:
    assert np.isnan(
        [detectable_difference(np.nan, 5), detectable_difference(0.0, 5), detectable_difference(1, 1)]
    ).all()
    with pytest.raises(ValueError, match="power"):
        detectable_difference(1.0, 5, power=0.04)


@pytest.mark.parametrize(("mean", "deviation", "folds"), [(0.1, 0.4, 10), (-0.3, 0.2, 5), (0.6, 0.3, 8)])
def test_two_one_sided_tests_are_those_of_scipy(mean: float, deviation: float, folds: int) -> None:
    values = np.random.default_rng(0).normal(size=folds)
    values = (values - values.mean()) / values.std(ddof=1) * deviation + mean
    above = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
    found = equivalence_p(mean, deviation**2 / folds, folds - 1, 0.5)
    assert found == pytest.approx(max(above, below), rel=1e-9)


def test_nothing_is_equivalent_without_a_margin_or_a_scatter() -> None:
    assert math.isnan(equivalence_p(0, 0, 4, 0.5)) and math.isnan(equivalence_p(0, math.nan, 4, 0.5))
    with pytest.raises(ValueError, match="margin"):
        equivalence_p(0, 1, 4, 0)


@pytest.mark.parametrize(("deviation", "folds", "share"), [(0.3, 10, 0.0), (0.25, 5, 0.25), (0.2, 6, 0.1)])
def test_the_power_of_equivalence_is_how_often_it_is_shown(deviation: float, folds: int, share: float) -> None:
    """Means whose variance is (1 / J + share) sigma², deviations of J normal draws: 20,000 of them."""
    generator = np.random.default_rng(1)
    means = generator.normal(0, deviation * math.sqrt(1 / folds + share), 20_000)
    scatter = generator.normal(0, deviation, (20_000, folds)).var(axis=1, ddof=1) * (1 / folds + share)
    shown = [
        equivalence_p(mean, variance, folds - 1, 0.5) < 0.01 for mean, variance in zip(means, scatter, strict=True)
    ]
    assert equivalence_power(deviation, folds, share, 0.5, 0.01) == pytest.approx(np.mean(shown), abs=0.012)


def test_as_many_folds_as_reach_the_power_and_no_fewer_or_none_at_all() -> None:
    folds = folds_for_equivalence(0.5, 0.0, 0.5, 0.01)
    assert folds is not None and equivalence_power(0.5, folds, 0.0, 0.5, 0.01) >= 0.8
    assert equivalence_power(0.5, folds - 1, 0.0, 0.5, 0.01) < 0.8
    assert folds_for_equivalence(0.5, 0.25, 0.5, 0.01) is None, (
        "shared images leave a scatter that no repeat takes away"
    )
    with pytest.raises(ValueError, match="above 0"):
        folds_for_equivalence(0, 0.25, 0.5, 0.01)
