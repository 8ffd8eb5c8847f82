"""What a study's classifiers are worth to a laboratory, as tables: errors, doubts, whole cells, abnormal cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.evaluation.calibration import expected_calibration_error
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.crossfit import PLANTS, Rules, Trial, run_trial
from bandbridge.evaluation.flagging import errors_left
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.karyotype import CLASSES
from bandbridge.predict.confidence import fit_confidence
from bandbridge.report.context import TableContext
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent, signed

#: Shares of the chromosomes that a person looks at again.
REVIEWED = (0.01, 0.02, 0.05)
_TEXTS = (Column("Task", align="left"), Column("Classifier", align="left"))
_ITERATIONS = 2000
_RARE_SEXES = {"X": "single X", "XXX": "XXX", "XXY": "XXY", "XYY": "XYY"}


def laboratory_trials(
    runs: Sequence[RunPredictions], context: TableContext, seed: int = 0
) -> tuple[dict[tuple[str, ...], Trial], list[str]]:
    """Return a trial for each arm of ``runs`` (task, architecture, approach, intermediate), and why others have none.

    An arm needs two folds or more, all 24 classes, and cells that no two folds share.
    """
    arms: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    trials, refused = {}, []
    for arm, members in arms.items():
        reason = _reason_against(members)
        if reason:
            refused.append(f"{', '.join(filter(None, arm))}: {reason}")
            continue
        frames = [run.predictions for run in sorted(members, key=lambda run: run.fold)]
        trials[arm] = run_trial(frames, context.checkpoint, lambda others: _learn(others, context.checkpoint), seed)
    return trials, refused


def _reason_against(members: Sequence[RunPredictions]) -> str:
    if len(members) < 2:
        return "there is one fold only, and none to learn from"
    if not all({f"logit_{name}" for name in CLASSES} <= set(run.predictions.columns) for run in members):
        return "its classes are not the 24 human ones"
    cells = [set(run.predictions["cell"]) for run in members]
    if any("" in names for names in cells):
        return "its cells are not known"
    if sum(map(len, cells)) > len(set().union(*cells)):
        return "its folds divide cells; choose a split by cell or patient"
    return ""


def _learn(others: list[pd.DataFrame], checkpoint: str) -> Rules:
    learned = fit_confidence(others, checkpoint)
    counts = learned.counts
    return Rules(
        learned.temperature,
        np.array(learned.thresholds),
        learned.review_below,
        learned.costs(),
        0.0 if counts is None else counts.suspect_above,
    )


def cell_table(records: Sequence[dict[str, Any]], context: TableContext) -> Table:
    """Return accuracy by chromosome and share of fully correct cells, each chromosome by itself and in its cell."""
    groups = (
        *(("Chromosomes", title) for title in ("Images", "By itself", "In its cell", "Difference, 95%")),
        *(("Cells", title) for title in ("Cells", "Right by itself", "Right as a whole")),
        *(("Errors", title) for title in ("Mended", "Made")),
    )
    rows = []
    for record in records:
        difference = 100 * (record["joint_accuracy"] - record["accuracy"])
        low, high = (100 * record[f"difference_{end}"] for end in ("low", "high"))
        span = "" if math.isnan(low) else f" ({signed(low, 1)} to {signed(high, 1)})"
        texts = (
            *_names(record, context),
            f"{record['images']:,}",
            *(percent(record[key], 1) for key in ("accuracy", "joint_accuracy")),
            f"{signed(difference, 1)}{span}",
            f"{record['cells']:,}",
            *(percent(record[key], 1) for key in ("cells_right", "cells_right_joint")),
            *(f"{record[key]:,}" for key in ("errors_mended", "errors_made")),
        )
        rows.append(Row(tuple(map(Cell, texts))))
    return Table(
        name="laboratory-cells",
        title="Chromosomes by themselves and in their cells (%)",
        sentence=(
            "Each fold judged with temperature and counts learned from the other folds. By itself: each chromosome "
            f"alone; in its cell: all chromosomes of a cell placed together. {context.checkpoint} checkpoint "
            f"(protocol: {context.protocol})."
        ),
        columns=(*_TEXTS, *(Column(title, group) for group, title in groups)),
        rows=tuple(rows),
        data=pd.DataFrame(records),
        notes=(
            "Cells: those of the data, complete or not. Right: every chromosome of the cell in its true class.",
            "Difference: in its cell minus by itself, percentage points, bootstrap over whole patients, or cells where "
            f"no patients are known; fewer than {FEWEST_RESAMPLED} have no interval.",
        ),
    )


def confidence_table(records: Sequence[dict[str, Any]], context: TableContext) -> Table:
    """Return calibration before and after, coverage of the prediction sets, and the errors that review leaves."""
    groups = (
        *(("Calibration error", title) for title in ("Before", "After")),
        *(("Prediction sets (95%)", title) for title in ("Coverage", "Worst class", "Classes")),
        *(("Flagged", title) for title in ("Share", "Error of the rest")),
        *(("Errors left after review of", f"{100 * share:.0f}%") for share in (0.0, *REVIEWED)),
    )
    rows = []
    for record in records:
        texts = (
            *_names(record, context),
            *(percent(record[key], 2) for key in ("ece_before", "ece_after")),
            *(percent(record[key], 1) for key in ("coverage", "worst_class_coverage")),
            f"{record['set_size']:.2f}",
            *(percent(record[key], 1) for key in ("flagged", "error_unflagged")),
            *(percent(record[f"error_left_{100 * share:.0f}"], 2) for share in (0.0, *REVIEWED)),
        )
        rows.append(Row(tuple(map(Cell, texts))))
    return Table(
        name="laboratory-confidence",
        title="What a stated probability is worth (%)",
        sentence=(
            "Each fold judged with temperature, prediction sets and review threshold learned from the other folds. "
            f"{context.checkpoint} checkpoint (protocol: {context.protocol})."
        ),
        columns=(*_TEXTS, *(Column(title, group) for group, title in groups)),
        rows=tuple(rows),
        data=pd.DataFrame(records),
        notes=(
            "Calibration error: expected calibration error in 15 bins. Coverage: share of the sets that hold the true "
            "class; worst class: the lowest share of any class; classes: mean number in a set.",
            "Flagged: less certain than the threshold that keeps the error of the rest below 1%, or below the smallest "
            "of 2, 5, 10 and 20% that can be promised.",
            "Review: the least certain chromosomes are looked at by a person who is always right; errors left are a "
            "share of all chromosomes, each by itself.",
        ),
    )


def laboratory_tables(trials: dict[tuple[str, ...], Trial], context: TableContext) -> list[Table]:
    """Return the tables laboratory-cells, laboratory-confidence and abnormal; none without a trial."""
    if not trials:
        return []
    records = [_record(arm, trial) for arm, trial in trials.items()]
    abnormal = abnormal_table(trials, context)
    return [cell_table(records, context), confidence_table(records, context), *([abnormal] if abnormal else [])]


def _names(record: dict[str, Any], context: TableContext) -> tuple[str, str]:
    name = f"{record['architecture']}, {record['approach']}"
    via = f" via {record['intermediate']}" if record["intermediate"] else ""
    return context.task(record["task"]).shown, name + via


def _record(arm: tuple[str, ...], trial: Trial) -> dict[str, Any]:
    images, cells = trial.images, trial.cells.loc[trial.cells["planted"] == ""]
    unit = "patient" if (images["patient"] != "").all() else "cell"
    change = images["joint_correct"].astype(float) - images["correct"].astype(float)
    by_group = pd.DataFrame({"change": change, "n": 1.0}).groupby(images[unit].to_numpy()).sum()
    low, high = _ratio_interval(by_group["change"].to_numpy(), by_group["n"].to_numpy())
    kept = ~images["flagged"]
    record: dict[str, Any] = dict(zip(("task", "architecture", "approach", "intermediate"), arm, strict=True))
    record |= {
        "images": len(images),
        "accuracy": images["correct"].mean(),
        "joint_accuracy": images["joint_correct"].mean(),
        "difference_low": low,
        "difference_high": high,
        "cells": len(cells),
        "cells_right": (cells["wrong_alone"] == 0).mean(),
        "cells_right_joint": (cells["wrong_joint"] == 0).mean(),
        "errors_mended": int(cells["mended"].sum()),
        "errors_made": int(cells["made"].sum()),
        "ece_before": expected_calibration_error(trial.raw_probabilities, trial.truth),
        "ece_after": expected_calibration_error(trial.probabilities, trial.truth),
        "coverage": images["covered"].mean(),
        "worst_class_coverage": images.groupby("label")["covered"].mean().min(),
        "set_size": images["set_size"].mean(),
        "flagged": images["flagged"].mean(),
        "error_unflagged": 1 - images.loc[kept, "correct"].mean() if kept.any() else np.nan,
    }
    outcomes = errors_left(images["confidence"].to_numpy(), images["correct"].to_numpy(), (0.0, *REVIEWED))
    return record | {f"error_left_{100 * one.share:.0f}": one.error for one in outcomes}


def _ratio_interval(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The 95% percentile bootstrap of sum / size over groups; NaN for too few."""
    if len(sums) < FEWEST_RESAMPLED:
        return math.nan, math.nan
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(sums), size=(_ITERATIONS, len(sums)))
    ratios = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def abnormal_table(trials: dict[tuple[str, ...], Trial], context: TableContext) -> Table | None:
    """Return how many abnormal cells are found and how many normal ones raise a false alarm, real and planted."""
    records = [record for arm, trial in trials.items() for record in _abnormal_records(arm, trial)]
    if not records:
        return None
    rows, above = [], ""
    for record in records:
        title = f"{context.task(record['task']).shown}: {record['architecture']}, {record['approach']}"
        shares = [_count(record, name) for name in ("reported", "suspected")]
        rows.append(
            Row(tuple(map(Cell, (record["what"], f"{record['cells']:,}", *shares))), title if title != above else "")
        )
        above = title
    return Table(
        name="abnormal",
        title="Abnormal cells found, and false alarms",
        sentence=(
            "Cells with a finding of the right class and direction (for the sexes: any finding in X or Y). Reported: "
            "the cell is sorted with the unusual count; suspected: also what was sorted as normal with evidence that "
            "10% of the cells of the other folds exceed by mistake."
        ),
        columns=(Column("Cells", align="left"), Column("Number"), Column("Reported"), Column("Suspected too")),
        rows=tuple(rows),
        data=pd.DataFrame(records),
        notes=(
            "A chromosome that is not among the images counts as missing, whoever lost it.",
            "Planted: one random autosome more, one fewer, or both at once, in every normal cell; donors are cells of "
            "the same fold. Both at once leave 46 chromosomes, so their number gives nothing away.",
        ),
    )


