"""Whether a classifier is as often right as it is sure: reliability by confidence, and what is lost where it is not.

The confidence of a prediction is its largest class probability. Definitions follow Guo et al. 2017 (On Calibration of
Modern Neural Networks, ICML) and Brier 1950 (Monthly Weather Review 78:1-3). All take ``probabilities`` real [N, K],
whose rows are of 0..1 and sum to 1, and ``truth`` integers [N] in 0..K-1; anything else raises :class:`ValueError`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: How far a row of probabilities may be from 1: the rounding of a float32 softmax over some thousand classes.
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predictions in M bins of equal width by their confidence.

    ``edges`` float64 [M + 1] from 0 to 1, ``counts`` int64 [M]; ``confidence`` and ``accuracy`` float64 [M] are means
    over a bin's predictions in 0..1, NaN where there are none.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """How far accuracy and confidence of each bin are apart, float64 [M] in 0..1, 0 in an empty bin."""
        return np.where(self.counts > 0, np.abs(self.accuracy - self.confidence), 0.0)


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> Reliability:
    """Return confidence and accuracy in ``bins`` bins ((m - 1) / M, m / M] (Guo et al. 2017, section 2).

    The predicted class is the first with the largest probability; a confidence of 0 would belong to the first bin.
    """
    probabilities, truth = _checked(probabilities, truth)
    if bins < 1:
        raise ValueError(f"a reliability diagram needs at least one bin, not {bins}")
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = probabilities.max(axis=1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(place, minlength=bins)
    means = [
        np.divide(np.bincount(place, values, bins), counts, out=np.full(bins, np.nan), where=counts > 0)
        for values in (confidence, (probabilities.argmax(axis=1) == truth).astype(np.float64))
    ]
    return Reliability(edges, counts, *means)


def expected_calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Return sum_m n_m / N |acc_m - conf_m| over the bins, in 0..1 (Guo et al. 2017, Eq. 3)."""
    found = reliability(probabilities, truth, bins)
    return float(np.sum(found.counts * found.gaps) / np.sum(found.counts))


def maximum_calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Return max_m |acc_m - conf_m| over the bins with predictions, in 0..1 (Guo et al. 2017, Eq. 5).

    A bin of one prediction counts as much as a full one.
    """
    return float(reliability(probabilities, truth, bins).gaps.max())


def negative_log_likelihood(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return -1/N sum_i ln p_i of the true classes, in nats per image (Guo et al. 2017, Eq. 6, divided by N).

    Infinite where a true class has probability 0.
    """
    probabilities, truth = _checked(probabilities, truth)
    with np.errstate(divide="ignore"):
        return float(-np.log(probabilities[np.arange(len(truth)), truth]).mean())


def brier_score(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return 1/N sum_i sum_k (p_ik - [k is true])^2, in 0..2 (Brier 1950)."""
    probabilities, truth = _checked(probabilities, truth)
    wanted = np.eye(probabilities.shape[1])[truth]
    return float(np.square(probabilities - wanted).sum(axis=1).mean())


def _checked(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    if probabilities.ndim != 2 or probabilities.size == 0 or truth.shape != probabilities.shape[:1]:
        shapes = f"{list(probabilities.shape)} and {list(truth.shape)}"
        raise ValueError(f"probabilities must be [N, K] and truth [N], neither empty, not {shapes}")
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= probabilities.shape[1]:
        raise ValueError(f"truth must be integers in 0..{probabilities.shape[1] - 1}")
    # Written so that NaN fails as well.
    in_range = ((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    wrong = ~(in_range & (np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE))
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {len(wrong)} rows are not probabilities that sum to 1, first row {wrong.argmax()}: "
            "give the softmax of the logits"
        )
    return probabilities, truth
