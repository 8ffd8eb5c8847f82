"""95% intervals for what is measured on chromosomes of whole cells, from few cells and near 0 and 1.

Chromosomes of one cell, and cells of one patient, share a spread, a stain and a camera: they are right and wrong
together, and say less than as many independent ones. A share that was 100% has no spread to resample at all. All
functions here take sums over independent units (patients, cells, or images by themselves).

**Shares and Macro-F1** have the exact interval of Clopper & Pearson (1934) for an effective number of images, as Korn
& Graubard (1998, Survey Methodology 24:193-201) propose: n over the design effect, which is the variance over whole
units (of a ratio, Cochran 1977, Sampling Techniques, chapter 9A; of Macro-F1, linearised) over that of independent
images, at least 1, and times the squared ratio of the t quantiles for the units and for the images. For the published
rule a rare error is too clear a matter: three bad cells among sixty say little of how bad a bad cell can be. In
simulations with 99.5% right and a correlation of 0.2 within cells its intervals cover 83 to 88%. Here the degrees of
freedom are those of the units that hold both sides of the question (an error, say, and not only errors), as far as
that goes no further than a correlation of :data:`MOST_KINSHIP`; where no unit holds any error, that correlation is
assumed. From 3 to 60 cells of 46, correlations of 0 to 0.2 and shares of 0.7 to 0.999 this covers 93 to 100%; the
percentiles of a bootstrap of Macro-F1 cover 30 to 93% (``benchmarks/appraisal_coverage.py``). Where every unit is one
image it is the interval of Clopper & Pearson.

**Means** (of set sizes, of confidence minus accuracy) have t intervals over units, and the **calibration error** one
from a bootstrap over units; both are stated only where :data:`FEWEST_TELLING` units can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import betaincinv, stdtrit

LEVEL = 0.95
#: With fewer units of several images a design effect cannot be estimated: intervals of two would span nearly 0 to 1.
FEWEST_UNITS = 3
#: Units holding an error (or another set size) that the calibration error and means need. Simulated intervals of 10 and
#: more cover 92 to 100%, of fewer than five about 80%: what is rare is then not in the sample.
FEWEST_TELLING = 10
#: Groups (patients, cells, images) that percentiles of a bootstrap over them need. Of fewer than 20 they hold the truth
#: in 80 to 89 of 100 simulations, and in 62 to 81 where the groups at hand happen to agree; of 20 in 92 and 87
#: (``benchmarks/interval_coverage.py --of groups``).
FEWEST_RESAMPLED = 20
#: The correlation within units that cannot be ruled out where hardly any unit has an error.
MOST_KINSHIP = 0.2
#: Numbers of one block of resamples: bounds the memory at some 30 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A number, its 95% interval, and the ``n`` images or cells behind it; NaN for what cannot be said."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return not math.isnan(self.low)


@dataclass(frozen=True, eq=False)
class Units:
    """The independent unit that each of N rows (images, or cells) belongs to: ``of`` int64 [N] in 0..``count``-1."""

    of: np.ndarray
    count: int

    @classmethod
    def named(cls, names: pd.Series) -> Units:
        """Return the units that the ``names`` of N rows tell apart."""
        of, known = pd.factorize(names, sort=True)
        return cls(of.astype(np.int64), len(known))

    def totals(self, values: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Return the sum of ``values`` real [N] over the rows ``among`` bool [N] in each unit, float64 [G]."""
        return np.bincount(self.of[among], np.asarray(values, dtype=np.float64)[among], self.count)

    def share(self, hits: np.ndarray, among: np.ndarray) -> Estimate:
        """Return the share of ``hits`` bool [N] among the rows ``among``."""
        return estimate_share(self.totals(hits, among), self.totals(among, among))

    def class_counts(self, truth: np.ndarray, guess: np.ndarray, classes: int, among: np.ndarray) -> np.ndarray:
        """Return hits, images and guesses of each class in each unit, int64 [G, 3, C]; a guess of -1 is of none."""

        def tally(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
            flat = np.bincount(self.of[rows] * classes + labels[rows], minlength=self.count * classes)
            return flat.reshape(self.count, classes)

        parts = (tally(truth, among & (guess == truth)), tally(truth, among), tally(guess, among & (guess >= 0)))
        return np.stack(parts, axis=1)

    def telling(self, one_side: np.ndarray, among: np.ndarray) -> int:
        """Return how many units hold a row of one side, or how many one of the other, whichever are fewer."""
        return min(int((self.totals(side, among) > 0).sum()) for side in (one_side, ~one_side))


def estimate_share(hits: np.ndarray, sizes: np.ndarray) -> Estimate:
    """Return the share of ``hits`` among ``sizes``, integers [G] of each unit, in 0..1.

    Units without images count for nothing. There is no interval where fewer than :data:`FEWEST_UNITS` units are left,
    unless each of them is one image. Raises :class:`ValueError` for hits that are not 0..``sizes``.
    """
    hits, sizes = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if hits.shape != sizes.shape or hits.ndim != 1 or (hits < 0).any() or (hits > sizes).any():
        raise ValueError("hits and sizes must be [G], and no unit can have more hits than images")
    hits, sizes = hits[sizes > 0], sizes[sizes > 0]
    images, units = int(sizes.sum()), len(sizes)
    if images == 0:
        return Estimate()
    share = float(hits.sum()) / images
    if units == images:
        return Estimate(share, *_clopper_pearson(share, images), images)
    if units < FEWEST_UNITS:
        return Estimate(share, n=images)
    variance = _variance(hits - share * sizes) / images**2
    telling = min(int((hits > 0).sum()), int((hits < sizes).sum()))
    effect = _design_effect(variance, share, images, sizes, telling)
    return Estimate(share, *_clopper_pearson(share, images / effect), images)


def estimate_macro_f1(counts: np.ndarray) -> Estimate:
    """Return the mean F1 of the classes that have images, in 0..1.

    ``counts`` is integers [G, 3, C]: of each unit the hits, the images and the guesses of each class. A class without
    images is left out: it could only be right or absent, and Eq. 4 of the paper would count it as a failure.
    """
    counts = np.asarray(counts, dtype=np.float64)
    counts = counts[counts[:, 1].sum(axis=1) > 0]
    counts = counts[:, :, counts[:, 1].sum(axis=0) > 0]
    units, _, classes = counts.shape
    hits, support, guesses = counts.sum(axis=0)
    images = int(support.sum())
    if images == 0:
        return Estimate()
    f1 = 2 * hits / (support + guesses)
    value = float(f1.mean())
    if units < FEWEST_UNITS:
        return Estimate(value, n=images)
    influence = (2 * counts[:, 0] - f1 * (counts[:, 1] + counts[:, 2])) / (support + guesses)
    right, sizes = counts[:, 0].sum(axis=1), counts[:, 1].sum(axis=1)
    telling = min(int((right < sizes).sum()), int((right > 0).sum()))
    # Rare classes weigh as much as frequent ones: as many images in equal classes would say as much.
    balanced = classes**2 / float((1 / support).sum())
    effect = _design_effect(_variance(influence.mean(axis=1)), value, balanced, sizes, telling)
    return Estimate(value, *_clopper_pearson(value, balanced / effect), images)


def estimate_mean(sums: np.ndarray, sizes: np.ndarray, telling: int) -> Estimate:
    """Return the mean over images from the ``sums``, real [G], over the ``sizes`` images of each unit.

    ``telling`` units hold what varies; they are the degrees of freedom of the t interval, at most G - 1.
    """
    sums, sizes = np.asarray(sums, dtype=np.float64)[sizes > 0], np.asarray(sizes, dtype=np.float64)[sizes > 0]
    images, units = int(sizes.sum()), len(sizes)
    if images == 0:
        return Estimate()
    value = float(sums.sum()) / images
    if telling < FEWEST_TELLING:
        return Estimate(value, n=images)
    margin = _t(min(telling, units - 1)) * math.sqrt(_variance(sums - value * sizes)) / images
    return Estimate(value, value - margin, value + margin, images)


def estimate_calibration_error(
    excess: np.ndarray, sizes: np.ndarray, telling: int, generator: np.random.Generator, iterations: int = 2000
) -> Estimate:
    """Return sum_m |sum_g excess_gm| / n, in 0..1, with an interval from ``iterations`` resamples of whole units.

    ``excess`` is real [G, M]: of each unit and bin of confidence the correct images minus the sum of confidences;
    ``sizes`` integers [G]; ``telling`` units hold an error. Chance only ever adds to this number (Jensen), and does so
    again in each resample: the percentiles of the resamples lie above the truth, and cover it in hardly any simulation
    of a well calibrated model. So the upper end is the value and a t quantile of the resamples' standard deviation,
    which leaves out the fall that is due, and the lower end gives up as much as the differences of all bins together
    exceed in one resample of twenty, which no change of the bins can outdo (triangle inequality): conservative, 96%.
    """
    excess, sizes = np.asarray(excess, dtype=np.float64)[sizes > 0], np.asarray(sizes, dtype=np.float64)[sizes > 0]
    images, units = int(sizes.sum()), len(sizes)
    if images == 0:
        return Estimate()
    bins = excess.sum(axis=0) / images
    value = float(np.abs(bins).sum())
    if telling < FEWEST_TELLING:
        return Estimate(value, n=images)
    resampled = _resample(np.column_stack([excess, sizes]), generator, iterations)
    resampled = resampled[:, :-1] / resampled[:, -1:]
    wider = math.sqrt(units / (units - 1))
    fall = wider * float(np.quantile(np.abs(resampled - bins).sum(axis=1), LEVEL))
    rise = wider * _t(units - 1) * float(np.abs(resampled).sum(axis=1).std())
    return Estimate(value, max(0.0, value - fall), min(1.0, value + rise), images)


def _resample(sums: np.ndarray, generator: np.random.Generator, iterations: int) -> np.ndarray:
    """Totals float64 [``iterations``, K] of as many units as there are, drawn with replacement from ``sums`` [G, K]."""
    units = len(sums)
    block = max(1, _BLOCK // units)
    totals = []
    for start in range(0, iterations, block):
        drawn = generator.multinomial(units, np.full(units, 1 / units), size=min(block, iterations - start))
        totals.append(drawn.astype(np.float64) @ sums)
    return np.concatenate(totals)


def _design_effect(variance: float, share: float, images: float, sizes: np.ndarray, telling: int) -> float:
    """How many of the ``images`` say as much as an independent one, at least 1."""
    largest = 1 + (float((sizes**2).sum() / sizes.sum()) - 1) * MOST_KINSHIP
    if telling == 0:
        return largest
    seen = max(1.0, variance * (images - 1) / (share * (1 - share)))
    units, known = len(sizes) - 1, _t(images - 1)
    few, fewer = (max(1.0, _t(freedom) / known) ** 2 for freedom in (units, min(telling, units)))
    return max(seen * few, min(seen * fewer, largest))


def _variance(residuals: np.ndarray) -> float:
    """The variance of a sum over units with these ``residuals`` [G], which have a mean of zero."""
    units = len(residuals)
    return units / (units - 1) * float((residuals**2).sum())


def _t(freedom: float) -> float:
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _clopper_pearson(share: float, images: float) -> tuple[float, float]:
    """The exact interval of a binomial share, for a number of images that need not be whole."""
    tail, hits, misses = (1 - LEVEL) / 2, share * images, (1 - share) * images
    low = float(betaincinv(hits, misses + 1, tail)) if share > 0 else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - tail)) if share < 1 else 1.0
    return low, high
