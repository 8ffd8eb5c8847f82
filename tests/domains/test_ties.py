"""P values of few images against full enumeration in exact fractions, ties and all."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from bandbridge.domains import coral, mmd
from bandbridge.domains.mmd import pool, two_sample_mmd
from bandbridge.domains.resampling import EXACT, p_value, relabelling_dtype, rounding_of


def enumerated(count, first):
    """Every relabelling once, bool [count, C]."""
    chosen = list(combinations(range(count), first))
    labels = np.zeros((count, len(chosen)), dtype=bool)
    for column, rows in enumerate(chosen):
        labels[list(rows), column] = True
    return labels


def fractional_mmd2(kernel, labels):
    """The unbiased estimate as a fraction of the kernel's fractions: no rounding at all."""
    first, second = [np.flatnonzero(side).tolist() for side in (labels, ~labels)]
    n, m = len(first), len(second)
    within = [
        Fraction(sum(kernel[i][j] for i in side for j in side if i != j), 1) / (len(side) * (len(side) - 1))
        for side in (first, second)
    ]
    return within[0] + within[1] - 2 * sum(kernel[i][j] for i in first for j in second) / Fraction(n * m)


def exact_p(values, labels, gamma):
    """P by enumeration, the kernel of equal distances being equal."""
    inner = values.astype(int)
    squared = {(i, j): int(((inner[i] - inner[j]) ** 2).sum()) for i in range(len(values)) for j in range(len(values))}
    level = {distance: Fraction(float(np.exp(-gamma * distance))) for distance in set(squared.values())}
    kernel = [[level[squared[i, j]] for j in range(len(values))] for i in range(len(values))]
    found = [fractional_mmd2(kernel, column) for column in labels.T]
    own = fractional_mmd2(kernel, np.arange(len(values)) < labels[:, 0].sum())
    return (1 + sum(one >= own for one in found)) / (1 + len(found))


def drawn(n, m, seed, alike):
    """Integer points, many of them alike where asked for, so that sums tie without being the same images."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2 if alike else 30, size=(n + m, 2 if alike else 5)).astype(float)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (3, 5), (6, 4)])
def test_the_p_value_of_images_is_that_of_full_enumeration(monkeypatch, n, m, alike):
    labels = enumerated(n + m, n)
    monkeypatch.setattr(
        mmd, "permuted_labels", lambda first, second, iterations, generator: enumerated(first + second, first)
    )
    gammas = ((0.05, 0.7) if alike else (0.0005, 0.005))[: 2 if n + m < 12 else 1]
    for seed in range(6 if n + m < 12 else 1):
        values = drawn(n, m, seed, alike)
        samples = pool(values[:n], values[n:], np.arange(n), np.arange(m))
        for gamma in gammas:
            found = two_sample_mmd(samples, gamma, 0, labels.shape[1])
            assert found.published.p == exact_p(values, labels, gamma), (seed, gamma)
            assert found.corrected.p == found.published.p


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_no_p_value_is_below_the_least_that_is_possible(n, shift):
    """Domains far apart: the samples as they are and their mirror image, two of all relabellings, reach the value."""
    for seed in range(8):
        generator = np.random.default_rng(seed)
        first, second = generator.normal(size=(2, n, 64)) + np.array([[[shift]], [[0.0]]])
        least = 2 / comb(2 * n, n)
        samples = pool(first, second, np.arange(n), np.arange(n))
        # Of 4,000 draws; four binomial standard deviations.
        room = 4 * np.sqrt(least * (1 - least) / 4000)
        for p in (two_sample_mmd(samples, 0.01, 0, 4000, seed).published.p, *coral._permute(samples, 4000, generator)):
            assert p >= least - room


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_coral_counts_its_mirror_images_whatever_the_scale(monkeypatch, n, scale):
    monkeypatch.setattr(
        coral, "permuted_labels", lambda first, second, iterations, generator: enumerated(first + second, first)
    )
    for seed in range(5):
        values = scale * np.random.default_rng(seed).normal(size=(2 * n, 6)) + 3 * scale
        samples = pool(values[:n], values[n:], np.arange(n), np.arange(n))
        labels = enumerated(2 * n, n)
        distances = [coral.coral_distance(values[one], values[~one]) for one in labels.T]
        own = coral.coral_distance(values[:n], values[n:])
        expected = (1 + np.sum(np.array(distances) >= own * (1 - 1e-9))) / (1 + len(distances))
        assert coral._permute(samples, 1, np.random.default_rng(0)) == (expected, expected)


def test_few_images_are_relabelled_in_double_precision_and_its_rounding_is_no_wider_than_it_need_be():
    assert relabelling_dtype(EXACT) is np.float64 and relabelling_dtype(EXACT + 1) is np.float32
    assert rounding_of(np.float64, 14) < 1e-14 and 1e-7 < rounding_of(np.float32, 1000) < 1e-5
    assert p_value(1.0, np.array([1 - 1e-9, 1.0]), 1e-12) == 2 / 3
    assert Counter([p_value(1.0, np.array([1 - 1e-9, 1.0]), 1e-8)]) == {1.0: 1}
