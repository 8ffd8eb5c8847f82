"""What a classifier is worth to a laboratory, each fold judged with what the other folds taught.

Temperature, prediction sets, review threshold and the prices of a cell's counts are learned from the out-of-fold
predictions of all folds but one and applied to that one, so that no number here was fitted to the images it speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.evaluation.assignment import Anomaly, assign_cell
from bandbridge.evaluation.assignment_trial import CellLogits, perturb_cell
from bandbridge.evaluation.counts import CountCosts
from bandbridge.evaluation.predictions import logits_of
from bandbridge.karyotype import CLASS_INDEX, CLASSES

#: What is planted into cells: the copies added to a first and a second random autosome.
PLANTS = {"gain": (1, 0), "loss": (-1, 0), "gain and loss": (1, -1)}
_SEX = (CLASS_INDEX["X"], CLASS_INDEX["Y"])


@dataclass(frozen=True)
class Rules:
    """What was learned from other folds: see :class:`bandbridge.predict.confidence.Confidence`.

    ``thresholds`` float64 [K]; ``suspect_above`` the log-odds from which an overruled deviation is worth a word.
    """

    temperature: float
    thresholds: np.ndarray
    review_below: float
    costs: CountCosts
    suspect_above: float


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of every image and every cell.

    images: a row for each with image, cell, patient, label, fold, correct (by itself), joint_correct (in its cell),
    confidence (the calibrated probability of its likeliest class), covered, set_size and flagged. cells: a row for each
    whole cell, see :func:`judge_cell`, with fold and ``planted``: what was planted, "" for real ones.
    probabilities, raw_probabilities: float64 [N, K] of the images, calibrated and not. truth: int64 [N].
    """

    images: pd.DataFrame
    cells: pd.DataFrame
    probabilities: np.ndarray
    raw_probabilities: np.ndarray
    truth: np.ndarray


def run_trial(
    folds: Sequence[pd.DataFrame],
    checkpoint: str,
    learn: Callable[[list[pd.DataFrame]], Rules],
    seed: int = 0,
) -> Trial:
    """Judge each of ``folds`` (as ``predictions.parquet`` holds them) by what ``learn`` makes of the others.

    Cells must not be divided between folds. ``seed`` plants abnormal cells: of every whole cell one for each of
    :data:`PLANTS`. Raises ValueError for fewer than two folds or classes other than a human's.
    """
    if len(folds) < 2:
        raise ValueError("a trial learns from other folds: there must be two at least")
    images, cells, likely, raw, truths = [], [], [], [], []
    generator = np.random.default_rng(seed)
    for number, frame in enumerate(folds):
        rules = learn([other for index, other in enumerate(folds) if index != number])
        truth, logits, names = logits_of(frame, checkpoint)
        if names != CLASSES:
            raise ValueError(f"cells are judged for the {len(CLASSES)} human classes, not {len(names)}")
        rows = frame.loc[frame["checkpoint"] == checkpoint]
        scaled = logits.astype(np.float64) / rules.temperature
        probabilities = softmax(scaled, axis=1)
        names_of_cells = rows["cell"].to_numpy()
        whole = [
            CellLogits(str(cell), scaled[names_of_cells == cell], truth[names_of_cells == cell])
            for cell, images in rows["cell"].value_counts(sort=False).items()
            if cell and images <= MOST_IN_CELL
        ]
        joint = probabilities.argmax(axis=1)
        for cell in whole:
            found, record = judge_cell(cell, rules)
            joint[names_of_cells == cell.cell] = found
            cells.append({"fold": number, "planted": "", **record})
        cells += [
            {"fold": number, "planted": kind, **judge_cell(cell, rules)[1]} for kind, cell in _planted(whole, generator)
        ]
        images.append(_judge_images(rows, number, truth, probabilities, joint, rules))
        likely.append(probabilities)
        raw.append(softmax(logits.astype(np.float64), axis=1))
        truths.append(truth)
    return Trial(
        pd.concat(images, ignore_index=True),
        pd.DataFrame(cells),
        np.concatenate(likely),
        np.concatenate(raw),
        np.concatenate(truths),
    )


