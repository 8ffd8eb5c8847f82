"""Which predictions a person should look at: a threshold that keeps a promise, and what looking would leave.

A chromosome is flagged when the classifier's confidence in it is below a threshold. The errors that stay are those of
the chromosomes not flagged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from bandbridge.evaluation.design_effect import USUAL, design_effect


@dataclass(frozen=True)
class ReviewThreshold:
    """Flag what has a confidence below ``threshold``: ``review_share`` of the images it was chosen on, in 0..1.

    ``error`` is the share of errors among the ``kept`` images not flagged and ``upper_bound`` its upper confidence
    bound, at most ``wanted_error``. When no threshold could be promised, the threshold is infinite: everything is
    flagged, and both are NaN. ``design_effect`` is how many chromosomes of these cells say as much as one alone.
    """

    threshold: float
    review_share: float
    kept: int
    error: float
    upper_bound: float
    wanted_error: float
    level: float
    design_effect: float


@dataclass(frozen=True)
class ReviewOutcome:
    """What is left after a person has put right the least confident ``reviewed`` images, ``share`` of all.

    ``found`` and ``left`` are errors, fractions where images of equal confidence stand on both sides of the line;
    ``error`` is ``left`` over all images, reviewed ones included.
    """

    share: float
    reviewed: int
    found: float
    left: float
    error: float


def choose_threshold(
    confidence: np.ndarray,
    correct: np.ndarray,
    wanted_error: float,
    cells: np.ndarray | None = None,
    level: float = 0.95,
    most_reviewed: float = 0.5,
) -> ReviewThreshold:
    """Return the threshold that flags fewest images with an error of at most ``wanted_error`` among the others.

    ``confidence`` is real [N], ``correct`` bool [N], of images the classifier was not trained on. The promise holds
    with probability ``level`` over the choice of those images. It is a fixed-sequence test ("Learn then test",
    Angelopoulos, Bates, Candes, Jordan & Lei 2021, arXiv:2110.01052): beginning with ``most_reviewed`` of the images
    flagged (fewer where the others would be too few to promise anything), and from there with ever fewer, it goes on
    as long as the bound of Clopper & Pearson 1934 stays below ``wanted_error``. Which thresholds are tried depends on
    the confidences alone. It takes the error rate to rise as the confidence falls.

    Chromosomes of one cell fail together. With ``cells`` [N] the bound is computed from the effective number of
    images, N over the design effect (Korn & Graubard 1998, Survey Methodology 24:193-201). Few errors do not tell that
    effect: it is then at least what is usual (:func:`bandbridge.evaluation.design_effect.design_effect`), so that up
    to ten errors fewer are never promised less. Of cells that fail as a whole or not at all a flawless set would say
    less than that. Raises :class:`ValueError` for no image, confidences that are not finite, arrays of
    different lengths or shares outside 0..1.
    """
    confidence, correct = _checked(confidence, correct)
    if not (0 < wanted_error < 1 and 0 < level < 1 and 0 < most_reviewed <= 1):
        raise ValueError("the wanted error, the level and the largest share to review lie between 0 and 1")
    # The effect of all images and not of those kept: theirs, known from few errors, comes out too small. On 50
    # simulated cells of strong kinship it broke the promise of 95 in 100 in 9 of 100, this one in 3, none at all in 17.
    effect = 1.0 if cells is None else design_effect(~correct, np.asarray(cells), USUAL)
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], np.cumsum(~correct[order])
    kept = np.flatnonzero(np.append(ranked[:-1] > ranked[1:], True)) + 1  # equal confidences stay together
    fewest = effect * math.log(1 - level) / math.log(1 - wanted_error)  # below it not even no error would do
    kept = kept[kept >= max(len(ranked) * (1 - most_reviewed), fewest)]
    wrong = errors[kept - 1]
    bounds = betaincinv(wrong / effect + 1, (kept - wrong) / effect, level)
    bounds = np.where(wrong == kept, 1.0, bounds)
    passed = int(np.logical_and.accumulate(bounds <= wanted_error).sum())
    if passed == 0:
        return ReviewThreshold(math.inf, 1.0, 0, math.nan, math.nan, wanted_error, level, effect)
    count, failed, bound = int(kept[passed - 1]), int(wrong[passed - 1]), float(bounds[passed - 1])
    return ReviewThreshold(
        float(ranked[count - 1]), 1 - count / len(ranked), count, failed / count, bound, wanted_error, level, effect
    )


def errors_left(
    confidence: np.ndarray, correct: np.ndarray, review_shares: Sequence[float] = (0.0, 0.01, 0.02, 0.05)
) -> list[ReviewOutcome]:
    """Return what reviewing the least confident share of the images leaves, for each of ``review_shares`` in 0..1.

    ``confidence`` is real [N], ``correct`` bool [N]. A share of N images is rounded up; the person is taken to be
    right. Among images of equal confidence those to review are taken at random, and the expected number of errors
    is returned. Raises :class:`ValueError` as :func:`choose_threshold` does.
    """
    confidence, correct = _checked(confidence, correct)
    if not all(0 <= share <= 1 for share in review_shares):
        raise ValueError(f"shares to review lie in 0..1: {list(review_shares)}")
    images, wrong = len(correct), int((~correct).sum())
    levels, block = np.unique(confidence, return_inverse=True)
    sizes, block_errors = np.bincount(block), np.bincount(block, weights=~correct, minlength=len(levels))
    ends, found = np.append(0, np.cumsum(sizes)), np.append(0.0, np.cumsum(block_errors))
    outcomes = []
    for share in review_shares:
        reviewed = math.ceil(share * images - 1e-9)
        caught = float(np.interp(reviewed, ends, found))
        outcomes.append(ReviewOutcome(share, reviewed, caught, wrong - caught, (wrong - caught) / images))
    return outcomes


def _checked(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if confidence.ndim != 1 or confidence.size == 0 or not np.isfinite(confidence).all():
        raise ValueError(f"confidence must be finite and a non-empty [N] array, not {list(confidence.shape)}")
    if correct.shape != confidence.shape or correct.dtype != np.bool_:
        raise ValueError(f"correct must be bool [{len(confidence)}], not {correct.dtype} {list(correct.shape)}")
    return confidence, correct
