"""The chromosomes of a cell classified together, with every missing and extra one priced and none hidden.

The joint assignment minimises, over the classes of the n chromosomes and over how the cell is made up,

    sum_i -log p(i, class of i)  +  sum_c penalty_c(copies of c)  +  price of the constitution  +  rejections,

with penalties convex in the number of copies (:class:`~bandbridge.evaluation.counts.CountCosts`). For one constitution
that is a rectangular assignment of chromosomes to slots, the k-th slot of a class costing what its k-th copy adds.
A class with another number of copies than a normal cell has is a finding: it is reported with its evidence, the
difference in cost between the best assignment that makes it normal and the best that does not.

What else could have been is read off the residual graph of the solution (Ahuja, Magnanti & Orlin 1993, Network
Flows, sections 3.6 and 9.7): nodes are classes, an edge from a to b costs moving the cheapest chromosome of a to b,
and one node stands for a changed number of copies. An optimum has no negative cycle, so the next best solution that
moves a chromosome, or gives a class one copy more or fewer, is one shortest path away, and one with several copies
more or fewer as many paths (the same, section 9.7: each path leaves the best solution with so many copies).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from bandbridge.evaluation.counts import CountCosts
from bandbridge.evaluation.residual import cheapest_path, edges_of, pass_on, shortest_paths

REJECTED = -1


@dataclass(frozen=True)
class Anomaly:
    """A class (its index) with ``copies`` where a normal cell has ``expected``, for review.

    ``log_odds`` is the evidence in nats: how much more the best normal assignment costs. Infinity: none exists, as
    when the cell has too few chromosomes. For a sex chromosome, normal means XX or XY, whichever costs less.
    """

    class_index: int
    copies: int
    expected: int
    log_odds: float


@dataclass(frozen=True, eq=False)
class Assignment:
    """The best joint assignment of one cell of n chromosomes and K classes.

    ``classes`` is int64 [n], :data:`REJECTED` for a chromosome left out; ``independent`` int64 [n] the likeliest class
    of each by itself. ``margins`` float64 [n] is what the next best joint solution with another class for the
    chromosome costs more, in nats. ``gains`` and ``losses`` float64 [K] are the evidence, in nats, that a class has
    more or fewer copies than normal: above 0 exactly where the assignment says so, infinite where normal is impossible
    and minus infinite where the deviation is; NaN for the sex chromosomes, which ``sex_log_odds`` judges together.
    A cell can be made normal by leaving a chromosome out, so the evidence for a gain never exceeds what that costs.

    ``anomalies`` are the findings of this assignment. ``suspects`` holds every gain and loss there could be, those
    findings and what the prices overruled, by falling evidence: a review that must not miss one reads on below 0.
    """

    classes: np.ndarray
    independent: np.ndarray
    margins: np.ndarray
    cost: float
    constitution: str
    anomalies: tuple[Anomaly, ...]
    suspects: tuple[Anomaly, ...]
    gains: np.ndarray
    losses: np.ndarray
    sex_log_odds: float

    @property
    def changed(self) -> np.ndarray:
        """Chromosomes that the cell as a whole gives another class than their own likeliest, int64."""
        return np.flatnonzero(self.classes != self.independent)


@dataclass(frozen=True, eq=False)
class _Cell:
    """What each chromosome costs in each class and rejected, [n, K + 1], and each constitution's prices of counts."""

    costs_of: np.ndarray
    costs: CountCosts
    penalties: list[np.ndarray]
    paths: dict[bytes, np.ndarray] = field(default_factory=dict)

    def paths_of(self, classes: np.ndarray) -> np.ndarray:
        """Return the shortest paths between the classes of a solution; constitutions often have the same one."""
        key = classes.tobytes()
        if key not in self.paths:
            self.paths[key] = shortest_paths(self.costs_of, classes)
        return self.paths[key]


@dataclass(frozen=True, eq=False)
class _Solution:
    """The best assignment under one constitution; class K stands for rejected, ``cost`` is infinite if there is none.

    ``take`` and ``give``, float64 [K + 1], are the prices of one copy more and one fewer of each class.
    """

    constitution: int
    classes: np.ndarray
    copies: np.ndarray
    cost: float
    take: np.ndarray
    give: np.ndarray


