"""One answer from many architectures: two crossed random effects, architecture and fold.

Every architecture is trained on the same folds, so that eleven architectures on five folds are neither 55 independent
differences nor eleven: an easy fold is easy for all. The model of a difference is

    d[i, j] = mean + architecture[i] + fold[j] + rest[i, j],

every term but the mean random: the architectures and the folds at hand stand for others like them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bandbridge.evaluation.comparison import TTest
from bandbridge.evaluation.moderation import Spread

#: Standard errors below this part of the largest difference are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CrossedEffects:
    """The grand mean of I architectures on J folds with its interval and test, and where the scatter comes from.

    ``architecture_sd``, ``fold_sd`` and ``rest_sd`` are square roots of the method-of-moments variance components, 0
    for a component whose estimate is negative, in the unit of the differences. ``helped`` counts the architectures
    whose own mean is above zero, ``fold_mean_variance`` is the sample variance of the fold means.
    """

    overall: TTest
    architecture_sd: float
    fold_sd: float
    rest_sd: float
    helped: int
    architectures: int
    folds: int
    fold_mean_variance: float


def crossed_effects(
    differences: np.ndarray, test_share: float = 0.0, level: float = 0.95, spread: Spread | None = None
) -> CrossedEffects:
    """Return the grand mean of ``differences``, float [I, J] with both at least 2, under two crossed random effects.

    The squared standard error is that of the architecture means plus that of the fold means, the latter by the factor
    of the corrected resampled t test: s2(rows) / I + (1 / J + ``test_share``) * s2(columns), with ``test_share`` 0 for
    independent folds and n_test / n_train for those of a cross-validation (Nadeau & Bengio 2003). Each part holds the
    rest's share of the scatter; the unbiased estimate takes one of the two away again. It is left in, so that the
    interval is rather too wide, because Satterthwaite's degrees of freedom (1946, Biometrics Bulletin 2:110-114), used
    here, do not hold for differences of mean squares. With two folds they are still too many: an interval of 95%
    then covers some 90%.

    ``spread`` is what other comparisons too say of the variance of the fold means
    (:func:`bandbridge.evaluation.moderation.moderate`); None: what these folds say by themselves.

    Interval and test are NaN where the row means agree and the column means too. Raises :class:`ValueError` for
    fewer than two rows or columns, values that are not finite or a negative ``test_share``.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 2 or min(differences.shape) < 2 or not np.isfinite(differences).all():
        raise ValueError("crossed effects need finite differences of two architectures and two folds at least")
    if not 0 <= test_share < math.inf or not 0 < level < 1:
        raise ValueError("crossed effects need a test share of at least 0 and a level between 0 and 1")
    rows, columns = differences.shape
    mean, of_rows, of_columns = differences.mean(), differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - of_rows[:, None] - of_columns + mean
    rest_variance = float(np.sum(rest**2)) / ((rows - 1) * (columns - 1))
    row_variance, column_variance = float(of_rows.var(ddof=1)), float(of_columns.var(ddof=1))
    known = spread if spread is not None else Spread.alone(column_variance, columns - 1)
    return CrossedEffects(
        overall=_overall(differences, row_variance / rows, known.times(1 / columns + test_share), level),
        architecture_sd=math.sqrt(max(row_variance - rest_variance / columns, 0)),
        fold_sd=math.sqrt(max(column_variance - rest_variance / rows, 0)),
        rest_sd=math.sqrt(rest_variance),
        helped=int(np.sum(of_rows > 0)),
        architectures=rows,
        folds=columns,
        fold_mean_variance=column_variance,
    )


def balanced(differences: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the rows (architectures) that have every column (fold), and the names of those left out.

    The method of moments is exact for complete tables alone, and an architecture without its hard folds would count
    as a good one.
    """
    incomplete = differences.isna().any(axis=1)
    return differences.loc[~incomplete], tuple(map(str, differences.index[incomplete]))


def _overall(differences: np.ndarray, from_rows: float, from_columns: Spread, level: float) -> TTest:
    """The test of the grand mean, whose squared standard error is the sum of two independent parts."""
    rows = len(differences)
    mean, variance = float(differences.mean()), from_rows + from_columns.variance
    if variance.max() <= (_ROUNDING * np.abs(differences).max()) ** 2:
        return TTest(mean, math.nan, math.nan, math.nan, math.nan, math.nan)
    df = variance**2 / (from_rows**2 / (rows - 1) + from_columns.variance**2 / from_columns.df)
    return Spread(variance, df, from_columns.weight).test(mean, 1.0, level)
