"""The picture that a report opens with: how accuracy goes from the first weights to the same after the detour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.moderation import fewest_folds
from bandbridge.report.context import APPROACH_TITLES, Arm, TableContext, TaskLabel
from bandbridge.report.contrasts import reference_of
from bandbridge.report.effects import Effects
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import (
    GREY,
    LABEL,
    TICK,
    TITLE,
    WIDTH,
    PlainFigure,
    arm_style,
    legend_below,
    plain,
    short_name,
)
from bandbridge.report.rendering import signed
from bandbridge.report.scores import KEY, summarise

#: Architectures drawn at most: more than the paper's eleven are no longer seen at a glance.
SHOWN = 12
_WEIGHTS = {"imagenet": "ImageNet's weights", "scratch": "random weights"}
#: Inches from one arrow to the next, where arrows carry their numbers and where there are too many for that.
_ROOMY, _CLOSE, _GAP = 0.34, 0.15, 0.1
#: Inches above and under the arrows of a panel: its title; its axis. And of one more line of text.
_ABOVE, _UNDER, _LINE = 0.3, 0.45, 0.2
#: Shorter arrows, as a share of the axis, would hide under their two marks.
_SHORTEST = 0.05


@dataclass(frozen=True)
class Step:
    """What the detour does to one architecture: accuracy in percent before (``start``) and after it (``end``).

    low, high: 95% interval of the gain in percentage points for new ``groups`` of images (``unit``), the models held
    fixed; NaN where there is none. folds: those that an interval for new trainings would need.
    """

    arm: Arm
    reference: Arm
    architecture: str
    start: float
    end: float
    low: float
    high: float
    unit: str
    groups: int
    folds: int

    @property
    def gain(self) -> float:
        """Percentage points."""
        return self.end - self.start

    @property
    def reach(self) -> list[float]:
        """Every accuracy that the step marks, in percent."""
        marks = [self.start, self.end, self.start + self.low, self.start + self.high]
        return [value for value in marks if not math.isnan(value)]


def answer_steps(scores: pd.DataFrame, effects: Effects, context: TableContext) -> list[Step]:
    """Return a step for each comparison of an architecture whose planned folds are all there, in the tables' order.

    Accuracies are the means of Table 2, intervals those of ``effects``.
    """
    context = context.covering(scores)
    means = summarise(scores, effects.checkpoint).set_index(KEY)["accuracy_mean"].to_dict()
    order = {name: place for place, name in enumerate(context.architecture_names())}
    steps = []
    for row in effects.comparisons.to_dict("records"):
        if not 0 < row["folds"] == len(context.folds):
            continue
        arm = Arm(row["task"], row["approach"], row["intermediate"])
        reference = reference_of(arm, row["reference"])
        start, end = (
            100 * means[one.task, row["architecture"], one.approach, one.intermediate] for one in (reference, arm)
        )
        low, high = row["accuracy_pooled_low_pp"], row["accuracy_pooled_high_pp"]
        told = (low, high, row["unit"], row["groups"], fewest_folds(row["moderated_over"]))
        steps.append(Step(arm, reference, row["architecture"], start, end, *told))
    return sorted(steps, key=lambda step: order[step.architecture])


def answer_sentence(steps: Sequence[Step], context: TableContext) -> str:
    """Return one sentence for each target: what the detour does to ImageNet's weights, else to random ones.

    And what the model in the box does in their place, and training without labels after them. Of targets that differ in
    the number of labelled cells alone, the fewest and the most are told of. "" without steps.
    """
    return " ".join(
        _sentence([step for step in steps if step.arm == arm], context)
        for task in _told([context.task(name) for name in dict.fromkeys(step.arm.task for step in steps)])
        for arm in _asked([step.arm for step in steps if step.arm.task == task])
    )


def _told(tasks: Sequence[TaskLabel]) -> list[str]:
    """The names of ``tasks``; of those of one dataset with numbers of labelled cells, the fewest and the most."""
    numbers: dict[str, list[int]] = {}
    for task in tasks:
        if task.cells is not None:
            numbers.setdefault(task.data, []).append(task.cells)
    return [task.name for task in tasks if task.cells is None or task.cells in _ends(numbers[task.data])]


def _ends(numbers: Sequence[int]) -> tuple[int, int]:
    return min(numbers), max(numbers)


def answer_figure(steps: Sequence[Step], context: TableContext) -> Illustration | None:
    """Draw accuracy before and after the detour, an arrow for each comparison of an architecture, a panel a target.

    At most ``SHOWN`` architectures, the first of the tables. None without steps.
    """
    names = list(dict.fromkeys(step.architecture for step in steps))
    if not names:
        return None
    shown = [step for step in steps if step.architecture in names[:SHOWN]]
    return Illustration(
        "answer", "The answer in a picture", _caption(shown, len(names), context), _draw(shown, context)
    )


def _asked(arms: Sequence[Arm]) -> list[Arm]:
    """The paper's question where it was measured, else the same without ImageNet; the box, and no labels at first."""
    distinct = list(dict.fromkeys(arms))
    others = [arm for arm in distinct if arm.approach in ("boxed", "self-supervised")]
    detours = [arm for arm in distinct if arm.approach in ("two-step", "domain")]
    return [*([arm for arm in detours if arm.approach == "two-step"] or detours), *others] or distinct


