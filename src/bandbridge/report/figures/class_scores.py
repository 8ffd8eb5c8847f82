"""F1 of every class: which chromosomes are easy, which are hard, and for which approach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bandbridge.evaluation.metrics import per_class_scores
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.filenames import slug
from bandbridge.report.context import Arm, TableContext
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import (
    GREY,
    LABEL,
    TICK,
    TITLE,
    Style,
    arm_columns,
    arm_style,
    legend_below,
    panel_grid,
    short_name,
    thinned,
)
from bandbridge.report.out_of_fold import Pool, covering_runs, left_out_notes, pool_runs, shared_runs
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent

#: How far the marks of one class are spread, of the distance to the next class.
_SPREAD = 0.55
_KEY = ["task", "architecture", "approach", "intermediate"]


def class_f1_figures(runs: Sequence[RunPredictions], context: TableContext) -> list[Illustration]:
    """Return the F1 of every class for each task with runs: a panel for each architecture, a mark for each arm.

    Folds are pooled; a class without images has no mark.
    """
    context = covering_runs(runs, context)
    figures = []
    for name, group in groupby(pool_runs(runs, context), key=lambda pool: pool.arm.task):
        scores = _scores(list(group))
        arms = [arm for arm in context.arms_of(name) if (scores["arm"] == arm).any()]
        styles = {arm: arm_style(arm, context) for arm in arms}
        names = _in_order(scores)
        panels = list(scores.groupby("architecture", sort=False))
        figure, grid = panel_grid(len(panels), 2, height=1.9)
        for index, (axes, (architecture, found)) in enumerate(zip(grid, panels, strict=True)):
            _draw_panel(axes, found, names, styles)
            axes.set_title(str(architecture), fontsize=TITLE, loc="left")
            axes.set_ylabel("F1 (%)" if index % 2 == 0 else "", fontsize=LABEL)
            shown = names if index >= len(panels) - 2 else []
            # A page may set the names in a wider letter than this: of many longer ones only every other is written.
            every = 2 if len(shown) > 14 else 1
            axes.set_xticks(range(len(shown)), thinned([short_name(one, 12) for one in shown], every), fontsize=TICK)
        marks = [(short_name(context.arm_title(arm)), replace(style, line="")) for arm, style in styles.items()]
        legend_below(figure, [style.line_of(label=title, markersize=4) for title, style in marks])
        figures.append(
            Illustration(
                name=f"class-f1-{slug(name)}",
                title=f"F1 of every class, {context.task(name).shown}",
                sentence=(
                    f"F1 in percent of each class over the pooled held-out images, {context.checkpoint} checkpoint "
                    f"(protocol: {context.protocol}). The grey line of a class joins its worst and its best approach."
                ),
                figure=figure,
            )
        )
    return figures


def class_f1_table(runs: Sequence[RunPredictions], context: TableContext) -> Table | None:
    """Return the F1 of every class and arm, means over architectures, best in bold; None without runs.

    As data the F1 of each architecture too. Classes without images are left out.
    """
    context = covering_runs(runs, context)
    scores = _scores(pool_runs(shared_runs(runs), context))
    if scores.empty:
        return None
    columns = arm_columns(context, [arm for task in context.tasks for arm in context.arms_of(task.name)])
    rows = []
    for task in context.tasks:
        of_task = scores.loc[scores["task"] == task.name]
        support = of_task.groupby("class")["images"].max()
        for rank, name in enumerate(_in_order(of_task)):
            means = of_task.loc[of_task["class"] == name].groupby("arm", sort=False)["f1"].mean()
            values = {arm: float(value) for arm, value in means.items() if isinstance(arm, Arm)}
            cells = [Cell(name), Cell(str(support[name]))]
            cells += [_cell(arms.get(task.name), values, context.decimals) for arms in columns.values()]
            rows.append(Row(tuple(cells), task.shown if rank == 0 else ""))
    return Table(
        name="class-f1",
        title="F1 of every class (%)",
        sentence=(
            f"F1 in percent over the pooled held-out images, mean over architectures, {context.checkpoint} checkpoint "
            f"(protocol: {context.protocol}). Bold: the best approach of a class."
        ),
        columns=(Column("Class", align="left"), Column("Images"), *(Column(title) for title in columns)),
        rows=tuple(rows),
        data=scores[[*_KEY, "class", "images", "f1"]],
        notes=left_out_notes(runs),
    )


def _scores(pools: Sequence[Pool]) -> pd.DataFrame:
    """A row for each pool and each class with images: its names, its F1 in 0..1 and its images."""
    rows = []
    for pool in pools:
        found = per_class_scores(pool.truth, pool.predicted, len(pool.classes))
        names = (pool.arm.task, pool.architecture, pool.arm.approach, pool.arm.intermediate, pool.arm)
        rows += [
            (*names, place, name, int(images), float(f1))
            for place, (name, images, f1) in enumerate(zip(pool.classes, found.support, found.f1, strict=True))
            if images
        ]
    return pd.DataFrame(rows, columns=[*_KEY, "arm", "place", "class", "images", "f1"])


def _in_order(scores: pd.DataFrame) -> list[str]:
    """The classes that have images somewhere: not every architecture need have every fold."""
    return list(scores.drop_duplicates("class").sort_values("place")["class"])


def _cell(arm: Arm | None, values: dict[Arm, float], decimals: int) -> Cell:
    if arm is None:
        return Cell()
    if arm not in values:
        return Cell(MISSING)
    return Cell(percent(values[arm], decimals), bold=len(values) > 1 and values[arm] == max(values.values()))


def _draw_panel(axes: Axes, found: pd.DataFrame, names: Sequence[str], styles: dict[Arm, Style]) -> None:
    place = {name: index for index, name in enumerate(names)}
    span = 100 * found.groupby("class", sort=False)["f1"].agg(["min", "max"])
    # One broken line: a path for each class would be most of the file.
    ends = np.column_stack([span["min"], span["max"], np.full(len(span), np.nan)])
    axes.plot(np.repeat([place[str(name)] for name in span.index], 3), ends.ravel(), color=GREY, linewidth=0.6)
    shifts = np.linspace(-_SPREAD / 2, _SPREAD / 2, len(styles)) if len(styles) > 1 else np.zeros(1)
    for (arm, style), shift in zip(styles.items(), shifts, strict=True):
        rows = found.loc[found["arm"] == arm]
        places = [place[name] + shift for name in rows["class"]]
        marks = replace(style, line="").line_of(
            markersize=3, markeredgewidth=0.6 if style.fill != "full" else 0, clip_on=False, zorder=3
        )
        marks.set_data(places, 100 * rows["f1"])
        axes.add_line(marks)
    axes.set_xlim(-0.6, len(names) - 0.4)
    low = float(span["min"].min())
    axes.set_ylim(low - 0.06 * (100 - low) - 0.5, 100.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.5)
