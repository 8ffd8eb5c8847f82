"""CORAL distance between two sets of embeddings: |C_s - C_t|_F^2 / (4 D^2), C the sample covariances.

Sun, Feng & Saenko (2016, AAAI), with the factor of Sun & Saenko (2016, "Deep CORAL", Eq. 1). It compares second
moments only: a difference of the means alone is not seen.

Inner products of covariances are sums over pairs of images, <x x^T, y y^T> = (x . y)^2, less what the means
contribute; so all resamples come from one matrix of squared inner products, as those of MMD do from the kernel matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bandbridge.domains.kernel import Forms, RowSums, UnitSums, squared_inner, sweep
from bandbridge.domains.mmd import TwoSamples, unit_influence
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

#: Resamples whose weighted means are held at a time: 256 of 30,000 images are 31 MB.
_CHUNK = 256


@dataclass(frozen=True)
class CoralResult:
    """CORAL distance between two domains, resampled as ``published`` (images) and ``corrected`` (whole units).

    The corrected value leaves out the pairs of images of one unit, as the corrected MMD does: the plain one counts
    every image with itself and lies too high by about E|x|^4 / n for each domain.
    """

    published: Measured
    corrected: Measured


def coral_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the CORAL distance of sets [N, D] and [M, D], from their unbiased covariances (n - 1)."""
    covariances = [np.cov(np.asarray(values, dtype=np.float64), rowvar=False) for values in (first, second)]
    return float(np.sum((covariances[0] - covariances[1]) ** 2) / (4 * np.shape(first)[1] ** 2))


def two_sample_coral(
    samples: TwoSamples, bootstraps: int = 1000, permutations: int = 1000, seed: int = 0
) -> CoralResult:
    """Return the CORAL distance with 95% intervals and permutation tests of both kinds."""
    generator = np.random.default_rng(seed)
    published, corrected, influence = _bootstrap(samples, bootstraps, generator)
    p_images, p_units = _permute(samples, permutations, generator)
    plain = coral_distance(*(part.cpu().numpy() for part in samples.values.tensor_split([samples.boundary])))
    return CoralResult(
        Measured(plain, *percentile_ends(published[1:]), p_images),
        Measured(float(corrected[0]), *bca_ends(corrected[0], corrected[1:], influence), p_units),
    )


