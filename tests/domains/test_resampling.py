"""Weights of resamples: each adds up, is drawn by the seed, and P follows its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from bandbridge.domains.resampling import bca_ends, bootstrap_counts, p_value, percentile_ends, permuted_labels


@pytest.mark.parametrize(("first", "second"), [(5, 7), (300, 4)])
def test_each_domain_is_drawn_to_its_own_size(first, second):
    counts = bootstrap_counts(first, second, 50, np.random.default_rng(0))
    assert counts.shape == (first + second, 50)
    assert (counts[:first].sum(0) == first).all()
    assert (counts[first:].sum(0) == second).all()


@pytest.mark.parametrize("size", [20, 300])
def test_counts_are_multinomial(size):
    """Variance of a count is (1 - 1/n); 300 x 4,000 counts leave 1% of room for chance."""
    counts = bootstrap_counts(size, 2, 4000, np.random.default_rng(0))[:size]
    assert counts.var() == pytest.approx(1 - 1 / size, rel=0.02)


def test_a_permutation_keeps_the_number_of_labels():
    labels = permuted_labels(4, 9, 200, np.random.default_rng(0))
    assert labels.shape == (13, 200)
    assert (labels.sum(0) == 4).all()
    assert labels.mean(1) == pytest.approx(np.full(13, 4 / 13), abs=0.15)


def test_p_is_never_zero_and_counts_ties():
    assert p_value(5.0, np.array([1.0, 2.0, 3.0])) == 1 / 4
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4
    assert np.isnan(p_value(2.0, np.empty(0)))


def test_percentile_interval_is_numpys():
    values = np.random.default_rng(0).normal(size=500)
    assert percentile_ends(values) == tuple(np.percentile(values, [2.5, 97.5]))
    assert np.isnan(percentile_ends(np.empty(0))).all()


def test_bca_interval_is_scipys_for_two_samples():
    """The ratio of two means, from the very same resamples that SciPy drew."""
    generator = np.random.default_rng(1)
    first, second = generator.exponential(size=25), 1 + generator.exponential(size=40)

    def ratio(x, y, axis=-1):
        return np.mean(x, axis=axis) / np.mean(y, axis=axis)

    scipys = bootstrap((first, second), ratio, n_resamples=4000, method="BCa", rng=np.random.default_rng(2))
    influence = []
    for own in (0, 1):
        sets = [first, second]
        left_out = []
        for i in range(len(sets[own])):
            without = [np.delete(part, i) if place == own else part for place, part in enumerate(sets)]
            left_out.append(ratio(*without))
        influence.append((len(left_out) - 1) * (np.mean(left_out) - np.array(left_out)))
    found = bca_ends(ratio(first, second), scipys.bootstrap_distribution, influence)
    assert found == pytest.approx(tuple(scipys.confidence_interval), rel=1e-9)
