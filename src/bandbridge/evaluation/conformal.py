"""Prediction sets with a stated coverage, for classifiers whose probabilities cannot be taken at their word.

Split conformal prediction (Papadopoulos et al. 2002; Vovk, Gammerman & Shafer 2005): the score of a class says how ill
it fits an image, and a set holds the classes whose score is at most a threshold, a quantile of the scores of the true
classes of calibration images. A new image then has its true class in its set with probability at least 1 - alpha,
whatever the classifier, as long as it is exchangeable with those images. Chromosomes of one metaphase are not: they
share a spread, a stain and a camera. What is exchangeable is cells, and a :class:`Guarantee` says what its unit is:

- ``"chromosome"``: every chromosome counts as one. Right for chromosomes of cells that took part in the calibration.
- ``"hierarchical"``: every cell has the same mass, spread over its chromosomes, and one more cell's mass lies at
  infinity (Lee, Barber & Willett 2023, "Distribution-free inference with hierarchical data", HCP). It holds for a
  chromosome of a new cell.
- ``"draw"``: one chromosome drawn from each cell (Dunn, Wasserman & Ramdas 2023, JASA 118:2491-2502, "subsampling
  once"). It holds for the same, and depends on the draw.
- ``"whole-cell"``: the worst chromosome of each cell. All chromosomes of a new cell have their class in their sets.

With few units the quantile lies beyond them: with fewer than 1 / alpha - 1 the threshold is infinite, and the set is
everything. Classwise, that is what becomes of rare classes; :attr:`Thresholds.everything` names them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNITS = ("chromosome", "hierarchical", "draw", "whole-cell")
#: A quantile is reached when the mass is there but for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Guarantee:
    """Coverage of at least 1 - ``alpha`` for new ``unit``s; ``classwise`` (Mondrian), for each true class by itself.

    Raises :class:`ValueError` for an alpha outside 0..1 or a unit that is none of :data:`UNITS`.
    """

    alpha: float
    unit: str = "hierarchical"
    classwise: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, not at {self.alpha}")
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}, expected one of {', '.join(UNITS)}")


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The largest score with which each class enters a set, ``values`` float64 [K], and the units behind it, int64 [K].

    Classes of a marginal guarantee share both. Infinity puts a class into every set.
    """

    values: np.ndarray
    units: np.ndarray
    guarantee: Guarantee

    @property
    def everything(self) -> np.ndarray:
        """Classes that too few units calibrate to ever leave one out, bool [K]."""
        return np.isinf(self.values)

    def sets(self, scores: np.ndarray) -> np.ndarray:
        """Return the prediction sets, bool [N, K], of scores real [N, K]; a set may be empty (see :func:`lac_scores`).

        Raises :class:`ValueError` for another number of classes or scores that are NaN.
        """
        return _scores(scores, len(self.values)) <= self.values


@dataclass(frozen=True, eq=False)
class SetReport:
    """What prediction sets of ``n`` images of known class did. Shares are in 0..1.

    ``class_coverage`` is float64 [K], NaN for a class without images. ``cell_coverage`` is the share of cells with
    every chromosome covered, NaN without cells.
    """

    n: int
    coverage: float
    class_coverage: np.ndarray
    mean_size: float
    singletons: float
    empty: float
    cell_coverage: float


def lac_scores(probabilities: np.ndarray) -> np.ndarray:
    """Return 1 - p for class probabilities, real [N, K] in 0..1 (LAC: Sadinle, Lei & Wasserman 2019, JASA 114:223-234).

    Its sets are the smallest on average. Of an image that looks like no class at all, the set is empty.
    """
    return 1 - _probabilities(probabilities)


def aps_scores(
    probabilities: np.ndarray, uniforms: np.ndarray | None = None, penalty: float = 0.0, free: int = 0
) -> np.ndarray:
    """Return adaptive scores, float64 [N, K], of class probabilities real [N, K].

    The score of a class is the mass of the likelier classes plus ``u`` times its own (APS: Romano, Sesia & Candes
    2020, NeurIPS), plus ``penalty`` for each rank beyond ``free`` (RAPS: Angelopoulos, Bates, Malik & Jordan 2021,
    ICLR, Eq. 4; ranks count from 1). ``uniforms`` are the ``u`` of each image, [N] in 0..1, drawn anew for
    calibration and for use; None stands for 1 throughout, which makes larger sets that hang on no chance. Equal
    probabilities rank in class order.
    """
    probabilities = _probabilities(probabilities)
    if penalty < 0 or free < 0:
        raise ValueError("the penalty and the number of free ranks are at least 0")
    share = np.ones(len(probabilities)) if uniforms is None else np.asarray(uniforms, dtype=np.float64)
    if share.shape != probabilities.shape[:1] or not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"uniforms must be {len(probabilities)} values in 0..1")
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    above = np.cumsum(ordered, axis=1) - ordered
    beyond = np.clip(np.arange(1, probabilities.shape[1] + 1) - free, 0, None)
    scores = np.empty_like(probabilities)
    np.put_along_axis(scores, order, above + share[:, None] * ordered + penalty * beyond, axis=1)
    return scores


