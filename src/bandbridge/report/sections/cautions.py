"""What a reader must know before believing a study's numbers: leakage, selection, missing runs, few folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.splits import Split
from bandbridge.errors import UserError
from bandbridge.report.context import TableContext
from bandbridge.report.contrasts import selection_table
from bandbridge.report.rendering import signed
from bandbridge.report.scores import unfinished_notes
from bandbridge.study.plan import Study
from bandbridge.study.resolve import TaskData

Gravity = Literal["serious", "note"]


@dataclass(frozen=True)
class Caution:
    """One thing to know: ``serious`` ones can change the answer. ``details`` are lines for who wants all."""

    gravity: Gravity
    title: str
    text: str
    details: tuple[str, ...] = ()


def find_cautions(
    study: Study, scores: pd.DataFrame, context: TableContext, environments: Sequence[dict[str, Any]]
) -> list[Caution]:
    """Return every caution of ``study``, the serious ones first.

    ``scores`` is the frame of ``fold_scores``, ``environments`` what the finished runs recorded of their machine. Every
    image file of the tasks is read once, to find files that training and held-out images share.
    """
    found = [
        *_unfinished(study, scores, context),
        *_leakage(study),
        *_selection(scores, context),
        *_few_folds(context, study.spec.split.folds),
        *_machines(environments),
    ]
    return sorted(found, key=lambda caution: caution.gravity != "serious")


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
        yield Caution("serious", "The study is not finished", headline[0].upper() + headline[1:], notes[1:])
    if study.missing_data:
        names = ", ".join(study.missing_data)
        text = f"Not found here: {names}. What needs the images (cases, attention, similarity, leakage) is left out."
        yield Caution("note", "Datasets are missing", text)


def _leakage(study: Study) -> Iterator[Caution]:
    files: dict[str, list[str]] = {}
    for task in study.tasks.values():
        if task.dataset is not None:
            files.setdefault(task.fingerprint, _hashes(task.dataset))
    for task in study.tasks.values():
        if not task.spec.target or task.dataset is None or task.split is None:
            continue
        yield from _shared_with_training(task, task.split, task.dataset)
        # The split lists the files in the order of the samples.
        twins = repeated_files(files[task.fingerprint], task.split.assignment) if files[task.fingerprint] else 0
        if twins:
            text = f"{twins:,} images of {task.spec.dataset} are byte-identical to an image of another fold."
            remedy = " 'bandbridge data check' names them; remove one of each."
            yield Caution("serious", f"{task.name}: the same image on both sides", text + remedy)
        yield from _shared_with_intermediate(task, study, files)


def _hashes(dataset: ImageFolder) -> list[str]:
    try:
        return dataset.content_hashes()
    except UserError:
        return []  # A report is no audit: an unreadable file is for 'bandbridge data check' to name.


def _shared_with_training(task: TaskData, split: Split, dataset: ImageFolder) -> Iterator[Caution]:
    for unit in ("patient", "cell"):
        shared, known = shared_groups(split, dataset.samples, unit)
        if shared:
            text = (
                f"Folds of {task.spec.dataset} are divided by {split.scheme}: {100 * shared / known:.0f}% of the "
                f"held-out images come from a {unit} that the model was also trained on. Chromosomes of one {unit} "
                "look alike, so these scores are higher than those for a new one. Protocol strict divides by whole "
                "cells or patients."
            )
            yield Caution("serious", f"{task.name}: training and held-out images share {unit}s", text)
            return
    if not (dataset.samples[["cell", "patient"]] != "").any().any():
        text = f"metadata.csv of {task.spec.dataset} names no cells, so leakage between folds cannot be ruled out."
        yield Caution("serious", f"{task.name}: cells are not known", text)


def _shared_with_intermediate(task: TaskData, study: Study, files: dict[str, list[str]]) -> Iterator[Caution]:
    own = set(files[task.fingerprint])
    for name in task.spec.intermediates:
        other = study.tasks[name]
        shared = len(own & set(files.get(other.fingerprint, ())))
        if shared:
            text = f"{shared:,} files of {task.spec.dataset} are also in its intermediate domain {other.spec.dataset}."
            yield Caution("serious", f"{task.name}: the intermediate domain holds target images", text)


def _selection(scores: pd.DataFrame, context: TableContext) -> Iterator[Caution]:
    if context.protocol != "paper":
        return
    table = selection_table(scores, context)
    if table is None:
        return
    runs = table.data["runs"]
    mean = float((table.data["mean_gain_pp"] * runs).sum() / runs.sum())
    text = (
        "Reported is the epoch with the best accuracy on the very fold it is reported on, as published. Against the "
        f"last epoch this raises Macro-F1 by {signed(mean, 2)} points on average and by "
        f"{signed(float(table.data['largest_gain_pp'].max()), 2)} at most, and not equally for all approaches."
    )
    yield Caution("serious", "The epoch was chosen on the reported fold", text)


def _few_folds(context: TableContext, planned: int) -> Iterator[Caution]:
    count = len(context.folds)
    if count < planned:
        text = (
            f"{count} of {planned} folds are trained. Intervals for new trainings are wide or missing for that "
            "reason, and the published bootstrap of fold differences covers far less than its 95%."
        )
        yield Caution("note", "Few folds", text)


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
        yield Caution("note", "Runs of different machines or versions", text, tuple(different))


def read_environments(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what each finished run recorded of its machine and versions; {} where the record is gone."""
    from bandbridge.files import read_json

    return [read_json(folder / "environment.json") for folder in folders]
