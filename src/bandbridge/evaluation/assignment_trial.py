"""What the joint assignment is worth: errors it mends and makes, and the abnormal cells it finds, misses and invents.

The truth about a cell is the classes of its chromosomes as a person gave them. Whether it is abnormal follows from
their counts; a chromosome that is not among the images counts as missing, whoever lost it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from bandbridge.evaluation.assignment import REJECTED, Assignment, assign_cell, joint_classes
from bandbridge.evaluation.counts import CountCosts


@dataclass(frozen=True, eq=False)
class CellLogits:
    """The n chromosomes of one cell: calibrated logits real [n, K] and true classes int64 [n].

    Raises :class:`ValueError` for logits that are not finite, or truth that is not one class for each chromosome.
    """

    cell: str
    logits: np.ndarray
    truth: np.ndarray

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or not np.isfinite(self.logits).all():
            raise ValueError(f"cell {self.cell}: logits must be finite and [n, K], not {list(self.logits.shape)}")
        if self.truth.shape != self.logits.shape[:1] or not np.isin(self.truth, np.arange(self.logits.shape[1])).all():
            raise ValueError(f"cell {self.cell}: truth must be one class of {self.logits.shape[1]} for each chromosome")

    @property
    def log_probabilities(self) -> np.ndarray:
        """float64 [n, K], natural logarithms."""
        return log_softmax(self.logits.astype(np.float64), axis=1)

    @property
    def copies(self) -> np.ndarray:
        """The true number of chromosomes of each class, int64 [K]."""
        return np.bincount(self.truth, minlength=self.logits.shape[1])


@dataclass(frozen=True, eq=False)
class Detection:
    """Findings of one kind against the truth, one case for each cell and class (for the sexes, for each cell).

    ``log_odds`` float64 [cases] in nats and ``abnormal`` bool [cases] draw the ROC; ``area`` is the area under it, NaN
    without abnormal or without normal cases. A case is ``found`` or ``missed`` if abnormal, a false ``alarm`` if not,
    by whether the assignment reports it, that is, by log-odds above 0.
    """

    log_odds: np.ndarray
    abnormal: np.ndarray

    @property
    def found(self) -> int:
        return int((self.abnormal & (self.log_odds > 0)).sum())

    @property
    def missed(self) -> int:
        return int((self.abnormal & ~(self.log_odds > 0)).sum())

    @property
    def alarms(self) -> int:
        return int((~self.abnormal & (self.log_odds > 0)).sum())

    @property
    def area(self) -> float:
        false, true = self.roc()
        return float(np.trapezoid(true, false))

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """Return shares of false alarms and of abnormal cases found, float64, at every threshold from high to low."""
        levels, where = np.unique(-self.log_odds, return_inverse=True)
        counts = [
            np.bincount(where, weights=chosen, minlength=len(levels)) for chosen in (~self.abnormal, self.abnormal)
        ]
        with np.errstate(invalid="ignore"):
            false, true = (np.append(0.0, np.cumsum(count)) / count.sum() for count in counts)
        return false, true


@dataclass(frozen=True, eq=False)
class AssignmentTrial:
    """The joint assignment of many cells against each chromosome by itself.

    ``errors_before`` are the chromosomes whose likeliest class is wrong, ``errors_after`` those the joint assignment
    gets wrong, rejected ones included; ``mended`` and ``made`` are the errors that left and came. ``correct_before``
    and ``correct_after`` are shares of cells without an error, in 0..1. ``abnormal_cells`` counts the cells that
    deviate in truth; ``abnormal_found`` those of them with a right finding, ``false_alarm_cells`` all cells with a
    wrong one. ``by_cell`` has one case for each cell: its largest log-odds, and whether anything in it deviates; a cell
    is found there by a finding of the wrong class as well. Of otherwise complete cells with one change that is no
    feat, as 45 or 47 chromosomes give it away: plant a gain and a loss together to learn more.
    """

    cells: int
    chromosomes: int
    errors_before: int
    errors_after: int
    mended: int
    made: int
    rejected: int
    correct_before: float
    correct_after: float
    abnormal_cells: int
    abnormal_found: int
    false_alarm_cells: int
    gains: Detection
    losses: Detection
    sexes: Detection
    by_cell: Detection


def measure_assignment(cells: Sequence[CellLogits], costs: CountCosts) -> AssignmentTrial:
    """Assign every cell with ``costs``, which must not have been learned from them, and count.

    Raises :class:`ValueError` for no cells or cells whose classes ``costs`` does not have.
    """
    if not cells:
        raise ValueError("a trial needs at least one cell")
    found = [assign_cell(cell.log_probabilities, costs) for cell in cells]
    before = [one.independent != cell.truth for cell, one in zip(cells, found, strict=True)]
    after = [one.classes != cell.truth for cell, one in zip(cells, found, strict=True)]
    wrong_before, wrong_after = np.concatenate(before), np.concatenate(after)
    cases = [_cases(cell, one, costs) for cell, one in zip(cells, found, strict=True)]
    gains, losses, sexes = (
        Detection(*(np.concatenate([one[kind][part] for one in cases]) for part in range(2))) for kind in range(3)
    )
    reported = [[(log_odds > 0, true) for log_odds, true in one] for one in cases]
    largest = np.array([np.nanmax(np.concatenate([log_odds for log_odds, _ in one])) for one in cases])
    abnormal = np.array([any(true.any() for _, true in one) for one in cases])
    return AssignmentTrial(
        cells=len(cells),
        chromosomes=len(wrong_before),
        errors_before=int(wrong_before.sum()),
        errors_after=int(wrong_after.sum()),
        mended=int((wrong_before & ~wrong_after).sum()),
        made=int((wrong_after & ~wrong_before).sum()),
        rejected=sum(int((one.classes == REJECTED).sum()) for one in found),
        correct_before=float(np.mean([not wrong.any() for wrong in before])),
        correct_after=float(np.mean([not wrong.any() for wrong in after])),
        abnormal_cells=int(abnormal.sum()),
        abnormal_found=sum(any((alarm & true).any() for alarm, true in one) for one in reported),
        false_alarm_cells=sum(any((alarm & ~true).any() for alarm, true in one) for one in reported),
        gains=gains,
        losses=losses,
        sexes=sexes,
        by_cell=Detection(largest, abnormal),
    )


def choose_weight(
    cells: Sequence[CellLogits], costs: CountCosts, weights: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5)
) -> float:
    """Return the weight of the counts with which fewest chromosomes of training ``cells`` are wrong.

    Of equal ones the smallest, which overrules the classifier least. Where the classifier makes no error by itself
    there is none to mend, and the smallest would leave the cell as a whole unheard for good: it is then the largest
    weight up to 1, that of Bayes' rule, which makes none either. Choose on cells with real or planted abnormalities
    among them: on normal cells alone nothing speaks against a weight that forces every cell to be normal. Raises as
    :func:`measure_assignment`, or without weights.
    """
    if not cells or not weights:
        raise ValueError("choosing a weight needs at least one cell and one weight")
    errors = dict.fromkeys(sorted(weights), 0)
    for cell in cells:
        log_probabilities = cell.log_probabilities
        for weight in errors:
            errors[weight] += int((joint_classes(log_probabilities, replace(costs, weight=weight)) != cell.truth).sum())
    if all((cell.logits.argmax(axis=1) == cell.truth).all() for cell in cells):
        harmless = [weight for weight in errors if weight <= 1 and errors[weight] == 0]
        if harmless:
            return max(harmless)
    return min(errors, key=lambda weight: (errors[weight], weight))


def perturb_cell(
    cell: CellLogits,
    changes: Mapping[int, int],
    donors: Sequence[CellLogits],
    generator: np.random.Generator,
) -> CellLogits:
    """Return an abnormal cell made from ``cell``: ``changes`` maps classes to copies added (above 0) or taken.

    Added chromosomes are drawn without replacement from those of that class in ``donors`` (``cell`` itself is passed
    over by name), and stand last; those taken are drawn from the cell. What is drawn follows from ``generator``
    alone. Raises :class:`ValueError` when there are fewer to add or to take than asked for.
    """
    keep, added = np.ones(len(cell.truth), dtype=bool), []
    given = [donor for donor in donors if donor.cell != cell.cell]
    for index, step in sorted(changes.items()):
        own = np.flatnonzero(cell.truth == index)
        pool = (
            [donor.logits[row] for donor in given for row in np.flatnonzero(donor.truth == index)] if step > 0 else own
        )
        if len(pool) < abs(step):
            verb = "add to" if step > 0 else "take from"
            raise ValueError(f"{len(pool)} chromosomes of class {index} to {verb} cell {cell.cell}, {abs(step)} wanted")
        drawn = generator.choice(len(pool), size=abs(step), replace=False)
        if step > 0:
            added += [(index, pool[place]) for place in drawn]
        else:
            keep[own[drawn]] = False
    name = cell.cell + "".join(f"{step:+d}({index})" for index, step in sorted(changes.items()))
    logits = np.vstack([cell.logits[keep], *(row for _, row in added)])
    return CellLogits(name, logits, np.append(cell.truth[keep], [index for index, _ in added]).astype(np.int64))


def _cases(cell: CellLogits, found: Assignment, costs: CountCosts) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (log-odds, whether true) of gains and of losses for each fixed class, and of the sexes for the cell."""
    varying = costs.varying
    surplus = (cell.copies - costs.constitutions[0].expected)[~varying]
    normal = [one.expected[varying] for one in costs.constitutions if one.normal]
    strange = not any(np.array_equal(cell.copies[varying], expected) for expected in normal)
    return [
        (found.gains[~varying], surplus > 0),
        (found.losses[~varying], surplus < 0),
        (np.array([found.sex_log_odds]), np.array([strange])),
    ]
