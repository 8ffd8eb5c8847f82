"""Random weights for bootstraps and permutations of two samples, and the intervals and P values drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

#: Images up to which relabellings are computed in float64.
EXACT = 512


@dataclass(frozen=True)
class Measured:
    """A distance with its bootstrap interval and permutation P value.

    value: the estimate from the samples as they are. low, high: ends of the interval. p: (1 + k) / (1 + B), where k of
    the B permutations reach ``value`` or more (Phipson & Smyth 2010), so that it is never 0.
    """

    value: float
    low: float
    high: float
    p: float


def bootstrap_counts(first: int, second: int, iterations: int, generator: np.random.Generator) -> np.ndarray:
    """Return int64 [first + second, iterations]: how often each unit is drawn, each domain with replacement by itself.

    The columns sum to ``first`` over the first domain's rows and to ``second`` over the others.
    """
    parts = [
        generator.multinomial(size, np.full(size, 1 / size), size=iterations).T
        if size < 256
        else _drawn_counts(size, iterations, generator)
        for size in (first, second)
    ]
    return np.concatenate(parts)


def _drawn_counts(size: int, iterations: int, generator: np.random.Generator) -> np.ndarray:
    drawn = generator.integers(size, size=(iterations, size)) + size * np.arange(iterations)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * iterations).reshape(iterations, size).T


def permuted_labels(first: int, second: int, iterations: int, generator: np.random.Generator) -> np.ndarray:
    """Return bool [first + second, iterations]: True for the ``first`` units that each permutation calls the first."""
    labels = np.zeros((iterations, first + second), dtype=bool)
    labels[:, :first] = True
    return generator.permuted(labels, axis=1).T


def relabelling_dtype(count: int) -> type[np.floating]:
    """Return the floats in which ``count`` images are relabelled.

    Few images have few relabellings, and many of them tie with the samples as they are: float64 tells a tie from a
    near miss. Of many images hardly any tie, and float32 is twice as fast.
    """
    return np.float64 if count <= EXACT else np.float32


def rounding_of(dtype: type[np.floating], terms: int) -> float:
    """Return how far a sum of ``terms`` products of one sign may be off, as a share of it.

    In float64 that is the bound (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1), of float32
    what rounding errors of either sign come to (Higham & Mary 2019, SIAM J. Sci. Comput. 41:A2815): the bound would
    be as large as the spread of the permutations.
    """
    unit = float(np.finfo(dtype).eps)
    return unit * (terms + 2 if dtype is np.float64 else np.sqrt(terms + 2))


def p_value(value: float, permuted: np.ndarray, rounding: float | None = None) -> float:
    """Return (1 + k) / (1 + B), k of ``permuted`` [B] being ``value`` or more; NaN where there are none.

    rounding: by how much values that are equal may come out apart; None: for sums of float64 of the order of 1. A
    permutation that gives the samples back, or their mirror image, must count as reaching the value.
    """
    reached = np.sum(permuted >= value - (1e-12 * max(abs(value), 1.0) if rounding is None else rounding))
    return float((1 + reached) / (1 + len(permuted))) if len(permuted) else float("nan")


def percentile_ends(resampled: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of ``resampled`` [B]; NaN where there are none."""
    return _quantiles(resampled, 0.5 * (1 - level), 0.5 * (1 + level))


def bca_ends(
    value: float, resampled: np.ndarray, influence: Sequence[np.ndarray], level: float = 0.95
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval (Efron 1987) of a statistic of several samples.

    resampled: [B], NaN where a resample has no value. influence: for each sample the empirical influence of its units,
    [n_k], from the jackknife; the acceleration is the skewness of their sum (Davison & Hinkley 1997, section 5.3.2). A
    distance is skewed, and its spread grows with its value: the plain percentiles then lie too low.
    """
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled):
        return float("nan"), float("nan")
    below = (np.sum(resampled < value) + 0.5 * np.sum(resampled == value)) / len(resampled)
    bias = ndtri(np.clip(below, 1 / (len(resampled) + 1), 1 - 1 / (len(resampled) + 1)))
    spread = sum(float(np.sum(part**2)) / len(part) ** 2 for part in influence)
    skew = sum(float(np.sum(part**3)) / len(part) ** 3 for part in influence)
    # Not defined for a domain of two units, nor where all weigh alike: the interval is then bias-corrected only.
    acceleration = skew / (6 * spread**1.5) if spread > 0 else 0.0
    normal = bias + ndtri(np.array([0.5 * (1 - level), 0.5 * (1 + level)]))
    low, high = ndtr(bias + normal / (1 - acceleration * normal))
    return _quantiles(resampled, float(low), float(high))


def _quantiles(resampled: np.ndarray, low: float, high: float) -> tuple[float, float]:
    if not len(resampled):
        return float("nan"), float("nan")
    ends = np.quantile(resampled, [low, high])
    return float(ends[0]), float(ends[1])
