"""Question 4: which intermediate set gains what, and what tells it before any training."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from answers.drawing import as_svg, panels_of
from answers.evidence import FOLDER, Evidence, Question, headed
from bandbridge.report.contrasts import interval_text
from bandbridge.report.figures.styles import APPROACH_STYLES, GREY, LABEL, TITLE
from bandbridge.report.rendering import MISSING, Column, Table, signed, to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: How tasks end whose intermediate set was changed in a way that the one line tells of.
_TOLD = ("-shuffled", "-inverted")


@dataclass(frozen=True)
class _Via:
    """What the detour over one intermediate set gains, points of accuracy; NaN for an interval that is not given.

    control: it is another in a changed form: shuffled labels, fewer cells, other preparation. drawn: its cells are.
    """

    name: str
    title: str
    gain: float
    low: float
    high: float
    p: float
    control: bool
    drawn: bool

    @property
    def told(self) -> str:
        """The gain with its interval, or the p value that stands for one."""
        span = interval_text(self.low, self.high, 1)
        return f"{signed(self.gain, 1)} ({f'p = {self.p:.3f}' if span == MISSING else span})"


def _vias(one: Evidence) -> list[_Via]:
    """What each intermediate set gains: real and drawn ones first, the best first, then what was changed in them."""
    spec = yaml.safe_load(one.pack.facts.study_file)["tasks"]
    found = []
    for row in one.gains():
        if math.isnan(row["accuracy_pooled_pp"]):
            continue
        task = spec[row["intermediate"]]
        span = (row["accuracy_pooled_low_pp"], row["accuracy_pooled_high_pp"], row["accuracy_pooled_p"])
        kind = (
            any(key in task for key in ("labels", "cells", "preparation")),
            str(task["dataset"]).startswith("synth:"),
        )
        title = str(task.get("band", row["intermediate"]))
        found.append(_Via(row["intermediate"], title, row["accuracy_pooled_pp"], *span, *kind))
    return sorted(found, key=lambda via: (via.control, -via.gain))


def answer_which(evidence: Sequence[Evidence], question: Question, missing: str) -> tuple[list[str], bytes]:
    vias = {one.pack.facts.study: _vias(one) for one in evidence}
    parts = [_short_of_which(evidence, vias), missing]
    shown = [(one.varied, vias[one.pack.facts.study]) for one in evidence if vias[one.pack.facts.study]]
    drawn = as_svg(_draw_which(shown), question.figure) if shown else b""
    if drawn:
        parts.append(f"![What each intermediate set gains over ImageNet alone](images/{question.figure})")
        parts.append(_measures_line(vias))
        parts.append("#" + to_markdown(_table_of_which(evidence, vias, question)).strip())
    return [part for part in parts if part], drawn


def _short_of_which(evidence: Sequence[Evidence], vias: Mapping[str, Sequence[_Via]]) -> str:
    """One line: the best and the worst set of each target, and what is left of a gain without labels or polarity."""
    parts = []
    for one in evidence:
        found = vias[one.pack.facts.study]
        sets = [via for via in found if not via.control]
        told = [f"{via.title} {via.told}" for via in dict.fromkeys([*sets[:1], *sets[-1:]])]
        told += [f"{via.title} {via.told}" for via in found if via.name.endswith(_TOLD)]
        parts.append(f"{one.titled}: {', '.join(told) or 'nothing to compare yet'}")
    told = "; ".join(parts)
    return f"**In short:** gains over ImageNet alone in points of accuracy, the best and the worst set. {told}."


@cache
def _measures() -> dict[str, dict[str, Any]]:
    """What ``advise`` says of pairs of sets, by measure."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / "measures.json").read_text(encoding="utf-8"))["measures"]
    return found


def _measures_line(vias: Mapping[str, Sequence[_Via]]) -> str:
    """How many pairs of sets each measure of ``advise`` puts in the order of their gains, over all targets."""
    measures = _measures()
    told = []
    for measure in measures.values():
        sign = 1 if measure["better"] == "higher" else -1
        right = pairs = 0
        for study, found in vias.items():
            values = measure["values"].get(study, {})
            known = [via for via in found if not via.control and values.get(via.name) is not None]
            for one, other in combinations(known, 2):
                if math.isclose(one.gain, other.gain, abs_tol=1e-9):
                    continue
                pairs += 1
                right += sign * (values[one.name] - values[other.name]) * (one.gain - other.gain) > 0
        if pairs:
            told.append((right, f"{measure['title']} {right} of {pairs}"))
    ordered = [text for _, text in sorted(told, key=lambda each: -each[0])]
    return (
        "How many pairs of intermediate sets, of one target each, the measures of `advise` put in the order of their "
        f"gains, before any training ([measures.json](measures.json)): {', '.join(ordered)}."
    )


def _table_of_which(evidence: Sequence[Evidence], vias: Mapping[str, Sequence[_Via]], question: Question) -> Table:
    measures = _measures()
    shown = [name for name in ("mmd2", "logme") if name in measures]

    def lines(study: str) -> Iterator[list[str]]:
        for via in vias[study]:
            values = [measures[name]["values"].get(study, {}).get(via.name) for name in shown]
            yield [via.title, via.told, *(MISSING if value is None else f"{value:.4f}" for value in values)]

    rows = [row for one in evidence for row in headed(one, lines(one.pack.facts.study))]
    return Table(
        name=f"question-{question.number}",
        title="The numbers",
        sentence=(
            "Two-step minus ImageNet in points of accuracy on the held-out images, each chromosome by itself, with 95% "
            "intervals for new cells, or patients where every image names one, and the models as trained."
        ),
        columns=(
            Column("Over", align="left"),
            Column("Gain"),
            *(Column(measures[name]["title"], "Before training") for name in shown),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(),
        notes=("Of fewer than 20 patients or cells there is no interval for new ones, only a p value.",),
    )


def _draw_which(panels: Sequence[tuple[str, Sequence[_Via]]]) -> Figure:
    """A panel for each target: a row for each intermediate set, its gain with the interval."""
    figure, grid = panels_of([len(found) for _, found in panels], min(3, len(panels)), 0.24)
    for (axes, rows), (title, found) in zip(grid, panels, strict=True):
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for place, via in enumerate(found):
            style = APPROACH_STYLES["boxed" if via.drawn else "two-step"]
            colour = GREY if via.control else style.colour
            if not math.isnan(via.low):
                axes.plot([via.low, via.high], [place, place], color=colour, linewidth=1.2, zorder=2)
            axes.plot(via.gain, place, style.marker, color=colour, markersize=5, zorder=3)
        axes.set_yticks(range(len(found)), [via.title for via in found])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_title(title.partition(",")[0], fontsize=TITLE, loc="left")
        axes.set_xlabel("gain over ImageNet, points", fontsize=LABEL)
    return figure
