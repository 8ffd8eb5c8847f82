"""The simulation of intervals in small: what it draws, its point estimates against known laws, and what it finds."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

COVERAGE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "interval_coverage.py")))


def test_folds_have_the_variance_and_the_correlation_that_were_asked_for() -> None:
    means, variances = COVERAGE.simulate_folds(2, 4, (np.inf, 0.5), 20_000, np.random.default_rng(0))
    assert means.var() == pytest.approx(1 / 4, rel=0.03) and variances.mean() == pytest.approx(1, rel=0.03)
    assert np.corrcoef(means.T)[0, 1] == pytest.approx(0.5, abs=0.02)
    _, spread = COVERAGE.simulate_folds(1, 30, (6.0, 0.0), 20_000, np.random.default_rng(1))
    assert spread.mean() == pytest.approx(6 / 4, rel=0.05)  # of a scaled inverse chi-square law


@pytest.mark.parametrize(("freedom", "scale"), [(4.0, 1.0), (10.0, 9.0)])
def test_the_point_estimates_find_the_law_that_variances_were_drawn_from(freedom: float, scale: float) -> None:
    rng = np.random.default_rng(2)
    variances = scale * freedom / rng.chisquare(freedom, size=20_000) * rng.chisquare(3, size=20_000) / 3
    moderated, df = COVERAGE.smyth(variances, 3)
    assert df == pytest.approx(freedom + 3, rel=0.1)
    assert moderated == pytest.approx((freedom * scale + 3 * variances[0]) / (freedom + 3), rel=0.1)


def test_of_one_comparison_all_three_are_the_corrected_t_and_agreeing_folds_are_the_worst() -> None:
    found = COVERAGE.cover_folds(1, 2, 400)
    assert (found == found[0]).all()
    assert found[0, 0] > 92 and found[0, 1] < 85
