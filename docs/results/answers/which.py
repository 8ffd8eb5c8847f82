"""Question 4: which intermediate set gains what, and what tells it before any training."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from answers.drawing import as_svg, panels_of
from answers.evidence import FEW_GROUPS, FOLDER, Evidence, Question, headed
from bandbridge.evaluation.pooled import compare_pooled, pair_predictions
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.contrasts import interval_text
from bandbridge.report.figures.styles import APPROACH_STYLES, GREY, LABEL, TITLE, Style, legend_below
from bandbridge.report.rendering import MISSING, Column, Table, percent, signed, to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: How tasks end whose intermediate set was changed in a way that the answer tells of, and in what words.
_TOLD = {"-shuffled": "with its labels shuffled", "-inverted": "inverted"}
_WORDS = (
    "Shuffled: labels are dealt out anew among the set's images, so that what is left of a gain is of the pictures. "
    "Inverted: black and white are changed about, so that both sets have bright bands on black or both dark ones on "
    "white. As published: images are prepared as in the publication, not by the cell. N cells: so many of the set's."
)
_OTHER_NUMBERS = (
    "Question 3 has other numbers for 10 labelled cells: its network is another one, and so are its folds of Pki-3."
)
_DISTANCES = (
    "MMD² and LogME are those of measures.json, tf_mobilenetv3_small_100 at 64 px; in question 1 they are of "
    "EfficientNet-Lite0 at 224 px (similarity.md). Distances as two networks see them are on no one scale."
)
_DRAWN = "What is drawn was fitted to BioImLab and the 65 cells; what drawn sets gain on Pki-3 owes nothing to that."
#: What a task has whose intermediate set is a changed one.
_CHANGES = ("labels", "cells", "preparation")
_ALPHA = 0.05
#: Gains that differ by no more than rounding are equal.
_EQUAL = 1e-9
#: How the figure marks the kinds of intermediate sets: real, drawn, changed.
_STYLES = {
    Style(APPROACH_STYLES["two-step"].colour, APPROACH_STYLES["two-step"].marker): "a real set",
    Style(APPROACH_STYLES["boxed"].colour, APPROACH_STYLES["boxed"].marker): "drawn cells",
    Style(GREY, "o"): "changed: fewer cells, shuffled, inverted",
}


@dataclass(frozen=True)
class _Via:
    """What the detour over one intermediate set gains, points of accuracy; NaN for an interval that is not given.

    title: of the set as it is here; of: of its images as they are.
    control: it is another in a changed form: shuffled labels, fewer cells, other preparation. drawn: its cells are.
    """

    name: str
    title: str
    of: str
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


def _as_it_is(task: Mapping[str, Any], dataset: str) -> bool:
    """Whether ``task`` is the intermediate set ``dataset`` with nothing changed in it."""
    return task["dataset"] == dataset and not any(key in task for key in _CHANGES)


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
            any(key in task for key in _CHANGES),
            str(task["dataset"]).startswith("synth:"),
        )
        title = str(task.get("band", row["intermediate"]))
        same = (str(other.get("band", name)) for name, other in spec.items() if _as_it_is(other, task["dataset"]))
        found.append(_Via(row["intermediate"], title, next(same, title), row["accuracy_pooled_pp"], *span, *kind))
    return sorted(found, key=lambda via: (via.control, -via.gain))


def answer_which(evidence: Sequence[Evidence], question: Question, missing: str) -> tuple[list[str], bytes]:
    vias = {one.pack.facts.study: _vias(one) for one in evidence}
    parts = [_short_of_which(evidence, vias), missing]
    shown = [(one.varied, vias[one.pack.facts.study]) for one in evidence if vias[one.pack.facts.study]]
    drawn = as_svg(_draw_which(shown), question.figure) if shown else b""
    if drawn:
        parts.append(f"![What each intermediate set gains over ImageNet alone](images/{question.figure})")
        parts.append(_measures_line(evidence, vias))
        parts.append("#" + to_markdown(_table_of_which(evidence, vias, question)).strip())
    return [part for part in parts if part], drawn


def _short_of_which(evidence: Sequence[Evidence], vias: Mapping[str, Sequence[_Via]]) -> str:
    """A line for each target: the best and the worst set, and what is left of a gain without labels or polarity."""
    lines = []
    for one in evidence:
        found = vias[one.pack.facts.study]
        told = list(_ends([via for via in found if not via.control]))
        told += [
            f"{words}: {via.of} {via.told}" for via in found for end, words in _TOLD.items() if via.name.endswith(end)
        ]
        lines.append(f"- *{one.titled}.* {'; '.join(told) or 'Nothing to compare yet'}.")
    return "\n".join(["**In short:** gains over ImageNet alone in points of accuracy.", "", *lines])


def _ends(sets: Sequence[_Via]) -> Iterator[str]:
    """The best and the worst of ``sets``, the best first; all that tie for a place, and one alone as what it is."""
    if not sets:
        return
    best, worst = ([via for via in sets if _ties(via, end)] for end in (sets[0], sets[-1]))
    if len(best) == len(sets):
        yield f"{'As it is' if len(sets) == 1 else 'All alike'}: {_named(best)}"
        return
    yield f"Best: {_named(best)}"
    yield f"worst: {_named(worst)}"


def _ties(one: _Via, other: _Via) -> bool:
    return math.isclose(one.gain, other.gain, abs_tol=_EQUAL)


def _named(vias: Sequence[_Via]) -> str:
    return " and ".join(f"{via.title} {via.told}" for via in vias) + ", which tie" * (len(vias) > 1)


@cache
def _measures() -> dict[str, dict[str, Any]]:
    """What ``advise`` says of pairs of sets, by measure."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / "measures.json").read_text(encoding="utf-8"))["measures"]
    return found


