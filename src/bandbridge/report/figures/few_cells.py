"""What each approach is worth with few labelled cells: accuracy over their number, a panel for each set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.report.context import APPROACH_TITLES
from bandbridge.report.figures.styles import APPROACH_STYLES, LABEL, TITLE, legend_below, panel_grid

#: Points of one number of cells stand side by side, that their intervals can be told apart: by this factor each.
_ASIDE = 1.035


@dataclass(frozen=True)
class Panel:
    """One set. curves: by approach, by the number of labelled cells, the share of held-out images that is right."""

    title: str
    curves: Mapping[str, Mapping[int, Estimate]]


def draw_few_cells(panels: Sequence[Panel]) -> Figure:
    """Return the figure; the number of cells is on a logarithmic scale, intervals are bars where there are any."""
    figure, grid = panel_grid(len(panels), min(3, len(panels)), 2.6)
    approaches = [name for name in APPROACH_STYLES if any(name in panel.curves for panel in panels)]
    lowest = min(
        min(each.value, each.low if each.bounded else math.inf)
        for panel in panels
        for curve in panel.curves.values()
        for each in curve.values()
    )
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
