"""The paper's bootstrap against every one of the 5^5 resamples, and pairing by fold."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from bandbridge.evaluation.comparison import Interval, paired_differences, percentile_bootstrap

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
