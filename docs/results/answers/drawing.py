"""How figures of the answers are drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.report.figures.styles import APPROACH_STYLES, GREY, LABEL, TITLE, panel_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Letters of a row's name from which panels stand one below the other.
_LONG = 30


def as_svg(figure: Figure, name: str) -> bytes:
    """Return ``figure`` as SVG, the same bytes at any time."""
    from matplotlib import rc_context

    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": "docs/results/answer.py"})
    return drawn.getvalue()


def panels_of(counts: Sequence[int], columns: int, each: float) -> tuple[Figure, list[tuple[Axes, int]]]:
    """Return a figure with a panel for each of ``counts`` lines, ``each`` inches high, and the panels with theirs.

    Panels are as high as the fullest of their own row, not of all.
    """
    figure, grid = panel_grid(len(counts), columns, 1.0)
    lines = [max(counts[k : k + columns]) for k in range(0, len(counts), columns)]
    heights = [each * many + 0.7 for many in lines]
    layout = grid[0].get_gridspec()
    assert layout is not None
    layout.set_height_ratios(heights)
    figure.set_figheight(sum(heights) + 0.4)
    return figure, [(axes, lines[k // columns]) for k, axes in enumerate(grid)]


def draw_shares(
    panels: Sequence[tuple[str, Sequence[tuple[str, tuple[Estimate, ...]]]]], label: str, promised: Sequence[float] = ()
) -> Figure:
    """A panel for each title: a row for each named pair of shares, with their intervals.

    promised: percent, a thin upright line in each row of the first panel.
    """
    # Beside long names there is no room for another panel.
    longest = max(len(name) for _, found in panels for name, _ in found)
    columns = min(2, len(panels)) if longest < _LONG else 1
    figure, grid = panels_of([len(found) for _, found in panels], columns, 0.3)
    for (axes, rows), (title, found) in zip(grid, panels, strict=True):
        for place, (_, shares) in enumerate(found):
            for share, name in zip(shares, ("imagenet", "two-step"), strict=True):
                if math.isnan(share.value):
                    continue
                style = APPROACH_STYLES[name]
                if share.bounded:
                    axes.plot([100 * share.low, 100 * share.high], [place] * 2, color=style.colour, linewidth=1.2)
                axes.plot(100 * share.value, place, style.marker, color=style.colour, markersize=5)
        for place, limit in enumerate(promised if axes is grid[0][0] else ()):
            axes.plot([limit, limit], [place - 0.35, place + 0.35], color=GREY, linewidth=1.0, zorder=1)
        axes.set_yticks(range(len(found)), [name for name, _ in found])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_title(title, fontsize=TITLE, loc="left")
        axes.set_xlabel(label, fontsize=LABEL)
    return figure
