"""Temperature scaling: one number that makes the probabilities of a classifier as sure as they should be.

Guo, Pleiss, Sun & Weinberger 2017 ("On Calibration of Modern Neural Networks", ICML, section 4.2): logits are divided
by the temperature T > 0 that minimises the negative log-likelihood (NLL) of images the classifier was not trained on.
The order of the classes, and with it every decision, stays as it was. In b = 1 / T the NLL is convex: its slope is the
mean of E_b[z] - z_truth and its curvature the mean of Var_b[z], with E_b and Var_b taken over softmax(b z).

Predictions without an error have no such minimum: T would be 0 and every probability 1. Few errors have one that says
little. To the NLL of such images, summed and divided by their design effect, :data:`PRIOR` (b - log b) is added, the
negative logarithm of a gamma density of b with its mode at T = 1. Such a penalty keeps an estimate off the end of its
range while it vanishes beside a likelihood that knows (Chung, Rabe-Hesketh, Dorie, Gelman & Liu 2013, Psychometrika
78:685-709). The gamma is the conjugate prior of a rate: it says what :data:`PRIOR` exponential observations of mean 1
would (Gelman et al. 2013, Bayesian Data Analysis, section 2.6). Without an error in n such images the slope is 0 where
n times the probability left to wrong classes, times their distance from the truth in logits, is (1 - 1 / b) / 2: such
a set is one in which less than half an error was to be expected, and a network that is surer than that keeps T = 1.
The penalty fades from ten errors on; from :data:`bandbridge.evaluation.design_effect.TELLING` on it is gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtri, softmax

from bandbridge.evaluation.design_effect import USUAL, assumed_share, design_effect

#: Temperatures are sought in this range. Without a prior, predictions without an error have their minimum at 0, worse
#: ones than guessing have none at all: both end at a bound.
LOWEST, HIGHEST = 0.02, 50.0
#: Pseudo-observations at T = 1 that are added to the images of a flawless set: half of one, as Jeffreys' prior adds.
PRIOR = 0.5


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, its interval, and the mean NLL (nats per image) of the ``n`` images it was fitted to.

    ``low`` and ``high`` are NaN when ``at_bound``: the NLL of the images alone has no minimum within the range, and
    ``value`` is as far from 1 as the prior lets them move it (the end of the range without a prior).
    """

    value: float
    low: float
    high: float
    nll_before: float
    nll_after: float
    n: int
    at_bound: bool


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Logits float64 [N, K] that were each scaled without their own fold, the temperature by fold, and the mean NLL.

    ``nll_after`` is the honest one: no image had a part in the temperature that scaled it.
    """

    logits: np.ndarray
    temperatures: dict[int, Temperature]
    nll_before: float
    nll_after: float


def fit_temperature(
    logits: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray | None = None,
    level: float = 0.95,
    prior: float = PRIOR,
) -> Temperature:
    """Fit the temperature to out-of-fold ``logits``, real [N, K], of images of class ``truth``, integers [N].

    ``groups`` [N] of any dtype names what is independent of one another, such as the cell of each chromosome; None
    takes every image for independent. Without groups the images of a set with few errors have more weight against the
    ``prior`` (in pseudo-observations; 0: maximum likelihood). Groups also widen the interval, which is normal in log T
    with the sandwich variance of an M-estimator (Huber 1967) summed over groups (Liang & Zeger 1986, Biometrika
    73:13-22). Raises :class:`ValueError` for no image, values that are not finite, classes out of range, arrays of
    different lengths, a level outside 0..1 or a prior below 0.
    """
    logits, truth = _checked(logits, truth)
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, not at {level}")
    if not 0 <= prior < math.inf:
        raise ValueError(f"a prior is worth 0 or more observations, not {prior}")
    groups = None if groups is None else _of_length("groups", groups, truth)
    inverse, at_bound = _best_inverse(logits, truth, 0.0)
    unlearned = prior * assumed_share(int((logits.argmax(axis=1) != truth).sum()))
    if unlearned > 0:
        effect = 1.0 if groups is None else design_effect(logits.argmax(axis=1) != truth, groups, USUAL)
        inverse, _ = _best_inverse(logits, truth, unlearned * effect / len(truth))
    low = high = math.nan
    if not at_bound:
        spread = ndtri((1 + level) / 2) * _log_standard_error(inverse, logits, truth, groups)
        low, high = math.exp(-spread) / inverse, math.exp(spread) / inverse
    before, after = _mean_nll(logits, truth), _mean_nll(logits * inverse, truth)
    return Temperature(1 / inverse, low, high, before, after, len(truth), at_bound)


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return ``logits`` / ``temperature``, float64. :class:`ValueError` unless that is above 0 and finite."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"a temperature is above 0 and finite, not {temperature}")
    return np.asarray(logits, dtype=np.float64) / temperature


def cross_fitted(
    logits: np.ndarray, truth: np.ndarray, folds: np.ndarray, groups: np.ndarray | None = None
) -> CrossFitted:
    """Scale each fold of ``logits``, real [N, K], by the temperature of the other folds.

    ``folds`` is integers [N] with at least two different values; ``groups`` as in :func:`fit_temperature`. The folds
    of a cross-validation come from different models: the change of NLL is that of a temperature carried to a model
    it has not seen, as it is when the model for use is trained on all images. Raises as :func:`fit_temperature`.
    """
    logits, truth = _checked(logits, truth)
    folds = _of_length("folds", folds, truth)
    groups = None if groups is None else _of_length("groups", groups, truth)
    names = np.unique(folds)
    if len(names) < 2:
        raise ValueError("cross-fitting needs at least two folds")
    scaled, temperatures = np.empty_like(logits), {}
    for name in names:
        others = folds != name
        fitted = fit_temperature(logits[others], truth[others], None if groups is None else groups[others])
        temperatures[int(name)] = fitted
        scaled[~others] = apply_temperature(logits[~others], fitted.value)
    return CrossFitted(scaled, temperatures, _mean_nll(logits, truth), _mean_nll(scaled, truth))


def _mean_nll(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean NLL, in nats per image, of ``logits`` real [N, K] for ``truth`` integers [N]."""
    return float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(truth)), truth]))


