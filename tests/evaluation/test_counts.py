"""Prices of counts: frequencies by hand, convexity, and the tables that are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bandbridge.evaluation.counts import SEX_CONSTITUTIONS, Constitution, CountCosts, learn_costs


def table(cells: int = 100) -> np.ndarray:
    counts = np.full((cells, 24), 2)
    counts[:, 22:] = np.where(np.arange(cells)[:, None] % 4, [2, 0], [1, 1])
    return counts


def test_frequencies_without_own_weight_are_the_pooled_ones() -> None:
    counts = table()
    counts[:11, 3] = 1
    counts[:2, 20] = 3
    costs = learn_costs(counts, strength=1e12)
    normal = 2200 - 13 + 1
    # Losses count against the autosomes with two copies, gains too.
    assert costs.losses[:, 0] == pytest.approx(np.full(24, -math.log((11 + 0.5) / normal)), rel=1e-9)
    assert costs.gains[:, 0] == pytest.approx(np.full(24, -math.log((2 + 0.5) / normal)), rel=1e-9)


def test_a_class_that_is_lost_often_is_cheaper_to_miss_and_shrinks_towards_the_others() -> None:
    counts = table()
    counts[:30, 3] = 1
    costs = learn_costs(counts, strength=20)
    pooled = 30.5 / (2200 - 30 + 1)
    assert costs.losses[3, 0] == pytest.approx(-math.log((30 + 20 * pooled) / (70 + 20)), rel=1e-9)
    assert costs.losses[4, 0] == pytest.approx(-math.log(20 * pooled / (100 + 20)), rel=1e-9)
    assert costs.losses[3, 0] < costs.losses[23, 0] < costs.losses[4, 0]


@pytest.mark.parametrize("seed", range(5))
def test_prices_are_convex_and_the_first_step_is_the_observed_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = table()
    counts[:, :22] += generator.choice([-2, -1, 0, 1, 4], size=(100, 22), p=[0.1, 0.02, 0.8, 0.02, 0.06])
    costs = learn_costs(counts)
    for one in costs.constitutions:
        penalties = costs.penalties(one, 9)
        assert np.diff(penalties, 2, axis=1).min() > -1e-9
        assert penalties[np.arange(24), one.expected] == pytest.approx(np.zeros(24), abs=1e-12)
    fewer = (counts[:, :22] == 1).sum(axis=0)
    pooled = (fewer.sum() + 0.5) / ((counts[:, :22] == 2).sum() + 1)
    own = (fewer + 20 * pooled) / ((counts[:, :22] == 2).sum(axis=0) + 20)
    assert costs.losses[:22, 0] == pytest.approx(-np.log(own), rel=1e-9)


def test_penalties_count_from_what_the_constitution_expects_and_go_on_in_equal_steps() -> None:
    losses, gains = np.array([[1.0, 3.0], [2.0, 5.0]]), np.array([[4.0, 9.0], [6.0, 12.5]])
    way = Constitution("way", np.array([2, 0]), 0.0, True)
    costs = CountCosts((way,), losses, gains, weight=0.5)
    assert costs.penalties(way, 5).tolist() == [[1.5, 0.5, 0.0, 2.0, 4.5, 7.0], [0.0, 3.0, 6.25, 9.5, 12.75, 16.0]]
    assert costs.rejection_price == 7.0 + 0.5 * 6.0


def test_constitutions_are_priced_by_their_frequency() -> None:
    counts = table()
    counts[0, 22:] = [2, 1]
    costs = learn_costs(counts)
    assert [one.name for one in costs.constitutions] == list(SEX_CONSTITUTIONS)
    assert [one.normal for one in costs.constitutions] == [True, True, False, False, False, False]
    shares = np.exp([-one.price for one in costs.constitutions])
    assert shares == pytest.approx(np.array([76, 25, 0.1, 0.1, 1.1, 0.1]) / 102.4, rel=1e-9)
    assert costs.varying.tolist() == [False] * 22 + [True] * 2


@pytest.mark.parametrize("counts", [np.zeros((0, 24), int), np.zeros((3, 23), int), np.full((1, 24), -1)])
def test_a_table_of_counts_is_checked(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="counts must be"):
        learn_costs(counts)


@pytest.mark.parametrize(
    ("losses", "gains", "rejection", "normal", "message"),
    [
        ([[1.0, 1.5]], [[1.0, 2.0]], 1.0, True, "losses must be finite"),
        ([[1.0, 2.0]], [[-1.0, 2.0]], 1.0, True, "gains must be finite"),
        ([[1.0, math.inf]], [[1.0, 2.0]], 1.0, True, "losses must be finite"),
        ([[1.0]], [[1.0, 2.0]], 1.0, True, "alike"),
        ([[1.0]], [[1.0]], math.inf, True, "must be finite"),
        ([[1.0]], [[1.0]], 1.0, False, "normal"),
        ([[1.0], [1.0]], [[1.0], [1.0]], 1.0, True, "2 classes"),
    ],
)
def test_prices_that_cannot_be_minimised_exactly_are_refused(
    losses: list, gains: list, rejection: float, normal: bool, message: str
) -> None:
    way = Constitution("way", np.array([2]), 0.0, normal)
    with pytest.raises(ValueError, match=message):
        CountCosts((way,), np.array(losses), np.array(gains), rejection)


def test_a_strength_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="strength"):
        learn_costs(table(), strength=0)
