"""What a study says that compares nothing: how good its classifiers are by themselves, on images held out from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.cluster_intervals import Estimate, Units, estimate_macro_f1
from bandbridge.evaluation.pooled import grouping_unit
from bandbridge.evaluation.predictions import RunPredictions, logits_of, pool_folds
from bandbridge.report.context import Arm, TableContext
from bandbridge.report.contrasts import comparisons_of
from bandbridge.report.out_of_fold import covering_runs
from bandbridge.report.sections.answer import Answer


def compares_nothing(context: TableContext) -> bool:
    """Whether no task has both an approach and what it is compared with."""
    return not any(comparisons_of(context, task.name) for task in context.tasks)


def own_results(runs: Sequence[RunPredictions], context: TableContext) -> list[Answer]:
    """Return one statement for each task and approach with finished ``runs``, in the tables' order.

    Shares are of the pooled held-out images, with 95% intervals over whole patients, or cells where patients are not
    known (:mod:`bandbridge.evaluation.cluster_intervals`); of several architectures the mean, the lowest and the
    highest are told, which have none.
    """
    context = covering_runs(runs, context)
    by_arm: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, []).append(run)
    order = {name: place for place, name in enumerate(context.architecture_names())}
    statements = []
    for task in context.tasks:
        for arm in context.arms_of(task.name):
            folds = [found for found in by_arm.values() if _arm(found[0]) == arm]
            if folds:
                folds.sort(key=lambda found: order[found[0].architecture])
                statements.append(_statement(arm, folds, context))
    return statements


def _arm(run: RunPredictions) -> Arm:
    return Arm(run.task, run.approach, run.intermediate)


def _statement(arm: Arm, architectures: Sequence[list[RunPredictions]], context: TableContext) -> Answer:
    found = {folds[0].architecture: _measure(folds, context.checkpoint) for folds in architectures}
    shares = {name: 100 * share.value for name, (share, _, _) in found.items()}
    f1 = 100 * float(np.mean([one.value for _, one, _ in found.values()]))
    (share, macro_f1, of), first = found[next(iter(found))], next(iter(found))
    title = context.arm_title(arm)
    if len(found) == 1:
        claim = f"{title} names {shares[first]:.1f}% of the held-out chromosomes right."
        sentence = f"{first}: accuracy {_told(share)}, Macro-F1 {_told(macro_f1)}, on {of}."
        if not (share.bounded and macro_f1.bounded):
            sentence += " Too few of them to give an interval: train more folds, or collect more."
    else:
        low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        mean = float(np.mean(list(shares.values())))
        claim = f"{title} names {mean:.1f}% of the held-out chromosomes right, mean of {len(found)} architectures."
        sentence = (
            f"From {shares[low]:.1f}% ({low}) to {shares[high]:.1f}% ({high}); mean Macro-F1 {f1:.1f}%, on {of}. The "
            "highest of several is in part the luckiest."
        )
    done = sum(len(folds) for folds in architectures)
    planned = len(architectures) * len(context.folds)
    missing = f" {done} of {planned} trainings are finished." if done < planned else ""
    return Answer(context.task(arm.task).shown, title, "", "alone", claim, sentence + missing)


def _measure(folds: Sequence[RunPredictions], checkpoint: str) -> tuple[Estimate, Estimate, str]:
    """Accuracy and Macro-F1 in 0..1 of the pooled folds, and the images and groups that they are of."""
    frame = pool_folds(folds)
    frame = frame.loc[frame["checkpoint"] == checkpoint]
    truth, logits, classes = logits_of(frame, checkpoint)
    guess, everything = logits.argmax(axis=1), np.ones(len(truth), dtype=bool)
    unit = grouping_unit(frame)
    units = Units.named(frame[unit])
    share = units.share(guess == truth, everything)
    macro_f1 = estimate_macro_f1(units.class_counts(truth, guess, len(classes), everything))
    of = f"{len(truth):,} held-out images" + ("" if unit == "image" else f" of {counted(units.count, unit)}")
    return share, macro_f1, of


def _told(estimate: Estimate) -> str:
    span = f" (95% interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})" if estimate.bounded else ""
    return f"{100 * estimate.value:.1f}%{span}"
