"""What each approach is worth with few labelled cells: accuracy over their number, a panel for each set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandbridge.evaluation.cluster_intervals import Estimate, Units
from bandbridge.evaluation.pooled import Unit, grouping_unit
from bandbridge.evaluation.predictions import RunPredictions, logits_of, pool_folds
from bandbridge.report.context import APPROACH_TITLES, TableContext
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import APPROACH_STYLES, LABEL, TITLE, legend_below, panel_grid

#: Points of one number of cells stand side by side, that their intervals can be told apart: by this factor each.
_ASIDE = 1.035


@dataclass(frozen=True)
class Panel:
    """One set. curves: by approach, by the number of labelled cells, the share of held-out images that is right."""

    title: str
    curves: Mapping[str, Mapping[int, Estimate]]


def few_cells_figures(runs: Sequence[RunPredictions], context: TableContext) -> list[Illustration]:
    """Return the figure of the datasets of which several numbers of labelled cells were trained on; none without.

    Shares are of all held-out images of the finished folds that every number and approach of a panel has.
    """
    panels = [
        Panel(f"{data}, {architecture}" if len(context.architectures) > 1 else data, curves)
        for data in dict.fromkeys(task.data for task in context.tasks if task.cells is not None)
        for architecture in context.architecture_names()
        if len(numbers := {task.name: task.cells for task in context.tasks if task.cells and task.data == data}) > 1
        if (
            curves := shares_by_cells(
                [run for run in runs if run.architecture == architecture], numbers, context.checkpoint
            )
        )
    ]
    if not panels:
        return []
    sentence = (
        "Share of the held-out images that is right, each chromosome by itself, over the number of labelled cells that "
        "were trained on; bars are 95% intervals by whole patients or cells, where there are enough of them."
    )
    return [Illustration("few-cells", "What few labelled cells are enough for", sentence, draw_few_cells(panels))]


def shares_by_cells(
    runs: Sequence[RunPredictions], numbers: Mapping[str, int], checkpoint: str
) -> dict[str, dict[int, Estimate]]:
    """Return the share right by approach and number of labelled cells, of one architecture's ``runs``.

    ``numbers`` are those of the tasks that count. Only folds that every number and approach has are taken, and no
    approach that goes over several intermediates: there is no one curve.
    """
    found: dict[tuple[str, int], list[RunPredictions]] = {}
    for run in runs:
        if run.task in numbers:
            found.setdefault((run.approach, numbers[run.task]), []).append(run)
    folds = set.intersection(*({run.fold for run in each} for each in found.values())) if found else set()
    curves: dict[str, dict[int, Estimate]] = {}
    for (approach, cells), each in found.items():
        shared = [run for run in each if run.fold in folds]
        if shared and len({run.intermediate for run in shared}) == 1:
            curves.setdefault(approach, {})[cells] = share_right(shared, checkpoint)[0]
    return curves


def share_right(runs: Sequence[RunPredictions], checkpoint: str) -> tuple[Estimate, int, Unit]:
    """Return the share of the images held out by ``runs``, folds of one arm, that is right, by what units of how many.

    Each chromosome by itself, with its 95% interval over whole patients where every image names one, else cells.
    """
    rows = pool_folds(runs)
    rows = rows.loc[rows["checkpoint"] == checkpoint]
    truth, logits, _ = logits_of(rows, checkpoint)
    unit = grouping_unit(rows)
    groups = Units.named(rows[unit])
    return groups.share(logits.argmax(axis=1) == truth, truth == truth), groups.count, unit


def draw_few_cells(panels: Sequence[Panel]) -> Figure:
    """Return the figure; the number of cells is on a logarithmic scale, intervals are bars where there are any."""
    figure, grid = panel_grid(len(panels), min(3, len(panels)), 2.6)
    approaches = [name for name in APPROACH_STYLES if any(name in panel.curves for panel in panels)]
    ends = (
        min(each.value, each.low if each.bounded else math.inf)
        for panel in panels
        for curve in panel.curves.values()
        for each in curve.values()
    )
    lowest = min(ends, default=0.0)
    for place, (panel, axes) in enumerate(zip(panels, grid, strict=True)):
        _draw(axes, panel, approaches)
        axes.set_ylim(max(0.0, 100 * lowest - 3), 100.5)
        axes.set_title(panel.title, fontsize=TITLE, loc="left")
        axes.set_xlabel("labelled cells", fontsize=LABEL)
        if place % 3 == 0:
            axes.set_ylabel("held-out images right, %", fontsize=LABEL)
    legend_below(figure, [APPROACH_STYLES[name].line_of(label=APPROACH_TITLES[name]) for name in approaches])
    return figure


def _draw(axes: Axes, panel: Panel, approaches: Sequence[str]) -> None:
    numbers = sorted({cells for curve in panel.curves.values() for cells in curve})
    axes.set_xscale("log")
    for place, name in enumerate(approaches):
        curve = panel.curves.get(name)
        if curve is None:
            continue
        cells = sorted(curve)
        found = [curve[number] for number in cells]
        aside = [number * _ASIDE ** (place - (len(approaches) - 1) / 2) for number in cells]
        style = APPROACH_STYLES[name]
        values = [100 * each.value for each in found]
        axes.plot(aside, values, **style.options(), linewidth=1.2, markersize=4)  # type: ignore[arg-type]
        for at, each in zip(aside, found, strict=True):
            if each.bounded:
                axes.plot([at, at], [100 * each.low, 100 * each.high], color=style.colour, linewidth=0.8, alpha=0.7)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.minorticks_off()
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
