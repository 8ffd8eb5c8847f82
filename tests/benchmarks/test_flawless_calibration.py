"""The simulation of flawless sets in small: what it draws, and what it shows of the build before and of this one."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FLAWLESS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "flawless_calibration.py")))


def test_errors_are_as_frequent_as_they_were_asked_to_be() -> None:
    scores, truth, _ = FLAWLESS.draw_cells(3000, FLAWLESS.distance_for(0.002), np.random.default_rng(0))
    assert 0.001 < (scores.argmax(axis=1) != truth).mean() < 0.003


@pytest.mark.slow
@pytest.mark.parametrize("cells", [4, 20, 80])
def test_no_error_is_promised_no_less_than_one_and_promises_and_sets_hold(cells: int) -> None:
    promised, broken = [], 0
    for errors in (0, 1, 2):
        before, after = FLAWLESS.run(cells, errors, 2.0, 40, 0)
        promised.append(after["promised"].mean())
        broken += (after["shown"] > after["promised"]).sum()
        assert after["covered"].mean() > 0.95 and after["empty"].mean() < 0.005
        if errors == 0:
            assert before["noise"].median() > 0.999 and (before["temperature"] < 0.021).all()
            assert after["temperature"].between(0.6, 1.0001).all() and after["temperature"].median() > 0.98
            assert after["promised"].mean() < before["promised"].mean()
    assert promised == sorted(promised)
    assert broken <= 0.05 * 120 + 3 * (120 * 0.05 * 0.95) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "correlation"), [(10, 0.0), (10, 0.045), (20, 0.1), (80, 0.045)])
def test_a_promise_that_is_just_too_good_is_broken_in_five_of_a_hundred_at_most(cells: int, correlation: float) -> None:
    rounds = 200
    _, after = FLAWLESS.broken_at(0.01, cells, correlation, rounds, 1)
    assert after <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5
