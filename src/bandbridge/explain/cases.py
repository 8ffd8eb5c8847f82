"""Which images are worth looking at, chosen from predictions by stated rules, with a seed, never by hand.

Every rule takes the table of :func:`judge` and returns a table of cases with the columns :data:`CASE`; ``rule`` says in
words how they were chosen. A case names the approach it is about, "" where it is about all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bandbridge.evaluation.metrics import class_probabilities
from bandbridge.evaluation.predictions import logits_of

CASE = ("kind", "rule", "image", "cell", "label", "approach", "predicted", "probability")
#: The kinds of cases in reading order, and what they are called.
KINDS = {
    "correct": "Classified correctly by all approaches",
    "error": "The most confident errors",
    "confused": "The pairs of classes most confused",
    "mended": "Errors that the detour mends",
    "broken": "Errors that the detour makes",
}


def judge(predictions: Mapping[str, pd.DataFrame], checkpoint: str) -> pd.DataFrame:
    """Return what each approach makes of each image: the predictions of one ``checkpoint`` by approach, judged.

    Columns: ``approach``, ``image``, ``cell``, ``patient``, ``label``, ``predicted``, ``probability`` (of the predicted
    class), ``truth_probability`` and ``correct``; by approach in the order given, then by image. Raises as
    :func:`logits_of` does.
    """
    parts = []
    for approach, frame in predictions.items():
        truth, logits, classes = logits_of(frame, checkpoint)
        likely, rows = class_probabilities(logits), np.arange(len(truth))
        guess = logits.argmax(axis=1)
        judged = frame.loc[frame["checkpoint"] == checkpoint, ["image", "cell", "patient", "label"]].assign(
            predicted=np.array(classes, dtype=object)[guess],
            probability=likely[rows, guess],
            truth_probability=likely[rows, truth],
            correct=guess == truth,
        )
        judged.insert(0, "approach", approach)
        parts.append(judged.sort_values("image"))
    columns = ["approach", "image", "cell", "patient", "label", "predicted", "probability", "truth_probability"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*columns, "correct"])


def draw_images(images: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Return ``count`` rows of ``images`` (columns image, label; an image once), drawn by ``seed``, classes by turns.

    Classes come in random order and give one image each before any gives a second. The draw depends on the set of rows
    and not on their order.
    """
    ordered = images.sort_values("image", ignore_index=True)
    shuffled = ordered.iloc[np.random.default_rng(seed).permutation(len(ordered))]
    turn = shuffled.groupby("label", sort=False).cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(count).reset_index(drop=True)


def correct_by_all(judged: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Return ``count`` images that every approach of ``judged`` classifies correctly, drawn with classes by turns."""
    approaches = judged["approach"].nunique()
    right = judged[judged["correct"]]
    by_all = right.groupby("image")["approach"].transform("nunique") == approaches
    images = right[by_all].drop_duplicates("image").assign(approach="", probability=float("nan"))
    rule = f"drawn with seed {seed}, classes by turns, from the images that all {approaches} approaches get right"
    return _cases("correct", rule, draw_images(images, count, seed))


def confident_errors(judged: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the ``count`` most confident errors: those of each approach by probability, approaches by turns.

    An image is shown once, for the approach that errs on it with the highest probability.
    """
    errors = judged[~judged["correct"]].sort_values(["probability", "image"], ascending=[False, True], kind="stable")
    errors = errors.drop_duplicates("image")
    turn = errors.groupby("approach", sort=False).cumcount()
    chosen = errors.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(count)
    rule = "the errors with the highest probability of the wrong class, approaches by turns, an image once"
    return _cases("error", rule, chosen)


def confused_pairs(judged: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the ``count`` pairs of classes most often taken for one another, all approaches together.

    Columns: ``first`` and ``second`` (of a pair, the one that is first in text order), ``errors`` (both ways).
    """
    errors = judged.loc[~judged["correct"], ["label", "predicted"]].astype(str)
    pairs = pd.DataFrame({"first": errors.min(axis=1), "second": errors.max(axis=1)})
    counted = pairs.value_counts().reset_index(name="errors")
    ordered = counted.sort_values(["errors", "first", "second"], ascending=[False, True, True], ignore_index=True)
    return ordered.head(count)


def examples_of_pairs(judged: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the most confident error of ``judged`` for each of ``pairs`` (of :func:`confused_pairs`) that has one."""
    errors = judged[~judged["correct"]].sort_values(["probability", "image"], ascending=[False, True], kind="stable")
    found = []
    for pair in pairs.itertuples(index=False):
        ways = [(pair.first, pair.second), (pair.second, pair.first)]
        among = errors[pd.MultiIndex.from_frame(errors[["label", "predicted"]]).isin(ways)]
        rule = (
            f"the most confident error between {pair.first} and {pair.second}, which are taken for one another "
            f"{pair.errors} times in all folds and approaches together"
        )
        found.append(_cases("confused", rule, among.head(1)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(CASE))


def mended_errors(judged: pd.DataFrame, approach: str, reference: str, count: int) -> pd.DataFrame:
    """Return the ``count`` images that ``reference`` gets wrong and ``approach`` right, by the gain of the truth.

    The gain is the probability of the true class under ``approach`` minus that under ``reference``. The case is about
    ``reference``, whose error it is.
    """
    rule = f"{reference} errs and {approach} does not; the largest gains in the probability of the true class"
    return _cases("mended", rule, _changed(judged, approach, reference).head(count))


def broken_errors(judged: pd.DataFrame, approach: str, reference: str, count: int) -> pd.DataFrame:
    """Return the ``count`` images that ``reference`` gets right and ``approach`` wrong, by the loss of the truth."""
    rule = f"{approach} errs and {reference} does not; the largest losses in the probability of the true class"
    return _cases("broken", rule, _changed(judged, reference, approach).head(count))


def _changed(judged: pd.DataFrame, right: str, wrong: str) -> pd.DataFrame:
    """The rows of approach ``wrong`` that ``right`` gets right, the largest difference for the truth first."""
    good = judged[(judged["approach"] == right) & judged["correct"]]
    bad = judged[(judged["approach"] == wrong) & ~judged["correct"]]
    both = bad.merge(good[["image", "truth_probability"]], on="image", suffixes=("", "_right"))
    both = both.assign(change=both["truth_probability_right"] - both["truth_probability"])
    return both.sort_values(["change", "image"], ascending=[False, True], kind="stable")


def _cases(kind: str, rule: str, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(kind=kind, rule=rule).reset_index(drop=True)[list(CASE)]
