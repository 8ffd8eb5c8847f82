"""What the finished runs of a study predict for images that they did not see: all that is reported comes from it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bandbridge.errors import ManyErrors
from bandbridge.evaluation.predictions import disagreements, read_predictions
from bandbridge.study.ledger import PREDICTIONS, Ledger
from bandbridge.study.plan import Study
from bandbridge.study.run import PlannedRun


def held_out_predictions(study: Study, ledger: Ledger) -> list[tuple[PlannedRun, int, pd.DataFrame]]:
    """Return every finished run of ``study`` on its own targets' folds, with the fold and its table of predictions.

    Raises :class:`UserError` naming the file when one is damaged, or says other things of an image than the others of
    its fold.
    """
    found: list[tuple[PlannedRun, int, pd.DataFrame]] = []
    folds: dict[tuple[str, int], dict[Path, pd.DataFrame]] = {}
    for run in study.runs:
        if run.fold is None or not run.predicts or not study.tasks[run.task].spec.target:
            continue
        if ledger.state(run).kind != "done":
            continue
        path = ledger.folder(run) / PREDICTIONS
        frame = read_predictions(path)
        folds.setdefault((run.task, run.fold), {})[path] = frame
        found.append((run, run.fold, frame))
    problems = [line for files in folds.values() for line in disagreements(files)]
    if problems:
        remedy = "Move the folder of the run that is wrong away and run the same study command again: it is made again."
        raise ManyErrors("predictions of one fold are not of the same images:", problems, remedy)
    return found