def assign_cell(log_probabilities: np.ndarray, costs: CountCosts) -> Assignment:
    """Assign the n chromosomes of one cell jointly, with margins and evidence.

    ``log_probabilities`` is real [n, K], natural logarithms, minus infinity allowed; n may be 0. Calibrate them
    first: evidence of overconfident probabilities is overconfident. Raises :class:`ValueError` for NaN, logarithms
    above 0 or a number of classes that ``costs`` does not have.
    """
    cell = _cell(log_probabilities, costs)
    solutions = _solutions(cell)
    best = solutions[0]
    gains, losses = _judge_fixed(cell, solutions)
    sex_log_odds, expected, strange = _judge_varying(cell, solutions)
    log_odds = np.where(costs.varying, sex_log_odds, np.fmax(gains, losses))
    return Assignment(
        classes=_public(cell, best),
        independent=cell.costs_of[:, :-1].argmin(axis=1),
        margins=_joint_margins(cell, solutions),
        cost=best.cost,
        constitution=costs.constitutions[best.constitution].name,
        anomalies=tuple(
            Anomaly(index, int(best.copies[index]), int(expected[index]), float(log_odds[index]))
            for index in np.flatnonzero(best.copies != expected).tolist()
        ),
        suspects=_suspects(best.copies, expected, (gains, losses), strange, sex_log_odds),
        gains=gains,
        losses=losses,
        sex_log_odds=sex_log_odds,
    )


def joint_classes(log_probabilities: np.ndarray, costs: CountCosts) -> np.ndarray:
    """Return only the classes of :func:`assign_cell`, int64 [n]; raises as it does."""
    cell = _cell(log_probabilities, costs)
    return _public(cell, _solutions(cell)[0])