def calibrate(
    scores: np.ndarray,
    truth: np.ndarray,
    guarantee: Guarantee,
    cells: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
) -> Thresholds:
    """Return the thresholds that the true classes of calibration images call for.

    ``scores`` is real [N, K], larger for a worse fit, of images the classifier was not trained on; ``truth`` integers
    [N]; ``cells`` [N] of any dtype, for every unit but the chromosome; ``generator`` for the unit "draw". Raises
    :class:`ValueError` when one is missing that the unit needs, for scores that are NaN, classes out of range or
    arrays of different lengths.
    """
    scores = _scores(scores)
    truth, cells = _labelled(truth, cells, scores)
    if guarantee.unit != "chromosome" and cells is None:
        raise ValueError(f"the unit {guarantee.unit!r} needs the cell of each chromosome")
    if guarantee.unit == "draw" and generator is None:
        raise ValueError("the unit 'draw' needs a generator")
    generator = generator if guarantee.unit == "draw" else None
    own, classes = scores[np.arange(len(truth)), truth], scores.shape[1]
    if not guarantee.classwise:
        value, units = _threshold(own, cells, guarantee, generator)
        return Thresholds(np.full(classes, value), np.full(classes, units), guarantee)
    members = [truth == index for index in range(classes)]
    found = [_threshold(own[rows], None if cells is None else cells[rows], guarantee, generator) for rows in members]
    return Thresholds(np.array([value for value, _ in found]), np.array([units for _, units in found]), guarantee)


def report_sets(sets: np.ndarray, truth: np.ndarray, cells: np.ndarray | None = None) -> SetReport:
    """Measure prediction sets, bool [N, K], of images of class ``truth``, integers [N], from ``cells`` [N]."""
    truth, cells = _labelled(truth, cells, sets)
    hits, sizes = sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    counts = np.bincount(truth, minlength=sets.shape[1])
    class_hits = np.bincount(truth, weights=hits, minlength=sets.shape[1])
    by_class = np.divide(class_hits, counts, out=np.full(sets.shape[1], np.nan), where=counts > 0)
    whole = float("nan")
    if cells is not None:
        _, members = np.unique(cells, return_inverse=True)
        whole = float((np.bincount(members, weights=~hits) == 0).mean())
    singletons, empty = float(np.mean(sizes == 1)), float(np.mean(sizes == 0))
    return SetReport(len(truth), float(hits.mean()), by_class, float(sizes.mean()), singletons, empty, whole)


def _threshold(
    own: np.ndarray, cells: np.ndarray | None, guarantee: Guarantee, generator: np.random.Generator | None
) -> tuple[float, int]:
    """Return the score at which the mass reaches 1 - alpha (infinity if it never does) and the number of units."""
    if guarantee.unit == "chromosome" or cells is None:
        masses, units = np.full(len(own), 1 / (len(own) + 1)), len(own)
    else:
        _, members, sizes = np.unique(cells, return_inverse=True, return_counts=True)
        units = len(sizes)
        if guarantee.unit == "hierarchical":
            masses = 1 / ((units + 1) * sizes[members])
        else:
            order = np.argsort(own, kind="stable") if generator is None else generator.permutation(len(own))
            last = np.zeros(units, dtype=np.int64)
            last[members[order]] = order  # of a cell's chromosomes the last stays: the worst, or a random one
            own, masses = own[last], np.full(units, 1 / (units + 1))
    order = np.argsort(own, kind="stable")
    reached = np.cumsum(masses[order]) >= 1 - guarantee.alpha - _ROUNDING
    return (float(own[order[reached.argmax()]]) if reached.any() else float("inf")), units


def _probabilities(values: np.ndarray) -> np.ndarray:
    values = _scores(values)
    if values.min() < 0 or values.max() > 1 + 1e-6:
        raise ValueError("probabilities lie in 0..1; logits need a softmax first")
    return values


def _scores(values: np.ndarray, classes: int | None = None) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.size == 0 or values.shape[1] != (classes or values.shape[1]):
        raise ValueError(f"expected a non-empty [N, {classes or 'K'}] array, not {list(values.shape)}")
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).any(axis=1).sum())} of {len(values)} rows hold NaN")
    return values


def _labelled(truth: np.ndarray, cells: np.ndarray | None, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    truth = np.asarray(truth)
    if truth.shape != rows.shape[:1] or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(f"truth must be integers [{len(rows)}], not {truth.dtype} {list(truth.shape)}")
    if truth.min() < 0 or truth.max() >= rows.shape[1]:
        raise ValueError(f"truth holds classes outside 0..{rows.shape[1] - 1}")
    if cells is not None and np.shape(cells) != truth.shape:
        raise ValueError(f"cells must have one value for each of the {len(rows)} images, not {list(np.shape(cells))}")
    return truth.astype(np.int64), None if cells is None else np.asarray(cells)
