"""What share of a patient's cells has a change, of a few cells whose counts are right most of the time.

Of n cells x show the change. The plain interval is that of Clopper & Pearson (1934) for x / n. It says nothing of the
cells in which the change was missed or invented. The melded interval (Bayer, Fay & Graubard 2023, Statistics in
Medicine, "Confidence intervals for prevalence estimates from complex surveys with imperfect assays") takes the
sensitivity s and the false alarms f, of which each is known from so many trials only, as Clopper & Pearson's confidence
distributions say: its limits are the fractions p with which x or more cells, or x or fewer, would show the change with
a probability of half of what is left to error, averaged over those distributions,

    E[P(X >= x; n, p s + (1 - p) f)] = 0.025,    E[P(X <= x; n, p s + (1 - p) f)] = 0.025.

Where s is 1 and f is 0 that is the plain interval. How often a change is missed differs from patient to patient and is
known as a mean only; so what is returned is the melded interval widened until it holds the plain one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binom

from bandbridge.evaluation.count_rates import Share

LEVEL = 0.95
#: Quantiles that stand for a confidence distribution.
_POINTS = (np.arange(40) + 0.5) / 40
#: A share that is known: as many trials as make no difference.
CERTAIN, NEVER = Share(1e12, 1e12), Share(0.0, 1e12)


def clopper_pearson(hits: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the plain interval of a share. Raises :class:`ValueError` unless 0 <= hits <= trials and trials > 0."""
    if not 0 <= hits <= trials or trials <= 0:
        raise ValueError(f"{hits} of {trials} is no share")
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def melded_interval(
    hits: int, trials: int, sensitivity: Share, false_alarms: Share, level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of the fraction of cells with the change, ``hits`` of ``trials`` of which show it.

    It holds that of :func:`clopper_pearson`, and raises as that does. (0, 1) where the change is shown no more often
    with than without it.
    """
    plain = clopper_pearson(hits, trials, level)
    if sensitivity.value <= false_alarms.value:
        return 0.0, 1.0
    tail = (1 - level) / 2
    shown, invented = _upper(sensitivity), _upper(false_alarms)
    low = _solve(lambda p: _at_least(hits, trials, _rate(p, shown, invented)) - tail) if hits else 0.0
    shown, invented = _lower(sensitivity), _lower(false_alarms)
    high = _solve(lambda p: tail - _at_most(hits, trials, _rate(p, shown, invented))) if hits < trials else 1.0
    return min(low, plain[0]), max(high, plain[1])


def estimated_fraction(hits: int, trials: int, sensitivity: Share, false_alarms: Share) -> float:
    """Return the likeliest fraction, 0..1 (Rogan & Gladen 1978); NaN where the change is shown without it as often."""
    width = sensitivity.value - false_alarms.value
    return float(np.clip((hits / trials - false_alarms.value) / width, 0, 1)) if width > 0 else float("nan")


def chance_of(hits: int, trials: int, false_alarms: Share) -> float:
    """Return how likely so many cells, or more, show a change that the patient has not, averaged as above."""
    return _at_least(hits, trials, _upper(false_alarms)) if hits else 1.0


def least_shown(trials: int, needed: int = 1, sensitivity: Share = CERTAIN, level: float = LEVEL) -> float:
    """Return the smallest fraction that ``needed`` of ``trials`` cells show with probability ``level``.

    A smaller mosaic cannot be excluded with these cells. False alarms are no help and are not counted. Infinity where
    even a change in every cell would be missed too often. For one cell and a change that is never missed it is
    1 - (1 - level) ** (1 / trials), as tabled by Hook (1977, American Journal of Human Genetics 29:94).
    """
    if needed > trials:
        return float("inf")
    shown = _lower(sensitivity)
    if _at_least(needed, trials, shown) < level:
        return float("inf")
    return _solve(lambda p: _at_least(needed, trials, p * shown) - level)


def _upper(share: Share) -> np.ndarray:
    missed = share.trials - share.hits
    return np.asarray(beta.ppf(_POINTS, share.hits + 1, missed)) if missed > 0 else np.ones(len(_POINTS))


def _lower(share: Share) -> np.ndarray:
    if share.hits <= 0:
        return np.zeros(len(_POINTS))
    return np.asarray(beta.ppf(_POINTS, share.hits, share.trials - share.hits + 1))


def _rate(fraction: float, shown: np.ndarray, invented: np.ndarray) -> np.ndarray:
    return fraction * shown[:, None] + (1 - fraction) * invented[None, :]


def _at_least(hits: int, trials: int, rate: np.ndarray) -> float:
    return float(binom.sf(hits - 1, trials, rate).mean())


def _at_most(hits: int, trials: int, rate: np.ndarray) -> float:
    return float(binom.cdf(hits, trials, rate).mean())


def _solve(excess: Callable[[float], float]) -> float:
    """Return where ``excess``, which rises, passes 0 between 0 and 1; an end where it does not."""
    if excess(0.0) >= 0:
        return 0.0
    return float(brentq(excess, 0.0, 1.0, xtol=1e-6)) if excess(1.0) > 0 else 1.0
