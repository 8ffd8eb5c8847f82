"""How far new trainings scatter, learned from all comparisons of a study instead of from a few folds each.

Two folds that happen to agree make a t interval as narrow as one likes. The comparisons of a study scatter by like
amounts, though: their true variances are taken as draws from one scaled inverse chi-square law, whose degrees of
freedom d0 and scale s0^2 the observed variances tell (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3, section 3). A
variance s^2 of d degrees of freedom is then known as (d0 s0^2 + d s^2) / (d0 + d) with d0 + d of them. Smyth's point
estimates of d0 and s0^2 take hundreds of variances; a study has few. So both are integrated out here: log s0^2 has a
flat prior, d0 / (d0 + 4) a uniform one, and what is known of a variance is a mixture. Of one comparison alone it is its
own t. In simulations of two to sixteen comparisons it covers better than the point estimates do
(``benchmarks/interval_coverage.py --of folds``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, stdtr, stdtrit

from bandbridge.evaluation.comparison import TTest, t_test

#: The correlation of two comparisons over the same folds that cannot be ruled out; their variances correlate by its
#: square.
KINSHIP = 0.5
#: Half of the prior of d0 lies below the first; the values that stand for all, the last one for equal variances.
_HALF_WAY = 4.0
_DEGREES = np.array([1, 2, 3, 4, 6, 8, 12, 20, 50, 1e4])
#: Folds that the comparisons of a study need, by their number at least: with fewer the interval for new trainings holds
#: the truth in less than 92 of 100 simulated studies, or in less than 85 of 100 of the quarter whose folds happen to
#: agree most (``benchmarks/interval_coverage.py --of folds``). Two folds never do: of a mean over architectures they
#: cover 89.
_FEWEST_FOLDS = {1: 7, 2: 6, 4: 3}
#: From so many comparisons on, more of them do not make up for folds.
MANY_COMPARISONS = max(_FEWEST_FOLDS)
#: Step and reach of the grid of log s0^2, beyond the smallest and the largest observed variance.
_STEP, _REACH = 0.25, (6.0, 12.0)


@dataclass(frozen=True, eq=False)
class Spread:
    """What is known of one variance: a mixture of K scaled inverse chi-square laws, float64 [K] each.

    ``variance`` is in the squared unit of the values, ``df`` are degrees of freedom, ``weight`` sums to 1.
    """

    variance: np.ndarray
    df: np.ndarray
    weight: np.ndarray

    @classmethod
    def alone(cls, variance: float, df: float) -> Spread:
        """Return what a variance of ``df`` degrees of freedom says by itself."""
        return cls(np.array([variance]), np.array([float(df)]), np.ones(1))

    def times(self, factor: float) -> Spread:
        """Return the same of ``factor`` times the variance."""
        return Spread(factor * self.variance, self.df, self.weight)

    def p(self, mean: float, factor: float) -> float:
        """Return the two-sided p value of a ``mean`` whose own variance is ``factor`` times this one."""
        return float(2 * self.weight @ stdtr(self.df, -abs(mean) / np.sqrt(factor * self.variance)))

    def test(self, mean: float, factor: float, level: float = 0.95) -> TTest:
        """Return interval and test of a ``mean`` whose own variance is ``factor`` times this one.

        The degrees of freedom are the harmonic mean of those mixed; ``t`` is that of Student's law of so many whose
        interval is as wide.
        """
        if len(self.weight) == 1:
            return t_test(mean, factor * float(self.variance[0]), float(self.df[0]), level)
        upper = math.sqrt(factor * float(self.variance.max()))
        while self.p(upper, factor) > 1 - level:
            upper *= 2
        margin = float(brentq(lambda value: self.p(value, factor) - (1 - level), 0.0, upper, rtol=1e-10))
        df = 1 / float(self.weight @ (1 / self.df))
        t = mean / margin * float(stdtrit(df, 0.5 + level / 2))
        return TTest(mean, mean - margin, mean + margin, t, df, self.p(mean, factor))


def fewest_folds(comparisons: int) -> int:
    """Return how many folds an interval for new trainings needs where ``comparisons`` tell how far these scatter."""
    return _FEWEST_FOLDS[max(count for count in _FEWEST_FOLDS if count <= max(comparisons, 1))]


def moderate(variances: np.ndarray, df: int) -> Iterator[Spread]:
    """Yield what is known of each of ``variances``, float [G] above 0 with ``df`` degrees of freedom each.

    The comparisons of a study share folds, images and trainings. Of every other one the likelihood counts
    1 / (1 + (G - 1) ``KINSHIP``^2) times, as if as many were independent. Raises :class:`ValueError` for variances that
    are not above 0.
    """
    variances = np.asarray(variances, dtype=np.float64)
    if variances.ndim != 1 or df < 1 or not (np.isfinite(variances) & (variances > 0)).all():
        raise ValueError("variances must be one row of finite numbers above 0, of at least one degree of freedom")
    if len(variances) < 2:
        yield from (Spread.alone(float(one), df) for one in variances)
        return
    below, beyond = _REACH
    scale = np.exp(np.arange(np.log(variances.min()) - below, np.log(variances.max()) + beyond, _STEP))
    degrees, scale = (axis.ravel() for axis in np.meshgrid(_DEGREES, scale, indexing="ij"))
    likelihood = _log_likelihood(variances[:, None], df, degrees, scale)
    counted = 1 / (1 + (len(variances) - 1) * KINSHIP**2)
    shared = counted * likelihood.sum(axis=0) + np.log(_prior(degrees))
    for own, variance in zip(likelihood, variances, strict=True):
        log_weight = shared + (1 - counted) * own
        weight = np.exp(log_weight - log_weight.max())
        known = weight > 1e-9 * weight.max()
        moderated = (degrees * scale + df * variance) / (degrees + df)
        yield Spread(moderated[known], degrees[known] + df, weight[known] / weight[known].sum())


def _prior(degrees: np.ndarray) -> np.ndarray:
    """The prior probability of each of the values that stand for all d0, up to a factor."""
    share = _DEGREES / (_DEGREES + _HALF_WAY)
    edges = np.concatenate([[0], (share[1:] + share[:-1]) / 2, [1]])
    return np.diff(edges)[np.searchsorted(_DEGREES, degrees)]


def _log_likelihood(variances: np.ndarray, df: int, degrees: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """log density of s^2 up to a constant: s^2 / s0^2 follows F with ``df`` and ``degrees``."""
    ratio = df * variances / (degrees * scale)
    constant = gammaln((df + degrees) / 2) - gammaln(degrees / 2)
    return constant + df / 2 * np.log(ratio) - (df + degrees) / 2 * np.log1p(ratio)