def _sentence(steps: Sequence[Step], context: TableContext) -> str:
    start, end = (sum(values) / len(steps) for values in zip(*((one.start, one.end) for one in steps), strict=True))
    arm, gain = steps[0].arm, round(end - start, 1)
    numbers = f"({start:.1f} → {end:.1f}%), {', '.join(_grounds(steps, len(context.folds)))}."
    on = f"On {context.task(arm.task).shown},"
    if arm.approach in ("boxed", "boxed-two-step", "self-supervised"):
        then = f" before {_shown(arm.intermediate, context)}" if arm.intermediate else ""
        what = f"the box in place of ImageNet{then}"
        if arm.approach == "self-supervised":
            what = "training without labels after ImageNet"
        does = (
            f"{'gains' if gain > 0 else 'loses'} {abs(gain):.1f} points of accuracy" if gain else "changes no accuracy"
        )
        return f"{on} {what} {does} {numbers}"
    does = f"adds {gain:.1f} points of accuracy to" if gain > 0 else f"takes {-gain:.1f} points of accuracy from"
    return (
        f"{on} the detour by way of {_shown(arm.intermediate, context)} "
        f"{does if gain else 'neither adds accuracy to nor takes it from'} {_WEIGHTS[steps[0].reference.approach]} "
        f"{numbers}"
    )


def _shown(task: str, context: TableContext) -> str:
    return next((label.shown for label in (*context.tasks, *context.domains) if label.name == task), task)


def _grounds(steps: Sequence[Step], folds: int) -> Iterator[str]:
    """What the numbers of a sentence stand on."""
    count = len(steps)
    over = [f"{count} architectures ({sum(step.gain > 0 for step in steps)} gain)"] if count > 1 else []
    over += [f"{folds} folds"] if folds > 1 else []
    if over:
        yield f"mean of {' and '.join(over)}"
    if folds == 1:
        yield "one fold: too few to tell chance apart"
    elif folds < steps[0].folds:
        yield "too few to tell how new trainings differ"
    if 0 < steps[0].groups < FEWEST_RESAMPLED:
        yield f"{counted(steps[0].groups, steps[0].unit)}: too few to tell of others"
    elif folds > 1 and count == 1 and not math.isnan(steps[0].low):
        yield f"95% interval {signed(steps[0].low, 1)} to {signed(steps[0].high, 1)} for new {steps[0].unit}s"


def _caption(steps: Sequence[Step], architectures: int, context: TableContext) -> str:
    parts = [
        "Accuracy in percent of what each arrow begins with and of what it leads to, as in Table 2 "
        f"({context.checkpoint} checkpoint, protocol: {context.protocol}); beside each arrow its gain in points."
    ]
    units = {step.unit for step in steps if not math.isnan(step.low)}
    if units:
        parts.append(f"Pale bar: 95% interval of the gain for new {' or '.join(sorted(units))}s, models as trained.")
    if architectures > SHOWN:
        parts.append(f"The first {SHOWN} of {architectures} architectures; Table 2 has all.")
    parts.append("The answers below are about Macro-F1, for which every class counts alike.")
    return " ".join(parts)


