"""Figure 2: the gain of each architecture against its size, with the published and the moderated interval.

Where there is but one size, there is nothing to draw against it: the figure is then a forest plot of the folds.

Drawn on figure objects alone, so that nothing is left behind in pyplot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.transforms import blended_transform_factory
from sklearn.isotonic import isotonic_regression

from bandbridge.evaluation.moderation import fewest_folds
from bandbridge.report.context import APPROACH_TITLES, FAMILY_TITLES, Arm, TableContext
from bandbridge.report.contrasts import COMPARISONS, comparison_title, comparisons_of
from bandbridge.report.effects import COMPARISON, Effects
from bandbridge.report.figures.forest import Gain, draw_forest
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import PlainFigure, short_name

#: Colour (Okabe & Ito 2008, told apart with any colour vision) and marker of each family.
STYLES = {"traditional": ("#0072B2", "o"), "modern": ("#D55E00", "s"), "other": ("#009E73", "^")}
#: The stems of the files, a comparison each: the paper's question, the same without ImageNet, from the box, unlabelled.
_NAMES = ("figure2", "figure2-domain", "figure2-boxed", "figure2-boxed-two-step", "figure2-self-supervised")
#: Width and height of a panel, and the space left of and under it, in inches.
_PANEL, _LEFT, _UNDER = (3.7, 2.7), 0.65, 0.45
_FONT, _TILT = 7.0, math.radians(45)
#: Height of the leaders between a panel and its labels, and how far apart marks are kept sideways, in points.
_LEADER, _APART = 12.0, 6.5
_POINTS = 72


@dataclass(frozen=True, eq=False)
class _Panel:
    """What one panel shows: its title, and a row for each architecture with ``x``, ``family`` and the numbers."""

    title: str
    points: pd.DataFrame


def difference_figures(effects: Effects, context: TableContext, parameters: Mapping[str, int]) -> list[Illustration]:
    """Return the paper's Fig. 2 (two-step against ImageNet), and the same for the other comparisons.

    A panel for each task and intermediate; ``parameters`` are the trainable parameters by architecture. A figure whose
    panels show no two sizes is a forest plot. Only comparisons with all planned folds are drawn, and a figure without
    any is left out.
    """
    illustrations = []
    for number, (approach, reference) in enumerate(COMPARISONS):
        rows = [
            (task.shown, comparison_title(context, arm, against), _points(effects, context, parameters, arm, against))
            for task in context.tasks
            for arm, against in comparisons_of(context, task.name)
            if (arm.approach, against.approach) == (approach, reference)
        ]
        shown = [(task, title, points) for task, title, points in rows if len(points)]
        panels = [
            _Panel(f"({chr(97 + i)}) {task}" + (f": {title}" if context.has_several(approach) else ""), points)
            for i, (task, title, points) in enumerate(shown)
        ]
        if panels:
            has_sizes = any(len(set(panel.points["x"])) > 1 for panel in panels)
            against = f"{APPROACH_TITLES[approach]} minus {APPROACH_TITLES[reference]}"
            illustrate = _illustration if has_sizes else _forest
            illustrations.append(illustrate(number, against, panels, effects, context))
    return illustrations


def spread(positions: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Return ``positions``, float [n], moved as little as possible so that neighbours are ``gap`` apart or more.

    Least squares under the order of the positions (isotonic regression of position minus rank times gap), then kept
    within ``low`` and ``high``, which must have room for n - 1 gaps.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    free = isotonic_regression(positions[order] - steps)
    moved = np.empty(len(positions))
    moved[order] = np.clip(free, low, high - steps[-1]) + steps
    return moved


def _points(
    effects: Effects, context: TableContext, parameters: Mapping[str, int], arm: Arm, reference: Arm
) -> pd.DataFrame:
    data = effects.comparisons
    named = pd.Series(
        dict(zip(COMPARISON, (arm.task, arm.approach, arm.intermediate, reference.approach), strict=True))
    )
    found = data.loc[(data[COMPARISON] == named).all(axis=1) & (data["groups"] > 0)]
    found = found.loc[found["architecture"].isin(list(parameters))]
    families = {label.name: label.family for label in context.architectures}
    thin = _thin(effects, context)
    return found.assign(
        thin_low_pp=found[f"{thin}_low_pp"],
        thin_high_pp=found[f"{thin}_high_pp"],
        x=[math.log10(parameters[name]) for name in found["architecture"]],
        family=[families[name] if families[name] in STYLES else "other" for name in found["architecture"]],
    ).sort_values("x", ignore_index=True)


def _illustration(
    number: int, against: str, panels: Sequence[_Panel], effects: Effects, context: TableContext
) -> Illustration:
    what = f"{against}: difference in Macro-F1 (percentage points)"
    return Illustration(
        name=_NAMES[number],
        title=("Figure 2. " if number == 0 else "") + f"Gain against model size, {against}",
        sentence=(
            f"{what} against the logarithm of the number of parameters, {effects.checkpoint} checkpoint (protocol: "
            f"{context.protocol}).{_intervals(effects, context)} Marks that would cover one another are moved apart "
            "sideways."
        ),
        figure=_draw(panels, f"{against} (pp Macro-F1)", _thin(effects, context)),
    )


def _forest(
    number: int, against: str, panels: Sequence[_Panel], effects: Effects, context: TableContext
) -> Illustration:
    """The same comparisons without a size: each with its folds."""
    gains = []
    for panel in panels:
        for row in panel.points.to_dict("records"):
            folds = [(fold, row.get(f"fold_{fold}_pp", math.nan)) for fold in context.folds]
            title = panel.title.partition(" ")[2] if len(panels) == 1 else panel.title
            gains.append(
                Gain(
                    title=f"{title}, {row['architecture']}",
                    mean=row["mean_pp"],
                    folds=tuple((fold, value) for fold, value in folds if len(folds) > 1 and not math.isnan(value)),
                    thick=(row["published_low_pp"], row["published_high_pp"]),
                    thin=(row["thin_low_pp"], row["thin_high_pp"]),
                    colour=STYLES[row["family"]][0],
                )
            )
    return Illustration(
        name=_NAMES[number],
        title=("Figure 2. " if number == 0 else "") + f"Gain and its folds, {against}",
        sentence=(
            f"{against}: difference in Macro-F1 (percentage points), {effects.checkpoint} checkpoint (protocol: "
            f"{context.protocol}). Diamonds: means; dots: folds.{_intervals(effects, context)} With one size of model "
            "there is none to draw the gain against."
        ),
        figure=draw_forest(gains, f"{against} (pp Macro-F1)"),
    )


def _thin(effects: Effects, context: TableContext) -> str:
    """Which interval is drawn thin: for new trainings, or where folds are too few for that, for new groups."""
    over = int(effects.comparisons["moderated_over"].max())
    return "moderated" if len(context.folds) >= fewest_folds(over) else "pooled"


def _intervals(effects: Effects, context: TableContext) -> str:
    count, pooled = len(context.folds), _thin(effects, context) == "pooled"
    groups = "bootstrap of the pooled predictions over whole groups, models as trained"
    if count == 1:
        return f" Bars: {groups}, 95%."
    thin = f"{groups} ({count} folds are too few for new trainings)" if pooled else "moderated t for new trainings"
    return (
        f" Thick bars: percentile bootstrap of the {count} fold differences, as published; thin: {thin}. Both 95% by "
        "name. An arrow: the interval goes on beyond the frame."
    )


def _draw(panels: Sequence[_Panel], label: str, thin: str) -> Figure:
    """Panels two by two, each with its labels above it, and one legend below."""
    names = {name for panel in panels for name in panel.points["architecture"]}
    with matplotlib.rc_context({"text.parse_math": False}):
        longest = max(TextPath((0, 0), short_name(name), size=_FONT).get_extents().width for name in names)
    band = (longest * math.sin(_TILT) + 2 * _LEADER) / _POINTS + 0.3
    right = longest * math.cos(_TILT) / _POINTS
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    width = columns * (_LEFT + _PANEL[0] + right)
    height = lines * (band + _PANEL[1] + _UNDER) + 0.3
    figure = PlainFigure(figsize=(width, height))
    for index, panel in enumerate(panels):
        line, column = divmod(index, columns)
        left = _LEFT + column * (_LEFT + _PANEL[0] + right)
        bottom = height - (line + 1) * (band + _PANEL[1]) - line * _UNDER
        axes = figure.add_axes((left / width, bottom / height, _PANEL[0] / width, _PANEL[1] / height))
        _draw_panel(axes, panel.points)
        axes.set_ylabel(label if column == 0 else "", fontsize=8)
        axes.text(
            0,
            1 + (band - 0.2) / _PANEL[1],
            short_name(panel.title, 64),
            transform=axes.transAxes,
            fontsize=9,
            fontweight="bold",
        )
    families = [family for family in STYLES if any(family in set(panel.points["family"]) for panel in panels)]
    handles = _legend(families, any(panel.points["published_low_pp"].notna().any() for panel in panels), thin)
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=7, frameon=False)
    return figure


def _draw_panel(axes: Axes, points: pd.DataFrame) -> None:
    low, high = _limits(points)
    margin = max(0.06 * (points["x"].max() - points["x"].min()), 0.05)
    left, right = points["x"].min() - margin, points["x"].max() + margin
    unit = (right - left) / (_PANEL[0] * _POINTS)
    points = points.assign(
        x=spread(points["x"].to_numpy(), min(_APART * unit, (right - left) / len(points)), left, right)
    )
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.axhline(0, color="0.55", linewidth=0.8, zorder=1)
    for row in points.to_dict("records"):
        colour, marker = STYLES[row["family"]]
        inside = np.clip([row["thin_low_pp"], row["thin_high_pp"]], low, high)
        axes.plot([row["x"]] * 2, inside, color=colour, linewidth=0.8, zorder=2)
        for value, end, arrow in zip((row["thin_low_pp"], row["thin_high_pp"]), inside, "v^", strict=True):
            if math.isnan(value):
                continue
            cap = arrow if value != end else "_"
            axes.plot(row["x"], end, cap, color=colour, markersize=4, clip_on=False, zorder=3)
        axes.plot(
            [row["x"]] * 2,
            [row["published_low_pp"], row["published_high_pp"]],
            color=colour,
            linewidth=2.6,
            alpha=0.55,
            zorder=3,
        )
        axes.plot(row["x"], row["mean_pp"], marker, color=colour, markersize=6, markeredgecolor="white", zorder=4)
    axes.set_xlabel("log₁₀(#parameters)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    _draw_labels(axes, points)


def _limits(points: pd.DataFrame) -> tuple[float, float]:
    """The means and the intervals; of thin ones beside published ones no more than three times the rest."""
    alone = points["published_low_pp"].isna().all()
    thick = ["thin_low_pp", "thin_high_pp"] if alone else ["published_low_pp", "published_high_pp"]
    core = points[["mean_pp", *thick]].to_numpy(dtype=np.float64)
    low, high = min(np.nanmin(core), 0.0), max(np.nanmax(core), 0.0)
    reach = max(high - low, 0.5)
    wide = points[["thin_low_pp", "thin_high_pp"]].to_numpy(dtype=np.float64)
    if np.isfinite(wide).any():
        low = max(min(low, np.nanmin(wide)), low - reach)
        high = min(max(high, np.nanmax(wide)), high + reach)
    pad = 0.05 * max(high - low, 0.5)
    return low - pad, high + pad


def _draw_labels(axes: Axes, points: pd.DataFrame) -> None:
    """Names above the frame, tilted and apart, each with a leader to its mark."""
    (left, right), top = axes.get_xlim(), axes.get_ylim()[1]
    unit = (right - left) / (_PANEL[0] * _POINTS)
    font = min(_FONT, _PANEL[0] * _POINTS * math.sin(_TILT) / (1.3 * len(points)))
    places = spread(points["x"].to_numpy(), 1.3 * font / math.sin(_TILT) * unit, left, right)
    above = blended_transform_factory(axes.transData, axes.transAxes)
    step = _LEADER / (_PANEL[1] * _POINTS)
    for row, place in zip(points.to_dict("records"), places, strict=True):
        colour = STYLES[row["family"]][0]
        axes.plot([row["x"]] * 2, [row["mean_pp"], top], color="0.8", linewidth=0.5, zorder=0)
        axes.plot([row["x"], place], [1, 1 + step], color="0.6", linewidth=0.5, transform=above, clip_on=False)
        axes.text(
            place,
            1 + 1.15 * step,
            short_name(row["architecture"]),
            transform=above,
            rotation=math.degrees(_TILT),
            rotation_mode="anchor",
            fontsize=font,
            color=colour,
        )


def _legend(families: Sequence[str], published: bool, thin: str) -> list[Line2D]:
    handles = [
        Line2D([], [], color=STYLES[family][0], marker=STYLES[family][1], linestyle="", label=FAMILY_TITLES[family])
        for family in families
    ]
    if published:
        label = "95%, bootstrap of folds (published)"
        handles.append(Line2D([], [], color="0.4", linewidth=2.6, alpha=0.55, label=label))
    label = "95%, moderated t" if thin == "moderated" else "95%, bootstrap of pooled groups"
    return [*handles, Line2D([], [], color="0.4", linewidth=0.8, label=label)]
