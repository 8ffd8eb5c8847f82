"""Maximum mean discrepancy between two sets of embeddings: as published, and with the cell as the unit.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) (Gretton et al. 2012, Lemma 6), Gaussian kernel exp(-gamma |x - y|^2).

**As published**: every image is drawn by itself. The estimate leaves out the pair of an image with itself. A naive
bootstrap does not: an image drawn twice makes a pair of distance zero, which the estimator counts, so that the whole
bootstrap distribution lies (1 - mean k) / n too high for each domain.

**Corrected**: the cell is what was sampled, and chromosomes of one cell are alike in focus, condensation and exposure.
Cells are drawn and permuted whole, and only pairs from different cells count, in the estimate and in every resample;
a cell drawn twice makes no pair with its own copy. With one image to a cell this is the published estimate, and its
bootstrap without the identical pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bandbridge.domains.kernel import Forms, Gaussian, RowSums, UnitSums, rbf, squared_distances, sweep
from bandbridge.domains.resampling import (
    Measured,
    bca_ends,
    bootstrap_counts,
    p_value,
    percentile_ends,
    permuted_labels,
    relabelling_dtype,
    rounding_of,
)


@dataclass(frozen=True)
class TwoSamples:
    """Two sets of embeddings, the rows of each sorted by unit.

    values: float64 [N, D], the first domain's rows before the second's, shifted to a common mean of zero. boundary: how
    many rows are the first's. starts: int64 [G], the first row of each unit. first_units: how many of the G units are
    the first's.
    """

    values: torch.Tensor
    boundary: int
    starts: np.ndarray
    first_units: int

    @property
    def sizes(self) -> np.ndarray:
        """int64 [G], images in each unit."""
        return np.diff(np.append(self.starts, len(self.values)))


@dataclass(frozen=True)
class MmdResult:
    """MMD^2 between two domains: one ``gamma``, resampled as ``published`` (images) and ``corrected`` (units)."""

    gamma: float
    published: Measured
    corrected: Measured


def pool(
    first: np.ndarray, second: np.ndarray, first_units: np.ndarray, second_units: np.ndarray, device: str = "cpu"
) -> TwoSamples:
    """Lay two sets [N, D], [M, D] under one another, each sorted by its units (any sortable [N], [M]).

    Raises :class:`ValueError` for a set of fewer than two images or units: nothing could then be paired.
    """
    parts, starts, offset = [], [], 0
    for values, units in ((first, first_units), (second, second_units)):
        order = np.argsort(units, kind="stable")
        _, begin = np.unique(np.asarray(units)[order], return_index=True)
        if len(begin) < 2:
            raise ValueError("a distance between domains needs at least two cells (or images) in each")
        parts.append(np.asarray(values, dtype=np.float64)[order])
        starts.append(begin + offset)
        offset += len(values)
    pooled = torch.from_numpy(np.concatenate(parts)).to(device)
    pooled -= pooled.mean(0)
    return TwoSamples(pooled, len(first), np.concatenate(starts).astype(np.int64), len(starts[0]))


def mmd2(first: np.ndarray, second: np.ndarray, gamma: float) -> float:
    """Return the unbiased estimate of MMD^2 (Gretton et al. 2012, Eq. 3) of sets [N, D] and [M, D]; may be below 0."""
    return mmd2_by_gamma(pool(first, second, np.arange(len(first)), np.arange(len(second))), [gamma])[0]


def mmd2_by_gamma(samples: TwoSamples, gammas: Sequence[float]) -> list[float]:
    """Return the unbiased estimate of :func:`mmd2` under each of ``gammas``, from one pass over the distances."""
    count, first = len(samples.values), samples.boundary
    sums = [RowSums(first, count, samples.values.device) for _ in gammas]
    sweep(samples.values, first, squared_distances, [Gaussian(*each) for each in zip(gammas, sums, strict=True)])
    return [_image_estimate(each, first) for each in sums]


def classwise_mmd(
    first: np.ndarray,
    first_classes: np.ndarray,
    second: np.ndarray,
    second_classes: np.ndarray,
    classes: int,
    gamma: float,
) -> np.ndarray:
    """Return float64 [C, C]: unbiased MMD^2 between class i of the first domain and class j of the second.

    ``first_classes`` [N] and ``second_classes`` [M] are integers in 0..``classes``-1. A class with fewer than two
    images has no estimate: its row or column is NaN. One pass over the kernel matrix serves all pairs of classes.
    """
    samples = pool(first, second, first_classes, second_classes)
    present = [np.unique(labels) for labels in (first_classes, second_classes)]
    sums = UnitSums(samples.starts, len(samples.values), samples.values.device)
    sweep(samples.values, samples.boundary, rbf(gamma), [sums])
    total, sizes, split = sums.total.cpu().numpy(), samples.sizes, samples.first_units
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (np.diag(total) - sizes) / (sizes * (sizes - 1))
    across = total[:split, split:] / np.outer(sizes[:split], sizes[split:])
    result = np.full((classes, classes), np.nan)
    result[np.ix_(*present)] = within[:split, None] + within[None, split:] - 2 * across
    return np.where(np.isfinite(result), result, np.nan)


def two_sample_mmd(
    samples: TwoSamples, gamma: float, bootstraps: int = 1000, permutations: int = 1000, seed: int = 0
) -> MmdResult:
    """Return MMD^2 with 95% intervals and permutation tests of both kinds, from one pass over the kernel matrix."""
    generator = np.random.default_rng(seed)
    count, first, device = len(samples.values), samples.boundary, samples.values.device
    drawn = bootstrap_counts(first, count - first, bootstraps, generator)
    labels = permuted_labels(first, count - first, permutations, generator)
    exact = relabelling_dtype(count)
    drawn_forms, label_forms = (
        Forms(torch.from_numpy(weights.astype(dtype)).to(device), first)
        for weights, dtype in ((drawn, np.float32), (labels, exact))
    )
    rows = RowSums(first, count, device)
    units = UnitSums(samples.starts, count, device)
    sweep(samples.values, first, rbf(gamma), [rows, units, drawn_forms, label_forms])
    value = _image_estimate(rows, first)
    ends = percentile_ends(_naive_bootstrap(drawn_forms, first, count - first))
    # Distances that are equal come out apart by the rounding of the largest squared norm.
    of_kernel = (
        gamma * rounding_of(np.float64, samples.values.shape[1]) * 4 * float(samples.values.square().sum(1).max())
    )
    rounding = (rounding_of(exact, count) + of_kernel) * _pairs_weight(first, count - first) * float(rows.total.sum())
    published = Measured(value, *ends, p_value(value, _permuted_estimates(label_forms, labels, rows), rounding))
    corrected = unit_test(units.total.cpu().numpy(), samples, bootstraps, permutations, generator)
    return MmdResult(gamma, published, corrected)


def unit_test(
    total: np.ndarray, samples: TwoSamples, bootstraps: int, permutations: int, generator: np.random.Generator
) -> Measured:
    """Test with whole units drawn and permuted; ``total``: float64 [G, G], the kernel summed over pairs of units."""
    first, second = samples.first_units, len(samples.starts) - samples.first_units
    own = (np.arange(first + second) < first)[:, None]
    value = unit_statistic(total, samples.sizes, own, ~own)[0]
    counts = bootstrap_counts(first, second, bootstraps, generator)
    resampled = unit_statistic(total, samples.sizes, counts * own, counts * ~own)
    ends = bca_ends(value, resampled, unit_influence(total, samples.sizes, first))
    labels = permuted_labels(first, second, permutations, generator)
    return Measured(float(value), *ends, p_value(value, unit_statistic(total, samples.sizes, labels, ~labels)))


def unit_statistic(total: np.ndarray, sizes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return MMD^2 [B] over pairs of images from different units, each unit counted as often as it is drawn.

    total: float64 [G, G], the kernel summed over the images of two units. sizes: [G], images in each. first, second:
    [G, B], how often each unit stands in either sample. A unit makes no pair with itself or its copies, so a sample
    that is one unit drawn again and again gives NaN.
    """
    between = total - np.diag(np.diag(total))
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    images = [sizes @ weights for weights in (first, second)]
    pairs = [count**2 - (sizes**2) @ weights**2 for weights, count in zip((first, second), images, strict=True)]
    within = [
        (weights * (between @ weights)).sum(0) / np.where(number > 0, number, np.nan)
        for weights, number in zip((first, second), pairs, strict=True)
    ]
    across = (first * (between @ second)).sum(0) / (images[0] * images[1])
    return np.asarray(within[0] + within[1] - 2 * across)