def _best_inverse(logits: np.ndarray, truth: np.ndarray, prior: float) -> tuple[float, bool]:
    """Return 1 / T where the slope of the NLL is zero, and whether that is an end of the range instead.

    ``prior``: the weight of b - log b beside the mean NLL.
    """

    def slope(inverse: float) -> float:
        return float(_slopes(inverse, logits, truth).mean()) + prior * (1 - 1 / inverse)

    least, most = 1 / HIGHEST, 1 / LOWEST
    if slope(least) >= 0:
        return least, True
    if slope(most) <= 0:
        return most, True
    return float(brentq(slope, least, most, xtol=1e-12)), False


def _slopes(inverse: float, logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the slope of each image's NLL in 1 / T, float64 [N]."""
    expected = (softmax(inverse * logits, axis=1) * logits).sum(axis=1)
    return expected - logits[np.arange(len(truth)), truth]


def _log_standard_error(inverse: float, logits: np.ndarray, truth: np.ndarray, groups: np.ndarray | None) -> float:
    slopes = _slopes(inverse, logits, truth)
    if groups is not None:
        _, members = np.unique(groups, return_inverse=True)
        slopes = np.bincount(members, weights=slopes)
    if len(slopes) < 2:
        return math.nan
    shares = softmax(inverse * logits, axis=1)
    means = (shares * logits).sum(axis=1, keepdims=True)
    curvature = (shares * (logits - means) ** 2).sum()
    variance = len(slopes) / (len(slopes) - 1) * (slopes**2).sum() / curvature**2
    return float(np.sqrt(variance) / inverse)


def _checked(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, truth = np.asarray(logits, dtype=np.float64), np.asarray(truth)
    if logits.ndim != 2 or logits.size == 0 or not np.isfinite(logits).all():
        raise ValueError(f"logits must be finite and a non-empty [N, K] array, not {list(logits.shape)}")
    if truth.shape != logits.shape[:1] or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(f"truth must be integers [{len(logits)}], not {truth.dtype} {list(truth.shape)}")
    if truth.min() < 0 or truth.max() >= logits.shape[1]:
        raise ValueError(f"truth holds classes outside 0..{logits.shape[1] - 1}")
    return logits, truth.astype(np.int64)


def _of_length(name: str, values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != truth.shape:
        raise ValueError(f"{name} must have one value for each of the {len(truth)} images, not {list(values.shape)}")
    return values
