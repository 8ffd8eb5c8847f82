"""Comparing two training approaches over the folds they share, as the paper does (Statistical analysis)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it, in the unit of the values it was computed from."""

    mean: float
    low: float
    high: float


def paired_differences(approach: pd.Series, reference: pd.Series) -> pd.Series:
    """Return ``approach`` minus ``reference`` for every fold that both have, in fold order.

    Both are float series indexed by fold. A fold listed twice raises :class:`ValueError`: it could not be
    paired.
    """
    for scores in (approach, reference):
        if not scores.index.is_unique:
            twice = sorted(set(scores.index[scores.index.duplicated()]))
            raise ValueError(f"folds {twice} have more than one score, so they cannot be paired")
    shared = approach.index.intersection(reference.index).sort_values()
    return approach.loc[shared] - reference.loc[shared]


def percentile_bootstrap(
    differences: np.ndarray, iterations: int = 10_000, *, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """Return the mean of ``differences`` and its percentile bootstrap interval.

    ``differences`` is float [n], n at least 2; each of the ``iterations`` resamples draws n of them with
    replacement, and the interval ends are percentiles of the resampled means (2.5 and 97.5 for ``level``
    0.95). With few folds the interval covers less than its name says: no resampled mean leaves the observed
    range. Raises :class:`ValueError` for fewer than two differences, values that are not finite or a level
    outside 0..1.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 2 or not np.isfinite(differences).all():
        raise ValueError("a bootstrap needs at least two finite differences, as one row")
    if iterations < 1 or not 0 < level < 1:
        raise ValueError("a bootstrap needs at least one iteration and a level between 0 and 1")
    count = len(differences)
    means = differences[generator.integers(count, size=(iterations, count))].mean(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(differences.mean()), float(low), float(high))
