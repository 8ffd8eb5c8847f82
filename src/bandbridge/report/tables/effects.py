"""The tables of :class:`bandbridge.report.effects.Effects`: each comparison, the mixed view, the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.moderation import fewest_folds
from bandbridge.report.context import FAMILY_TITLES, Arm, TableContext
from bandbridge.report.contrasts import comparison_title, interval_text
from bandbridge.report.effects import ALL, COMPARISON, Effects
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, signed

ALPHA = 0.05
_TEXTS = (Column("Architecture", align="left"), Column("Comparison", align="left"))


def comparison_table(effects: Effects, context: TableContext) -> Table | None:
    """Return every comparison's t intervals, p values, interval over cells and detectable difference.

    None where no comparison has all its planned folds.
    """
    data = effects.comparisons
    if data.empty or data["pooled_pp"].isna().all():
        return None
    rows = []
    for section, architecture, title, record in _in_order(data, "architecture", context):
        cells = [Cell(architecture), Cell(title), *_comparison_cells(record, context.decimals)]
        rows.append(Row(tuple(cells), section))
    titles = ("Mean", "Student t, 95%", "Corrected t, 95%", "Moderated t, 95%", "p", "p (Holm)", "Detectable")
    pooled = ("Difference", "95%", "p (Holm)")
    return Table(
        name="comparison",
        title="How sure the gain is (Macro-F1, percentage points)",
        sentence=(
            "Difference in Macro-F1 between two approaches in percentage points, "
            f"{effects.checkpoint} checkpoint (protocol: {context.protocol}): over the folds, as if they were "
            "independent (Student), with the correction for the training images that they share, with their scatter "
            "moderated by that of all comparisons, and over the pooled out-of-fold predictions. Bold: p below 0.05 "
            "after Holm."
        ),
        columns=(
            *_TEXTS,
            *(Column(title, "Folds") for title in titles),
            *(Column(title, "Pooled") for title in pooled),
        ),
        rows=_named_once(rows),
        data=data,
        notes=(*_fold_notes(effects, context), *_pooled_notes(data, context)),
    )


def mixed_table(effects: Effects, context: TableContext) -> Table | None:
    """Return the mean over architectures of each comparison, all and by family; None without two architectures."""
    data = effects.mixed
    if data.empty:
        return None
    decimals = context.decimals
    rows = []
    for section, family, title, record in _in_order(data, "family", context):
        name = "All" if family == ALL else FAMILY_TITLES.get(family, family)
        texts = [f"{name} ({record['architectures']})", title, signed(record["mean_pp"], decimals)]
        texts += [interval_text(record["low_pp"], record["high_pp"], decimals), p_text(record["p"])]
        texts += [f"{record['helped']} of {record['architectures']}"]
        texts += [f"{record[f'{name}_sd_pp']:.{decimals}f}" for name in ("architecture", "fold", "rest")]
        texts += [interval_text(record["pooled_low_pp"], record["pooled_high_pp"], decimals)]
        rows.append(Row(tuple(map(Cell, texts)), section))
    titles = ("Mean", "95%", "p", "Helped")
    return Table(
        name="mixed",
        title="Gain over architectures (Macro-F1, percentage points)",
        sentence=(
            "Mean difference in Macro-F1 over architectures and folds, both random and crossed: all architectures are "
            f"tested on the same folds ({effects.checkpoint} checkpoint, protocol: {context.protocol}). Helped: "
            "architectures whose own mean is above zero. SD: how far architectures, folds and the rest scatter."
        ),
        columns=(
            Column("Architectures", align="left"),
            Column("Comparison", align="left"),
            *(Column(title) for title in titles),
            *(Column(title, "SD") for title in ("architectures", "folds", "rest")),
            Column("95%", "Pooled"),
        ),
        rows=_named_once(rows),
        data=data,
        notes=tuple(_mixed_notes(data, context)),
    )


def class_table(effects: Effects, context: TableContext, shown: int = 3) -> Table | None:
    """Return the classes whose F1 changes most clearly, ``shown`` for each comparison; as data every class."""
    data = effects.classes
    if data.empty:
        return None
    rows = []
    names = ["task", "architecture", *COMPARISON[1:]]
    grouped = dict(iter(data.groupby(names, sort=False)))
    heads = data[names].drop_duplicates()
    # The mean of all architectures is measured last and read first.
    heads = heads.sort_values("architecture", key=lambda column: column != ALL, kind="stable")
    for section, architecture, title, record in _in_order(heads, "architecture", context):
        frame = grouped[tuple(record[name] for name in names)]
        # By size alone the rarest class, which swings most, would nearly always come first.
        most = frame.iloc[np.lexsort((-frame["difference_pp"].abs(), frame["p"]))[:shown]]
        cells = [_class_cell(one, context.decimals) for one in most.to_dict("records")]
        cells += [Cell()] * (shown - len(cells))
        clear = frame.loc[frame["p_holm"] < ALPHA, "difference_pp"]
        counts = f"{(clear > 0).sum()} up, {(clear < 0).sum()} down"
        name = "Mean of all" if architecture == ALL else architecture
        rows.append(Row((Cell(name), Cell(title), *cells, Cell(counts)), section))
    return Table(
        name="classes",
        title="Gain by class (F1, percentage points)",
        sentence=(
            f"The {shown} classes whose F1 changes most clearly (smallest p) over the pooled out-of-fold predictions: "
            f"percentage points with 95% intervals, {effects.checkpoint} checkpoint (protocol: {context.protocol}). "
            "Bold, and counted in the last column: p below 0.05 after Holm over the classes. The CSV file holds all."
        ),
        columns=(
            *_TEXTS,
            *(Column(title, align="left") for title in ("First", "Second", "Third", "Fourth", "Fifth")[:shown]),
            Column("After Holm"),
        ),
        rows=_named_once(rows),
        data=data,
        notes=(
            "p: random swaps of the two approaches within whole patients, or cells where no patients are known, exact "
            "also for classes with few images. The interval resamples the same groups; it can then be too narrow.",
            "The clearest of many differences is in part the luckiest: only bold ones are more than that.",
        ),
    )


def p_text(p: float) -> str:
    """Return "0.031", "<0.001", or a dash for NaN."""
    return MISSING if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _in_order(data: pd.DataFrame, first: str, context: TableContext) -> Iterator[tuple[str, str, str, dict[Any, Any]]]:
    """Yield (section, value of ``first``, title of the comparison, record): by task, then as ``data`` has them.

    Section is the task's name on its first row; a comparison of an architecture comes after its others.
    """
    for task in dict.fromkeys(data["task"]):
        section = context.task(task).shown
        part = data.loc[data["task"] == task]
        for value in dict.fromkeys(part[first]):
            for record in part.loc[part[first] == value].to_dict("records"):
                arm = Arm(record["task"], record["approach"], record["intermediate"])
                yield section, value, comparison_title(context, arm, Arm(task, record["reference"])), record
                section = ""


def _named_once(rows: list[Row]) -> tuple[Row, ...]:
    """The rows, the first cell empty where it repeats the one above in the same section."""
    shown, above = [], ""
    for row in rows:
        name = row.cells[0].text
        repeated = name == above and not row.section
        shown.append(replace(row, cells=(Cell(), *row.cells[1:])) if repeated else row)
        above = name
    return tuple(shown)


def _comparison_cells(record: dict[Any, Any], decimals: int) -> list[Cell]:
    mean = MISSING if math.isnan(record["mean_pp"]) else signed(record["mean_pp"], decimals)
    intervals = [
        interval_text(record[f"{name}_low_pp"], record[f"{name}_high_pp"], decimals)
        for name in ("student", "corrected", "moderated", "pooled")
    ]
    found = record["moderated_detectable_pp"]
    pooled = MISSING if math.isnan(record["pooled_pp"]) else signed(record["pooled_pp"], decimals)
    return [
        Cell(mean),
        *map(Cell, intervals[:3]),
        Cell(p_text(record["moderated_p"])),
        _adjusted_cell(record["moderated_p_holm"]),
        Cell(MISSING if math.isnan(found) else f"{found:.{decimals}f}"),
        Cell(pooled),
        Cell(intervals[3]),
        _adjusted_cell(record["pooled_p_holm"]),
    ]


def _adjusted_cell(p: float) -> Cell:
    return Cell(p_text(p), bold=p < ALPHA)


def _class_cell(record: dict[Any, Any], decimals: int) -> Cell:
    span = interval_text(record["low_pp"], record["high_pp"], decimals)
    text = f"{record['class']}: {signed(record['difference_pp'], decimals)}"
    text += "" if span == MISSING else f" ({span})"
    return Cell(text, bold=record["p_holm"] < ALPHA)


def _fold_notes(effects: Effects, context: TableContext) -> list[str]:
    count, over = len(context.folds), int(effects.comparisons["moderated_over"].max())
    if count == 1:
        return ["One fold has no scatter to measure: there are only pooled intervals."]
    notes = [
        f"Corrected t (Nadeau & Bengio 2003): the variance of the mean is (1/{count} + {effects.test_share:.3g}) times "
        "that of the fold differences, the second term being test over training images. Holm: over the architectures "
        "of a task and comparison.",
        f"Moderated t: as corrected, with the variance that all {over} comparisons of the study make likely, so that "
        "folds that happen to agree are not taken for certainty (after Smyth 2004). p and detectable are its own.",
        "Detectable: the smallest true difference that the test at 5% finds with a chance of 80%, if the "
        "folds really scatter so. A smaller difference may be there and remain unseen.",
    ]
    needed = fewest_folds(over)
    if count < needed:
        notes.append(
            f"{count} folds and {counted(over, 'comparison')} cannot tell how far new trainings scatter: where folds "
            f"happen to agree, these intervals hold the truth far too seldom. {needed} folds or more would do. Read "
            "the pooled columns, or train more folds."
        )
    if context.protocol == "paper":
        notes.append(
            "Folds of images share cells, which no test of the folds can see; the pooled columns resample whole groups."
        )
    return notes


def _pooled_notes(data: pd.DataFrame, context: TableContext) -> list[str]:
    parts, few_groups = [], bool(((data["groups"] > 0) & (data["groups"] < FEWEST_RESAMPLED)).any())
    for task in context.tasks:
        sizes = data.loc[(data["task"] == task.name) & (data["groups"] > 0), ["unit", "groups", "images"]]
        if len(sizes):
            unit, groups, images = sizes.iloc[0]
            parts.append(f"{task.shown}: {groups:,} {unit}s with {images:,} images")
    few = f" Fewer than {FEWEST_RESAMPLED} groups have no interval: the p value alone speaks." if few_groups else ""
    return [
        "Pooled: Macro-F1 of all held-out images together (not the mean of the folds'), "
        f"{context.bootstrap_iterations:,} resamples of whole groups ({'; '.join(parts)}), the same for both "
        "approaches; p from as many random swaps of the approaches within groups. The trained models are held fixed: "
        f"it speaks of new cells, not of new trainings.{few}"
    ]


def _mixed_notes(data: pd.DataFrame, context: TableContext) -> Iterator[str]:
    yield (
        "Interval: squared standard errors of the architectures' means and of the folds' means, the latter corrected "
        "for shared training images and moderated by that of the other comparisons, with Satterthwaite's degrees of "
        "freedom. Pooled: the same mean with the architectures held fixed and whole groups resampled."
    )
    needed = fewest_folds(int(data["moderated_over"].max()))
    if len(context.folds) < needed:
        yield (
            f"{len(context.folds)} folds cannot tell how far new trainings scatter: where they happen to agree, the "
            f"interval holds the truth far too seldom. {needed} folds or more would do."
        )
    for record in data.loc[(data["family"] == ALL) & (data["left_out"] != "")].to_dict("records"):
        yield (
            f"{context.task(record['task']).shown}: left out for missing folds: {record['left_out']} "
            f"({record['approach']} minus {record['reference']})."
        )
