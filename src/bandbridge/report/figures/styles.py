"""How every figure of a report marks the same thing the same way, on white paper and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bandbridge.evaluation.predictions import APPROACHES
from bandbridge.report.context import Arm, TableContext

#: Characters of a name that a figure shows: names of classes, sets and bands are free text of any length.
LONGEST = 48


class PlainFigure(Figure):
    """The figure that every drawing of a report is made on: its texts are what they say, each on one line.

    Names come from users, and to matplotlib a dollar sign begins mathematics: one alone, or what is none in between,
    ends the drawing. Nothing here is mathematics. (The setting of matplotlib that says so holds for the whole process,
    and only for texts made later.)
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draw, with every text that there is by now taken as it stands."""
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            text.set_parse_math(False)
            if "\n" in text.get_text():
                text.set_text(one_line(text.get_text()))
        super().draw(renderer)


def one_line(text: str) -> str:
    """Return ``text`` with every run of blanks and line ends as one blank."""
    return " ".join(text.split())


def short_name(text: str, longest: int = LONGEST) -> str:
    """Return ``text`` on one line of at most ``longest`` characters: of a longer one both ends, where names differ."""
    text = one_line(text)
    kept = longest - 1
    return text if len(text) <= longest else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


@dataclass(frozen=True)
class Style:
    """How a curve and its marks are drawn: matplotlib's names. Of ``fill`` "none" a mark is an outline."""

    colour: str
    marker: str
    line: str = "-"
    fill: str = "full"

    def line_of(self, **options: object) -> Line2D:
        """Return an empty line of this style, for a legend."""
        return Line2D([], [], **self.options(), **options)  # type: ignore[arg-type]

    def options(self) -> dict[str, str]:
        """Return the arguments of ``Axes.plot``."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "fillstyle": self.fill,
            "markerfacecoloralt": "none",
        }


#: Colours that any colour vision tells apart (Okabe & Ito 2008), of theirs those that have 3:1 against both pages. What
#: comes from the box has the colour of the same from ImageNet, and broken lines.
APPROACH_STYLES = {
    "scratch": Style("#CC79A7", "o"),
    "imagenet": Style("#0072B2", "s"),
    "two-step": Style("#D55E00", "^"),
    "domain": Style("#009E73", "D"),
    "boxed": Style("#0072B2", "v", "--", "none"),
    "boxed-two-step": Style("#D55E00", "P", "--", "none"),
    "self-supervised": Style("#009E73", "X", ":", "none"),
}
#: Of architectures in one panel; with a second line style enough for a dozen. None is an approach's.
_COLOURS = ("#7A6BC8", "#A07D1C", "#1B9E9E", "#EE6677", "#808080", "#AA4499")
#: Of few corners: a report may hold thousands of these marks.
_MARKERS = ("s", "D", "^", "v", "<", ">")
_LINES, _FILLS = ("-", "--", ":", "-."), ("full", "none", "left", "right")
#: Width of a figure and of its space for labels, in inches: a column of a page, or a phone.
WIDTH = 6.8
GREY = "0.5"
TITLE, LABEL, TICK = 8.0, 7.5, 7.0


def arm_style(arm: Arm, context: TableContext) -> Style:
    """Return colour and marker of the arm's approach; further intermediates of a task have other lines and fills."""
    arms = context.arms_of(arm.task, arm.approach)
    place = arms.index(arm) if arm in arms else 0
    style = APPROACH_STYLES[arm.approach]
    place += _LINES.index(style.line)
    return Style(style.colour, style.marker, _LINES[place % len(_LINES)], _FILLS[place % len(_FILLS)])


def architecture_style(index: int) -> Style:
    """Return how the architecture in place ``index`` of the tables is drawn among others."""
    again, colour = divmod(index, len(_COLOURS))
    return Style(_COLOURS[colour], _MARKERS[colour], _LINES[again % len(_LINES)], _FILLS[again % len(_FILLS)])


def arm_columns(context: TableContext, arms: Iterable[Arm]) -> dict[str, dict[str, Arm]]:
    """Return {title: {task: arm}} of ``arms``, approaches in the paper's order: the columns of a table."""
    columns: dict[str, dict[str, Arm]] = {}
    for arm in sorted(arms, key=lambda arm: APPROACHES.index(arm.approach)):
        columns.setdefault(context.arm_title(arm), {})[arm.task] = arm
    return columns


def panel_grid(panels: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure without a ground and its ``panels`` axes in rows of ``columns``, each ``height`` inches high."""
    rows = math.ceil(panels / columns)
    # One panel alone is drawn no wider than it would be with a neighbour.
    width = WIDTH if panels > 1 else 0.55 * WIDTH
    figure = PlainFigure(figsize=(width, rows * height + 0.4), facecolor="none", layout="constrained")
    grid = figure.subplots(rows, min(columns, panels), squeeze=False).ravel()
    for axes in grid:
        plain(axes)
    for axes in grid[panels:]:
        axes.remove()
    return figure, list(grid[:panels])


def plain(axes: Axes) -> None:
    """Leave ``axes`` without a ground, with two spines and small labels."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TICK)


def thinned(names: Sequence[str], every: int) -> list[str]:
    """Return what to write of ``names`` side by side: all of one letter, of longer ones each ``every``-th, else ""."""
    return [name if index % every == 0 or len(name) == 1 else "" for index, name in enumerate(names)]


def legend_below(figure: Figure, handles: list[Line2D]) -> None:
    """Put one legend under all panels, in as many columns as its texts have room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = figure.get_figwidth() * 72 / (TICK * (0.55 * longest + 5))
    columns = max(1, min(len(handles), int(room)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=TICK, frameon=False)