def _cell(log_probabilities: np.ndarray, costs: CountCosts) -> _Cell:
    values = np.asarray(log_probabilities, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(costs.losses):
        raise ValueError(f"log-probabilities must be [n, {len(costs.losses)}], not {list(values.shape)}")
    if np.isnan(values).any() or (values > 1e-6).any():
        raise ValueError("log-probabilities must be at most 0 and not NaN; logits need a log-softmax first")
    costs_of = np.hstack([-values, np.full((len(values), 1), costs.rejection_price)])
    return _Cell(costs_of, costs, [costs.penalties(one, len(values) + 1) for one in costs.constitutions])


def _public(cell: _Cell, solution: _Solution) -> np.ndarray:
    return np.where(solution.classes == cell.costs_of.shape[1] - 1, REJECTED, solution.classes)


def _solutions(cell: _Cell) -> list[_Solution]:
    """Return the best assignment under each constitution, cheapest first."""
    found = [_solve(cell, index) for index in range(len(cell.penalties))]
    return sorted(found, key=lambda solution: solution.cost)


def _solve(cell: _Cell, constitution: int) -> _Solution:
    """Return the best assignment under one constitution."""
    penalties, n = cell.penalties[constitution], len(cell.costs_of)
    steps = np.diff(penalties, axis=1)
    classes = _fill_slots(cell.costs_of, steps[:, :n])
    copies = np.bincount(classes, minlength=len(steps) + 1)[:-1]
    every = np.arange(len(steps))
    cost = cell.costs_of[np.arange(n), classes].sum() + penalties[every, copies].sum()
    cost += cell.costs.weight * cell.costs.constitutions[constitution].price
    return _Solution(constitution, classes, copies, float(cost), *_steps(penalties, copies, n))


def _steps(penalties: np.ndarray, copies: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the prices of one copy more and of one fewer of each class, float64 [K + 1] each."""
    every, steps = np.arange(len(penalties)), np.diff(penalties, axis=1)
    # The place of rejection costs nothing to enlarge, and nothing to leave where somebody is in it.
    take = np.append(steps[every, copies], 0.0)
    give = np.append(np.where(copies > 0, -steps[every, copies - 1], np.inf), 0.0 if copies.sum() < n else np.inf)
    return take, give


def _fill_slots(costs_of: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the classes of the cheapest assignment, int64 [n].

    A class gets more slots until it has not filled all of its own: an empty slot is never dearer than those left out.
    """
    n, classes = len(costs_of), len(steps)
    slots = np.full(classes, min(n, 4))
    rejections = np.repeat(costs_of[:, -1:], n, axis=1)
    while True:
        owners = np.repeat(np.arange(classes), slots)
        prices = steps[owners, np.arange(len(owners)) - np.repeat(np.cumsum(slots) - slots, slots)]
        _, columns = linear_sum_assignment(np.hstack([costs_of[:, owners] + prices, rejections]))
        found = np.append(owners, np.full(n, classes))[columns]
        full = np.bincount(found, minlength=classes + 1)[:-1] == slots
        if not (full & (slots < n)).any():
            return found
        slots[full] = np.minimum(n, 2 * slots[full])


def _cost_with(cell: _Cell, solution: _Solution, wanted: dict[int, int]) -> float:
    """Return the least cost with ``wanted`` copies of some classes under the constitution of ``solution``.

    The copies of one class after another are brought to what is wanted, one cheapest path each.
    """
    penalties, n = cell.penalties[solution.constitution], len(cell.costs_of)
    classes, copies = solution.classes.copy(), np.bincount(solution.classes, minlength=len(cell.penalties[0]) + 1)
    edges = np.stack([edges_of(cell.costs_of, classes, index) for index in range(len(copies))])
    cost, settled = solution.cost, np.zeros(len(copies), dtype=bool)
    for index, count in wanted.items():
        settled[index] = True
        while copies[index] != count:
            more = bool(copies[index] < count)
            take, give = _steps(penalties, copies[:-1], n)
            take[settled] = give[settled] = np.inf
            extra, path = cheapest_path(edges, index, give) if more else cheapest_path(edges.T, index, take)
            if not np.isfinite(extra):
                return float("inf")
            before = penalties[index, copies[index]]
            copies[index] += 1 if more else -1
            copies[path[-1]] -= 1 if more else -1
            cost += extra + penalties[index, copies[index]] - before
            pass_on(cell.costs_of, classes, edges, path[::-1] if more else path)
    return float(cost)


def _joint_margins(cell: _Cell, solutions: list[_Solution]) -> np.ndarray:
    """Return what the next best solution with another class for each chromosome costs more, float64 [n]."""
    best = solutions[0]
    margins = np.full(len(best.classes), np.inf)
    for solution in solutions:
        dearer = solution.cost - best.cost
        if (margins > dearer).any():
            other = solution.classes != best.classes
            margins = np.minimum(margins, dearer + np.where(other, 0.0, _margins(cell, solution)))
    return np.maximum(margins, 0.0)


def _margins(cell: _Cell, solution: _Solution) -> np.ndarray:
    """Return what it costs more, under one constitution, to give each chromosome another class, float64 [n]."""
    paths, rows = cell.paths_of(solution.classes), np.arange(len(solution.classes))
    taken, given = (paths + solution.take).min(axis=1), (solution.give[:, None] + paths).min(axis=0)
    paths = np.minimum(paths, taken[:, None] + given)
    extra = cell.costs_of - cell.costs_of[rows, solution.classes][:, None] + paths[:, solution.classes].T
    extra[rows, solution.classes] = np.inf
    return extra.min(axis=1, initial=np.inf)


def _judge_fixed(cell: _Cell, solutions: list[_Solution]) -> tuple[np.ndarray, np.ndarray]:
    """Return the evidence for more and for fewer copies than normal of each class, float64 [K], NaN if varying."""
    best, varying = solutions[0], cell.costs.varying
    normal, copies = cell.costs.constitutions[0].expected, best.copies
    away = [(solution, _one_copy_away(cell, solution)) for solution in solutions]
    gains, losses = np.full((2, len(varying)), np.nan)
    for index in np.flatnonzero(~varying).tolist():
        cost, more, fewer = (
            _least_cost(cell, away, index, int(count))
            for count in (normal[index], max(copies[index], normal[index] + 1), min(copies[index], normal[index] - 1))
        )
        gains[index], losses[index] = _difference(cost, more), _difference(cost, fewer)
    return gains, losses


def _one_copy_away(cell: _Cell, solution: _Solution) -> dict[int, np.ndarray]:
    """Return the cost of one copy more (key 1), as many (0) and one fewer (-1) of each class, float64 [K + 1] each."""
    paths = cell.paths_of(solution.classes).copy()
    np.fill_diagonal(paths, np.inf)  # the copy must come from, or go to, another class
    more = solution.take + (solution.give[:, None] + paths).min(axis=0)
    fewer = solution.give + (paths + solution.take).min(axis=1)
    return {step: solution.cost + extra for step, extra in ((1, more), (0, np.zeros(len(more))), (-1, fewer))}


def _least_cost(cell: _Cell, away: list[tuple[_Solution, dict[int, np.ndarray]]], index: int, copies: int) -> float:
    """Return the least cost of a cell with so many copies of a class, over all constitutions."""
    least = float("inf")
    if not 0 <= copies <= len(cell.costs_of):
        return least
    for solution, costs in away:
        if solution.cost < least:
            step = copies - int(solution.copies[index])
            found = costs[step][index] if step in costs else _cost_with(cell, solution, {index: copies})
            least = min(least, float(found))
    return least


def _judge_varying(cell: _Cell, solutions: list[_Solution]) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the evidence for neither XX nor XY, and the copies [K] of the best cell that is normal and that is not.

    Normal are the counts of the normal constitutions; against them stand the counts found, those of the other
    constitutions, and those with one chromosome more or fewer than a normal cell has.
    """
    constitutions, varying = cell.costs.constitutions, np.flatnonzero(cell.costs.varying)
    expected = constitutions[0].expected.copy()
    if not len(varying):
        return float("nan"), expected, expected
    normal = {_counts(one.expected, varying) for one in constitutions if one.normal}
    others = {_counts(one.expected, varying) for one in constitutions} | {_counts(solutions[0].copies, varying)}
    for counts in normal:
        for place, step in ((place, step) for place in range(len(varying)) for step in (-1, 1)):
            others.add((*counts[:place], counts[place] + step, *counts[place + 1 :]))
    cost = {counts: _fixed_cost(cell, solutions, varying, counts) for counts in normal | others if min(counts) >= 0}
    nearest = min(normal, key=lambda counts: (cost[counts], counts))
    strangest = min(cost.keys() - normal, key=lambda counts: (cost[counts], counts))
    strange = expected.copy()
    expected[varying], strange[varying] = nearest, strangest
    return _difference(cost[nearest], cost[strangest]), expected, strange


def _counts(copies: np.ndarray, varying: np.ndarray) -> tuple[int, ...]:
    return tuple(int(count) for count in copies[varying])


def _fixed_cost(cell: _Cell, solutions: list[_Solution], varying: np.ndarray, counts: tuple[int, ...]) -> float:
    """Return the least cost with these copies of the varying classes.

    Constitutions then differ by a constant alone: the cheapest of them is found without solving for each.
    """
    if sum(counts) > len(cell.costs_of):
        return float("inf")
    paid = [
        cell.costs.weight * one.price + penalties[varying, list(counts)].sum()
        for one, penalties in zip(cell.costs.constitutions, cell.penalties, strict=True)
    ]
    cheapest = int(np.argmin(paid))
    (solution,) = (one for one in solutions if one.constitution == cheapest)
    return _cost_with(cell, solution, dict(zip(varying.tolist(), counts, strict=True)))


def _suspects(
    copies: np.ndarray,
    expected: np.ndarray,
    evidence: tuple[np.ndarray, np.ndarray],
    strange: np.ndarray,
    sex_log_odds: float,
) -> tuple[Anomaly, ...]:
    """Return every deviation that is possible, by falling evidence; of a class the nearest, or that of the solution."""
    others = (np.maximum(copies, expected + 1), np.minimum(copies, expected - 1))
    found = [
        Anomaly(index, int(other[index]), int(expected[index]), float(log_odds[index]))
        for other, log_odds in zip(others, evidence, strict=True)
        for index in np.flatnonzero(log_odds > -np.inf).tolist()
    ]
    if sex_log_odds > -np.inf:
        for index in np.flatnonzero(strange != expected).tolist():
            found.append(Anomaly(index, int(strange[index]), int(expected[index]), sex_log_odds))
    return tuple(sorted(found, key=lambda one: (-one.log_odds, one.class_index, one.copies)))


def _difference(normal: float, abnormal: float) -> float:
    """Return ``normal`` - ``abnormal``; minus infinity where neither exists."""
    return normal - abnormal if np.isfinite(abnormal) else float("-inf")
