"""How the runs learned: training loss and held-out accuracy, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.filenames import slug
from bandbridge.files import load_json
from bandbridge.report.context import Arm, TableContext, TaskLabel
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import LABEL, TITLE, arm_style, legend_below, panel_grid, short_name
from bandbridge.seal import require_unaltered
from bandbridge.study.ledger import CHECKPOINT, HISTORY, Ledger
from bandbridge.study.plan import Study

_RUN = ["task", "architecture", "approach", "intermediate", "fold"]
#: What an epoch of a history holds; what is held out only where something was.
_EPOCH = ["epoch", "training_loss", "training_accuracy", "held_out_loss", "held_out_accuracy"]
_EPOCH += ["learning_rate", "images_per_second", "seconds"]
_ALWAYS = ["epoch", "training_loss", "training_accuracy"]
#: Epochs of a fold's thin line, about: of more, some are left out.
_POINTS = 12
_SHOWN = {"training_loss": "Training loss", "held_out_accuracy": "Held-out accuracy (%)"}


def read_histories(study: Study, root: Path) -> pd.DataFrame:
    """Return every finished epoch of every finished or paused run of ``study`` under ``root``, in the study's order.

    Without those that learn from no labels: they have no accuracy, and their loss is of another kind.
    Columns: task, architecture, approach, intermediate, fold (Int64; missing for a run on all images), epoch (int64,
    from 1), and float64 training_loss, training_accuracy, held_out_loss, held_out_accuracy (accuracies in 0..1),
    learning_rate, images_per_second and seconds, NaN where a run has none. Raises :class:`ManyErrors` naming every
    history that is damaged.
    """
    ledger = Ledger(root)
    rows: list[dict[str, Any]] = []
    problems = []
    for run in study.runs:
        kind = ledger.state(run).kind
        if kind not in ("done", "paused") or run.record.recipe.objective != "classes":
            continue
        names = dict(zip(_RUN, (run.task, run.architecture, run.approach, run.intermediate, run.fold), strict=True))
        try:
            history = _history(ledger.folder(run), run.id, done=kind == "done")
        except ValueError as fault:
            problems.append(str(fault))
            continue
        rows += [names | entry for entry in history]
    if problems:
        raise ManyErrors(
            "the histories of some runs are damaged",
            problems,
            "Remove the folders of these runs and run the same study command again: only they are repeated.",
        )
    kinds = dict.fromkeys(_RUN[:4], "str") | {"fold": "Int64", "epoch": "int64"}
    kinds |= dict.fromkeys(_EPOCH[1:], "float64")
    return pd.DataFrame(rows, columns=[*_RUN, *_EPOCH]).astype(kinds)


def learning_figures(histories: pd.DataFrame, context: TableContext) -> list[Illustration]:
    """Return the learning curves of each task with runs: training loss and held-out accuracy of each architecture.

    ``histories`` is the frame of :func:`read_histories`; runs on all images hold nothing out and are not drawn.
    """
    held_out = histories.loc[histories["fold"].notna()]
    by_task = [(task, held_out.loc[held_out["task"] == task.name]) for task in context.tasks]
    return [_illustration(task, found, context) for task, found in by_task if len(found)]


def mean_curve(folds: pd.DataFrame, name: str) -> pd.Series:
    """Return the mean of column ``name`` over the folds of one arm, by epoch, as far as every one of them has come."""
    common = folds.groupby("fold")["epoch"].max().min()
    return folds.loc[folds["epoch"] <= common].groupby("epoch")[name].mean()


def _history(folder: Path, run: str, done: bool) -> list[dict[str, Any]]:
    """The epochs of one run; ValueError naming the file when they are not a history."""
    path = folder / HISTORY
    if not done:
        return _paused_history(folder / CHECKPOINT, run)
    try:
        require_unaltered(path)
        value = load_json(path)
    except UserError as fault:
        raise ValueError(fault.message) from None
    except OSError as fault:
        if path.exists():
            raise EnvironmentFault(f"cannot read {path}: {fault.strerror}", "Check its permissions.") from fault
        raise ValueError(f"{path}: there is no such file") from None
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None
    return _checked(value, path)


def _paused_history(path: Path, run: str) -> list[dict[str, Any]]:
    """The epochs in a checkpoint: only a finished run has a file of its own for them."""
    from bandbridge.training.checkpoint import load_state

    try:
        state = load_state(path, run)
    except UserError as fault:
        raise ValueError(fault.message) from fault
    return _checked(state.history, path) if state else []


def _checked(value: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise ValueError(f"{path}: expected a list of epochs")
    for number, entry in enumerate(value, start=1):
        for name in dict.fromkeys([*_ALWAYS, *entry]):
            found = entry.get(name)
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise ValueError(f"{path}: {name} of epoch {number} is {found!r}, expected a number")
        if entry["epoch"] != number:
            raise ValueError(f"{path}: epoch {entry['epoch']} in the place of epoch {number}")
    return value


def _illustration(task: TaskLabel, found: pd.DataFrame, context: TableContext) -> Illustration:
    names = [*context.architecture_names(), *found["architecture"]]
    names = [name for name in dict.fromkeys(names) if (found["architecture"] == name).any()]
    pairs = found[["approach", "intermediate"]].drop_duplicates().itertuples(index=False)
    with_runs = [Arm(task.name, *map(str, pair)) for pair in pairs]
    arms = list(dict.fromkeys([*(arm for arm in context.arms_of(task.name) if arm in with_runs), *with_runs]))
    figure, grid = panel_grid(2 * len(names), 2, height=1.8)
    for axes, (architecture, column) in zip(grid, product(names, _SHOWN), strict=True):
        _draw_panel(axes, found.loc[found["architecture"] == architecture], column, arms, context)
        axes.set_title(architecture if column == "training_loss" else "", fontsize=TITLE, loc="left")
        axes.set_ylabel(_SHOWN[column], fontsize=LABEL)
    for axes in grid[-2:]:
        axes.set_xlabel("Epoch", fontsize=LABEL)
    styles = [(short_name(context.arm_title(arm)), arm_style(arm, context)) for arm in arms]
    legend_below(figure, [style.line_of(label=title, linewidth=1.8, markersize=4) for title, style in styles])
    return Illustration(
        name=f"learning-{slug(task.name)}",
        title=f"Learning curves, {task.shown}",
        sentence=(
            "Training loss and accuracy on the held-out images after each epoch. Thin: each fold; thick: their mean, "
            "as far as all folds in training have come."
        ),
        figure=figure,
    )


def _draw_panel(axes: Axes, found: pd.DataFrame, column: str, arms: Sequence[Arm], context: TableContext) -> None:
    scale = 100 if column == "held_out_accuracy" else 1
    epochs = int(found["epoch"].max())
    for arm in arms:
        folds = found.loc[(found["approach"] == arm.approach) & (found["intermediate"] == arm.intermediate)]
        if folds.empty:
            continue
        style = arm_style(arm, context)
        for _, fold in folds.groupby("fold"):
            # A line of one epoch would not be seen; one of hundreds of points would be most of the file.
            marker = style.marker if len(fold) == 1 else ""
            kept = fold.iloc[sorted({*range(0, len(fold), max(1, len(fold) // _POINTS)), len(fold) - 1})]
            thin: dict[str, Any] = {"color": style.colour, "linewidth": 0.5, "alpha": 0.6, "markersize": 2}
            axes.plot(kept["epoch"], scale * kept[column], style.line, marker=marker, **thin)
        mean = mean_curve(folds, column)
        thick = style.line_of(linewidth=1.8, markersize=3.5, markevery=max(1, epochs // 8))
        thick.set_data(mean.index, scale * mean)
        axes.add_line(thick)
    margin = 0.02 * epochs if epochs > 1 else 0.5
    axes.set_xlim(1 - margin, epochs + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True, min_n_ticks=1))
    axes.autoscale_view(scalex=False)
