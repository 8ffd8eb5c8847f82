"""Gains where there is no size to draw them against: a forest plot of every comparison with its folds.

A row for each comparison, its mean with the intervals, and under it one for each fold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandbridge.report.figures.styles import GREY, LABEL, TICK, WIDTH, PlainFigure, plain, short_name

#: Inches of a row, and of what is above and under all of them.
_ROW, _AROUND = 0.22, 0.85


@dataclass(frozen=True)
class Gain:
    """One comparison: ``title``, ``mean`` and ``folds`` (number, gain) in percentage points, and two intervals.

    ``thick`` is drawn broad, ``thin`` slender with caps; an interval of NaN is left out.
    """

    title: str
    mean: float
    folds: tuple[tuple[int, float], ...]
    thick: tuple[float, float]
    thin: tuple[float, float]
    colour: str


def draw_forest(gains: Sequence[Gain], label: str) -> Figure:
    """Return the figure: zero and every fold within its frame, intervals as far as three times that."""
    rows = sum(1 + len(gain.folds) for gain in gains)
    figure = PlainFigure(figsize=(WIDTH, rows * _ROW + _AROUND), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    frame = _frame(gains)
    axes.set(xlim=frame, ylim=(rows - 0.4, -0.6))
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    names, place = [], 0
    for gain in gains:
        _draw_gain(axes, gain, place, frame)
        names += [short_name(gain.title, 64), *(f"fold {fold}" for fold, _ in gain.folds)]
        place += 1 + len(gain.folds)
        if place < rows:
            axes.axhline(place - 0.5, color=GREY, alpha=0.25, linewidth=0.5)
    axes.set_yticks(range(rows), names)
    for name, text in zip(names, axes.get_yticklabels(), strict=True):
        text.set(fontsize=TICK, fontweight="normal" if name.startswith("fold ") else "bold")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label, fontsize=LABEL)
    return figure


def _draw_gain(axes: Axes, gain: Gain, place: int, frame: tuple[float, float]) -> None:
    low, high = frame
    if not math.isnan(gain.thick[0]):
        axes.plot(np.clip(gain.thick, low, high), [place] * 2, color=gain.colour, linewidth=4, alpha=0.45, zorder=2)
    if not math.isnan(gain.thin[0]):
        inside = np.clip(gain.thin, low, high)
        axes.plot(inside, [place] * 2, color=gain.colour, linewidth=0.9, zorder=2)
        for end, shown, arrow in zip(gain.thin, inside, "<>", strict=True):
            axes.plot(shown, place, "|" if end == shown else arrow, color=gain.colour, markersize=5, clip_on=False)
    axes.plot(gain.mean, place, "D", color=gain.colour, markersize=6, markeredgecolor="white", zorder=4)
    for row, (_, value) in enumerate(gain.folds, start=place + 1):
        axes.plot(value, row, "o", color=gain.colour, markersize=4, alpha=0.8, zorder=3)


def _frame(gains: Sequence[Gain]) -> tuple[float, float]:
    core = [0.0, *(value for gain in gains for value in (gain.mean, *(one for _, one in gain.folds)))]
    reach = max(max(core) - min(core), 0.5)
    ends = [value for gain in gains for value in (*gain.thick, *gain.thin) if not math.isnan(value)]
    low = max(min([*core, *ends]), min(core) - reach)
    high = min(max([*core, *ends]), max(core) + reach)
    pad = 0.05 * max(high - low, 0.5)
    return low - pad, high + pad
