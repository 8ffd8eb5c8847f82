"""Which classes are taken for which: confusion matrices as figures, and the pairs most often confused as a table.

A matrix is drawn in points on one canvas and only where it is not zero: neighbours of one shade in a row are one
stroke, as wide as a cell is high, and all strokes of a shade are one path, so that a page can hold dozens of figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from bandbridge.evaluation.metrics import confusion_matrix
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.filenames import slug
from bandbridge.karyotype import CLASS_INDEX
from bandbridge.report.context import Arm, TableContext
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import (
    GREY,
    LABEL,
    TICK,
    TITLE,
    PlainFigure,
    arm_columns,
    short_name,
    thinned,
)
from bandbridge.report.out_of_fold import Pool, covering_runs, left_out_notes, pool_runs, shared_runs
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent

#: Denver groups, by size and centromere (London conference on the normal human karyotype, 1963).
DENVER_GROUPS = {"A": "1 2 3", "B": "4 5", "C": "6 7 8 9 10 11 12 X", "D": "13 14 15", "E": "16 17 18", "F": "19 20"}
DENVER_GROUPS |= {"G": "21 22 Y"}
#: Upper bounds of the shades, as shares of a row, and the colour of images classified rightly and wrongly.
HIT_SHADES, MISS_SHADES = (0.5, 0.75, 0.9, 0.95, 1.0), (0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
_HIT, _MISS = "#0072B2", "#D55E00"
#: Width of a digit in ems, of the font that matplotlib brings along.
_ADVANCE = 0.636
Segment = tuple[tuple[float, float], tuple[float, float]]
#: A panel's side, the spaces around it (class names not counted), and the legend's place and swatches, in points.
_SIDE, _LEFT, _ABOVE, _GAP, _UNDER = 192, 26, 18, 24, 20
_LEGEND, _SWATCH = 36, (22, 8)
#: Numbers are printed for the most frequent confusions of a panel, of some images or more.
_NUMBERED, _FEWEST = 6, 3


def confusion_figures(runs: Sequence[RunPredictions], context: TableContext) -> list[Illustration]:
    """Return the confusion matrices of each task and architecture with runs, a panel for each arm, folds pooled.

    Rows are the true classes, columns the predicted ones; classes that neither occur nor are predicted are left out.
    """
    context = covering_runs(runs, context)
    pools = pool_runs(runs, context)
    figures = []
    for (name, architecture), group in groupby(pools, key=lambda pool: (pool.arm.task, pool.architecture)):
        members = list(group)
        matrices = [_matrix(pool) for pool in members]
        order = _occurring(members[0].classes, matrices)
        panels = [
            (short_name(context.arm_title(pool.arm)), matrix[np.ix_(order, order)])
            for pool, matrix in zip(members, matrices, strict=True)
        ]
        figures.append(
            Illustration(
                name=f"confusion-{slug(name)}-{slug(architecture)}",
                title=f"Confusions, {context.task(name).shown}, {architecture}",
                sentence=(
                    "Rows: true class; columns: predicted class; shades: share of the row. Pooled held-out images, "
                    f"{context.checkpoint} checkpoint (protocol: {context.protocol}). Numbers: images in the "
                    f"{_NUMBERED} largest wrong cells of a panel. Lines divide the chromosome groups A to G (X is of "
                    "group C, Y of G)."
                ),
                figure=_draw(panels, [short_name(members[0].classes[index], 24) for index in order]),
            )
        )
    return figures


def confusions_table(runs: Sequence[RunPredictions], context: TableContext, shown: int = 10) -> Table | None:
    """Return the ``shown`` pairs of classes most often taken for one another in each task; as data all such pairs.

    Counts are of both directions and of all architectures together; None where nothing is confused.
    """
    context = covering_runs(runs, context)
    data = _pairs(pool_runs(shared_runs(runs), context))
    if data.empty:
        return None
    columns = arm_columns(context, [arm for task in context.tasks for arm in context.arms_of(task.name)])
    rows = []
    for task in context.tasks:
        of_task = data.loc[data["task"] == task.name]
        found = of_task.set_index(["class", "other", "approach", "intermediate"])
        totals = of_task.groupby(["class", "other"], sort=False)["count"].sum()
        totals = totals.sort_values(ascending=False, kind="stable")
        for rank, (first, second) in enumerate(totals.index[:shown]):
            texts = [f"{first} and {second}", str(totals[first, second])]
            for arms in columns.values():
                arm = arms.get(task.name)
                key = (first, second, arm.approach, arm.intermediate) if arm else ()
                texts.append(_confused(found, key, context.decimals))
            rows.append(Row(tuple(map(Cell, texts)), task.shown if rank == 0 else ""))
    titles = ("All", *columns)
    return Table(
        name="confusions",
        title="Classes most often confused",
        sentence=(
            "Held-out images of either class that were taken for the other, all architectures together, and in "
            f"brackets their percentage of the images of both classes ({context.checkpoint} checkpoint, protocol: "
            f"{context.protocol})."
        ),
        columns=(Column("Classes", align="left"), *(Column(title) for title in titles)),
        rows=tuple(rows),
        data=data,
        notes=left_out_notes(runs),
    )


def _confused(found: pd.DataFrame, key: tuple[Any, ...], decimals: int) -> str:
    """The cell of one pair and arm; blank where the task has no such arm."""
    if not key:
        return ""
    if key not in found.index:
        return MISSING
    record = found.loc[key]
    return f"{record['count']:.0f} ({percent(record['share'], decimals)})"


def _matrix(pool: Pool) -> np.ndarray:
    return confusion_matrix(pool.truth, pool.predicted, len(pool.classes))


def _occurring(classes: Sequence[str], matrices: Sequence[np.ndarray]) -> list[int]:
    """Indices of the classes with a true or predicted image, in karyotype order where they are chromosomes."""
    total = np.sum(matrices, axis=0)
    order: list[int] = np.flatnonzero(total.sum(axis=0) + total.sum(axis=1)).tolist()
    chromosomes = all(classes[index] in CLASS_INDEX for index in order)
    return sorted(order, key=lambda index: CLASS_INDEX[classes[index]] if chromosomes else index)


def _pairs(pools: Sequence[Pool]) -> pd.DataFrame:
    """A row for each arm and each pair of classes that some arm of its task confuses, images over architectures."""
    totals: dict[Arm, np.ndarray] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for pool in pools:
        totals[pool.arm] = totals.get(pool.arm, 0) + _matrix(pool)
        classes[pool.arm.task] = pool.classes
    rows = []
    for task, names in classes.items():
        arms = {arm: matrix for arm, matrix in totals.items() if arm.task == task}
        order = _occurring(names, list(arms.values()))
        for (one, other), (arm, matrix) in ((pair, entry) for pair in combinations(order, 2) for entry in arms.items()):
            if not any(each[one, other] + each[other, one] for each in arms.values()):
                continue
            count, images = matrix[one, other] + matrix[other, one], matrix[[one, other]].sum()
            rows.append((task, names[one], names[other], arm.approach, arm.intermediate, count, images, count / images))
    columns = ["task", "class", "other", "approach", "intermediate", "count", "images", "share"]
    return pd.DataFrame(rows, columns=columns)


def _draw(panels: Sequence[tuple[str, np.ndarray]], names: Sequence[str]) -> Figure:
    """Panels two by two on one canvas whose units are points, and the shades below."""
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    room = _room(names)
    width = _LEFT + room + columns * (_SIDE + _GAP)
    height = lines * (_ABOVE + _SIDE) + (lines - 1) * _GAP // 2 + _UNDER + room + _LEGEND
    figure = PlainFigure(figsize=(width / 72, height / 72), facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    corners = []
    for index, (title, matrix) in enumerate(panels):
        line, column = divmod(index, columns)
        left = _LEFT + room + column * (_SIDE + _GAP)
        top = _ABOVE + line * (_ABOVE + _SIDE + _GAP // 2)
        corners.append((left, top))
        axes.text(left, top - 5, title, fontsize=TITLE)
        _draw_numbers(axes, matrix, left, top)
        _draw_names(axes, names, left, top, rows=column == 0, columns=index + columns >= len(panels))
    _draw_cells(axes, [matrix for _, matrix in panels], corners)
    _draw_lines(axes, names, corners)
    _draw_legend(axes, height - _LEGEND)
    return figure


def _draw_cells(axes: Axes, matrices: Sequence[np.ndarray], corners: Sequence[tuple[int, int]]) -> None:
    cell = _SIDE / len(matrices[0])
    strokes: dict[tuple[str, int], list[Segment]] = {}
    for matrix, (left, top) in zip(matrices, corners, strict=True):
        for row, start, stop, shade in _stretches(matrix):
            middle = top + (row + 0.5) * cell
            strokes.setdefault(shade, []).append(((left + start * cell, middle), (left + stop * cell, middle)))
    for shade, segments in sorted(strokes.items()):
        axes.add_patch(_stroked(segments, *shade, cell))


def _stretches(matrix: np.ndarray) -> Iterator[tuple[int, int, int, tuple[str, int]]]:
    """Neighbours of one shade in a row: row, first column, the column after the last, colour and level."""
    for row, counts in enumerate(matrix):
        shades: list[tuple[str, int] | None] = [None] * len(counts)
        for column in np.flatnonzero(counts):
            colour, bounds = (_HIT, HIT_SHADES) if column == row else (_MISS, MISS_SHADES)
            shades[column] = (colour, int(np.searchsorted(bounds, counts[column] / counts.sum(), side="left")))
        start = 0
        for shade, group in groupby(shades):
            stop = start + len(list(group))
            if shade is not None:
                yield row, start, stop, shade
            start = stop


def _stroked(segments: Sequence[Segment], colour: str, level: int, width: float) -> PathPatch:
    """Strokes of one shade as one path: the colour lets the page through, be it white or dark."""
    levels = len(HIT_SHADES if colour == _HIT else MISS_SHADES)
    return _outlined(segments, edgecolor=colour, alpha=0.25 + 0.75 * level / (levels - 1), linewidth=width)


def _outlined(segments: Sequence[Segment], **style: Any) -> PathPatch:
    outline = Outline(np.concatenate(segments), [Outline.MOVETO, Outline.LINETO] * len(segments))
    return PathPatch(outline, facecolor="none", capstyle="butt", clip_on=False, **style)


def _draw_lines(axes: Axes, names: Sequence[str], corners: Sequence[tuple[int, int]]) -> None:
    """A frame for each panel, and lines where the next class is of another group."""
    group_of = {name: group for group, members in DENVER_GROUPS.items() for name in members.split()}
    cell = _SIDE / len(names)
    borders = [
        index * cell
        for index, (one, other) in enumerate(pairwise(names), start=1)
        if group_of.get(one) != group_of.get(other)
    ]
    inside: list[Segment] = []
    frames: list[Segment] = []
    for left, top in corners:
        inside += [((left + border, top), (left + border, top + _SIDE)) for border in borders]
        inside += [((left, top + border), (left + _SIDE, top + border)) for border in borders]
        frames += [((left, top + end), (left + _SIDE, top + end)) for end in (0, _SIDE)]
        frames += [((left + end, top), (left + end, top + _SIDE)) for end in (0, _SIDE)]
    for segments, width in ((inside, 0.3), (frames, 0.6)):
        if segments:
            axes.add_patch(_outlined(segments, edgecolor=GREY, linewidth=width))


def _draw_numbers(axes: Axes, matrix: np.ndarray, left: float, top: float) -> None:
    """The images of the most frequent confusions, where a number of that length fits into a cell."""
    cell = _SIDE / len(matrix)
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    frequent = np.argsort(-wrong, axis=None, kind="stable")[:_NUMBERED]
    for row, column in np.column_stack(np.unravel_index(frequent, wrong.shape)):
        text = str(wrong[row, column])
        size = min(TICK, 0.75 * cell, 1.4 * cell / len(text))
        if wrong[row, column] >= _FEWEST and size >= 3.5:
            _write(axes, left + (column + 0.5) * cell, top + (row + 0.5) * cell, text, size)


def _size(names: Sequence[str]) -> float:
    return min(TICK, 0.75 * _SIDE / len(names))


def _room(names: Sequence[str]) -> int:
    """Points that the names of the classes take beside a panel, and turned below it."""
    return max(8, math.ceil(_ADVANCE * _size(names) * max(map(len, names))))


def _draw_names(axes: Axes, names: Sequence[str], left: float, top: float, *, rows: bool, columns: bool) -> None:
    cell, size, longest, room = _SIDE / len(names), _size(names), max(map(len, names)), _room(names)
    # Names of two digits, side by side, would run into one another; longer ones are turned.
    every = 2 if longest == 2 and size * longest > cell else 1
    for index, (name, below) in enumerate(zip(names, thinned(names, every), strict=True)):
        middle = (index + 0.5) * cell
        if rows:
            _write(axes, left - 3 - _ADVANCE * size * len(name) / 2, top + middle, name, size)
        if columns and longest > 2:
            axes.text(left + middle, top + _SIDE + 3, below, fontsize=size, rotation=90, ha="center", va="top")
        elif columns and below:
            _write(axes, left + middle, top + _SIDE + 7, below, size)
    if rows:
        axes.text(8, top + _SIDE / 2, "True", fontsize=LABEL, rotation=90, ha="center", va="center")
    if columns:
        axes.text(left + _SIDE / 2, top + _SIDE + room + 11, "Predicted", fontsize=LABEL, ha="center", va="center")


def _draw_legend(axes: Axes, top: float) -> None:
    """Two ramps one above the other, with the bounds of the shades where they meet."""
    width, height = _SWATCH
    for line, (title, colour, bounds) in enumerate(
        (("Percent right", _HIT, HIT_SHADES), ("Percent wrong", _MISS, MISS_SHADES))
    ):
        middle = top + 6 + 18 * line
        axes.text(_SWATCH[0], middle + 2.5, title, fontsize=TICK)
        for level, bound in enumerate(bounds):
            left = _SWATCH[0] + 54 + level * width
            axes.add_patch(_stroked([((left, middle), (left + width, middle))], colour, level, height))
            if bound < 1:
                _write(axes, left + width, middle + 8, f"{100 * bound:.0f}", 6)


def _write(axes: Axes, middle: float, height: float, text: str, size: float) -> None:
    """Short ``text`` centred at (``middle``, ``height``), to half a point: a figure holds over a hundred of them."""
    left, base = middle - _ADVANCE * size * len(text) / 2, height + 0.36 * size
    axes.text(round(2 * left) / 2, round(2 * base) / 2, text, fontsize=size)
