"""The folds of each cross-validation together, in the order of the tables: what figures and tables of images read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bandbridge.evaluation.predictions import RunPredictions, logits_of, pool_folds
from bandbridge.report.context import Arm, TableContext


@dataclass(frozen=True, eq=False)
class Pool:
    """What one architecture predicts by one arm for the held-out images of ``folds``.

    ``truth`` is int64 [N], ``logits`` float32 [N, K] of K ``classes``.
    """

    architecture: str
    arm: Arm
    folds: tuple[int, ...]
    truth: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]

    @property
    def predicted(self) -> np.ndarray:
        """The first class with the largest logit, int64 [N]."""
        return self.logits.argmax(axis=1)


def covering_runs(runs: Sequence[RunPredictions], context: TableContext) -> TableContext:
    """Return the context with whatever ``runs`` hold beyond it, so that none is left out."""
    names = ("task", "band", "architecture", "approach", "intermediate", "fold")
    return context.covering(pd.DataFrame([[getattr(run, name) for name in names] for run in runs], columns=list(names)))


def pool_runs(runs: Sequence[RunPredictions], context: TableContext) -> list[Pool]:
    """Return a pool for each task, architecture and arm with runs, in the order of the context's tables.

    The checkpoint is the context's. Raises as :func:`pool_folds` and :func:`logits_of` do.
    """
    context = covering_runs(runs, context)
    by_arm: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, []).append(run)
    pools = []
    for task in context.tasks:
        for architecture in context.architecture_names():
            for arm in context.arms_of(task.name):
                folds = by_arm.get((task.name, architecture, arm.approach, arm.intermediate), [])
                if folds:
                    numbers = tuple(sorted(run.fold for run in folds))
                    pools.append(Pool(architecture, arm, numbers, *logits_of(pool_folds(folds), context.checkpoint)))
    return pools


def shared_runs(runs: Sequence[RunPredictions]) -> list[RunPredictions]:
    """Return the runs whose architecture and fold every arm of their task has: what may be compared when added up.

    An arm without any run does not count.
    """
    held: dict[str, dict[tuple[str, str], set[tuple[str, int]]]] = {}
    for run in runs:
        arms = held.setdefault(run.task, {})
        arms.setdefault((run.approach, run.intermediate), set()).add((run.architecture, run.fold))
    shared = {task: set.intersection(*arms.values()) for task, arms in held.items()}
    return [run for run in runs if (run.architecture, run.fold) in shared[run.task]]


def left_out_notes(runs: Sequence[RunPredictions]) -> tuple[str, ...]:
    """Return a note on the runs that :func:`shared_runs` leaves out; none where it keeps all."""
    fewer = len(runs) - len(shared_runs(runs))
    if not fewer:
        return ()
    return (f"{fewer} of {len(runs)} runs are not counted: not every approach has their architecture and fold yet.",)
