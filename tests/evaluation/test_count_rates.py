"""How often counts are right, against a plain recount of what was planted, and classifiers whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.evaluation.assignment_trial import CellLogits
from bandbridge.evaluation.count_rates import UNITS, CountRates, Share, measure_rates, shown_changes
from bandbridge.evaluation.counts import learn_costs
from bandbridge.karyotype import CLASSES

NORMAL = np.repeat(np.arange(24), [2] * 22 + [1, 1])


def cells(number: int, sure: float, seed: int = 0) -> list[CellLogits]:
    rng = np.random.default_rng(seed)
    found = []
    for place in range(number):
        logits = rng.normal(size=(46, 24))
        logits[np.arange(46), NORMAL] += sure
        found.append(CellLogits(f"c{place}", logits, NORMAL))
    return found


@pytest.fixture(scope="module")
def costs():
    return learn_costs(np.stack([np.bincount(NORMAL, minlength=24)] * 50))


def test_a_classifier_that_is_always_right_finds_all_and_invents_nothing(costs) -> None:
    rates = measure_rates(cells(6, 30.0), costs, each=2)
    assert (rates.found == rates.planted).all() and rates.alarms.sum() == 0
    assert rates.planted[:-1].sum(axis=0).tolist() == [12, 12] and (rates.cells == 6).all()
    share = rates.sensitivity("7", "gain")
    own = rates.planted[UNITS.index("7"), 0]
    assert share.trials == own + 20 and share.hits == pytest.approx(own + 20 * 12.5 / 13)
    assert 0 < rates.false_alarms("7", "loss").value < 0.01


def test_a_poor_classifier_finds_fewer(costs) -> None:
    good, poor = (measure_rates(cells(8, sure), costs) for sure in (8.0, 3.0))
    assert poor.found.sum() / poor.planted.sum() < good.found.sum() / good.planted.sum()


def test_a_chromosome_that_is_missing_counts_as_a_random_loss_and_one_too_many_as_no_alarm(costs) -> None:
    (cell,) = cells(1, 30.0)
    lost = CellLogits("lost", cell.logits[1:], cell.truth[1:])
    gained = CellLogits("gained", np.vstack([cell.logits, cell.logits[:1]]), np.append(cell.truth, 0))
    rates = measure_rates([lost, gained, *cells(3, 30.0, 1)], costs)
    assert rates.alarms[0].tolist() == [0, 1] and rates.cells[0].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("x", "y", "shown"),
    [(2, 0, []), (1, 1, []), (3, 0, ["gain"]), (2, 1, ["gain"]), (1, 2, ["gain"]), (1, 0, ["loss"]), (0, 2, ["gain"])],
)
def test_the_sex_chromosomes_are_judged_together(x: int, y: int, shown: list[str]) -> None:
    copies = np.full(len(CLASSES), 2)
    copies[-2:] = x, y
    assert shown_changes(copies) == [("sex", way) for way in shown]
    copies[6] = 3
    assert shown_changes(copies)[0] == ("7", "gain")


def test_what_does_not_fit_together_is_refused() -> None:
    ones = np.ones((len(UNITS), 2), dtype=np.int64)
    with pytest.raises(ValueError, match="more changes"):
        CountRates(2 * ones, ones, ones, ones)
    with pytest.raises(ValueError, match="more alarms"):
        CountRates(ones, ones, 2 * ones, ones)
    with pytest.raises(ValueError, match="rates of counts are"):
        CountRates(ones[:3], ones, ones, ones)
    with pytest.raises(ValueError, match="there is none"):
        measure_rates([CellLogits("few", np.zeros((3, 24)), np.arange(3))], learn_costs(np.full((1, 24), 2)))
    assert Share(1, 4).value == 0.25
