"""How often the counts of a cell are right: gains and losses found of those that are there, and said where none is.

Measured on cells whose chromosomes are known and that the classifier had not seen. What is found is planted into them,
by rare real abnormalities alone it could not be told; false alarms are those of the cells as they are. What a cell
without a loss shows as one includes chromosomes that were really missing: for a patient, these are random losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bandbridge.evaluation.assignment import joint_classes
from bandbridge.evaluation.assignment_trial import CellLogits, perturb_cell
from bandbridge.evaluation.counts import SEX_CONSTITUTIONS, CountCosts
from bandbridge.karyotype import AUTOSOMES, CLASS_INDEX, CLASSES

#: What can have too many or too few copies: each autosome, and the sex chromosomes together.
UNITS: tuple[str, ...] = (*AUTOSOMES, "sex")
Direction = Literal["gain", "loss"]
DIRECTIONS: tuple[Direction, ...] = ("gain", "loss")
#: A unit's own share is drawn towards that of all autosomes as if so many further trials had been made.
STRENGTH = 20.0
_SEX = (CLASS_INDEX["X"], CLASS_INDEX["Y"])


@dataclass(frozen=True)
class Share:
    """A share that was measured: ``hits`` of ``trials``, which need not be whole numbers where shares were pooled."""

    hits: float
    trials: float

    @property
    def value(self) -> float:
        """hits / trials."""
        return self.hits / self.trials


@dataclass(frozen=True, eq=False)
class CountRates:
    """Trials and hits for each of :data:`UNITS` and :data:`DIRECTIONS`, integers [23, 2].

    ``found`` of ``planted`` changes were reported with the right class and direction; ``alarms`` of ``cells`` without
    such a change were reported to have it. ``source`` says in words what it was measured on.

    Raises :class:`ValueError` for other shapes, or more hits than trials.
    """

    found: np.ndarray
    planted: np.ndarray
    alarms: np.ndarray
    cells: np.ndarray
    source: str = ""

    def __post_init__(self) -> None:
        tables = (self.found, self.planted, self.alarms, self.cells)
        if any(table.shape != (len(UNITS), len(DIRECTIONS)) for table in tables):
            raise ValueError(f"rates of counts are [{len(UNITS)}, {len(DIRECTIONS)}]")
        if min(table.min() for table in tables) < 0 or (self.found > self.planted).any():
            raise ValueError("more changes were found than planted")
        if (self.alarms > self.cells).any() or not (self.planted[:-1].sum(axis=0) > 0).all():
            raise ValueError("more alarms than cells, or nothing was planted")

    def sensitivity(self, unit: str, direction: Direction) -> Share:
        """Return the share of cells with the change that show it."""
        return self._pooled(self.found, self.planted, unit, direction)

    def false_alarms(self, unit: str, direction: Direction) -> Share:
        """Return the share of cells without the change that show it all the same, random losses among them."""
        return self._pooled(self.alarms, self.cells, unit, direction)

    def _pooled(self, hits: np.ndarray, trials: np.ndarray, unit: str, direction: Direction) -> Share:
        row, column = UNITS.index(unit), DIRECTIONS.index(direction)
        # The share of all autosomes is never taken for exactly 0 or 1: half a case of each is added.
        every = (hits[:-1, column].sum() + 0.5) / (trials[:-1, column].sum() + 1)
        return Share(float(hits[row, column] + STRENGTH * every), float(trials[row, column] + STRENGTH))


def unit_of(class_index: int) -> str:
    """Return which of :data:`UNITS` a class belongs to."""
    return "sex" if class_index in _SEX else CLASSES[class_index]


def shown_changes(copies: np.ndarray) -> list[tuple[str, Direction]]:
    """Return what ``copies``, integers [24], of a cell deviate in: of the sex chromosomes by their total."""
    found: list[tuple[str, Direction]] = [
        (label, "gain" if copies[index] > 2 else "loss") for index, label in enumerate(AUTOSOMES) if copies[index] != 2
    ]
    x, y = (int(copies[index]) for index in _SEX)
    if (x, y) not in ((2, 0), (1, 1)):
        found.append(("sex", "gain" if x + y > 2 or y > 1 else "loss"))
    return found


def measure_rates(
    cells: Sequence[CellLogits], costs: CountCosts, seed: int = 0, source: str = "", *, each: int = 3
) -> CountRates:
    """Measure on ``cells`` of known truth, calibrated and not seen by their classifier, how their counts are judged.

    ``costs`` must not have been learned from them, or from so many that it makes no difference. ``seed`` draws what is
    planted: of every normal cell ``each`` gains and as many losses of one autosome, and each sex constitution that is
    one chromosome away. Raises :class:`ValueError` where there is no such cell.
    """
    generator = np.random.default_rng(seed)
    found, planted, alarms, trials = np.zeros((4, len(UNITS), len(DIRECTIONS)), dtype=np.int64)
    for cell in cells:
        true = set(shown_changes(cell.copies))
        said = set(shown_changes(_placed(cell, costs)))
        for row, unit in enumerate(UNITS):
            for column, direction in enumerate(DIRECTIONS):
                if direction == "gain" and (unit, direction) in true:
                    continue  # it is there; a chromosome that is missing is what a random loss is, and counts
                trials[row, column] += 1
                alarms[row, column] += (unit, direction) in said
    for (unit, direction), wanted, cell in _planted(cells, generator, each):
        row, column = UNITS.index(unit), DIRECTIONS.index(direction)
        copies = _placed(cell, costs)
        hit = (unit, direction) in shown_changes(copies)
        if unit == "sex":
            hit = tuple(int(copies[index]) for index in _SEX) == wanted
        planted[row, column] += 1
        found[row, column] += hit
    if not planted.sum():
        raise ValueError("rates of counts are measured on normal cells, and there is none")
    return CountRates(found, planted, alarms, trials, source)


def _placed(cell: CellLogits, costs: CountCosts) -> np.ndarray:
    classes = joint_classes(cell.log_probabilities, costs)
    return np.bincount(classes[classes >= 0], minlength=len(CLASSES))


def _planted(
    cells: Sequence[CellLogits], generator: np.random.Generator, each: int
) -> Iterator[tuple[tuple[str, Direction], tuple[int, int], CellLogits]]:
    """Yield what was planted, the X and Y that the cell then has, and the cell."""
    known = {(x, y) for x, y, _ in SEX_CONSTITUTIONS.values()} - {(2, 0), (1, 1)}
    for cell in cells:
        if shown_changes(cell.copies):
            continue
        x, y = (int(cell.copies[index]) for index in _SEX)
        steps: list[tuple[str, Direction, dict[int, int]]] = []
        for column, direction in enumerate(DIRECTIONS):
            for index in generator.choice(len(AUTOSOMES), each, replace=False):
                steps.append((AUTOSOMES[index], direction, {int(index): 1 - 2 * column}))
        for wanted in sorted(known):
            changes = {index: to - have for index, to, have in zip(_SEX, wanted, (x, y), strict=True) if to != have}
            if len(changes) == 1 and all(abs(step) == 1 for step in changes.values()):
                steps.append(("sex", "loss" if sum(wanted) < 2 else "gain", changes))
        for unit, direction, changes in steps:
            try:
                changed = perturb_cell(cell, changes, cells, generator)
            except ValueError:
                continue  # no other cell has such a chromosome to give
            yield (unit, direction), (x + changes.get(_SEX[0], 0), y + changes.get(_SEX[1], 0)), changed
