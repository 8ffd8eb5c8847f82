"""Calibration in a report: whether the classifiers are as often right as they are sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bandbridge.evaluation.calibration import (
    Reliability,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from bandbridge.evaluation.metrics import class_probabilities
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.filenames import slug
from bandbridge.report.context import Arm, TableContext, TaskLabel
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import (
    GREY,
    LABEL,
    TITLE,
    Style,
    architecture_style,
    legend_below,
    panel_grid,
    short_name,
)
from bandbridge.report.out_of_fold import Pool, covering_runs, pool_runs
from bandbridge.report.rendering import Cell, Column, Row, Table, percent

#: Area of the mark of a bin with every image, and of the smallest mark, in square points.
_LARGEST, _SMALLEST = 90.0, 3.0
_BINS = 15
_NATS = 3


def calibration_table(runs: Sequence[RunPredictions], context: TableContext) -> Table | None:
    """Return accuracy, mean confidence, ECE, NLL and Brier score of each cross-validation's held-out images together.

    The folds of a cross-validation are pooled; None without runs.
    """
    context = covering_runs(runs, context)
    data, rows = [], []
    before: Pool | None = None
    for pool in pool_runs(runs, context):
        record = _measured(pool)
        data.append(record)
        new_task = before is None or before.arm.task != pool.arm.task
        named = new_task or before is None or before.architecture != pool.architecture
        texts = [pool.architecture if named else "", context.arm_title(pool.arm), _images(pool, context)]
        texts += [percent(record[name], context.decimals) for name in ("accuracy", "confidence", "ece")]
        texts += [f"{record[name]:.{_NATS}f}" for name in ("nll", "brier")]
        rows.append(Row(tuple(map(Cell, texts)), context.task(pool.arm.task).shown if new_task else ""))
        before = pool
    if not rows:
        return None
    titles = ("Images", "Accuracy", "Confidence", "ECE", "NLL", "Brier")
    return Table(
        name="calibration",
        title="Calibration: how often right, and how sure",
        sentence=(
            f"Pooled held-out images, {context.checkpoint} checkpoint (protocol: {context.protocol}). Accuracy, mean "
            "confidence (the largest class probability) and expected calibration error in percent: confidence above "
            "accuracy is overconfidence. NLL in nats per image and Brier score (0 to 2): lower is better."
        ),
        columns=(
            Column("Architecture", align="left"),
            Column("Approach", align="left"),
            *(Column(title) for title in titles),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=(
            f"ECE: {_BINS} bins of equal width (Guo et al. 2017). NLL and Brier score reward accuracy and calibration "
            "together. No probability was rescaled after training.",
            *_fold_notes(rows),
        ),
    )


def reliability_figures(runs: Sequence[RunPredictions], context: TableContext) -> list[Illustration]:
    """Return a reliability diagram for each task with runs: a panel for each arm, a line for each architecture."""
    context = covering_runs(runs, context)
    pools = pool_runs(runs, context)
    by_task = [(task, [pool for pool in pools if pool.arm.task == task.name]) for task in context.tasks]
    return [_illustration(task, found, context) for task, found in by_task if found]


def _measured(pool: Pool) -> dict[str, Any]:
    probabilities = class_probabilities(pool.logits)
    return {
        "task": pool.arm.task,
        "architecture": pool.architecture,
        "approach": pool.arm.approach,
        "intermediate": pool.arm.intermediate,
        "folds": len(pool.folds),
        "images": len(pool.truth),
        "accuracy": float(np.mean(pool.predicted == pool.truth)),
        "confidence": float(probabilities.max(axis=1).mean()),
        "ece": expected_calibration_error(probabilities, pool.truth, _BINS),
        "nll": negative_log_likelihood(probabilities, pool.truth),
        "brier": brier_score(probabilities, pool.truth),
    }


def _images(pool: Pool, context: TableContext) -> str:
    folds = f" ({len(pool.folds)}/{len(context.folds)})" if len(pool.folds) < len(context.folds) else ""
    return f"{len(pool.truth)}{folds}"


def _fold_notes(rows: Sequence[Row]) -> list[str]:
    return (
        ["(3/5) is 3 of 5 folds: not the images of a whole row."] if any("/" in r.cells[2].text for r in rows) else []
    )


def _illustration(task: TaskLabel, pools: Sequence[Pool], context: TableContext) -> Illustration:
    arms = [arm for arm in context.arms_of(task.name) if any(pool.arm == arm for pool in pools)]
    figure, grid = panel_grid(len(arms), 2, height=2.9)
    names = [name for name in context.architecture_names() if any(pool.architecture == name for pool in pools)]
    styles = {name: architecture_style(index) for index, name in enumerate(names)}
    for index, (arm, axes) in enumerate(zip(arms, grid, strict=True)):
        _draw_panel(axes, arm, pools, styles)
        axes.set_title(f"({chr(97 + index)}) {short_name(context.arm_title(arm))}", fontsize=TITLE, loc="left")
        axes.set_ylabel("Accuracy" if index % 2 == 0 else "", fontsize=LABEL)
        axes.set_xlabel("Confidence" if index >= len(arms) - 2 else "", fontsize=LABEL)
    legend_below(figure, [style.line_of(label=name, linewidth=1.2, markersize=4) for name, style in styles.items()])
    return Illustration(
        name=f"reliability-{slug(task.name)}",
        title=f"Reliability, {task.shown}",
        sentence=(
            f"Accuracy against confidence of the pooled held-out images in {_BINS} bins of confidence, "
            f"{context.checkpoint} checkpoint (protocol: {context.protocol}). Below the diagonal a classifier is surer "
            "than it is right. The area of a mark is the share of the images in its bin."
        ),
        figure=figure,
    )


def _draw_panel(axes: Axes, arm: Arm, pools: Sequence[Pool], styles: dict[str, Style]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    for pool in pools:
        if pool.arm == arm:
            _draw_curve(
                axes, reliability(class_probabilities(pool.logits), pool.truth, _BINS), styles[pool.architecture]
            )
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])


def _draw_curve(axes: Axes, found: Reliability, style: Style) -> None:
    held = found.counts > 0
    places, heights = found.confidence[held], found.accuracy[held]
    axes.plot(places, heights, color=style.colour, linestyle=style.line, linewidth=0.8, alpha=0.8, zorder=2)
    shares = found.counts[held] / found.counts.sum()
    face = style.colour if style.fill == "full" else "none"
    axes.scatter(
        places,
        heights,
        s=_SMALLEST + _LARGEST * shares,
        marker=style.marker,
        facecolors=face,
        edgecolors=style.colour,
        linewidths=0.6,
        alpha=0.85,
        clip_on=False,
        zorder=3,
    )
