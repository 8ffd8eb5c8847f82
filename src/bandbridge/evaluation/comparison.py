"""Comparing two training approaches over the folds they share: the paper's bootstrap, and what it leaves out.

The published percentile bootstrap resamples the folds as if they were independent, and with few of them it cannot
reach beyond the smallest and the largest. The t intervals know how little a few folds say, and the corrected one also
knows that the folds of a cross-validation share most of their training images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtr, stdtr, stdtrit

#: Differences that agree to this part of their size differ by rounding alone.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it, in the unit of the values it was computed from."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class TTest:
    """A mean with its t interval and the two-sided test of a mean of zero.

    ``mean``, ``low`` and ``high`` are in the unit of the differences; ``df`` are the degrees of freedom. Differences
    that are all equal say nothing about their variance: ``low``, ``high``, ``t`` and ``p`` are then NaN. (A t test
    would call them infinitely certain; with scores of a few hundred images they are a coincidence of rounding.)
    """

    mean: float
    low: float
    high: float
    t: float
    df: float
    p: float


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
    differences = _row_of_differences(differences, "a bootstrap")
    if iterations < 1 or not 0 < level < 1:
        raise ValueError("a bootstrap needs at least one iteration and a level between 0 and 1")
    count = len(differences)
    means = differences[generator.integers(count, size=(iterations, count))].mean(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(differences.mean()), float(low), float(high))


def student_t(differences: np.ndarray, level: float = 0.95) -> TTest:
    """Return Student's one-sample t test of ``differences``, float [n] with n at least 2, and its interval.

    It takes the folds for independent, which those of a cross-validation are not (Dietterich 1998): see
    :func:`corrected_resampled_t`. Raises as that does.
    """
    return corrected_resampled_t(differences, 0.0, level)


def corrected_resampled_t(differences: np.ndarray, test_share: float, level: float = 0.95) -> TTest:
    """Return the corrected resampled t test of Nadeau & Bengio (2003, Machine Learning 52:239-281, section 4.1).

    ``differences`` is float [J], one for each of J at least 2 folds; ``test_share`` is n_test / n_train, 1 / (k - 1)
    for k folds, however many of them were trained. The variance of the mean is taken as (1 / J + ``test_share``)
    times the sample variance, with J - 1 degrees of freedom: differences of trainings that share images are taken to
    correlate by n_test / (n_test + n_train). Raises :class:`ValueError` for fewer than two differences, values that
    are not finite, a negative ``test_share`` or a level outside 0..1.
    """
    differences = _row_of_differences(differences, "a t test")
    if not (0 <= test_share < math.inf and 0 < level < 1):
        raise ValueError("a t test needs a test share of at least 0 and a level between 0 and 1")
    count, mean = len(differences), float(differences.mean())
    if np.ptp(differences) <= _ROUNDING * np.abs(differences).max():
        return TTest(mean, math.nan, math.nan, math.nan, count - 1, math.nan)
    variance = float(differences.var(ddof=1)) * (1 / count + test_share)
    return t_test(mean, variance, count - 1, level)


def t_test(mean: float, variance: float, df: float, level: float = 0.95) -> TTest:
    """Return the t interval and test of an estimate ``mean`` whose own ``variance``, above 0, has ``df`` degrees."""
    error = math.sqrt(variance)
    margin = float(stdtrit(df, 0.5 + level / 2)) * error
    return TTest(mean, mean - margin, mean + margin, mean / error, df, float(2 * stdtr(df, -abs(mean) / error)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return the p values, float [M] in 0..1, adjusted by Holm's step-down (1979, Scand. J. Statist. 6:65-70).

    An adjusted value below alpha keeps the chance of any false positive among all M below alpha, however the tests
    depend on one another. NaN stands for a comparison that could not be made: it stays NaN and counts for nothing.
    Raises :class:`ValueError` for values outside 0..1.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    made = np.flatnonzero(~np.isnan(p_values))
    if p_values.ndim != 1 or ((p_values[made] < 0) | (p_values[made] > 1)).any():
        raise ValueError("p values must be one row of numbers in 0..1, NaN where there is none")
    order = made[np.argsort(p_values[made], kind="stable")]
    adjusted = np.full(len(p_values), np.nan)
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def detectable_difference(
    deviation: float,
    folds: int,
    test_share: float = 0.0,
    *,
    df: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Return the smallest true mean difference that the two-sided t test over ``folds`` folds finds with ``power``.

    Found means rejected at ``alpha``, on the right side. ``deviation`` is the standard deviation of the fold
    differences, taken for the true one, and the result is in its unit; ``test_share`` 0 asks for Student's test,
    n_test / n_train for the corrected one. Under a true difference d the statistic follows the noncentral t with ``df``
    degrees of freedom, folds - 1 unless given, and noncentrality
    d / (``deviation`` * sqrt(1 / folds + ``test_share``)). NaN where the deviation is NaN or zero or there are fewer
    than two folds: nothing can be said. Raises :class:`ValueError` unless 0 < alpha < power < 1.
    """
    from scipy.stats import nct  # half a second, which predicting does without

    if not 0 < alpha < power < 1:
        raise ValueError("the power must lie between alpha and 1, and alpha above 0")
    if folds < 2 or not deviation > 0:
        return math.nan
    df = folds - 1 if df is None else df
    critical = float(stdtrit(df, 1 - alpha / 2))

    def shortfall(noncentrality: float) -> float:
        return power - float(nct.sf(critical, df, noncentrality))

    upper = 1.0
    while shortfall(upper) > 0:
        upper *= 2
    return deviation * math.sqrt(1 / folds + test_share) * float(brentq(shortfall, 0.0, upper, xtol=1e-10))


