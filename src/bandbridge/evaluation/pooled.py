"""Two approaches compared on their pooled out-of-fold predictions, with whole cells as the unit of chance.

Images of one metaphase share its condensation, focus and exposure, and so their errors. Intervals come from a
bootstrap over cells (Davison & Hinkley 1997, section 3.8: resample the clusters, keep what is in them) and p values
from a randomisation test that swaps the two approaches cell by cell (Yeh 2000, COLING, for F scores): exact under the
hypothesis that the two err alike, also for a class with few images, where a bootstrap is not. Both hold the trained
models fixed: they speak of new cells, not of new trainings.

Everything is algebra over counts. A cell enters Macro-F1 through its hits, its images and its guesses of each class;
a resample is a row of how often each cell was drawn, and times the counts of the cells it is the counts of the
resample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from bandbridge.evaluation.comparison import Interval
from bandbridge.evaluation.predictions import RunPredictions, logits_of, pool_folds

Unit = Literal["patient", "cell", "image"]
#: Numbers of one block of resamples: bounds the memory at some 30 MB.
_BLOCK = 4_000_000
#: Differences that agree to this count as equal: sums of few counts, divided once.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class PairedPredictions:
    """What two approaches predict for the same images, by one architecture or by several.

    ``truth`` is int64 [N], ``approach`` and ``reference`` int64 [A, N] for A architectures, all in 0..C-1 with C the
    number of ``classes``; ``group`` int64 [N] in 0..G-1 is the patient, the cell or the image itself, as ``unit``
    says.
    """

    truth: np.ndarray
    approach: np.ndarray
    reference: np.ndarray
    group: np.ndarray
    unit: Unit
    classes: tuple[str, ...]

    @property
    def groups(self) -> int:
        """The number of patients, cells or images."""
        return int(self.group.max()) + 1


@dataclass(frozen=True)
class PooledDifference:
    """Approach minus reference in one score, in -1..1: the difference, its interval and the two-sided p value."""

    difference: Interval
    p: float


@dataclass(frozen=True, eq=False)
class ClassDifferences:
    """Approach minus reference in F1, for each of C classes: float64 [C], ``support`` int64 [C].

    ``approach`` and ``reference`` are the F1 of the two (0..1; means over architectures), ``low`` and ``high`` the
    interval of their difference, ``p`` two-sided and not adjusted for the number of classes.
    """

    approach: np.ndarray
    reference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    support: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """``approach`` minus ``reference``."""
        return self.approach - self.reference


@dataclass(frozen=True, eq=False)
class PooledComparison:
    """Two approaches over pooled images: Macro-F1, accuracy and every class."""

    macro_f1: PooledDifference
    accuracy: PooledDifference
    by_class: ClassDifferences

    def without_intervals(self) -> PooledComparison:
        """Return the same without its intervals (NaN): differences and p values, which few groups leave right."""
        macro_f1, accuracy = (
            replace(one, difference=Interval(one.difference.mean, math.nan, math.nan))
            for one in (self.macro_f1, self.accuracy)
        )
        unknown = np.full_like(self.by_class.low, np.nan)
        return PooledComparison(macro_f1, accuracy, replace(self.by_class, low=unknown, high=unknown))


def pair_predictions(
    approach: Sequence[RunPredictions], reference: Sequence[RunPredictions], checkpoint: str
) -> PairedPredictions:
    """Return what the folds ``approach`` and ``reference`` of two cross-validations predict, image by image.

    The unit is the patient where every image names one, else the cell where every image names one, else the image.
    Raises :class:`ValueError` when the two do not predict the same images with the same classes, and as
    :func:`pool_folds` and :func:`logits_of` do.
    """
    frames = []
    for runs in (approach, reference):
        pooled = pool_folds(runs)
        pooled = pooled.loc[pooled["checkpoint"] == checkpoint].sort_values("image", ignore_index=True)
        frames.append(pooled)
    (truth, logits, classes), (other_truth, other_logits, other_classes) = (
        logits_of(frame, checkpoint) for frame in frames
    )
    same_images = frames[0]["image"].equals(frames[1]["image"])
    if not same_images or classes != other_classes or not np.array_equal(truth, other_truth):
        raise ValueError(f"{approach[0]} and {reference[0]} do not predict the same images with the same classes")
    unit = grouping_unit(frames[0])
    group = pd.factorize(frames[0][unit], sort=True)[0].astype(np.int64)
    return PairedPredictions(truth, logits.argmax(1)[None], other_logits.argmax(1)[None], group, unit, classes)


def grouping_unit(predictions: pd.DataFrame) -> Unit:
    """Return the coarsest of patient, cell and image that every row of ``predictions`` names."""
    units: tuple[Unit, ...] = ("patient", "cell")
    return next((unit for unit in units if (predictions[unit] != "").all()), "image")


def stack_architectures(pairs: Sequence[PairedPredictions]) -> PairedPredictions:
    """Return the predictions of several architectures for the same images as one, to be averaged.

    Raises :class:`ValueError` when their images differ.
    """
    first = pairs[0]
    for other in pairs[1:]:
        if not (np.array_equal(first.truth, other.truth) and np.array_equal(first.group, other.group)):
            raise ValueError("the architectures do not predict the same images")
    approach, reference = (
        np.concatenate([getattr(pair, name) for pair in pairs]) for name in ("approach", "reference")
    )
    return PairedPredictions(first.truth, approach, reference, first.group, first.unit, first.classes)


def compare_pooled(
    pairs: PairedPredictions, iterations: int = 10_000, *, generator: np.random.Generator, level: float = 0.95
) -> PooledComparison:
    """Return approach minus reference over the pooled images; with several architectures, their mean difference.

    Macro-F1 is over all C classes (0/0 counts as 0), from the counts of all images together: not the mean of the
    folds' Macro-F1. Each of the ``iterations`` resamples draws G groups with replacement, the same for both
    approaches and for all architectures, and the interval is of percentiles: of fewer groups than
    :data:`~bandbridge.evaluation.cluster_intervals.FEWEST_RESAMPLED` too narrow to be told. The p value is (1 + m) /
    (1 + ``iterations``) for m of as many random swaps of whole groups with at least the observed difference. Raises
    :class:`ValueError` for fewer than two groups.
    """
    if pairs.groups < 2 or iterations < 1 or not 0 < level < 1:
        raise ValueError("a bootstrap over groups needs two of them, an iteration and a level between 0 and 1")
    counts = _group_counts(pairs)
    # Groups with equal counts are interchangeable: single images are of a few hundred kinds.
    kinds, sizes = np.unique(counts.reshape(len(counts), -1), axis=0, return_counts=True)
    kinds = kinds.reshape(-1, *counts.shape[1:]).astype(np.float64)
    observed = _scores(counts.sum(axis=0, keepdims=True).astype(np.float64))
    resampled = np.concatenate(
        [_differences(_scores(block)) for block in _resamples(kinds, sizes, iterations, generator)]
    )
    swapped = np.concatenate([_differences(_scores(block)) for block in _swaps(kinds, sizes, iterations, generator)])
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    difference = _differences(observed)[0]
    p = (1 + np.sum(np.abs(swapped) >= np.abs(difference) - _ROUNDING, axis=0)) / (1 + iterations)
    macro_f1, accuracy = (
        PooledDifference(Interval(float(difference[i]), float(low[i]), float(high[i])), float(p[i])) for i in (0, 1)
    )
    f1 = observed[0, :, :, 1:].mean(axis=0)
    support = np.bincount(pairs.truth, minlength=len(pairs.classes))
    return PooledComparison(macro_f1, accuracy, ClassDifferences(f1[0], f1[1], low[2:], high[2:], p[2:], support))


def _group_counts(pairs: PairedPredictions) -> np.ndarray:
    """Counts int64 [G, A, 2, 3, C]: of approach and reference, the hits, true images and guesses of each class."""
    classes, groups = len(pairs.classes), pairs.groups

    def count(labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        flat = np.bincount(pairs.group * classes + labels, weights, minlength=groups * classes)
        return flat.reshape(groups, classes)

    support = count(pairs.truth)
    table = [
        [[count(pairs.truth, guess == pairs.truth), support, count(guess)] for guess in both]
        for both in zip(pairs.approach, pairs.reference, strict=True)
    ]
    return np.moveaxis(np.array(table), 3, 0).astype(np.int64)


def _resamples(
    kinds: np.ndarray, sizes: np.ndarray, iterations: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blocks of summed counts [b, A, 2, 3, C] of groups drawn with replacement."""
    groups = int(sizes.sum())
    for block in _blocks(kinds, iterations):
        drawn = generator.multinomial(groups, sizes / groups, size=block)
        yield np.tensordot(drawn.astype(np.float64), kinds, axes=1)


