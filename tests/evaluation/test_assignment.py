"""The joint assignment against every assignment of small cells, and what must hold for whole ones."""

from __future__ import annotations

import math
import time
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from bandbridge.evaluation.assignment import (
    REJECTED,
    Assignment,
    _cell,
    _cost_with,
    _solutions,
    assign_cell,
    joint_classes,
)
from bandbridge.evaluation.counts import Constitution, CountCosts, learn_costs

CHR21, X, Y = 20, 22, 23


def small_costs(seed: int, rejection: float = 2.0) -> CountCosts:
    """Four classes, two of them like sex chromosomes, with convex prices drawn at random."""
    generator = np.random.default_rng(seed)
    losses, gains = (np.cumsum(np.sort(generator.uniform(0, 3, (4, 3)), axis=1), axis=1) for _ in range(2))
    ways = {"XX": (2, 0), "XY": (1, 1), "X": (1, 0), "XYY": (1, 2)}
    constitutions = tuple(
        Constitution(name, np.array([1, 2, *pair]), float(generator.uniform(0, 3)), name in ("XX", "XY"))
        for name, pair in ways.items()
    )
    return CountCosts(constitutions, losses, gains, rejection, weight=float(generator.uniform(0.3, 1.5)))


def small_cell(n: int, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (n, 4))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def enumerated(log_probabilities: np.ndarray, costs: CountCosts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every assignment [A, n] (4 for rejected), its copies [A, 4] and its cost, by the definition."""
    n = len(log_probabilities)
    every = np.array(list(product(range(5), repeat=n)), dtype=int).reshape(5**n, n)
    copies = np.stack([(every == index).sum(axis=1) for index in range(4)], axis=1)
    dearest_gain = costs.weight * costs.gains[:, 0].max()
    table = np.hstack([-log_probabilities, np.full((n, 1), costs.rejection + dearest_gain)])
    single = table[np.arange(n), every].sum(axis=1)
    options = []
    for one in costs.constitutions:
        price = np.zeros(len(every))
        for index in range(4):
            for surplus in range(-3, n + 1):
                rows = copies[:, index] - one.expected[index] == surplus
                row = costs.gains[index] if surplus > 0 else costs.losses[index]
                size = abs(surplus)
                value = 0.0 if not size else row[min(size, 3) - 1] + max(size - 3, 0) * (row[2] - row[1])
                price[rows] += value
        options.append(costs.weight * (price + one.price))
    return every, copies, single + np.min(options, axis=0)


def expect_evidence(found: float, normal: np.ndarray, abnormal: np.ndarray) -> None:
    least, other = normal.min(initial=np.inf), abnormal.min(initial=np.inf)
    if np.isinf(other):
        assert found == -np.inf
    else:
        assert found == pytest.approx(least - other, abs=1e-9)


@pytest.mark.parametrize("n", range(7))
@pytest.mark.parametrize("seed", range(5))
def test_every_number_is_that_of_the_enumeration(n: int, seed: int) -> None:
    costs, log_probabilities = small_costs(seed), small_cell(n, 100 * n + seed)
    every, copies, cost = enumerated(log_probabilities, costs)
    found = assign_cell(log_probabilities, costs)
    best = every[cost.argmin()]
    assert found.cost == pytest.approx(cost.min(), abs=1e-9)
    assert np.array_equal(found.classes, np.where(best == 4, REJECTED, best))
    assert np.array_equal(joint_classes(log_probabilities, costs), found.classes)
    for index in range(n):
        others = cost[every[:, index] != best[index]].min()
        assert found.margins[index] == pytest.approx(others - cost.min(), abs=1e-9)
    for index, normal in ((0, 1), (1, 2)):
        counts = copies[:, index]
        expect_evidence(found.gains[index], cost[counts == normal], cost[counts > normal])
        expect_evidence(found.losses[index], cost[counts == normal], cost[counts < normal])
    assert np.isnan(found.gains[2:]).all() and np.isnan(found.losses[2:]).all()
    pairs = [tuple(pair) for pair in copies[:, 2:]]
    against = {(1, 0), (1, 2), (3, 0), (2, 1), (0, 1), tuple(copies[cost.argmin(), 2:])} - {(2, 0), (1, 1)}
    expect_evidence(
        found.sex_log_odds,
        cost[[pair in {(2, 0), (1, 1)} for pair in pairs]],
        cost[[pair in against for pair in pairs]],
    )


@pytest.mark.parametrize("seed", range(6))
def test_anomalies_are_the_abnormal_counts_of_the_solution_with_positive_evidence(seed: int) -> None:
    costs, log_probabilities = small_costs(seed), small_cell(6, seed)
    found = assign_cell(log_probabilities, costs)
    copies = np.bincount(found.classes[found.classes != REJECTED], minlength=4)
    normal = [(1, 2, 2, 0), (1, 2, 1, 1)]
    listed = {anomaly.class_index: anomaly for anomaly in found.anomalies}
    assert {index for index in (0, 1) if copies[index] != normal[0][index]} == listed.keys() & {0, 1}
    assert (tuple(copies[2:]) in {(2, 0), (1, 1)}) == (not listed.keys() & {2, 3})
    for anomaly in found.anomalies:
        assert anomaly.copies == copies[anomaly.class_index]
        assert anomaly.log_odds > -1e-9
        assert anomaly.expected in {counts[anomaly.class_index] for counts in normal}


@pytest.mark.parametrize("seed", range(6))
def test_suspects_begin_with_the_anomalies_and_go_on_with_what_was_overruled(seed: int) -> None:
    costs, log_probabilities = small_costs(seed), small_cell(6, seed)
    found = assign_cell(log_probabilities, costs)
    evidence = [one.log_odds for one in found.suspects]
    assert evidence == sorted(evidence, reverse=True)
    assert {one for one in found.suspects if one.log_odds > 0} == set(found.anomalies)
    fixed = {
        (one.class_index, one.copies > one.expected): one.log_odds for one in found.suspects if one.class_index < 2
    }
    for index in (0, 1):
        assert fixed[index, True] == found.gains[index] and fixed[index, False] == found.losses[index]
    # The best cell with neither XX nor XY, by the enumeration.
    _, copies, cost = enumerated(log_probabilities, costs)
    strange = np.array([tuple(pair) in {(1, 0), (1, 2), (3, 0), (2, 1), (0, 1)} for pair in copies[:, 2:]])
    if not {one.class_index for one in found.anomalies} & {2, 3}:
        pair = copies[np.flatnonzero(strange)[cost[strange].argmin()], 2:]
        listed = {one.class_index: one.copies for one in found.suspects if one.class_index > 1}
        assert listed and all(pair[index - 2] == count for index, count in listed.items())


def human_costs(weight: float = 1.0) -> CountCosts:
    """Prices of a laboratory whose cells lack a chromosome now and then, and hardly ever have one too many."""
    generator = np.random.default_rng(0)
    counts = np.full((200, 24), 2)
    counts[:, X:] = np.where(np.arange(200)[:, None] % 2, [2, 0], [1, 1])
    counts[:, :22] -= generator.random((200, 22)) < 0.02
    return learn_costs(counts, weight=weight)


def human_cell(seed: int, sharpness: float = 6.0, changes: dict[int, int] | None = None) -> tuple[np.ndarray, ...]:
    """Log-probabilities and truth of a 46,XY cell with copies added or taken."""
    generator = np.random.default_rng(seed)
    copies = np.array([2] * 22 + [1, 1])
    for index, step in (changes or {}).items():
        copies[index] += step
    truth = np.repeat(np.arange(24), copies)
    logits = generator.normal(0, 1.5, (len(truth), 24))
    logits[np.arange(len(truth)), truth] += sharpness
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), truth


def errors(found: Assignment, truth: np.ndarray) -> tuple[int, int]:
    return int((found.independent != truth).sum()), int((found.classes != truth).sum())


def test_a_normal_cell_mends_more_than_it_breaks() -> None:
    counted = np.array([errors(assign_cell(logp, human_costs()), truth) for logp, truth in map(human_cell, range(40))])
    before, after = counted.sum(axis=0)
    assert before > 40 and after < 0.5 * before


def test_three_clear_copies_stay_three_and_are_reported() -> None:
    costs, (logp, truth) = human_costs(), human_cell(1, 40.0, {CHR21: 1})
    found = assign_cell(logp, costs)
    assert np.array_equal(found.classes, truth)
    assert [(one.class_index, one.copies, one.expected) for one in found.anomalies] == [(CHR21, 3, 2)]
    # So clear a cell becomes normal only by leaving one of the three out.
    assert found.gains[CHR21] == pytest.approx(costs.rejection_price - costs.gains[CHR21, 0], abs=1e-6)
    assert found.anomalies[0].log_odds == found.gains[CHR21]


def test_a_chromosome_of_clear_class_is_never_left_out_to_hide_a_gain() -> None:
    # exp(-7) is the default line: above it an extra copy always costs less than leaving it out.
    for weight in (0.1, 1.0, 5.0):
        logp, truth = human_cell(2, 14.0, {CHR21: 1, 4: 1, 9: 1})
        found = assign_cell(logp, human_costs(weight))
        assert REJECTED not in found.classes
        assert len(found.classes) == len(truth) == 49


@pytest.mark.parametrize(
    ("changes", "name", "counts"),
    [({}, "XY", ()), ({Y: -1}, "X", (1, 0)), ({X: 1}, "XXY", (2, 1)), ({Y: 1}, "XYY", (1, 2))],
)
def test_sex_constitutions_are_told_apart(changes: dict[int, int], name: str, counts: tuple[int, ...]) -> None:
    found = assign_cell(human_cell(3, 14.0, changes)[0], human_costs())
    assert (found.sex_log_odds > 0) == bool(counts)
    assert {one.class_index for one in found.anomalies} <= {X, Y}
    if counts:
        assert tuple(int((found.classes == index).sum()) for index in (X, Y)) == counts
        assert found.anomalies and all(one.log_odds == found.sex_log_odds for one in found.anomalies)
    if name != "X":  # a lone X is as well an XY that lost its Y: the prices decide what it is called
        assert found.constitution == name


def test_without_weight_and_with_dear_rejection_every_chromosome_has_its_likeliest_class() -> None:
    logp, _ = human_cell(4, 2.0)
    costs = human_costs(0.0)
    costs = CountCosts(costs.constitutions, costs.losses, costs.gains, rejection=50.0, weight=0.0)
    found = assign_cell(logp, costs)
    assert not len(found.changed) and np.array_equal(found.classes, logp.argmax(axis=1))
    first, second = np.sort(logp, axis=1)[:, [-1, -2]].T
    assert found.margins == pytest.approx(first - second, abs=1e-9)


def test_changed_lists_what_the_cell_overrules() -> None:
    logp, _ = human_cell(5, 3.0)
    found = assign_cell(logp, human_costs())
    assert len(found.changed)
    assert np.array_equal(found.changed, np.flatnonzero(found.classes != logp.argmax(axis=1)))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_chromosomes_and_of_the_autosomes_does_not_matter(seed: int) -> None:
    logp, _ = human_cell(seed, 3.0)
    rows = np.random.default_rng(seed).permutation(len(logp))
    first, second = assign_cell(logp, human_costs()), assign_cell(logp[rows], human_costs())
    assert np.array_equal(first.classes[rows], second.classes)
    assert second.margins == pytest.approx(first.margins[rows], abs=1e-9)
    assert second.gains == pytest.approx(first.gains, abs=1e-9, nan_ok=True)
    assert second.losses == pytest.approx(first.losses, abs=1e-9, nan_ok=True)
    assert second.cost == pytest.approx(first.cost, abs=1e-9)


def test_an_empty_cell_misses_everything() -> None:
    found = assign_cell(np.empty((0, 24)), human_costs())
    assert found.classes.shape == found.margins.shape == found.changed.shape == (0,)
    assert {one.copies for one in found.anomalies} == {0}
    assert set(range(22)) <= {one.class_index for one in found.anomalies}
    assert all(one.log_odds == math.inf for one in found.anomalies)
    assert (found.gains[:22] == -math.inf).all()


def test_one_chromosome_keeps_its_class() -> None:
    found = assign_cell(human_cell(6, 9.0)[0][:1], human_costs())
    assert found.classes.tolist() == [0] and np.isfinite(found.margins).all()
    assert next(one for one in found.anomalies if one.class_index == 0).copies == 1


def test_more_than_sixty_chromosomes_are_all_assigned() -> None:
    many = np.vstack([human_cell(7, 12.0)[0], human_cell(8, 12.0)[0]])
    found = assign_cell(many, human_costs(0.5))
    assert REJECTED not in found.classes and len(found.anomalies) >= 22
    same = np.full((30, 24), -30.0)
    same[:, 3] = -1e-12
    crowd = assign_cell(same, human_costs(0.05))
    assert (crowd.classes == 3).sum() == 30  # more copies than slots at first


def test_impossible_classes_are_left_out_or_never_given() -> None:
    logp, truth = human_cell(9, 12.0)
    logp[5] = -np.inf
    logp[:, 7] = -np.inf
    found = assign_cell(logp, human_costs())
    assert found.classes[5] == REJECTED and 7 not in found.classes
    assert next(one for one in found.anomalies if one.class_index == 7).log_odds == math.inf
    assert len(found.classes) == len(truth)


@pytest.mark.parametrize(
    "bad", [np.full((2, 24), np.nan), np.zeros((2, 23)), np.zeros(24), np.full((2, 24), 3.0), np.full((1, 24), np.inf)]
)
def test_what_is_not_a_table_of_log_probabilities_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="log-probabilities"):
        assign_cell(bad, human_costs())


def test_a_cell_takes_milliseconds() -> None:
    costs, cells = human_costs(), [human_cell(seed, 3.0)[0] for seed in range(20)]
    assign_cell(cells[0], costs)
    taken = []
    for cell in cells:
        start = time.process_time()
        assign_cell(cell, costs)
        taken.append(time.process_time() - start)
    # Measured: 3 to 6 ms of processor time beside two trainings. Margins from an assignment each take ten times that.
    assert np.median(taken) < 0.02


@pytest.mark.parametrize("sharp", [0.3, 4.0])
def test_a_crowd_of_chromosomes_is_placed_without_solving_anew_for_every_count(sharp: float, monkeypatch) -> None:
    """150 of one folder: each class has copies far from normal, whose evidence was a whole assignment for each."""
    calls = []

    def counted(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(table.shape)
        return linear_sum_assignment(table)

    monkeypatch.setattr("bandbridge.evaluation.assignment.linear_sum_assignment", counted)
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(150, 24))
    logits[np.arange(150), generator.integers(0, 24, 150)] += sharp
    costs = learn_costs(np.full((20, 24), 2))
    found = assign_cell(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), costs)
    # One for each way in which a cell is made up, and one more for each doubling of the places.
    assert len(calls) <= 6 * 4
    assert np.isfinite(found.gains[:22]).all() and len(found.anomalies) > 20


def test_far_counts_cost_what_every_assignment_with_them_costs() -> None:
    costs, log_probabilities = small_costs(3), small_cell(7, 11)
    _, copies, cost = enumerated(log_probabilities, costs)
    cell = _cell(log_probabilities, costs)
    solutions = _solutions(cell)
    for index, count in product(range(4), range(8)):
        found = min(_cost_with(cell, solution, {index: count}) for solution in solutions)
        assert found == pytest.approx(cost[copies[:, index] == count].min(), abs=1e-9)
    for first, second in product(range(4), repeat=2):
        found = min(_cost_with(cell, solution, {2: first, 3: second}) for solution in solutions)
        chosen = cost[(copies[:, 2] == first) & (copies[:, 3] == second)]
        assert found == pytest.approx(chosen.min(initial=np.inf), abs=1e-9)
