"""What a reader must know before believing a study's numbers: leakage, selection, missing runs, few folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.dataset.fold_notes import named, untrained_classes, why_untrained
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.splits import Split
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.pooled import grouping_unit
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.caution import (
    ABSENT_CLASSES,
    CHOSEN_EPOCH,
    FEW_FOLDS,
    FEW_GROUPS,
    MISSING_DATA,
    MIXED_MACHINES,
    OWN_LABORATORY,
    REPEATED_FILES,
    SHARED_CELLS,
    SHARED_PATIENTS,
    TARGET_IN_INTERMEDIATE,
    TRAINED_UPRIGHT,
    UNFINISHED,
    UNKNOWN_CELLS,
    UNTRAINED_CLASSES,
    Caution,
)
from bandbridge.report.context import TableContext
from bandbridge.report.contrasts import selection_table
from bandbridge.report.rendering import signed
from bandbridge.report.scores import unfinished_notes
from bandbridge.report.tables.published import absent_class_notes, reported
from bandbridge.seal import read_product
from bandbridge.study.plan import Study
from bandbridge.study.resolve import TaskData

#: Fewer folds than this have t intervals of more than three standard errors either way.
_ENOUGH_FOLDS = 4
#: The published share of training images that are flipped vertically.
_PUBLISHED_FLIPS = 0.5


def find_cautions(
    study: Study,
    scores: pd.DataFrame,
    context: TableContext,
    environments: Sequence[dict[str, Any]],
    runs: Sequence[RunPredictions] = (),
) -> list[Caution]:
    """Return every caution of ``study``: the serious ones first, each group in the order of the codes.

    ``scores`` is the frame of ``fold_scores`` of ``runs``, ``environments`` what the finished runs recorded of their
    machine. Without ``runs`` nothing is said of how few patients or cells were held out. No image is read: files are
    compared by the hashes that the study took when it was opened.
    """
    found = [
        *_unfinished(study, scores, context),
        *_leakage(study),
        *_selection(scores, context),
        *_few_folds(context, study.spec.split.folds),
        *_machines(environments),
        *_few_groups(runs, context),
        *(ABSENT_CLASSES.caution(text) for text in absent_class_notes(reported(scores, context.checkpoint))),
        *_upright(study),
        *_own_laboratory(study),
        *_untrained(study),
    ]
    return sorted(found, key=lambda caution: (caution.gravity != "serious", caution.code))


def shared_groups(split: Split, samples: pd.DataFrame, unit: str) -> tuple[int, int]:
    """Return (held-out images whose ``unit`` also has training images, images with a known ``unit``), over all folds.

    ``samples`` has the columns file_name and ``unit`` ("" = unknown).
    """
    groups = samples.set_index("file_name")[unit].loc[list(split.file_names)].to_numpy()
    known = groups != ""
    folds_of = pd.Series(split.assignment[known]).groupby(groups[known]).transform("nunique")
    return int((folds_of > 1).sum()), int(known.sum())


def repeated_files(hashes: Sequence[str], assignment: np.ndarray) -> int:
    """Return how many images have a byte-identical twin in another fold; ``hashes`` are those of the files."""
    folds_of = pd.Series(assignment).groupby(np.asarray(hashes)).transform("nunique")
    return int((folds_of > 1).sum())


def _unfinished(study: Study, scores: pd.DataFrame, context: TableContext) -> Iterator[Caution]:
    notes = unfinished_notes(scores, context, context.checkpoint, shown=1000)
    if notes:
        headline = notes[0].removesuffix(" Missing:").removeprefix("Unfinished: ")
        yield UNFINISHED.caution(headline[0].upper() + headline[1:], notes[1:])
    if study.missing_data:
        names = ", ".join(study.missing_data)
        text = f"Not found here: {names}. What needs the images (cases, attention, similarity, leakage) is left out."
        yield MISSING_DATA.caution(text)


def _leakage(study: Study) -> Iterator[Caution]:
    for task in study.tasks.values():
        if not task.spec.target or task.dataset is None or task.split is None:
            continue
        yield from _shared_with_training(task, task.split, task.dataset)
        # The split lists the files in the order of the samples.
        twins = repeated_files(task.hashes, task.split.assignment)
        if twins:
            text = f"{twins:,} images of {task.spec.named} are byte-identical to an image of another fold."
            remedy = " 'bandbridge data check' names them; remove one of each."
            yield REPEATED_FILES.caution(text + remedy, task=task.name)
        if {"two-step", "domain"} & set(study.spec.approaches):
            yield from _shared_with_intermediate(task, study)


def _shared_with_training(task: TaskData, split: Split, dataset: ImageFolder) -> Iterator[Caution]:
    samples = dataset.samples
    shares = {unit: shared_groups(split, samples, unit) for unit in ("patient", "cell")}
    unit = next((name for name, (shared, _) in shares.items() if shared), None)
    if unit is not None:
        shared, known = shares[unit]
        of = "" if known == len(samples) else f" with a known {unit}"
        in_cells, of_cells = shares["cell"]
        closer = f", {100 * in_cells / of_cells:.0f}% even from such a cell" if unit == "patient" and in_cells else ""
        text = (
            f"Folds of {task.spec.named} are divided by {split.scheme}: {100 * shared / known:.0f}% of the "
            f"held-out images{of} come from a {unit} that the model was also trained on{closer}. Chromosomes of one "
            f"{unit} look alike, so these scores can be higher than those for a new one. Protocol strict divides by "
            "whole cells or patients."
        )
        yield (SHARED_PATIENTS if unit == "patient" else SHARED_CELLS).caution(text, task=task.name)
    unknown = int((samples[["cell", "patient"]] == "").all(axis=1).sum())
    if unknown:
        of = "no cells" if unknown == len(samples) else f"neither cell nor patient of {counted(unknown, 'image')}"
        text = f"metadata.csv of {task.spec.named} names {of}, so leakage between folds cannot be ruled out."
        yield UNKNOWN_CELLS.caution(text, task=task.name)


def _shared_with_intermediate(task: TaskData, study: Study) -> Iterator[Caution]:
    own = set(task.hashes)
    for name in task.spec.intermediates:
        other = study.tasks[name]
        shared = len(own & set(other.hashes))
        if shared:
            text = f"{shared:,} files of {task.spec.named} are also in its intermediate domain {other.spec.named}."
            yield TARGET_IN_INTERMEDIATE.caution(text, task=task.name)


def _selection(scores: pd.DataFrame, context: TableContext) -> Iterator[Caution]:
    if context.protocol != "paper":
        return
    table = selection_table(scores, context)
    if table is None:
        return
    runs = table.data["runs"]
    mean = float((table.data["mean_gain_pp"] * runs).sum() / runs.sum())
    yield CHOSEN_EPOCH.caution(
        "Reported is the epoch with the best accuracy on the very fold it is reported on, as published. Against the "
        f"last epoch this raises Macro-F1 by {signed(mean, 2)} points on average and by "
        f"{signed(float(table.data['largest_gain_pp'].max()), 2)} at most, and not equally for all approaches."
    )


def _few_folds(context: TableContext, planned: int) -> Iterator[Caution]:
    count = len(context.folds)
    if count < max(planned, _ENOUGH_FOLDS):
        said = f"{count} of {planned} folds are trained" if count < planned else f"The study has {count} folds"
        yield FEW_FOLDS.caution(
            f"{said}. Intervals for new trainings are wide or missing for that reason, and the published bootstrap of "
            "fold differences covers far less than its 95%."
        )


def _machines(environments: Sequence[dict[str, Any]]) -> Iterator[Caution]:
    different = []
    for title, read in (
        ("device", lambda one: one.get("device")),
        ("precision", lambda one: one.get("precision")),
        ("torch", lambda one: one.get("packages", {}).get("torch")),
        ("timm", lambda one: one.get("packages", {}).get("timm")),
        ("bandbridge", lambda one: one.get("bandbridge")),
    ):
        counts = Counter(str(read(one)) for one in environments)
        if len(counts) > 1:
            different.append(f"{title}: " + ", ".join(f"{value} ({number} runs)" for value, number in counts.items()))
    if different:
        text = "Runs that are compared were made under different conditions, which may be part of their differences."
        yield MIXED_MACHINES.caution(text, tuple(different))


def _few_groups(runs: Sequence[RunPredictions], context: TableContext) -> Iterator[Caution]:
    """Of each task, the groups of the first arm with every planned fold: all arms hold out the same images."""
    arms: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    for task in context.tasks:
        of_task = (folds for arm, folds in arms.items() if arm[0] == task.name)
        whole = next((folds for folds in of_task if len(folds) == len(context.folds)), [])
        if not whole:
            continue
        samples = pd.concat([run.predictions[["image", "cell", "patient"]] for run in whole])
        unit = grouping_unit(samples)
        groups = samples[unit].nunique()
        if groups < FEWEST_RESAMPLED:
            text = (
                f"The held-out images of {task.shown} come from {counted(groups, unit)}. With fewer than "
                f"{FEWEST_RESAMPLED}, intervals that resample whole {unit}s would be too narrow and are left out; the "
                "p values stay right."
            )
            yield FEW_GROUPS.caution(text, task=task.name)


def _own_laboratory(study: Study) -> Iterator[Caution]:
    another = {
        task.fingerprint for task in study.tasks.values() if task.split is not None and task.split.scheme == "source"
    }
    for task in study.tasks.values():
        if task.spec.target and task.dataset is not None and task.fingerprint not in another:
            sources = task.dataset.samples["source"].nunique()
            trained_on = f"the {sources} sources that were" if sources > 1 else "the source that was"
            text = (
                f"The held-out images of {task.spec.named} come from {trained_on} trained on too. A laboratory that "
                "frames, stains or photographs otherwise may get much less of the model."
            )
            yield OWN_LABORATORY.caution(text, task=task.name)


def _upright(study: Study) -> Iterator[Caution]:
    # Chromosomes that are stood along their axis are judged both ways up.
    asked = [run.record for run in study.runs if not run.record.preparation.upright]
    share = min((record.recipe.augmentation.flip_vertical for record in asked), default=_PUBLISHED_FLIPS)
    if share < _PUBLISHED_FLIPS:
        yield TRAINED_UPRIGHT.caution(
            f"In training {share:.0%} of the images were turned upside down ({_PUBLISHED_FLIPS:.0%} as published). "
            "Where the images of a set all stand one way up, these scores hold for chromosomes that stand so too: of "
            "others fewer are recognised."
        )


def read_environments(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what each finished run recorded of its machine and versions; {} where the record is gone."""
    return [read_product(folder / "environment.json") for folder in folders]


def _untrained(study: Study) -> Iterator[Caution]:
    """Classes that a fold of the study holds out whole."""
    for task in study.tasks.values():
        if not task.spec.target or task.dataset is None or task.split is None:
            continue
        lost = {
            name: fold
            for name, fold in untrained_classes(task.split, task.dataset.samples).items()
            if fold in study.spec.folds
        }
        if lost:
            classes = named(list(lost))
            text = (
                f"Of {task.spec.named}, {classes}: {why_untrained(len(lost))}. There every such image is an error, "
                "whatever the approach."
            )
            details = [f"{name}: fold {fold}" for name, fold in lost.items()]
            yield UNTRAINED_CLASSES.caution(text, tuple(details), task=task.name)
