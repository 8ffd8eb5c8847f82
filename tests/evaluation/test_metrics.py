"""The scores against scikit-learn, over random cases with absent classes and tied scores."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as oracle

from bandbridge.evaluation.metrics import (
    accuracy,
    auc_ovr,
    confusion_matrix,
    macro_f1,
    per_class_auc,
    per_class_f1,
    per_class_scores,
    score_predictions,
)
from bandbridge.evaluation.metrics import class_probabilities as softmax

EXACT = 1e-12
#: 300 random cases, thirty to a test.
BLOCKS = [range(start, start + 30) for start in range(0, 300, 30)]


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Truth [N] and scores [N, C]; many classes for few images, so classes are absent; scores often tied."""
    rng = np.random.default_rng(seed)
    classes, images = int(rng.integers(2, 26)), int(rng.integers(1, 120))
    truth = rng.integers(classes, size=images)
    if seed % 3 == 0:
        truth = np.minimum(truth, classes // 2)
    scores = rng.normal(size=(images, classes)) + 2.0 * np.eye(classes)[truth] * rng.random((images, 1))
    return truth, (np.round(scores, 1) if seed % 2 else scores), classes


@pytest.mark.parametrize("block", BLOCKS)
def test_counting_scores_equal_scikit_learn(block: range) -> None:
    for seed in block:
        check_counting_scores(*random_case(seed))


def check_counting_scores(truth: np.ndarray, scores: np.ndarray, classes: int) -> None:
    predicted = scores.argmax(axis=1)
    labels = list(range(classes))
    expected = oracle.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    ours = per_class_scores(truth, predicted, classes)
    for mine, theirs in zip((ours.precision, ours.recall, ours.f1, ours.support), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=EXACT)
    np.testing.assert_array_equal(
        confusion_matrix(truth, predicted, classes), oracle.confusion_matrix(truth, predicted, labels=labels)
    )
    assert macro_f1(truth, predicted, classes) == pytest.approx(
        oracle.f1_score(truth, predicted, labels=labels, average="macro", zero_division=0), abs=EXACT
    )
    assert macro_f1(truth, predicted, classes, present_only=True) == pytest.approx(
        oracle.f1_score(truth, predicted, average="macro", zero_division=0), abs=EXACT
    )
    assert accuracy(truth, predicted) == pytest.approx(oracle.accuracy_score(truth, predicted), abs=EXACT)


@pytest.mark.parametrize("block", BLOCKS)
def test_auc_equals_scikit_learn_class_by_class(block: range) -> None:
    for seed in block:
        check_auc(*random_case(seed))


def check_auc(truth: np.ndarray, scores: np.ndarray, classes: int) -> None:
    expected = np.full(classes, np.nan)
    positive = np.eye(classes, dtype=int)[truth]
    defined = np.flatnonzero((positive.sum(axis=0) > 0) & (positive.sum(axis=0) < len(truth)))
    if len(defined):
        expected[defined] = oracle.roc_auc_score(positive[:, defined], scores[:, defined], average=None)
    np.testing.assert_allclose(per_class_auc(truth, scores), expected, rtol=0, atol=EXACT)
    if np.isnan(expected).all():
        assert np.isnan(auc_ovr(truth, scores))
    else:
        assert auc_ovr(truth, scores) == pytest.approx(np.nanmean(expected), abs=EXACT)


@pytest.mark.parametrize("seed", range(30))
def test_score_predictions_equals_scikit_learn_multiclass_auc(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(24), rng.integers(24, size=300)])
    logits = (rng.normal(size=(324, 24)) * 3 + 3 * np.eye(24)[truth]).astype(np.float32)
    scores = score_predictions(truth, logits)
    expected = oracle.roc_auc_score(truth, softmax(logits), multi_class="ovr", average="macro")
    assert scores.auc_ovr == pytest.approx(expected, abs=EXACT)
    assert scores.auc_ovr != pytest.approx(auc_ovr(truth, logits), abs=1e-9), "softmax must rank, not raw logits"
    assert (scores.n, scores.absent_classes) == (324, 0)
    assert scores.macro_f1 == scores.macro_f1_present


def test_softmax_is_float64_and_stable() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    probabilities = softmax(logits)
    e = np.exp(-1.0)
    np.testing.assert_allclose(probabilities, [[1 / (1 + e), e / (1 + e), 0], [1 / 3] * 3], atol=1e-15)
    assert probabilities.dtype == np.float64


def test_absent_class_counts_as_zero_unless_left_out() -> None:
    truth = np.array([0, 0, 1, 1])
    logits = np.array([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 9, 0]])
    scores = score_predictions(truth, logits)
    assert scores.macro_f1 == pytest.approx(2 / 3, abs=EXACT)
    assert (scores.macro_f1_present, scores.accuracy, scores.absent_classes) == (1.0, 1.0, 1)
    np.testing.assert_array_equal(per_class_f1(truth, logits.argmax(axis=1), 3), [1, 1, 0])
    np.testing.assert_array_equal(per_class_auc(truth, logits), [1, 1, np.nan])
    assert scores.auc_ovr == 1.0


def test_a_fold_of_one_class_has_no_auc_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(score_predictions(np.zeros(3, dtype=int), np.eye(3)).auc_ovr)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    logits = np.zeros((4, 3))
    logits[2, 1] = bad
    with pytest.raises(ValueError, match=r"logits of 1 of 4 images are not finite .* row 2"):
        score_predictions(np.zeros(4, dtype=int), logits)


@pytest.mark.parametrize(
    ("truth", "logits", "message"),
    [
        (np.array([0, 3]), np.zeros((2, 3)), "class 3, outside the 3 classes"),
        (np.array([0, -1]), np.zeros((2, 3)), "class -1"),
        (np.array([0.0, 1.0]), np.zeros((2, 3)), "integers"),
        (np.array([0]), np.zeros((2, 3)), "truth has 1 images"),
        (np.array([], dtype=int), np.zeros((0, 3)), "non-empty"),
        (np.array([0]), np.zeros(3), r"\[N, C\]"),
    ],
)
def test_arrays_of_the_wrong_shape_or_range_are_refused(truth: np.ndarray, logits: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_predictions(truth, logits)