def _bootstrap(
    samples: TwoSamples, iterations: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the distances [1 + B] of both kinds, first of the samples as they are, and the units' influence.

    The domains are not mixed here, so each is shifted to a mean of zero by itself: what the means contribute is then
    small, and the corrected value is all but unbiased.
    """
    count, first = len(samples.values), samples.boundary
    values = samples.values.clone()
    for part in (slice(0, first), slice(first, count)):
        values[part] -= values[part].mean(0)
    images = bootstrap_counts(first, count - first, iterations, generator)
    units = bootstrap_counts(samples.first_units, len(samples.starts) - samples.first_units, iterations, generator)
    images, units = (np.insert(drawn, 0, 1, axis=1) for drawn in (images, units))
    forms = Forms(_tensor(images, values), first)
    sums = UnitSums(samples.starts, count, values.device)
    sweep(values, first, squared_inner, [forms, sums])
    published, _ = _distance(
        (forms.within_first, forms.across, forms.within_second), values, images * _is_first(count, first), images
    )
    total, sizes, own = sums.total.cpu().numpy(), samples.sizes, _is_first(len(units), samples.first_units)
    between = total - np.diag(np.diag(total))
    spread = np.repeat(units, sizes, axis=0)
    parts = [(side, sizes @ side, (sizes**2) @ side**2) for side in (units * own, units * ~own)]
    # Scaled as if the pairs within a unit were there, so that the same division by the images' number applies.
    within = [
        (side * (between @ side)).sum(0) * n**2 / np.where(n**2 > own_pairs, n**2 - own_pairs, np.nan)
        for side, n, own_pairs in parts
    ]
    leading = (within[0], (parts[0][0] * (total @ parts[1][0])).sum(0), within[1])
    corrected, _ = _distance(leading, values, spread * _is_first(count, first), spread)
    # With the means at zero the leading terms decide, and they have the form of a corrected MMD^2.
    return published, corrected, unit_influence(total, sizes, samples.first_units)


def _permute(samples: TwoSamples, iterations: int, generator: np.random.Generator) -> tuple[float, float]:
    """Return the P values of the plain distance when images, and when whole units, change domain."""
    values, count, first = samples.values, len(samples.values), samples.boundary
    labels = permuted_labels(first, count - first, iterations, generator)
    units = permuted_labels(samples.first_units, len(samples.starts) - samples.first_units, iterations, generator)
    labels, units = (
        np.concatenate([_is_first(len(shuffled), own), shuffled], axis=1)
        for shuffled, own in ((labels, first), (units, samples.first_units))
    )
    exact = relabelling_dtype(count)
    forms = Forms(_tensor(labels, values, exact), first)
    rows, sums = RowSums(first, count, values.device), UnitSums(samples.starts, count, values.device)
    sweep(values, first, squared_inner, [forms, rows, sums])
    row_sums, total = rows.total.sum(1).cpu().numpy(), sums.total.cpu().numpy()
    own = forms.within_first + 2 * forms.across + forms.within_second
    with_all = np.array([row_sums[chosen].sum() for chosen in labels.T])
    leading = (own, with_all - own, row_sums.sum() - 2 * with_all + own)
    images, rounding = _distance(leading, values, labels, np.ones_like(labels), exact)
    spread = np.repeat(units, samples.sizes, axis=0)
    sides = units.astype(np.float64), (~units).astype(np.float64)
    leading = (
        (sides[0] * (total @ sides[0])).sum(0),
        (sides[0] * (total @ sides[1])).sum(0),
        (sides[1] * (total @ sides[1])).sum(0),
    )
    whole, of_units = _distance(leading, values, spread, np.ones_like(spread), exact)
    return p_value(images[0], images[1:], rounding), p_value(whole[0], whole[1:], of_units)


def _distance(
    leading: tuple[np.ndarray, np.ndarray, np.ndarray],
    values: Tensor,
    first: np.ndarray,
    everything: np.ndarray,
    dtype: type[np.floating] = np.float32,
) -> tuple[np.ndarray, float]:
    """Return the distances [B] of weighted samples: ``first`` [N, B], and the rest of ``everything`` [N, B].

    With them, how far such as are equal may come out apart in floats of ``dtype``.

    leading: a^T K a, a^T K b and b^T K b [B], K the squared inner products. From these, with E = sum a x x^T / n and
    mean m, <C_a, C_b> = <E_a, E_b> - m_b^T E_a m_b - m_a^T E_b m_a + (m_a . m_b)^2.
    """
    parts = []
    for start in range(0, first.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        sides = (first[:, chunk], everything[:, chunk] - 1 * first[:, chunk])
        weights = [_tensor(side, values, dtype) for side in sides]
        parts.append(_distance_of_chunk([term[chunk] for term in leading], values.to(weights[0].dtype), weights))
    distances, magnitudes = (np.concatenate(part) / (4 * values.shape[1] ** 2) for part in zip(*parts, strict=True))
    return distances, rounding_of(dtype, sum(values.shape)) * float(magnitudes.max(initial=0.0))


def _distance_of_chunk(
    leading: list[np.ndarray], values: Tensor, weights: list[Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """The distances, not yet divided, and the sums of what is added and taken away in them without its signs."""
    counts = [side.sum(0, dtype=torch.float64).cpu().numpy() for side in weights]
    means = [values.T @ side / side.sum(0) for side in weights]
    projected = [(values @ mean).square_() for mean in means]

    def second_moment(side: int, mean: int) -> np.ndarray:
        return (weights[side] * projected[mean]).sum(0, dtype=torch.float64).cpu().numpy() / counts[side]

    def means_product(left: int, right: int) -> np.ndarray:
        return (means[left] * means[right]).sum(0, dtype=torch.float64).cpu().numpy() ** 2

    pairs = ((0, 0), (0, 1), (1, 1))
    added = [
        (term / (counts[i] * counts[j]) + means_product(i, j), second_moment(i, j) + second_moment(j, i))
        for term, (i, j) in zip(leading, pairs, strict=True)
    ]
    unbiased = [count / (count - 1) for count in counts]
    factors = (unbiased[0] ** 2, -2 * unbiased[0] * unbiased[1], unbiased[1] ** 2)
    distances = sum(factor * (more - less) for factor, (more, less) in zip(factors, added, strict=True))
    magnitudes = sum(abs(factor) * (abs(more) + less) for factor, (more, less) in zip(factors, added, strict=True))
    return np.asarray(distances), np.asarray(magnitudes)


def _is_first(count: int, first: int) -> np.ndarray:
    return (np.arange(count) < first)[:, None]


def _tensor(weights: np.ndarray, like: Tensor, dtype: type[np.floating] = np.float32) -> Tensor:
    return torch.from_numpy(weights.astype(dtype)).to(like.device)
