"""Question 1: what two-step gains over ImageNet alone, and what the publication states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from answers.drawing import as_svg
from answers.evidence import (
    APPROACHES,
    DETOUR,
    FEW_GROUPS,
    FOLDER,
    MODERATED,
    Evidence,
    Question,
    accuracies,
    gain_cells,
    headed,
    trainings,
)
from bandbridge.evaluation.comparison import equivalence_p, folds_for_equivalence
from bandbridge.progress import format_duration
from bandbridge.report.context import APPROACH_TITLES, Arm
from bandbridge.report.contrasts import interval_text
from bandbridge.report.figures.forest import Gain, draw_forest
from bandbridge.report.figures.styles import APPROACH_STYLES
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, signed, to_markdown
from bandbridge.report.sections.answer import Answer

_MIXED = ("low_pp", "high_pp")


#: That there is no difference is claimed only where this margin, in points of Macro-F1, is shown at this level.
_MARGIN, _ALPHA, _POWER = 0.5, 0.01, 0.8
#: Folds that a test takes, and beyond which more are not asked for.
_FEWEST_FOLDS, _MOST_FOLDS = 3, 10_000


class Published(BaseModel):
    """A statement of the publication: see the head of published.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    range: tuple[float, float]
    task: str | None = None
    approach: str | None = None
    reference: str | None = None
    measured: float | None = None
    by: str = ""


def read_published(path: Path) -> list[Published]:
    """Return the statements of the publication in ``path``."""
    return [Published.model_validate(each) for each in yaml.safe_load(path.read_text(encoding="utf-8"))]


def answer_detour(evidence: Sequence[Evidence], question: Question, missing: str) -> tuple[list[str], bytes]:
    drawn = _figure(evidence, question.figure)
    parts = [_short(evidence), "\n".join(_sentences(evidence)), _equivalence(evidence), missing]
    parts = [part for part in parts if part]
    if drawn:
        parts.append(f"![Two-step minus ImageNet, fold by fold, with intervals](images/{question.figure})")
    parts.append("#" + to_markdown(_table(evidence, question)).strip())
    return [*parts, "#" + to_markdown(_published_table(evidence)).strip()], drawn


def _equivalence(evidence: Sequence[Evidence]) -> str:
    """What it takes to claim that there is no difference, and whether it is shown: a line for each comparison."""
    lines = [
        "That there is no difference would be claimed where two one-sided corrected t tests show it to be less than "
        f"{_MARGIN} points of Macro-F1 at alpha {_ALPHA}. How many trainings of each approach would show that four "
        "times in five where there is none, if folds scatter as they did here, and what these show:",
        "",
    ]
    for one in evidence:
        for row in one.gains():
            folds = [row.get(f"fold_{fold}_pp", math.nan) for fold in one.context.folds]
            if len(folds) < _FEWEST_FOLDS or any(map(math.isnan, folds)):
                continue
            share, deviation = one.effects.test_share, float(np.std(folds, ddof=1))
            needed = folds_for_equivalence(deviation, share, _MARGIN, _ALPHA, _POWER, _MOST_FOLDS)
            variance = deviation**2 * (1 / len(folds) + share)
            p = equivalence_p(float(np.mean(folds)), variance, len(folds) - 1, _MARGIN)
            wanted = "no number of them does: folds share images" if needed is None else f"{needed} are needed"
            shown = "equivalent" if p < _ALPHA else "not shown to be equivalent"
            where = f"{one.context.task(row['task']).shown}, {one.varied}, {row['architecture']}"
            lines.append(f"- {where}: {wanted}; {len(folds)} are in, {shown} (P = {p:.3f}).")
    return "\n".join(lines) if len(lines) > 2 else ""