def _swaps(
    kinds: np.ndarray, sizes: np.ndarray, iterations: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blocks of summed counts [b, A, 2, 3, C] after swapping the approaches of each group by the toss of a coin."""
    total = np.tensordot(sizes.astype(np.float64), kinds, axes=1)
    change = kinds[:, :, ::-1] - kinds
    for block in _blocks(kinds, iterations):
        swapped = generator.binomial(sizes, 0.5, size=(block, len(sizes)))
        yield total + np.tensordot(swapped.astype(np.float64), change, axes=1)


def _blocks(kinds: np.ndarray, iterations: int) -> Iterator[int]:
    block = max(1, _BLOCK // max(len(kinds), kinds[0].size))
    for start in range(0, iterations, block):
        yield min(block, iterations - start)


def _scores(counts: np.ndarray) -> np.ndarray:
    """Accuracy and F1 of each class, float64 [b, A, 2, 1 + C], of counts [b, A, 2, 3, C]."""
    hits, support, guesses = np.moveaxis(counts, 3, 0)
    either = support + guesses
    f1 = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    accuracy = hits.sum(axis=-1, keepdims=True) / support.sum(axis=-1, keepdims=True)
    return np.concatenate([accuracy, f1], axis=-1)


def _differences(scores: np.ndarray) -> np.ndarray:
    """Differences of Macro-F1, accuracy and each F1, means over architectures: float64 [b, 2 + C]."""
    by_score = (scores[:, :, 0] - scores[:, :, 1]).mean(axis=1)
    return np.concatenate([by_score[:, 1:].mean(axis=1, keepdims=True), by_score], axis=1)