def _pairs(found: Sequence[_Via], values: Mapping[str, float | None]) -> list[tuple[_Via, _Via]]:
    """The pairs of sets of one target, neither of them changed, that are measured and differ in their gain."""
    known = [via for via in found if not via.control and values.get(via.name) is not None]
    return [(one, other) for one, other in combinations(known, 2) if not _ties(one, other)]


def _orders(vias: Mapping[str, Sequence[_Via]]) -> tuple[list[tuple[int, str]], dict[str, list[tuple[_Via, _Via]]]]:
    """How many pairs each measure orders as the gains do, the best first; and the pairs by study."""
    told, pairs = [], {}
    for measure in _measures().values():
        sign = 1 if measure["better"] == "higher" else -1
        right = 0
        for study, found in vias.items():
            values = measure["values"].get(study, {})
            pairs[study] = _pairs(found, values)
            right += sum(
                sign * (values[one.name] - values[other.name]) * (one.gain - other.gain) > 0
                for one, other in pairs[study]
            )
        told.append((right, measure["title"]))
    return sorted(told, key=lambda each: -each[0]), {study: each for study, each in pairs.items() if each}


def _by_chance(pairs: Mapping[str, Sequence[tuple[_Via, _Via]]], least: int) -> float:
    """How often orders of each target's sets, all equally likely, put at least ``least`` of the ``pairs`` right."""
    counts = Counter({0: 1.0})
    for each in pairs.values():
        names = sorted({via.name for pair in each for via in pair})
        of_target: Counter[int] = Counter()
        for order in permutations(range(len(names))):
            place = dict(zip(names, order, strict=True))
            of_target[sum((place[a.name] - place[b.name]) * (a.gain - b.gain) > 0 for a, b in each)] += 1
        total = math.factorial(len(names))
        summed: Counter[int] = Counter()
        for (had, share), (more, ways) in product(counts.items(), of_target.items()):
            summed[had + more] += share * ways / total
        counts = summed
    return sum(share for right, share in counts.items() if right >= least)


def _told_apart(evidence: Sequence[Evidence], pairs: Mapping[str, Sequence[tuple[_Via, _Via]]]) -> int:
    """How many of the ``pairs`` differ in accuracy at P < 0.05 by swaps of whole cells or patients, one by one."""
    apart = 0
    for one in evidence:
        runs: dict[str, list[RunPredictions]] = {}
        for run in one.runs:
            if run.approach == "two-step":
                runs.setdefault(run.intermediate, []).append(run)
        for first, second in pairs.get(one.pack.facts.study, ()):
            paired = pair_predictions(runs[first.name], runs[second.name], one.context.checkpoint)
            if paired.groups > 1:
                apart += compare_pooled(paired, generator=np.random.default_rng(one.context.seed)).accuracy.p < _ALPHA
    return apart


def _measures_line(evidence: Sequence[Evidence], vias: Mapping[str, Sequence[_Via]]) -> str:
    """How many pairs of sets each measure of ``advise`` puts in the order of their gains, and what chance does."""
    told, pairs = _orders(vias)
    many = sum(map(len, pairs.values()))
    if not many:
        return ""
    ordered = ", ".join(f"{title} {right} of {many}" for right, title in told)
    best = told[0][0]
    chance = _by_chance(pairs, best)
    any_of_them = 1 - (1 - chance) ** len(told)
    apart = _told_apart(evidence, pairs)
    return (
        "How many pairs of intermediate sets, of one target each, the measures of `advise` put in the order of their "
        f"gains, before any training ([measures.json](measures.json)): {ordered}. Orders drawn by chance have half of "
        f"them right, {many / 2:g}, and {best} or more in {percent(chance, 0)} of 100 draws; the best of {len(told)} "
        f"such orders has that in {percent(any_of_them, 0)} of 100 where they are independent. The measures are not, "
        f"they see the same images, and the truth is between. Of the {many} pairs {apart or 'none'} are told "
        f"apart by their gains (P < {_ALPHA}, swaps of whole cells or patients). That a measure foretells gains is not "
        "shown."
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
        notes=(_WORDS, FEW_GROUPS, _OTHER_NUMBERS, _DISTANCES, _DRAWN),
    )


def _draw_which(panels: Sequence[tuple[str, Sequence[_Via]]]) -> Figure:
    """A panel for each target: a row for each intermediate set, its gain with the interval."""
    figure, grid = panels_of([len(found) for _, found in panels], min(3, len(panels)), 0.24)
    for (axes, rows), (title, found) in zip(grid, panels, strict=True):
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for place, via in enumerate(found):
            style = _style(via)
            if not math.isnan(via.low):
                axes.plot([via.low, via.high], [place, place], color=style.colour, linewidth=1.2, zorder=2)
            axes.plot(via.gain, place, style.marker, color=style.colour, markersize=5, zorder=3)
        axes.set_yticks(range(len(found)), [via.title for via in found])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_title(title.partition(",")[0], fontsize=TITLE, loc="left")
        axes.set_xlabel("gain, points", fontsize=LABEL)
    there = dict.fromkeys(_style(via) for _, found in panels for via in found)
    legend_below(
        figure, [replace(style, line="").line_of(label=words) for style, words in _STYLES.items() if style in there]
    )
    return figure


def _style(via: _Via) -> Style:
    return list(_STYLES)[2 if via.control else int(via.drawn)]