def _draw(steps: Sequence[Step], context: TableContext) -> Figure:
    """Panels two by two; where both have the same rows, their names stand on the left alone."""
    tasks = list(dict.fromkeys(step.arm.task for step in steps))
    names = list(dict.fromkeys(step.architecture for step in steps))
    arrows = max(len({step.arm for step in steps if step.arm.task == task}) for task in tasks)
    pitch = _ROOMY if len(names) == 1 else _CLOSE
    rows = len(names) * (arrows * pitch + _GAP)
    columns = min(2, len(tasks))
    lines = math.ceil(len(tasks) / columns)
    height = lines * (_ABOVE + rows + _UNDER) + (_LINE if len(names) > 1 else 0)
    figure = PlainFigure(figsize=(WIDTH, height), facecolor="none", layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for place, (axes, task) in enumerate(zip(grid, tasks, strict=False)):
        _draw_panel(axes, [step for step in steps if step.arm.task == task], names, arrows * pitch + _GAP, context)
        if place % columns and _rows(axes) == _rows(grid[place - 1]):
            axes.tick_params(labelleft=False)
    for axes in grid[len(tasks) :]:
        axes.remove()
    if len(names) > 1:
        legend_below(figure, _legend(steps, context))
    # Laid out again at each drawing, texts beside the axes move by hairs: the page and the files would differ.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def _draw_panel(axes: Axes, steps: Sequence[Step], names: Sequence[str], row: float, context: TableContext) -> None:
    plain(axes)
    task = context.task(steps[0].arm.task).shown
    alone = len(names) == 1
    reach = [value for step in steps for value in step.reach]
    low, high = max(min(reach), 0.0), min(max(reach), 100.0)
    # Numbers stand outside of the marks, and need room there.
    pad = (0.2 if alone else 0.05) * max(high - low, 1.0)
    frame = (low - pad, high + pad)
    axes.set(xlim=frame, ylim=(len(names) * row, 0))
    # The room for numbers may go beyond what an accuracy can be; the scale does not.
    axes.set_xticks([tick for tick in axes.get_xticks() if max(frame[0], 0) <= tick <= min(frame[1], 100)])
    arms = list(dict.fromkeys(step.arm for step in steps))
    places = []
    for step in steps:
        place = (
            row * names.index(step.architecture) + (arms.index(step.arm) + 0.5) * (row - _GAP) / len(arms) + _GAP / 2
        )
        places.append(place)
        _draw_step(axes, step, place, alone, context)
    if alone:
        axes.set_yticks(places, [_comparison(step, context) for step in steps])
    else:
        axes.set_yticks([row * (index + 0.5) for index in range(len(names))], names)
        for index in range(1, len(names)):
            axes.axhline(row * index, color=GREY, alpha=0.25, linewidth=0.5)
    name = f"{task}, {names[0]}" if alone else task
    axes.set_title(short_name(name), fontsize=TITLE, fontweight="bold", loc="left")
    above = axes.set_title("gain", fontsize=TICK, color=GREY, loc="right", ha="left")
    above.set_x(1.02)
    axes.set_xlabel("accuracy (%)", fontsize=LABEL)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_step(axes: Axes, step: Step, place: float, numbers: bool, context: TableContext) -> None:
    before, after = (arm_style(arm, context) for arm in (step.reference, step.arm))
    if not math.isnan(step.low):
        span = [step.start + step.low, step.start + step.high]
        axes.plot(span, [place] * 2, color=after.colour, linewidth=5, alpha=0.22, solid_capstyle="butt", zorder=1)
    axes.plot([step.start, step.end], [place] * 2, color=after.colour, linewidth=1.2, linestyle=after.line, zorder=2)
    left, right = axes.get_xlim()
    if abs(step.gain) > _SHORTEST * (right - left):
        middle = step.start + 0.55 * step.gain
        head = {"arrowstyle": "-|>", "color": after.colour, "linewidth": 0, "mutation_scale": 10}
        axes.annotate("", (middle + 0.02 * step.gain, place), (middle, place), arrowprops=head, zorder=2)
    for value, style in ((step.start, before), (step.end, after)):
        axes.plot(value, place, **(style.options() | {"linestyle": ""}), markersize=5.5, zorder=3)  # type: ignore[arg-type]
    colour = after.colour if step.gain > 0 else GREY
    size = TITLE if numbers else TICK
    beside: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "fontsize": size,
        "fontweight": "bold",
    }
    axes.text(1.02, place, signed(step.gain, 1), color=colour, **beside)
    if numbers:
        outward = 1 if step.gain >= 0 else -1
        for value, side in ((step.start, -outward), (step.end, outward)):
            axes.annotate(
                f"{value:.1f}",
                (value, place),
                (4 * side, 4),
                textcoords="offset points",
                fontsize=TICK,
                ha="left" if side > 0 else "right",
                annotation_clip=False,
            )


def _comparison(step: Step, context: TableContext) -> str:
    return f"{APPROACH_TITLES[step.reference.approach]} → {short_name(context.arm_title(step.arm))}"


def _legend(steps: Sequence[Step], context: TableContext) -> list[Line2D]:
    """Approaches once each, whatever the task."""
    handles: dict[str, Line2D] = {}
    for step in steps:
        for arm in (step.reference, step.arm):
            title = short_name(context.arm_title(arm))
            handles.setdefault(title, arm_style(arm, context).line_of(label=title))
    for handle in handles.values():
        handle.set_linestyle("")
    return list(handles.values())
