"""CORAL against NumPy covariances, its resamples against the distance of the resampled images themselves."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.domains import coral
from bandbridge.domains.coral import coral_distance, two_sample_coral
from bandbridge.domains.mmd import pool
from bandbridge.domains.resampling import bootstrap_counts, permuted_labels

N, M, DIMENSIONS = 26, 19, 4


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    return generator.normal(size=(N, DIMENSIONS)) * [1, 2, 1, 0.5] + 3, generator.normal(size=(M, DIMENSIONS))


def loop_coral(first: np.ndarray, second: np.ndarray) -> float:
    total = 0.0
    for i in range(first.shape[1]):
        for j in range(first.shape[1]):
            x, y = (
                sum((v[i] - s[:, i].mean()) * (v[j] - s[:, j].mean()) for v in s) / (len(s) - 1)
                for s in (first, second)
            )
            total += (x - y) ** 2
    return total / (4 * first.shape[1] ** 2)


def test_distance_is_the_formulas(sets):
    assert coral_distance(*sets) == pytest.approx(loop_coral(*sets), rel=1e-12)


def test_bootstrap_is_the_distance_of_each_resample(sets):
    found = two_sample_coral(pool(*sets, np.arange(N), np.arange(M)), 30, 0, seed=7).published
    counts = bootstrap_counts(N, M, 30, np.random.default_rng(7))
    expected = [coral_distance(np.repeat(sets[0], c[:N], 0), np.repeat(sets[1], c[N:], 0)) for c in counts.T]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])), rel=1e-5)
    assert found.value == pytest.approx(coral_distance(*sets), rel=1e-12)


@pytest.mark.parametrize("chunk", [7, 256])
def test_p_values_are_those_of_relabelled_images_and_cells(sets, chunk, monkeypatch):
    monkeypatch.setattr(coral, "_CHUNK", chunk)
    first_cells, second_cells = np.arange(N) // 3, np.arange(M) // 3
    samples = pool(*sets, first_cells, second_cells)
    p_images, p_cells = coral._permute(samples, 50, np.random.default_rng(3))
    generator = np.random.default_rng(3)
    pooled, value = np.concatenate(sets), coral_distance(*sets)
    labels = permuted_labels(N, M, 50, generator)
    permuted = [coral_distance(pooled[c], pooled[~c]) for c in labels.T]
    assert p_images == (1 + np.sum(np.array(permuted) >= value)) / 51
    cell_of = np.concatenate([first_cells, second_cells + first_cells.max() + 1])
    labels = permuted_labels(samples.first_units, len(samples.starts) - samples.first_units, 50, generator)
    permuted = [coral_distance(pooled[c[cell_of]], pooled[~c[cell_of]]) for c in labels.T]
    assert p_cells == (1 + np.sum(np.array(permuted) >= value)) / 51


def test_corrected_value_is_less_biased_than_the_plain():
    """Equal domains: the true distance is 0, the plain one counts every image with itself."""
    plain, corrected = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        first, second = generator.normal(size=(2, 40, 10))
        found = two_sample_coral(pool(first, second, np.arange(40), np.arange(40)), 0, 0)
        plain.append(found.published.value)
        corrected.append(found.corrected.value)
    standard_error = np.std(corrected) / np.sqrt(len(corrected))
    assert abs(np.mean(corrected)) < 3 * standard_error + 0.05 * np.mean(plain)
    assert np.mean(plain) > 10 * standard_error


def test_a_shift_of_the_mean_is_not_seen(sets):
    first, _ = sets
    assert coral_distance(first, first + 5) == pytest.approx(0, abs=1e-12)
