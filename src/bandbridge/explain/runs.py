"""The finished runs of a study that can be compared image by image: same task, architecture and fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bandbridge.evaluation.predictions import read_predictions
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study
from bandbridge.study.run import PlannedRun


@dataclass(frozen=True, eq=False)
class FoldRuns:
    """What a task's approaches have trained with one architecture, on one fold.

    folders: the folders of the finished runs by approach, in the study's order; the approach reads "two-step via G"
    where the task has several intermediates. missing: the approaches that are planned and not finished on this fold.
    """

    task: str
    architecture: str
    fold: int
    folders: dict[str, Path]
    missing: tuple[str, ...]

    def predictions(self) -> dict[str, pd.DataFrame]:
        """Return the predictions of every finished run, by approach."""
        return {name: read_predictions(folder / "predictions.parquet") for name, folder in self.folders.items()}


def comparable_runs(study: Study, root: Path, fold: int | None = None) -> list[FoldRuns]:
    """Return one :class:`FoldRuns` for each target task and architecture of ``study`` that has a finished run.

    The fold is ``fold``, else the first of those with the most finished approaches.
    """
    ledger, found = Ledger(root), []
    for (task, architecture), runs in _by_arm(study).items():
        folds = [fold] if fold is not None else sorted({run.fold for run in runs if run.fold is not None})
        candidates = [_on_fold(runs, ledger, task, architecture, number) for number in folds]
        best = max(candidates, key=lambda one: len(one.folders), default=None)
        if best is not None and best.folders:
            found.append(best)
    return found


def every_fold(study: Study, root: Path, task: str, architecture: str) -> list[FoldRuns]:
    """Return the runs of one task and architecture on every fold that has a finished one."""
    ledger, runs = Ledger(root), _by_arm(study)[task, architecture]
    folds = sorted({run.fold for run in runs if run.fold is not None})
    found = [_on_fold(runs, ledger, task, architecture, fold) for fold in folds]
    return [one for one in found if one.folders]


def missing_runs(study: Study, root: Path, fold: int | None = None) -> list[str]:
    """Say, a line each, which tasks, architectures and approaches cannot be looked at because nothing is finished."""
    known = {(one.task, one.architecture): one for one in comparable_runs(study, root, fold)}
    lines = []
    for task, architecture in _by_arm(study):
        one = known.get((task, architecture))
        if one is None:
            where = "" if fold is None else f" on fold {fold}"
            lines.append(f"{task}, {architecture}: no run is finished{where}")
        elif one.missing:
            lines.append(f"{task}, {architecture}, fold {one.fold}: not finished: {', '.join(one.missing)}")
    lines += [f"the dataset {name} was not found" for name in study.missing_data]
    return lines


def _by_arm(study: Study) -> dict[tuple[str, str], list[PlannedRun]]:
    grouped: dict[tuple[str, str], list[PlannedRun]] = {}
    targets = [task.name for task in study.tasks.values() if task.spec.target]
    for task in targets:
        for architecture in study.architectures:
            runs = [run for run in study.runs if (run.task, run.architecture) == (task, architecture)]
            wanted = [run for run in runs if run.fold is not None and run.approach in study.spec.approaches]
            grouped[task, architecture] = sorted(wanted, key=lambda run: study.spec.approaches.index(run.approach))
    return grouped


def _on_fold(runs: Sequence[PlannedRun], ledger: Ledger, task: str, architecture: str, fold: int) -> FoldRuns:
    here = [run for run in runs if run.fold == fold]
    done = {_arm_name(run): ledger.folder(run) for run in here if ledger.state(run).kind == "done"}
    missing = tuple(name for name in map(_arm_name, here) if name not in done)
    return FoldRuns(task, architecture, fold, done, missing)


def _arm_name(run: PlannedRun) -> str:
    return f"{run.approach} via {run.intermediate}" if run.several else run.approach
