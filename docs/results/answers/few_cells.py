"""Question 3: what the model in the box gains over numbers of labelled cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from answers.drawing import as_svg
from answers.evidence import FEW_GROUPS, FITTED, Evidence, Question, accuracies, gain_cells, headed
from bandbridge.report.context import APPROACH_TITLES
from bandbridge.report.contrasts import interval_text
from bandbridge.report.figures.few_cells import Panel, draw_few_cells, shares_by_cells
from bandbridge.report.rendering import MISSING, Column, Table, signed, to_markdown

#: The comparisons of the table.
_BOXED = {"approach": "boxed", "reference": "imagenet"}
_BOXED_DETOUR = {"approach": "boxed-two-step", "reference": "two-step"}
_UNLABELLED = {"approach": "self-supervised", "reference": "imagenet"}
_FEW_CELLS = ("scratch", "imagenet", "self-supervised", "boxed", "two-step", "boxed-two-step")

_WITHOUT_LABELS = (
    "Self-supervised: trained without labels on the images of all cells that are not held out, after ImageNet. "
)


def answer_few_cells(evidence: Sequence[Evidence], question: Question, missing: str) -> tuple[list[str], bytes]:
    panels = [Panel(one.varied, shares_by_cells(one.runs, one.cells, one.context.checkpoint)) for one in evidence]
    drawn = as_svg(draw_few_cells(panels), question.figure)
    parts = [_short_of_few(evidence), *[missing] * bool(missing)]
    parts.append(f"![Held-out images right over the number of labelled cells](images/{question.figure})")
    return [*parts, "#" + to_markdown(_table_of_few(evidence, question)).strip()], drawn


def _short_of_few(evidence: Sequence[Evidence]) -> str:
    """One line: what the box gains over ImageNet with the fewest and with the most labelled cells of each set."""
    text = f"**In short:** the box in place of ImageNet alone gains, in points of accuracy, {_ends(evidence, _BOXED)}."
    with_unlabelled = [one for one in evidence if any(arm.approach == "self-supervised" for arm in one.context.arms)]
    if with_unlabelled:
        gained = _ends(with_unlabelled, _UNLABELLED)
        text += f" Training without labels on all images first gains, over ImageNet alone, {gained}."
    return text


def _ends(evidence: Sequence[Evidence], compared: Mapping[str, str]) -> str:
    """The gain of each set with the fewest and with the most labelled cells, in words."""
    parts = []
    for one in evidence:
        gains = {one.cells[row["task"]]: row for row in one.gains(compared) if row["task"] in one.cells}
        known = sorted(cells for cells, row in gains.items() if not math.isnan(row["accuracy_pooled_pp"]))
        told = [f"{_gained(gains[n])} with {n}" for n in dict.fromkeys([*known[:1], *known[-1:]])]
        parts.append(f"{one.titled}: {' and '.join(told) or 'nothing to compare yet'}")
    return f"{'; '.join(parts)} labelled cells"


def _gained(row: Mapping[str, Any]) -> str:
    span = interval_text(row["accuracy_pooled_low_pp"], row["accuracy_pooled_high_pp"], 1)
    return signed(row["accuracy_pooled_pp"], 1) + ("" if span == MISSING else f" [{span}]")


def _table_of_few(evidence: Sequence[Evidence], question: Question) -> Table:
    there = {arm.approach for one in evidence for arm in one.context.arms}
    approaches = [name for name in _FEW_CELLS if name in there]
    columns = [Column("Labelled cells"), Column("Held out")]
    columns += [Column(APPROACH_TITLES[name], "Accuracy") for name in approaches]
    columns += [Column("over ImageNet", "Gain of the box"), Column("before the other stain", "Gain of the box")]
    compared = [_BOXED, _BOXED_DETOUR]
    if "self-supervised" in there:
        columns.append(Column("over ImageNet", "Gain without labels"))
        compared.append(_UNLABELLED)

    def lines(one: Evidence) -> Iterator[list[str]]:
        (architecture,) = one.context.architecture_names()
        for task, cells in one.cells.items():
            units, shown = accuracies(one, task, architecture, approaches)
            yield [str(cells), units, *shown, *(_gain_of(one, each, task) for each in compared)]

    rows = [row for one in evidence for row in headed(one, lines(one))]
    return Table(
        name=f"question-{question.number}",
        title="The numbers",
        sentence=(
            "Accuracy on the held-out images in percent, each chromosome by itself, with its 95% interval by whole "
            "cells, or patients where every image names one. The gains of the model in the box, in points: in place of "
            "ImageNet alone, and before the set of the other stain in place of ImageNet before it. "
            f"{_WITHOUT_LABELS if 'self-supervised' in there else ''}Intervals are for "
            "new cells, with the models as trained, all on the same labelled cells."
        ),
        columns=tuple(columns),
        rows=tuple(rows),
        data=pd.DataFrame(),
        notes=(FEW_GROUPS, FITTED),
    )


def _gain_of(one: Evidence, compared: Mapping[str, str], task: str) -> str:
    found = [row for row in one.gains(compared) if row["task"] == task]
    return "; ".join(gain_cells(row)[0] for row in found) or MISSING