def equivalence_p(mean: float, variance: float, df: float, margin: float) -> float:
    """Return the p value of two one-sided t tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657-680).

    The null hypothesis is that the true difference is ``margin`` or more either way; ``mean`` is its estimate, whose
    own ``variance`` has ``df`` degrees of freedom. Below alpha, that the two differ by less than ``margin`` is shown.
    NaN where the variance is zero or NaN. Raises :class:`ValueError` unless ``margin`` is above 0.
    """
    if not margin > 0:
        raise ValueError("a margin of equivalence is above 0")
    if not variance > 0:
        return math.nan
    error = math.sqrt(variance)
    return float(max(stdtr(df, (mean - margin) / error), stdtr(df, (-margin - mean) / error)))


def equivalence_power(deviation: float, folds: int, test_share: float, margin: float, alpha: float) -> float:
    """Return the chance that two one-sided t tests over ``folds`` folds show equivalence where there is no difference.

    ``deviation`` is the true standard deviation of the fold differences, ``test_share`` as in
    :func:`detectable_difference`. Given the sample's own deviation, the mean has to lie within what is left of the
    margin; that is averaged over the law of the sample's deviation.
    """
    from scipy.integrate import quad
    from scipy.stats import chi

    df, error = folds - 1, deviation * math.sqrt(1 / folds + test_share)
    critical = float(stdtrit(df, 1 - alpha)) * error / math.sqrt(df)  # for each unit of a chi variable

    def shown(value: float) -> float:
        left = margin - critical * value
        return (2 * float(ndtr(left / error)) - 1) * float(chi.pdf(value, df)) if left > 0 else 0.0

    low, high = (float(chi.ppf(tail, df)) for tail in (1e-9, 1 - 1e-9))
    high = min(high, margin / critical)
    return float(quad(shown, low, high, limit=200)[0]) if low < high else 0.0


def folds_for_equivalence(
    deviation: float, test_share: float, margin: float, alpha: float, power: float = 0.8, most: int = 100_000
) -> int | None:
    """Return the fewest folds, repeats counted, with which :func:`equivalence_power` reaches ``power``.

    None where ``most`` do not: folds that share images agree by more than their number makes up for. Raises
    :class:`ValueError` for a deviation that is not above 0.
    """
    if not deviation > 0:
        raise ValueError("a standard deviation is above 0")

    def enough(folds: int) -> bool:
        return equivalence_power(deviation, folds, test_share, margin, alpha) >= power

    if not enough(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _row_of_differences(differences: np.ndarray, purpose: str) -> np.ndarray:
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 2 or not np.isfinite(differences).all():
        raise ValueError(f"{purpose} needs at least two finite differences, as one row")
    return differences