def unit_influence(total: np.ndarray, sizes: np.ndarray, first_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the empirical influence of each unit on :func:`unit_statistic`, [G_x] and [G_y], by the jackknife.

    Leaving a unit out takes its row of ``total`` away, so all are had from sums over rows. NaN for a domain of two
    units: one alone has no pairs.
    """
    parts, sides = [], (slice(0, first_units), slice(first_units, None))
    for own, other in (sides, sides[::-1]):
        inside, n = total[own, own], sizes[own].astype(np.float64)
        rows = inside.sum(1) - np.diag(inside)
        pairs = (n.sum() - n) ** 2 - ((n**2).sum() - n**2)
        within = (rows.sum() - 2 * rows) / np.where(pairs > 0, pairs, np.nan)
        rows = total[own, other].sum(1)
        across = (rows.sum() - rows) / ((n.sum() - n) * sizes[other].sum())
        without = within - 2 * across
        parts.append((len(n) - 1) * (without.mean() - without))
    return parts[0], parts[1]


def _image_estimate(rows: RowSums, first: int) -> float:
    """The unbiased estimate from row sums whose diagonal, 1 for each image, is taken out."""
    sums = rows.total.cpu().numpy()
    second = len(sums) - first
    within_first = (sums[:first, 0].sum() - first) / (first * (first - 1))
    within_second = (sums[first:, 1].sum() - second) / (second * (second - 1))
    return float(within_first + within_second - 2 * sums[:first, 1].sum() / (first * second))


def _naive_bootstrap(forms: Forms, first: int, second: int) -> np.ndarray:
    """The estimator applied to each resample as if its images were distinct: identical pairs count with kernel 1."""
    within_first = (forms.within_first - first) / (first * (first - 1))
    within_second = (forms.within_second - second) / (second * (second - 1))
    return np.asarray(within_first + within_second - 2 * forms.across / (first * second))


def _pairs_weight(first: int, second: int) -> float:
    """The weights of a pair in the estimate of either sample and between them, added up."""
    return 1 / (first * (first - 1)) + 1 / (second * (second - 1)) + 2 / (first * second)


def _permuted_estimates(forms: Forms, labels: np.ndarray, rows: RowSums) -> np.ndarray:
    """The estimator under each relabelling, from a^T K a and the row sums alone: the sum over all pairs is fixed."""
    sums = rows.total.sum(1).cpu().numpy()
    count, first = len(sums), rows.boundary
    second = count - first
    own = forms.within_first + 2 * forms.across + forms.within_second
    with_all = np.array([sums[chosen].sum() for chosen in labels.T])
    other = sums.sum() - 2 * with_all + own
    across = with_all - own
    within_first = (own - first) / (first * (first - 1))
    within_second = (other - second) / (second * (second - 1))
    return np.asarray(within_first + within_second - 2 * across / (first * second))
