"""Intervals of a fraction: against scipy's and published tables where there is one, by simulation elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from bandbridge.evaluation.count_rates import Share
from bandbridge.patient.mosaic import (
    CERTAIN,
    NEVER,
    chance_of,
    clopper_pearson,
    estimated_fraction,
    least_shown,
    melded_interval,
)


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (1, 20), (5, 20), (20, 20), (1, 2), (3, 50)])
def test_the_plain_interval_is_that_of_scipy(hits: int, trials: int) -> None:
    wanted = binomtest(hits, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(hits, trials) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert melded_interval(hits, trials, CERTAIN, NEVER) == pytest.approx((wanted.low, wanted.high), abs=1e-5)


@pytest.mark.parametrize(
    ("cells", "excluded"),
    # Hook (1977), at 95%: the percentage that so many cells exclude; 9, 14 and 29 cells: Richkind & Risch (1990)
    [(10, 26), (20, 14), (30, 10), (50, 6), (100, 3), (9, 29), (14, 20), (29, 10)],
)
def test_hooks_table(cells: int, excluded: int) -> None:
    assert np.ceil(100 * least_shown(cells) - 0.5) <= excluded <= np.ceil(100 * least_shown(cells)) + 1
    assert least_shown(cells) == pytest.approx(1 - 0.05 ** (1 / cells), abs=1e-5)


@pytest.mark.parametrize(("cells", "needed"), [(20, 2), (20, 3), (30, 3), (5, 2)])
def test_what_is_not_excluded_is_shown_19_times_in_20(cells: int, needed: int) -> None:
    share = least_shown(cells, needed)
    assert binom.sf(needed - 1, cells, share) == pytest.approx(0.95, abs=1e-4)
    missed = least_shown(cells, needed, Share(8e8, 1e9))
    assert missed == pytest.approx(share / 0.8, rel=1e-3)
    assert least_shown(2, 3) == np.inf and least_shown(20, 2, Share(1, 100)) == np.inf


def test_an_interval_allows_for_what_is_missed_and_invented() -> None:
    plain = clopper_pearson(5, 20)
    low, high = melded_interval(5, 20, Share(80, 100), Share(5, 1000))
    assert low <= plain[0] and high > plain[1] / 0.9
    known = melded_interval(5, 20, Share(8e8, 1e9), NEVER)
    assert known[1] == pytest.approx(plain[1] / 0.8, abs=1e-3)
    wide = melded_interval(5, 20, Share(8, 10), Share(5, 1000))
    assert wide[1] > high, "what is known from fewer trials is less sure"
    assert melded_interval(20, 20, Share(80, 100), Share(5, 1000)) == pytest.approx((plain_low(20), 1))
    assert melded_interval(5, 20, Share(1, 100), Share(5, 100)) == (0, 1)
    assert estimated_fraction(5, 20, Share(80, 100), Share(0, 1000)) == pytest.approx(0.3125)


def plain_low(cells: int) -> float:
    return clopper_pearson(cells, cells)[0]


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_19_of_20_intervals_hold_the_fraction(fraction: float) -> None:
    """The rates are measured anew each time: on 80 planted and 400 normal cells."""
    rng = np.random.default_rng(5)
    true, false, cells = 0.8, 0.01, 20
    held = []
    for _ in range(150):
        shares = Share(float(rng.binomial(80, true)), 80.0), Share(float(rng.binomial(400, false)), 400.0)
        hits = int(rng.binomial(cells, fraction * true + (1 - fraction) * false))
        low, high = melded_interval(hits, cells, *shares)
        held.append(low - 1e-6 <= fraction <= high + 1e-6)
    assert np.mean(held) >= 0.93  # 95% less two standard errors of 150


def test_the_chance_of_false_alarms() -> None:
    assert chance_of(2, 20, Share(1e6, 1e9)) == pytest.approx(binom.sf(1, 20, 0.001), rel=1e-3)
    assert chance_of(0, 20, NEVER) == 1
    assert chance_of(2, 20, Share(0, 50)) > chance_of(2, 20, Share(0, 5000)), "few cells cannot exclude alarms"


@pytest.mark.parametrize(("hits", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_what_is_no_share(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(hits, trials)
