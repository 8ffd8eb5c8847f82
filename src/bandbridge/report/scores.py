"""From the predictions of many runs to one frame of scores, the input of every table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bandbridge.errors import ManyErrors
from bandbridge.evaluation.metrics import score_predictions
from bandbridge.evaluation.predictions import RunPredictions, logits_of, pool_folds
from bandbridge.report.context import Arm, TableContext

KEY = ["task", "architecture", "approach", "intermediate"]
METRICS = ("macro_f1", "accuracy", "auc_ovr")
_COLUMNS = ["task", "band", *KEY[1:], "fold", "checkpoint", "images", *METRICS]
_COLUMNS += ["macro_f1_present", "absent_classes"]


def fold_scores(runs: Sequence[RunPredictions]) -> pd.DataFrame:
    """Score every run: one row for each task, architecture, approach, intermediate, fold and checkpoint.

    Scores are in 0..1. ``absent_classes`` counts the classes without an image in the fold,
    ``macro_f1_present`` is Macro-F1 without classes that do not occur. Raises :class:`ManyErrors` when runs
    appear twice, when folds of one cross-validation share an image, when approaches to be compared were held
    out on different images, or when logits are not finite.
    """
    _refuse_repeated_runs(runs)
    _refuse_overlapping_folds(runs)
    _refuse_unpaired_folds(runs)
    rows, problems = [], []
    for run in runs:
        for checkpoint in sorted(set(run.predictions["checkpoint"])):
            truth, logits, _ = logits_of(run.predictions, checkpoint)
            try:
                scores = score_predictions(truth, logits)
            except ValueError as fault:
                problems.append(f"{run}, checkpoint {checkpoint}: {fault}")
                continue
            row = {"band": run.band, "fold": run.fold, "checkpoint": checkpoint, "images": scores.n}
            row |= dict(zip(KEY, run.arm, strict=True))
            row |= {name: getattr(scores, name) for name in (*METRICS, "macro_f1_present", "absent_classes")}
            rows.append(row)
    if problems:
        raise ManyErrors(
            "some runs predict numbers that are not finite: their training diverged",
            problems,
            "Lower the learning rate of these runs, or leave them out of the study.",
        )
    numbers = dict.fromkeys((*METRICS, "macro_f1_present"), "float64")
    numbers |= dict.fromkeys(("fold", "images", "absent_classes"), "int64")
    return pd.DataFrame(rows, columns=_COLUMNS).astype(numbers)


def summarise(scores: pd.DataFrame, checkpoint: str) -> pd.DataFrame:
    """Return mean and sample standard deviation (ddof 1; NaN for one fold) over folds, and the fold count.

    One row for each task, architecture, approach and intermediate (columns); values ``<metric>_mean`` and
    ``<metric>_sd`` in 0..1.
    """
    rows = scores.loc[scores["checkpoint"] == checkpoint]
    means = {f"{metric}_mean": (metric, "mean") for metric in METRICS}
    deviations = {f"{metric}_sd": (metric, "std") for metric in METRICS}
    columns = {name: value for pair in zip(means.items(), deviations.items(), strict=True) for name, value in pair}
    return rows.groupby(KEY, sort=False).agg(folds=("fold", "count"), **columns).reset_index()


def missing_folds(scores: pd.DataFrame, context: TableContext, checkpoint: str) -> dict[tuple[str, Arm], list[int]]:
    """Return the planned folds without a score, by architecture and arm; finished ones are left out."""
    done = {
        (str(architecture), Arm(str(task), str(approach), str(intermediate)), fold)
        for task, architecture, approach, intermediate, fold in scores.loc[
            scores["checkpoint"] == checkpoint, [*KEY, "fold"]
        ].itertuples(index=False)
    }
    missing = {}
    for task in context.tasks:
        for architecture in context.architectures:
            for arm in context.arms_of(task.name):
                folds = [fold for fold in context.folds if (architecture.name, arm, fold) not in done]
                if folds:
                    missing[architecture.name, arm] = folds
    return missing


def unfinished_notes(scores: pd.DataFrame, context: TableContext, checkpoint: str, shown: int = 12) -> tuple[str, ...]:
    """Return notes on what is planned but not there: how many runs, then which (``shown`` lines)."""
    missing = missing_folds(scores, context, checkpoint)
    if not missing:
        return ()
    planned = len(context.architectures) * len(context.arms) * len(context.folds)
    lines = [
        f"{context.task(arm.task).shown}, {architecture}, {context.arm_title(arm)}: "
        + ("every fold." if len(folds) == len(context.folds) else f"fold {', '.join(map(str, folds))}.")
        for (architecture, arm), folds in missing.items()
    ]
    more = [f"... and {len(lines) - shown} more."] if len(lines) > shown else []
    count = sum(map(len, missing.values()))
    headline = f"Unfinished: {count} of {planned} runs are missing. (3/5) is 3 of 5 folds, – is none;"
    headline += " unfinished cells take no part in bold and †. Missing:"
    return (headline, *lines[:shown], *more)


def _refuse_repeated_runs(runs: Sequence[RunPredictions]) -> None:
    seen: set[tuple[object, ...]] = set()
    repeated = []
    for run in runs:
        key = (*run.arm, run.fold)
        if key in seen:
            repeated.append(str(run))
        seen.add(key)
    if repeated:
        raise ManyErrors(
            "the same run was given more than once", repeated, "Give one run for each fold of an approach."
        )


def _refuse_overlapping_folds(runs: Sequence[RunPredictions]) -> None:
    arms: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    for folds in arms.values():
        pool_folds(folds)


def _refuse_unpaired_folds(runs: Sequence[RunPredictions]) -> None:
    first: dict[tuple[str, int], tuple[RunPredictions, frozenset[str]]] = {}
    problems = []
    for run in runs:
        images = frozenset(run.predictions["image"])
        reference, expected = first.setdefault((run.task, run.fold), (run, images))
        if images != expected:
            problems.append(f"{run}: not the held-out images of {reference}")
    if problems:
        raise ManyErrors(
            "approaches were held out on different images, so their folds cannot be compared",
            problems,
            "Train every approach of a task from one study file: its split is the same for all.",
        )
