"""The design effect against its definition, and what is assumed where errors do not tell it."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.evaluation.design_effect import FEW, TELLING, USUAL, assumed_share, design_effect

CELLS = np.repeat(np.arange(60), 20)


def failing(errors: int, together: int = 1) -> np.ndarray:
    """So many errors, ``together`` in each cell that has any."""
    failed = np.zeros(len(CELLS), bool)
    for number in range(errors):
        failed[20 * (number // together) + number % together] = True
    return failed


def estimate(failed: np.ndarray) -> float:
    """The variance of a mean of equal clusters over that of a binomial share."""
    shares, share = failed.reshape(60, 20).mean(axis=1), failed.mean()
    return float(max(1.0, shares.var(ddof=1) / 60 / (share * (1 - share) / len(failed))))


@pytest.mark.parametrize("together", [2, 5, 10])
@pytest.mark.parametrize("errors", [TELLING, 100])
def test_many_errors_speak_for_themselves(errors: int, together: int) -> None:
    failed = failing(errors, together)
    assert design_effect(failed, CELLS, USUAL) == pytest.approx(estimate(failed), rel=1e-12)
    assert design_effect(failed, CELLS.astype(str), USUAL) == pytest.approx(estimate(failed), rel=1e-12)


@pytest.mark.parametrize("errors", [0, 1, 2, 5, FEW])
def test_few_errors_leave_what_is_assumed_unless_they_show_more(errors: int) -> None:
    assert design_effect(failing(errors), CELLS, USUAL) == USUAL
    if errors >= 5:
        together = failing(errors, 5)
        assert estimate(together) > USUAL
        assert design_effect(together, CELLS, USUAL) == pytest.approx(estimate(together), rel=1e-12)


def test_in_between_the_assumption_fades() -> None:
    found = [design_effect(failing(errors), CELLS, USUAL) for errors in range(TELLING + 5)]
    assert found == sorted(found, reverse=True) and found[FEW] == USUAL and found[TELLING] == 1
    assert [assumed_share(number) for number in (0, FEW, (FEW + TELLING) // 2, TELLING, 999)] == [1, 1, 0.5, 0, 0]


def test_no_more_is_assumed_than_a_group_holds() -> None:
    none = np.zeros(40, bool)
    assert design_effect(none, np.arange(40), USUAL) == 1 and design_effect(none, np.arange(40) // 2, USUAL) == 2
    assert design_effect(none, np.zeros(40), USUAL) == USUAL and design_effect(none, np.zeros(40)) == 40
    assert design_effect(~none, np.arange(40) // 4, USUAL) == 4  # nothing is right: no variance to compare
    with pytest.raises(ValueError, match="one value for each of the 40"):
        design_effect(none, np.arange(39), USUAL)
