"""What an intermediate domain gains (the numbers of the paper's Fig. 2), and what choosing an epoch does."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.evaluation.comparison import paired_differences, percentile_bootstrap
from bandbridge.evaluation.predictions import CHECKPOINTS, DETOURS
from bandbridge.files import content_hash
from bandbridge.report.context import APPROACH_TITLES, Arm, TableContext
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent, signed
from bandbridge.report.scores import KEY
from bandbridge.report.tables.published import reported

#: (approach, reference): the paper's question, the same question without ImageNet, what the model in the box gains
#: alone and as a beginning, and what the target's own images gain without their labels.
COMPARISONS = (
    ("two-step", "imagenet"),
    ("domain", "scratch"),
    ("boxed", "imagenet"),
    ("boxed-two-step", "two-step"),
    ("self-supervised", "imagenet"),
)


def differences_table(scores: pd.DataFrame, context: TableContext, checkpoint: str | None = None) -> Table:
    """Return what an intermediate domain gains in Macro-F1 (percentage points): mean, interval, every fold.

    The interval is the paper's: a percentile bootstrap of the paired fold differences, given only when every
    planned fold is there (two at least). Its random numbers are seeded from ``context.seed`` and the row's
    own names, so a row keeps its interval whatever else the table holds.
    """
    checkpoint = checkpoint or context.checkpoint
    context = context.covering(scores)
    rows_of_checkpoint = reported(scores, checkpoint)
    by_arm = {key: rows.set_index("fold")["macro_f1"] for key, rows in rows_of_checkpoint.groupby(KEY, sort=False)}
    data, rows = [], []
    for task in context.tasks:
        section = task.shown
        for architecture in context.architecture_names():
            for index, (arm, reference) in enumerate(comparisons_of(context, task.name)):
                record = _difference(by_arm, architecture, arm, reference, context)
                data.append(record)
                cells = [Cell(architecture if index == 0 else ""), Cell(comparison_title(context, arm, reference))]
                rows.append(Row((*cells, *_difference_cells(record, context)), section))
                section = ""
    detours = all(record["approach"] in DETOURS for record in data)
    what, better = "Gain from an intermediate domain", "the intermediate helped"
    if not detours:
        what, better = "Gain", "the first is better"
    names = [f"fold_{fold}_pp" for fold in context.folds]
    columns = ["task", "architecture", "approach", "intermediate", "reference", "folds"]
    texts = [Column("Architecture", align="left"), Column("Comparison", align="left")]
    return Table(
        name="differences",
        title=f"{what} (Macro-F1, percentage points)",
        sentence=(
            "Difference in Macro-F1 between two approaches on the same held-out folds, in percentage points, "
            f"{checkpoint} checkpoint (protocol: {context.protocol}). Above zero {better}."
        ),
        columns=(
            *texts,
            Column("Mean"),
            Column("95% interval"),
            *(Column(f"Fold {fold}") for fold in context.folds),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(data, columns=[*columns, "mean_pp", "low_pp", "high_pp", *names]),
        notes=(
            "Interval: percentile bootstrap of the fold differences, as published "
            f"({context.bootstrap_iterations:,} resamples), given once all planned folds are there. "
            "It cannot reach beyond the smallest and largest fold: with few folds it covers less than 95%. "
            "The table comparison has the intervals that do.",
        ),
    )


def selection_table(scores: pd.DataFrame, context: TableContext) -> Table | None:
    """Return how much better the best checkpoint looks than the last, by task and approach.

    The best checkpoint is chosen on the fold that it is then reported on, so this gain is optimism. None when
    the scores do not hold both checkpoints.
    """
    context = context.covering(scores)
    best, last = (
        scores.loc[scores["checkpoint"] == checkpoint].set_index([*KEY, "fold"])[["macro_f1", "accuracy"]]
        for checkpoint in CHECKPOINTS
    )
    pairs = best.add_suffix("_best").join(last.add_suffix("_last"), how="inner")
    if pairs.empty:
        return None
    by_arm = dict(iter(pairs.groupby(level=["task", "approach", "intermediate"])))
    data, rows = [], []
    for task in context.tasks:
        for index, arm in enumerate(context.arms_of(task.name)):
            part = by_arm.get((arm.task, arm.approach, arm.intermediate))
            if part is None:
                continue
            record: dict[str, Any] = asdict(arm) | {"runs": len(part)} | _selection_means(part)
            data.append(record)
            rows.append(_selection_row(task.shown if index == 0 else "", context.arm_title(arm), record, context))
    texts = [Column("Task", align="left"), Column("Approach", align="left")]
    titles = ("Runs", "Best", "Last", "Best minus last", "Largest", "Accuracy, best minus last")
    return Table(
        name="selection",
        title="Selection optimism (Macro-F1, best against last checkpoint)",
        sentence=(
            "The best checkpoint is chosen on the very fold it is reported on (protocol: paper), the last is "
            "not chosen (protocol: strict). Macro-F1 in percent, differences in percentage points: means "
            "over architectures and folds, and the largest difference of one run."
        ),
        columns=(*texts, *(Column(title) for title in titles)),
        rows=tuple(rows),
        data=pd.DataFrame(data),
    )


def comparisons_of(context: TableContext, task: str) -> list[tuple[Arm, Arm]]:
    """Return (arm, reference) of every comparison of a task, in the order of the tables."""
    there = context.arms_of(task)
    return [
        (arm, reference)
        for approach, against in COMPARISONS
        for arm in context.arms_of(task, approach)
        for reference in [reference_of(arm, against)]
        if reference in there
    ]


def reference_of(arm: Arm, approach: str) -> Arm:
    """Return what ``arm`` is compared with, by its ``approach``: over the same intermediate where it has one."""
    return Arm(arm.task, approach, arm.intermediate if approach in DETOURS else "")


def comparison_title(context: TableContext, arm: Arm, reference: Arm) -> str:
    """Return "Two-step minus ImageNet"."""
    return f"{context.arm_title(arm)} minus {APPROACH_TITLES[reference.approach]}"


def interval_text(low: float, high: float, decimals: int) -> str:
    """Return "-0.10 to +0.95", a dash where there is no interval."""
    return MISSING if math.isnan(low) else f"{signed(low, decimals)} to {signed(high, decimals)}"


def _difference(
    by_arm: dict[Any, pd.Series], architecture: str, arm: Arm, reference: Arm, context: TableContext
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "task": arm.task,
        "architecture": architecture,
        "approach": arm.approach,
        "intermediate": arm.intermediate,
        "reference": reference.approach,
    }
    seed = int(content_hash([context.seed, *record.values()])[:16], 16)
    keys = [(one.task, architecture, one.approach, one.intermediate) for one in (arm, reference)]
    if not all(key in by_arm for key in keys):
        return record | {"folds": 0}
    differences = 100 * paired_differences(by_arm[keys[0]], by_arm[keys[1]])
    record |= {"folds": len(differences)}
    record |= {f"fold_{fold}_pp": value for fold, value in differences.items()}
    if len(differences):
        record["mean_pp"] = differences.mean()
    if len(differences) > 1 and set(differences.index) == set(context.folds):
        generator = np.random.default_rng(seed)
        interval = percentile_bootstrap(differences.to_numpy(), context.bootstrap_iterations, generator=generator)
        record |= {"low_pp": interval.low, "high_pp": interval.high}
    return record


def _difference_cells(record: dict[str, Any], context: TableContext) -> list[Cell]:
    decimals = context.decimals
    mean = span = MISSING
    if record["folds"]:
        mean = signed(record["mean_pp"], decimals)
        if record["folds"] < len(context.folds):
            mean += f" ({record['folds']}/{len(context.folds)})"
    if "low_pp" in record:
        span = interval_text(record["low_pp"], record["high_pp"], decimals)
    folds = [record.get(f"fold_{fold}_pp") for fold in context.folds]
    return [
        Cell(mean),
        Cell(span),
        *(Cell(MISSING if value is None else signed(value, decimals)) for value in folds),
    ]


def _selection_means(part: pd.DataFrame) -> dict[str, float]:
    gain = part["macro_f1_best"] - part["macro_f1_last"]
    return {
        "macro_f1_best": float(part["macro_f1_best"].mean()),
        "macro_f1_last": float(part["macro_f1_last"].mean()),
        "mean_gain_pp": 100 * float(gain.mean()),
        "largest_gain_pp": 100 * float(gain.max()),
        "accuracy_gain_pp": 100 * float((part["accuracy_best"] - part["accuracy_last"]).mean()),
    }


def _selection_row(task: str, approach: str, record: dict[str, Any], context: TableContext) -> Row:
    decimals = context.decimals
    texts = [task, approach, str(record["runs"])]
    texts += [percent(record[name], decimals) for name in ("macro_f1_best", "macro_f1_last")]
    texts += [signed(record[name], decimals) for name in ("mean_gain_pp", "largest_gain_pp", "accuracy_gain_pp")]
    return Row(tuple(map(Cell, texts)))