def _published_table(evidence: Sequence[Evidence]) -> Table:
    """What the publication states, beside what was measured here."""
    rows = []
    for claim in read_published(FOLDER / "published.yaml"):
        low, high = claim.range
        found = [(claim.measured, "", claim.by)] if claim.measured is not None else list(_measured(claim, evidence))
        stated = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        for value, span, by in found:
            within = low <= round(value, 1 if low != high else 3) <= high
            cells = [claim.says, stated, f"{value:.3g}{span}", "met" if within else "missed", by]
            rows.append(Row(tuple(map(Cell, cells))))
    return Table(
        name="published",
        title="What the publication states",
        sentence=(
            "Every number of its text (Scientific Reports 16:7572) that can be held against these studies. Met: ours, "
            "rounded as its own are, lies in what it states; missed: it does not. Neither says whether the two differ "
            "by more than chance; gains have our 95% interval for new trainings (moderated t) with them."
        ),
        columns=(
            Column("Statement", align="left"),
            *(Column(name) for name in ("Published", "Here", "")),
            Column("By", align="left"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(),
        notes=("Its G-band set, CIR, and its architectures were not at hand: what is missed here may hold there.",),
    )


def _measured(claim: Published, evidence: Sequence[Evidence]) -> Iterator[tuple[float, str, str]]:
    """The number of each study that answers ``claim``, its interval, and whence; of unfinished ones there is none."""
    for one in evidence:
        table = one.scores.loc[one.scores["checkpoint"] == one.context.checkpoint]
        for architecture in one.context.architecture_names():
            by_fold = [
                table.loc[
                    (table["task"] == claim.task)
                    & (table["architecture"] == architecture)
                    & (table["approach"] == approach)
                ].set_index("fold")["macro_f1"]
                for approach in (claim.approach, claim.reference)
                if approach is not None
            ]
            if any(len(scores) < len(one.context.folds) for scores in by_fold):
                continue
            value = 100 * float(by_fold[0].mean() - (by_fold[1].mean() if claim.reference is not None else 0))
            yield value, _gain_span(one, claim, architecture), f"{architecture}, {one.varied}"


def _gain_span(one: Evidence, claim: Published, architecture: str) -> str:
    """The interval for new trainings of the gain that ``claim`` is of, in brackets; "" for a score, and for none."""
    if claim.reference is None:
        return ""
    compared = {"approach": claim.approach, "reference": claim.reference, "task": claim.task}
    for row in one.gains({**compared, "architecture": architecture}):
        low, high = trainings(row, MODERATED)
        if not math.isnan(low):
            return f" ({interval_text(low, high, 2)})"
    return ""


def _short(evidence: Sequence[Evidence]) -> str:
    """One line: the verdict of each study and task."""
    parts = []
    for one in evidence:
        told = ", ".join(f"{answer.task} {_verdict(answer, _span_of(one, answer))}" for answer in one.answers)
        parts.append(f"{one.titled}: {told or 'nothing to compare yet'}")
    return f"**In short:** {'; '.join(parts)}."


def _verdict(answer: Answer, span: str) -> str:
    return {
        "helps": "it helps",
        "hurts": "it hurts",
        "leans-help": "it helps on these models",
        "leans-hurt": "it hurts on these models",
        "depends": "it depends on the architecture",
        "unclear": f"not settled, {span} points are left open",
    }.get(answer.verdict, "not known yet")


def _sentences(evidence: Sequence[Evidence]) -> Iterator[str]:
    """A line for each study and task: the report's claim, or what the intervals leave open, and its numbers."""
    for one in evidence:
        for answer in one.answers:
            claim = answer.claim
            if answer.verdict == "unclear":  # that there is no difference has not been shown
                claim = f"Not settled: anything from {_span_of(one, answer)} points of Macro-F1 is left open."
            yield f"- *{answer.task}, {one.titled}.* {claim} {answer.sentence}"


def _span_of(evidence: Evidence, answer: Answer) -> str:
    """From the lowest to the highest end of the intervals behind ``answer``, for new cells and for new trainings."""
    context = evidence.context
    for frame, wide in ((evidence.effects.mixed, _MIXED), (evidence.effects.comparisons, MODERATED)):
        for row in frame.to_dict("records"):
            arm = Arm(row["task"], row["approach"], row["intermediate"])
            same = (context.task(arm.task).shown, context.arm_title(arm)) == (answer.task, answer.approach)
            if same and row["reference"] == DETOUR["reference"]:
                ends = [row["pooled_low_pp"], row["pooled_high_pp"], *trainings(row, wide)]
                ends = [end for end in ends if not math.isnan(end)]
                return f"{signed(min(ends), 1)} to {signed(max(ends), 1)}" if ends else MISSING
    return MISSING


def _table(evidence: Sequence[Evidence], question: Question) -> Table:
    columns = [Column("Task", align="left"), Column("Architecture", align="left"), Column("Cells or patients")]
    columns += [Column(APPROACH_TITLES[approach], "Accuracy") for approach in APPROACHES]
    columns += [Column("new cells", "Gain in accuracy"), Column("new cells", "Gain in Macro-F1")]
    columns += [Column(f"{kind} t", "Gain in Macro-F1") for kind in ("corrected", "moderated")]
    columns += [Column("Trainings"), Column("Computing")]
    rows = [row for one in evidence for row in headed(one, _rows(one))]
    return Table(
        name=f"question-{question.number}",
        title="The numbers",
        sentence=(
            "Accuracy over the pooled held-out images in percent, with its 95% interval by whole cells, or patients "
            "where every image names one. Gains are two-step minus ImageNet in percentage points, with 95% intervals: "
            "for new cells with the models as trained, and for new trainings by the corrected resampled t and by the "
            "moderated t, over folds. The answer goes by the moderated t."
        ),
        columns=tuple(columns),
        rows=tuple(rows),
        data=pd.DataFrame(),
        notes=(
            "Gains are given once every planned fold is in; (3/5) is 3 of 5 folds.",
            FEW_GROUPS,
            "Trainings and computing are those of the row's task; the intermediate models of one task are trainings of "
            "the other.",
        ),
    )


def _rows(evidence: Evidence) -> Iterator[list[str]]:
    facts, context = evidence.pack.facts, evidence.context
    for task in context.tasks:
        for architecture in context.architecture_names():
            own = {run.id: run for run in facts.runs if (run.task, run.architecture) == (task.name, architecture)}
            if not own:
                continue
            known = [run.seconds for run in own.values() if run.seconds is not None]
            time = format_duration(sum(known)) if known else "not known"
            units, shares = accuracies(evidence, task.name, architecture)
            gains = [row for row in evidence.gains() if (row["task"], row["architecture"]) == (task.name, architecture)]
            gain = ["; ".join(cells) for cells in zip(*map(gain_cells, gains), strict=True)] or [MISSING] * 4
            some = "at least " if known and len(known) < len(own) else ""
            yield [task.shown, architecture, units, *shares, *gain, f"{len(own)}", some + time]


def _figure(evidence: Sequence[Evidence], name: str) -> bytes:
    """The forest of gains in Macro-F1 as SVG; b"" where no fold can be compared."""
    gains = []
    for one in evidence:
        for row in one.gains():
            folds = [(fold, row.get(f"fold_{fold}_pp", math.nan)) for fold in one.context.folds]
            known = tuple((fold, value) for fold, value in folds if not math.isnan(value))
            if not known:
                continue
            title = f"{one.context.task(row['task']).shown}, {one.varied}"
            several = len(one.context.architectures) > 1
            gains.append(
                Gain(
                    f"{title}, {row['architecture']}" if several else title,
                    row["mean_pp"],
                    known,
                    (row["pooled_low_pp"], row["pooled_high_pp"]),
                    trainings(row, MODERATED),
                    APPROACH_STYLES["two-step"].colour,
                )
            )
    if not gains:
        return b""
    label = "Two-step minus ImageNet, Macro-F1 in points (broad: new cells, thin: new trainings)"
    return as_svg(draw_forest(gains, label), name)