def _count(record: dict[str, Any], name: str) -> str:
    return f"{record[name]:,} ({percent(record[name] / record['cells'], 0)}%)" if record["cells"] else MISSING


def _abnormal_records(arm: tuple[str, ...], trial: Trial) -> Iterator[dict[str, Any]]:
    cells = trial.cells
    named = dict(zip(("task", "architecture", "approach", "intermediate"), arm, strict=True))
    real = cells["planted"] == ""
    normal = real & ~(cells["gain"] | cells["loss"] | cells["sex"])
    yield {**named, "what": "Normal cells with a false alarm", **_alarms(cells.loc[normal])}
    yield {**named, "what": "All real cells with a false alarm", **_alarms(cells.loc[real])}
    for what, chosen, kind in (
        ("Real: an autosome too many", real & cells["gain"], "gain"),
        *(
            (f"Real: {title}", real & cells["sex"] & (cells["sexes"] == sexes), "sex")
            for sexes, title in _RARE_SEXES.items()
        ),
        ("Real: other sex chromosomes", real & cells["sex"] & ~cells["sexes"].isin(list(_RARE_SEXES)), "sex"),
    ):
        part = cells.loc[chosen]
        if len(part):
            found = {name: int(part[f"{name}_{kind}"].sum()) for name in ("reported", "suspected")}
            yield {**named, "what": what, "cells": len(part), **found}
    lost = cells.loc[real & cells["loss"] & ~cells["gain"] & ~cells["sex"]]
    if len(lost):
        found = {name: int(lost[f"{name}_right"].sum()) for name in ("reported", "suspected")}
        yield {**named, "what": "Real: only autosomes missing", "cells": len(lost), **found}
    for kind in PLANTS:
        part = cells.loc[cells["planted"] == kind]
        if len(part):
            found = {name: int(part[f"{name}_right"].sum()) for name in ("reported", "suspected")}
            yield {**named, "what": f"Planted: {kind}", "cells": len(part), **found}


def _alarms(cells: pd.DataFrame) -> dict[str, int]:
    wrong = {name: int((cells[f"{name}_wrong"] > 0).sum()) for name in ("reported", "suspected")}
    return {"cells": len(cells), **wrong}