def judge_cell(cell: CellLogits, rules: Rules) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the joint classes of ``cell``, int64 [n] (-1: no place), and what came of it.

    The record has: cell, chromosomes, wrong_alone, wrong_joint, mended, made, deviations (the true ones in words, ""
    for a normal cell), gain, loss, sex (whether it has such), and for ``reported`` (evidence above 0) and ``suspected``
    (from ``suspect_above``, the reported included): whether a true deviation is among them (``*_right``) and how many
    are wrong (``*_wrong``).
    """
    found = assign_cell(cell.log_probabilities, rules.costs)
    alone, joint = found.independent != cell.truth, found.classes != cell.truth
    deviations = true_deviations(cell.copies)
    record: dict[str, Any] = {
        "cell": cell.cell,
        "chromosomes": len(cell.truth),
        "wrong_alone": int(alone.sum()),
        "wrong_joint": int(joint.sum()),
        "mended": int((alone & ~joint).sum()),
        "made": int((joint & ~alone).sum()),
        "deviations": ", ".join(
            f"{CLASSES[index]}{step:+d}" for index, step in deviations.items() if index not in _SEX
        ),
        "gain": any(step > 0 for index, step in deviations.items() if index not in _SEX),
        "loss": any(step < 0 for index, step in deviations.items() if index not in _SEX),
        "sex": any(index in _SEX for index in deviations),
        "sexes": "X" * int(cell.copies[_SEX[0]]) + "Y" * int(cell.copies[_SEX[1]]),
    }
    for name, least in (("reported", 0.0), ("suspected", rules.suspect_above)):
        said = [one for one in found.suspects if one.log_odds > 0 or (name == "suspected" and one.log_odds >= least)]
        right = [_is_true(one, deviations) for one in said]
        record |= {f"{name}_right": any(right), f"{name}_wrong": len(right) - sum(right)}
        record[f"{name}_gain"] = any(
            ok for ok, one in zip(right, said, strict=True) if one.copies > one.expected and one.class_index not in _SEX
        )
        record[f"{name}_sex"] = any(ok for ok, one in zip(right, said, strict=True) if one.class_index in _SEX)
    return found.classes, record


def true_deviations(copies: np.ndarray) -> dict[int, int]:
    """Return by class index how many chromosomes a cell with ``copies``, integers [24], has above or below normal.

    Two of each autosome are normal, and XX or XY; other sexes deviate in both, from the nearer of the two.
    """
    found = {index: int(copies[index]) - 2 for index in range(len(CLASSES) - 2) if copies[index] != 2}
    x, y = (int(copies[index]) for index in _SEX)
    if (x, y) not in ((2, 0), (1, 1)):
        normal = min(((2, 0), (1, 1)), key=lambda one: abs(one[0] - x) + abs(one[1] - y))
        found |= {index: have - want for index, have, want in zip(_SEX, (x, y), normal, strict=True) if have != want}
    return found


def _is_true(said: Anomaly, deviations: dict[int, int]) -> bool:
    """Whether what was said of a class is so, in direction; of the sex chromosomes, whether anything is."""
    if said.class_index in _SEX:
        return any(index in _SEX for index in deviations)
    step = deviations.get(said.class_index, 0)
    return step != 0 and (step > 0) == (said.copies > said.expected)


def _planted(cells: Sequence[CellLogits], generator: np.random.Generator) -> list[tuple[str, CellLogits]]:
    """Each of :data:`PLANTS` made of every normal cell; donors are other cells of the same fold."""
    found = []
    for cell in cells:
        if true_deviations(cell.copies):
            continue
        for kind, steps in PLANTS.items():
            chosen = generator.choice(len(CLASSES) - 2, 2, replace=False)
            changes = {int(index): step for index, step in zip(chosen, steps, strict=True) if step}
            try:
                found.append((kind, perturb_cell(cell, changes, cells, generator)))
            except ValueError:
                continue  # no other cell has such a chromosome to give
    return found


def _judge_images(
    rows: pd.DataFrame, fold: int, truth: np.ndarray, probabilities: np.ndarray, joint: np.ndarray, rules: Rules
) -> pd.DataFrame:
    every = np.arange(len(truth))
    sure = probabilities.max(axis=1)
    sets = 1 - probabilities <= rules.thresholds
    return pd.DataFrame(
        {
            "image": rows["image"].to_numpy(),
            "cell": rows["cell"].to_numpy(),
            "patient": rows["patient"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "fold": fold,
            "correct": probabilities.argmax(axis=1) == truth,
            "joint_correct": joint == truth,
            "confidence": sure,
            "covered": sets[every, truth],
            "set_size": sets.sum(axis=1),
            "flagged": sure < rules.review_below,
        }
    )
