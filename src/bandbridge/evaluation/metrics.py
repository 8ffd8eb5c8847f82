"""The three scores of the study (Eqs. 1-7 of the paper) and the per-class numbers behind them.

Classes are integers 0..C-1. What happens to a class that a small fold does not hold:

- **Precision, recall, F1** whose denominator is zero are 0. Eq. 4 averages over all C classes, so a class
  that is neither there nor predicted pulls Macro-F1 down although nothing was missed. That is the paper's
  formula and scikit-learn's with ``labels=range(C), zero_division=0``. ``present_only=True`` leaves such
  classes out (scikit-learn's default labels); :class:`Scores` carries both values and the number of absent
  classes.
- **AUC** of a class without positives or without negatives is not defined: NaN for the class, and Eq. 7 then
  averages over the classes where it is defined (NaN if there is none).

Wrong shapes, classes out of range and values that are not finite raise :class:`ValueError`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax


@dataclass(frozen=True)
class Scores:
    """Scores of one model on ``n`` images, each in 0..1.

    ``macro_f1_present`` averages over classes that occur (in truth or prediction) only; ``absent_classes``
    counts the classes without a true image. The two Macro-F1 values agree when every class occurs.
    """

    macro_f1: float
    accuracy: float
    auc_ovr: float
    n: int
    macro_f1_present: float
    absent_classes: int


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Precision, recall, F1 (float64 [C], 0 if undefined; Eqs. 1-3), true and predicted counts (int64)."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    predicted: np.ndarray


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return int64 [C, C]: the images of true class ``row`` predicted as class ``column``.

    ``truth`` and ``predicted`` are integers [N] in 0..``classes``-1, N at least 1.
    """
    truth, predicted = (
        _class_indices("truth", truth, classes),
        _class_indices("predicted", predicted, classes),
    )
    _same_length("truth", truth, "predicted", predicted)
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class_scores(truth: np.ndarray, predicted: np.ndarray, classes: int) -> ClassScores:
    """Return precision, recall and F1 of each class (Eqs. 1-3) from integers [N]."""
    matrix = confusion_matrix(truth, predicted, classes)
    hits, support, guesses = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    # Eq. 3 rewritten over counts: one division, defined wherever a class was true or guessed at all.
    return ClassScores(
        precision=_ratio(hits, guesses),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + guesses),
        support=support,
        predicted=guesses,
    )


def per_class_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the F1 of each class (Eq. 3), float64 [C]."""
    return per_class_scores(truth, predicted, classes).f1


def macro_f1(truth: np.ndarray, predicted: np.ndarray, classes: int, present_only: bool = False) -> float:
    """Return the mean F1 over all classes (Eq. 4); ``present_only``: those in truth or prediction."""
    scores = per_class_scores(truth, predicted, classes)
    counted = (scores.support + scores.predicted > 0) if present_only else np.ones(classes, dtype=bool)
    return float(scores.f1[counted].mean())


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of images classified correctly (Eq. 5) from integers [N]."""
    truth, predicted = _class_indices("truth", truth), _class_indices("predicted", predicted)
    _same_length("truth", truth, "predicted", predicted)
    return float(np.mean(truth == predicted))


def per_class_auc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the one-vs-rest AUC of each class (Eq. 6), float64 [C], NaN where undefined.

    ``truth`` is integers [N], ``scores`` real [N, C], larger for likelier. The area under the trapezoid ROC
    curve is the Mann-Whitney statistic with midranks for ties (Hanley & McNeil 1982), which is what is
    computed.
    """
    scores = _finite_matrix("scores", scores)
    images, classes = scores.shape
    truth = _class_indices("truth", truth, classes)
    _same_length("truth", truth, "scores", scores)
    from scipy.stats import rankdata  # half a second, which predicting does without

    own_ranks = rankdata(scores, axis=0)[np.arange(images), truth]
    positives = np.bincount(truth, minlength=classes).astype(float)
    wins = np.bincount(truth, weights=own_ranks, minlength=classes) - positives * (positives + 1) / 2
    pairs = positives * (images - positives)
    return np.divide(wins, pairs, out=np.full(classes, np.nan), where=pairs > 0)


def auc_ovr(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean one-vs-rest AUC (Eq. 7) over the classes where it is defined; NaN if it is for none.

    Give probabilities (:func:`class_probabilities`), as the paper does: raw logits of different images are not on one
    scale, rank the images differently and give another AUC.
    """
    areas = per_class_auc(truth, scores)
    defined = areas[~np.isnan(areas)]
    return float(defined.mean()) if len(defined) else float("nan")


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of ``logits`` real [N, C], float64 [N, C].

    SciPy's, in float64 whatever comes in: in float32 confident predictions round to ties at 1 and change the AUC.
    """
    return softmax(_finite_matrix("logits", logits), axis=1)


def score_predictions(truth: np.ndarray, logits: np.ndarray) -> Scores:
    """Score ``logits`` real [N, C] against ``truth`` integers [N]; predicted is the first largest logit."""
    logits = _finite_matrix("logits", logits)
    classes = logits.shape[1]
    predicted = logits.argmax(axis=1)
    truth = _class_indices("truth", truth, classes)
    return Scores(
        macro_f1=macro_f1(truth, predicted, classes),
        accuracy=accuracy(truth, predicted),
        auc_ovr=auc_ovr(truth, class_probabilities(logits)),
        n=len(truth),
        macro_f1_present=macro_f1(truth, predicted, classes, present_only=True),
        absent_classes=int(classes - len(np.unique(truth))),
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def _class_indices(name: str, values: np.ndarray, classes: int | None = None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be a non-empty [N] array of integers, not {values.dtype} {list(values.shape)}")
    low, high = int(values.min()), int(values.max())
    if low < 0 or (classes is not None and high >= classes):
        raise ValueError(f"{name} holds class {low if low < 0 else high}, outside the {classes or 'known'} classes")
    return values.astype(np.int64)


def _finite_matrix(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{name} must be a non-empty [N, C] array, not {list(values.shape)}")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} of {int(bad.sum())} of {len(values)} images are not finite (NaN or infinity), "
            f"first in row {int(bad.argmax())}"
        )
    return values


def _same_length(first_name: str, first: np.ndarray, second_name: str, second: np.ndarray) -> None:
    if len(first) != len(second):
        raise ValueError(f"{first_name} has {len(first)} images, {second_name} has {len(second)}")
