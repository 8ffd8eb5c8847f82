"""The paper's tables: performance (Table 2), architectures (3), approaches (4); and every fold's score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import APPROACHES, RANDOM_STARTS
from bandbridge.report.context import APPROACH_TITLES, FAMILY_TITLES, Arm, TableContext
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent
from bandbridge.report.scores import METRICS, summarise, unfinished_notes

if TYPE_CHECKING:  # The counting needs torch, printing what was counted does not.
    from bandbridge.model.complexity import Complexity

METRIC_TITLES = {"macro_f1": "Macro-F1", "accuracy": "Accuracy", "auc_ovr": "AUC-OvR"}
#: Means closer than this are one result: both are marked best.
_TIE = 1e-12


def reported(scores: pd.DataFrame, checkpoint: str) -> pd.DataFrame:
    """Return the rows of one checkpoint; :class:`UserError` if there are scores but none of it."""
    rows = scores.loc[scores["checkpoint"] == checkpoint]
    if rows.empty and not scores.empty:
        raise UserError(
            f"no run holds predictions of its checkpoint {checkpoint!r}",
            "Choose the protocol whose checkpoint the runs kept: paper reports best, strict reports last.",
        )
    return rows


def table2(scores: pd.DataFrame, context: TableContext, checkpoint: str | None = None) -> Table:
    """Return mean ± SD over folds for each architecture and approach, tasks side by side (Table 2).

    ``scores`` is the frame of ``fold_scores``; ``checkpoint`` defaults to the protocol's. Only cells with
    every planned fold compete for bold (best Macro-F1 of an architecture and task, ties included) and the
    dagger (best of the task), and only where two or more do.
    """
    checkpoint = checkpoint or context.checkpoint
    context = context.covering(scores)
    data = _performance(reported(scores, checkpoint), context, checkpoint)
    found = {(row["architecture"], Arm(row["task"], row["approach"], row["intermediate"])): row for row in data}
    rows = []
    for section, architectures in context.architectures_by_family():
        for position, architecture in enumerate(architectures):
            for index, (title, arms) in enumerate(_row_arms(context)):
                cells = [Cell(architecture.name if index == 0 else ""), Cell(title)]
                for task in context.tasks:
                    row = found.get((architecture.name, arms[task.name])) if task.name in arms else None
                    cells += _performance_cells(row, context.decimals)
                rows.append(Row(tuple(cells), section if position == index == 0 else ""))
    metric_columns = [Column(METRIC_TITLES[name], task.shown) for task in context.tasks for name in METRICS]
    return Table(
        name="table2",
        title=f"Table 2. Performance of the training approaches ({len(context.folds)}-fold mean ± SD, %)",
        sentence=(
            "Mean and sample standard deviation (n - 1) over the held-out folds, in percent, of each run's "
            f"{checkpoint} checkpoint (protocol: {context.protocol}). "
            "Bold: best Macro-F1 of an architecture and task; †: best of the task."
        ),
        columns=(Column("Architecture", align="left"), Column("Approach", align="left"), *metric_columns),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=(
            *_intermediate_notes(context),
            *absent_class_notes(reported(scores, checkpoint)),
            *unfinished_notes(scores, context, checkpoint),
        ),
    )


def fold_table(scores: pd.DataFrame, context: TableContext, checkpoint: str | None = None) -> Table:
    """Return the Macro-F1 of every fold; as data all of ``scores``, every metric and checkpoint."""
    checkpoint = checkpoint or context.checkpoint
    context = context.covering(scores)
    macro_f1 = {
        (str(architecture), Arm(str(task), str(approach), str(intermediate)), fold): value
        for task, architecture, approach, intermediate, fold, value in reported(scores, checkpoint)[
            ["task", "architecture", "approach", "intermediate", "fold", "macro_f1"]
        ].itertuples(index=False)
    }
    rows = []
    for task in context.tasks:
        section = task.shown
        for architecture in context.architecture_names():
            for index, arm in enumerate(context.arms_of(task.name)):
                values = [macro_f1.get((architecture, arm, fold)) for fold in context.folds]
                cells = [architecture if index == 0 else "", context.arm_title(arm)]
                cells += [MISSING if v is None else percent(v, context.decimals) for v in values]
                rows.append(Row(tuple(map(Cell, cells)), section))
                section = ""
    return Table(
        name="folds",
        title="Macro-F1 of every fold (%)",
        sentence=(
            f"Macro-F1 in percent on each held-out fold, {checkpoint} checkpoint (protocol: "
            f"{context.protocol}). The CSV file holds every metric and both checkpoints, in 0..1."
        ),
        columns=(
            Column("Architecture", align="left"),
            Column("Approach", align="left"),
            *(Column(f"Fold {fold}") for fold in context.folds),
        ),
        rows=tuple(rows),
        data=scores,
    )


#: What comes before the study's own data, where it is not ImageNet alone.
_BEFORE = dict.fromkeys(RANDOM_STARTS, "") | dict.fromkeys(("boxed", "boxed-two-step"), "ImageNet, drawn cells")
_BEFORE["self-supervised"] = "ImageNet, the target's images without labels"


def table4(context: TableContext) -> Table:
    """Return which data each approach of each task trains on, step by step (the paper's Table 4)."""
    data, rows = [], []
    for task in context.tasks:
        for index, arm in enumerate(context.arms_of(task.name)):
            steps = {
                "pretraining": _BEFORE.get(arm.approach, "ImageNet"),
                "intermediate": context.data_title(arm.intermediate) if arm.intermediate else "",
                "target": task.data,
            }
            data.append({"task": task.name, "approach": arm.approach, **steps})
            shown = [task.shown if index == 0 else "", context.arm_title(arm)]
            rows.append(Row(tuple(Cell(text) for text in (*shown, *(step or MISSING for step in steps.values())))))
    titles = ("Task", "Approach", "Pre-training", "Intermediate training", "Target training")
    return Table(
        name="table4",
        title="Table 4. Training approaches",
        sentence="The data that a classifier sees, from left to right, before it is evaluated on the target.",
        columns=tuple(Column(title, align="left") for title in titles),
        rows=tuple(rows),
        data=pd.DataFrame(data, columns=["task", "approach", "pretraining", "intermediate", "target"]),
    )


def parameter_table(rows: Iterable[Complexity], classes: int = 24, image_size: int = 224) -> Table:
    """Return size and cost of each architecture (the paper's Table 3), as ``complexity_table`` measured them.

    ``classes`` and ``image_size`` (pixels) say at which settings.
    """
    values, cells = [], []
    for row in rows:
        one = row.architecture
        values.append((one.name, one.timm_name, one.family, one.year, row.parameters, row.macs))
        family = FAMILY_TITLES.get(one.family, one.family)
        counts = (f"{row.parameters / 1e6:.2f}", f"{row.macs / 1e9:.2f}")
        cells.append((one.name, one.timm_name, family, MISSING if one.year is None else str(one.year), *counts))
    columns = ["architecture", "timm_name", "family", "year", "parameters", "macs"]
    whole_numbers = dict.fromkeys(columns[3:], "Int64")
    texts = [Column(title, align="left") for title in ("Architecture", "timm model", "Family")]
    return Table(
        name="table3",
        title="Table 3. Architectures",
        sentence=(
            f"Parameters with {classes} classes, and theoretical compute of one image of {image_size} x "
            f"{image_size} pixels, counted on the models that are trained."
        ),
        columns=(*texts, Column("Year"), Column("Parameters (M)"), Column("GFLOPs")),
        rows=tuple(Row(tuple(map(Cell, texts))) for texts in cells),
        data=pd.DataFrame(values, columns=columns).astype(whole_numbers),
        notes=("GFLOPs: billions of multiply-accumulates, each counted once, as most papers print them.",),
    )


def _performance(scores: pd.DataFrame, context: TableContext, checkpoint: str) -> list[dict[str, Any]]:
    """One record for each planned architecture and arm, in table order, best ones marked."""
    found: dict[tuple[str, Arm], Mapping[Any, Any]] = {
        (record["architecture"], Arm(record["task"], record["approach"], record["intermediate"])): record
        for record in summarise(scores, checkpoint).to_dict("records")
    }
    values = [f"{metric}_{kind}" for metric in METRICS for kind in ("mean", "sd")]
    planned = len(context.folds)
    records: list[dict[str, Any]] = []
    for task in context.tasks:
        of_task = []
        for architecture in context.architecture_names():
            group = []
            for arm in context.arms_of(task.name):
                record = found.get((architecture, arm), {})
                entry: dict[str, Any] = {"task": task.name, "architecture": architecture}
                entry |= {"approach": arm.approach, "intermediate": arm.intermediate}
                entry |= {"folds": int(record.get("folds", 0)), "planned_folds": planned}
                group.append(entry | {name: record.get(name, float("nan")) for name in values})
            _mark_best(group, "best")
            of_task += group
        _mark_best(of_task, "overall_best")
        records += of_task
    return records


def _mark_best(records: list[dict[str, Any]], mark: str) -> None:
    complete = [record["macro_f1_mean"] for record in records if record["folds"] == record["planned_folds"]]
    for record in records:
        competes = len(complete) > 1 and record["folds"] == record["planned_folds"]
        record[mark] = competes and record["macro_f1_mean"] >= max(complete) - _TIE


def _performance_cells(record: Mapping[str, Any] | None, decimals: int) -> list[Cell]:
    if record is None:
        return [Cell()] * len(METRICS)
    if record["folds"] == 0:
        return [Cell(MISSING)] * len(METRICS)
    cells = []
    for metric in METRICS:
        text = percent(record[f"{metric}_mean"], decimals)
        if record["folds"] > 1 and text != "n/a":
            text += f" ± {percent(record[f'{metric}_sd'], decimals)}"
        primary = metric == "macro_f1"
        if primary and record["folds"] < record["planned_folds"]:
            text += f" ({record['folds']}/{record['planned_folds']})"
        cells.append(Cell(text, bold=primary and record["best"], dagger=primary and record["overall_best"]))
    return cells


def _row_arms(context: TableContext) -> list[tuple[str, dict[str, Arm]]]:
    """The rows of an architecture: a title and the arm of each task that has it."""
    rows = []
    for approach in APPROACHES:
        arms = [arm for task in context.tasks for arm in context.arms_of(task.name, approach)]
        if context.has_several(approach):
            for intermediate in dict.fromkeys(arm.intermediate for arm in arms):
                here = [arm for arm in arms if arm.intermediate == intermediate]
                rows.append((context.arm_title(here[0]), {arm.task: arm for arm in here}))
        elif arms:
            rows.append((APPROACH_TITLES[approach], {arm.task: arm for arm in arms}))
    return rows


def _intermediate_notes(context: TableContext) -> list[str]:
    notes = []
    for approach in APPROACHES:
        arms = [arm for task in context.tasks for arm in context.arms_of(task.name, approach)]
        if context.has_several(approach):
            ways_by_task = [{arm.intermediate for arm in arms if arm.task == task.name} for task in context.tasks]
            if any(ways != ways_by_task[0] for ways in ways_by_task):
                notes.append(f"{APPROACH_TITLES[approach]}: a blank cell was not planned for that task.")
        elif any(arm.intermediate for arm in arms):
            ways = [f"{context.data_title(arm.intermediate)} for {context.task(arm.task).shown}" for arm in arms]
            notes.append(f"Intermediate domain of {APPROACH_TITLES[approach]}: {', '.join(ways)}.")
    return notes


def absent_class_notes(scores: pd.DataFrame) -> list[str]:
    """Return a note on the folds without an image of some class; none where there is no such fold.

    ``scores`` is the frame of ``fold_scores``, or its rows of one checkpoint.
    """
    folds = scores.loc[scores["absent_classes"] > 0].drop_duplicates(["task", "fold"])
    if folds.empty:
        return []
    most = int(folds["absent_classes"].max())
    classes = "one class" if most == 1 else f"up to {most} classes" if len(folds) > 1 else f"{most} classes"
    lack = "folds lack" if len(folds) > 1 else "fold lacks"
    return [
        f"{len(folds)} held-out {lack} images of {classes}. Macro-F1 counts a class without images as 0, as the "
        "paper's formula does, and so stays below 100; AUC-OvR leaves it out. See folds.csv."
    ]
