"""Calibration against SciPy and scikit-learn, a double loop and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binned_statistic
from sklearn.metrics import brier_score_loss, log_loss

from bandbridge.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability,
)

#: Sums of at most 500 terms of order 1, in another order.
EXACT = 1e-12
CASES = range(20)


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, K] from flat to nearly certain, and a truth that agrees with them more or less often."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 500)), int(rng.integers(2, 30))
    logits = rng.normal(size=(images, classes)) * rng.uniform(0.1, 4.0)
    agrees = rng.random(images) < rng.random()
    return softmax(logits, axis=1), np.where(agrees, logits.argmax(1), rng.integers(classes, size=images))


@pytest.mark.parametrize("seed", CASES)
def test_calibration_errors_equal_the_gaps_of_scipys_bins(seed: int) -> None:
    probabilities, truth = random_case(seed)
    bins = 5 + seed
    surplus = probabilities.max(1) - (probabilities.argmax(1) == truth)
    sums, counts = (
        binned_statistic(probabilities.max(1), surplus, kind, bins, (0, 1)).statistic for kind in ("sum", "count")
    )
    assert expected_calibration_error(probabilities, truth, bins) == pytest.approx(
        np.abs(sums).sum() / len(truth), abs=EXACT
    )
    filled = counts > 0
    assert maximum_calibration_error(probabilities, truth, bins) == pytest.approx(
        np.abs(sums[filled] / counts[filled]).max(), abs=EXACT
    )


@pytest.mark.parametrize("seed", CASES)
def test_scores_equal_scikit_learn(seed: int) -> None:
    probabilities, truth = random_case(seed)
    labels = list(range(probabilities.shape[1]))
    assert negative_log_likelihood(probabilities, truth) == pytest.approx(
        log_loss(truth, probabilities, labels=labels), rel=EXACT
    )
    assert brier_score(probabilities, truth) == pytest.approx(
        brier_score_loss(truth, probabilities, labels=labels, scale_by_half=False), rel=EXACT
    )


@pytest.mark.parametrize("seed", CASES)
def test_bins_equal_a_loop_over_images(seed: int) -> None:
    probabilities, truth = random_case(seed)
    bins = 3 + seed
    found = reliability(probabilities, truth, bins)
    held: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(probabilities.tolist(), truth.tolist(), strict=True):
        held[math.ceil(max(row) * bins) - 1].append((max(row), row.index(max(row)) == label))
    np.testing.assert_array_equal(found.counts, [len(one) for one in held])
    expected = [np.mean(one, axis=0) if one else (np.nan, np.nan) for one in held]
    np.testing.assert_allclose(np.column_stack([found.confidence, found.accuracy]), expected, rtol=EXACT)
    assert (found.edges[0], found.edges[-1], len(found.edges)) == (0, 1, bins + 1)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    halves = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])
    np.testing.assert_array_equal(reliability(halves, np.array([0, 0, 0]), bins=4).counts, [0, 1, 1, 1])


def test_certain_predictions_score_as_in_closed_form() -> None:
    """Of ten certain predictions three are wrong: the confidence is 1, the accuracy 0.7."""
    certain, truth = np.eye(4)[np.zeros(10, dtype=int)], np.array([0] * 7 + [1, 2, 3])
    assert expected_calibration_error(certain, truth) == pytest.approx(0.3, rel=EXACT)
    assert maximum_calibration_error(certain, truth) == pytest.approx(0.3, rel=EXACT)
    assert brier_score(certain, truth) == pytest.approx(0.3 * 2, rel=EXACT)
    assert negative_log_likelihood(certain, truth) == math.inf
    assert negative_log_likelihood(certain[:7], truth[:7]) == 0


def test_of_a_flat_prediction_every_score_is_known() -> None:
    flat, truth = np.full((8, 8), 1 / 8), np.arange(8)
    assert expected_calibration_error(flat, truth) == pytest.approx(0, abs=EXACT)
    assert negative_log_likelihood(flat, truth) == pytest.approx(math.log(8), rel=EXACT)
    assert brier_score(flat, truth) == pytest.approx(1 - 1 / 8, rel=EXACT)


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        (np.array([[0.5, 0.5], [2.0, -1.0]]), np.array([0, 1]), "1 of 2 rows .* first row 1"),
        (np.array([[0.5, 0.6]]), np.array([0]), "softmax"),
        (np.array([[np.nan, 0.5]]), np.array([0]), "softmax"),
        (np.array([[0.5, 0.5]]), np.array([2]), r"integers in 0\.\.1"),
        (np.array([[0.5, 0.5]]), np.array([0.0]), r"integers in 0\.\.1"),
        (np.array([[0.5, 0.5]]), np.array([0, 1]), r"\[1, 2\] and \[2\]"),
        (np.empty((0, 2)), np.array([], dtype=int), "neither empty"),
    ],
)
def test_what_is_not_probabilities_is_refused(probabilities: np.ndarray, truth: np.ndarray, message: str) -> None:
    for score in (expected_calibration_error, negative_log_likelihood, brier_score):
        with pytest.raises(ValueError, match=message):
            score(probabilities, truth)


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one bin"):
        reliability(np.array([[0.5, 0.5]]), np.array([0]), bins=0)
