"""Question 5: how good models and ensembles are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from answers.drawing import as_svg, draw_shares
from answers.evidence import FITTED, Evidence, Question, bounded, headed, met
from bandbridge.errors import UserError
from bandbridge.evaluation.cluster_intervals import Estimate, Units
from bandbridge.evaluation.pooled import grouping_unit
from bandbridge.evaluation.predictions import RunPredictions, logits_of
from bandbridge.report.context import TableContext
from bandbridge.report.figures.few_cells import share_right
from bandbridge.report.rendering import Column, Table, percent, to_markdown
from bandbridge.report.tables.laboratory import laboratory_trials

#: What is wanted of the studies of question 5, percent: right by itself, and in its cell. _WHENCE: where it is from.
_WANTED: dict[str, tuple[float, float | None]] = {"5-best-q": (95.24, 98.5), "5-best-q-paper": (95.24, None)}
_WHENCE = (
    "Wanted of BioImLab: by itself more than 95.24%, the highest that is published for it (ChrNet4, IEEE Access "
    "12:46081, 2024; how it divided the images is not stated), and 98.5% in its cell, a goal of our own."
)
_PAPER = (
    "Protocol paper divides by image, as the publication does, so that chromosomes of one cell are trained on and held "
    "out, and takes the epoch that is best on the held-out fold. Both flatter: what to expect of new cells is in the "
    "rows of folds 1 to 4 by cell."
)
_FITTED_TOO = "Folds 1 to 4 of BioImLab are no exception: on fold 0 the parts alone were chosen."


@dataclass(frozen=True)
class _Model:
    """A model of question 5, and what is right of the images it did not see: each by itself, and placed in its cell.

    units: of how many patients or cells they are. together: it is the mean of several.
    """

    title: str
    alone: Estimate
    placed: Estimate
    units: str
    together: bool = False


def _models(one: Evidence) -> list[_Model]:
    """Each arm of each task and, where several were trained on the same folds, all of them together.

    Of a study that goes on, the folds count that every arm has finished, two at least, and each title names them.
    """
    arms: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in one.runs:
        arms.setdefault(run.arm, []).append(run)
    planned = len(one.context.folds)
    done = set.intersection(*({run.fold for run in runs} for runs in arms.values())) if arms else set()
    if len(done) < planned and (len(done) < 2 or len(arms) < len(one.context.tasks)):
        return []
    of = "" if len(done) == planned else f" (folds {', '.join(map(str, sorted(done)))} of {planned})"
    arms = {
        arm: sorted((run for run in runs if run.fold in done), key=lambda run: run.fold) for arm, runs in arms.items()
    }
    several = len({arm[0] for arm in arms}) > 1
    found = []
    for task in one.context.tasks:
        for arm in one.context.arms_of(task.name):
            for (name, _, approach, via), runs in arms.items():
                if (name, approach, via) == (task.name, arm.approach, arm.intermediate):
                    title = one.context.arm_title(arm)
                    found.append(_model((f"{task.shown}, {title}" if several else title) + of, runs, one.context))
    if len(arms) > 1 and planned > 1:
        mean = _model(f"all {len(arms)} together{of}", _together(list(arms.values()), one.context), one.context)
        found.append(replace(mean, together=True))
    return found


def _together(members: Sequence[Sequence[RunPredictions]], context: TableContext) -> list[RunPredictions]:
    """Return runs with the mean of the members' probabilities, as logarithms: ``members`` hold the same folds each."""
    found = []
    for runs in zip(*members, strict=True):
        frames = [run.predictions.loc[run.predictions["checkpoint"] == context.checkpoint] for run in runs]
        frames = [frame.sort_values("image", ignore_index=True) for frame in frames]
        if any(not frame["image"].equals(frames[0]["image"]) for frame in frames):
            raise UserError("the models of question 5 hold out different images", "Give their tasks one split.")
        logits = np.stack([logits_of(frame, context.checkpoint)[1].astype(np.float64) for frame in frames])
        mean = logsumexp(logits - logsumexp(logits, axis=2, keepdims=True), axis=0) - math.log(len(frames))
        columns = [name for name in frames[0].columns if name.startswith("logit_")]
        frame = frames[0].assign(**dict(zip(columns, mean.astype(np.float32).T, strict=True)))
        found.append(replace(runs[0], predictions=frame))
    return found


def _model(title: str, runs: Sequence[RunPredictions], context: TableContext) -> _Model:
    alone, count, unit = share_right(runs, context.checkpoint)
    placed = Estimate()
    trials, _ = laboratory_trials(runs, context)
    for trial in trials.values():
        groups = Units.named(trial.images[grouping_unit(trial.images)])
        right = trial.images["joint_correct"].to_numpy(dtype=bool)
        placed = groups.share(right, np.ones(len(right), dtype=bool))
    return _Model(title, alone, placed, f"{count} {unit}s")


def answer_best(evidence: Sequence[Evidence], question: Question, missing: str) -> tuple[list[str], bytes]:
    models = {one.pack.facts.study: _models(one) for one in evidence}
    shown = [
        (one.varied, [(model.title, (model.alone, model.placed)) for model in models[one.pack.facts.study]])
        for one in evidence
        if models[one.pack.facts.study]
    ]
    parts = [_short_of_best(evidence, models), missing]
    label = "right, %: ■ alone, ▲ in its cell"
    drawn = as_svg(draw_shares(shown, label), question.figure) if shown else b""
    if drawn:
        parts.append(f"![What is right by itself, and in its cell](images/{question.figure})")
        parts.append("#" + to_markdown(_table_of_best(evidence, models, question)).strip())
    return [part for part in parts if part], drawn


def _short_of_best(evidence: Sequence[Evidence], models: Mapping[str, Sequence[_Model]]) -> str:
    """A line for each study of several folds: its models each alone, all of them together, and what was wanted."""
    lines = []
    for one in evidence:
        found = models[one.pack.facts.study]
        if len(one.context.folds) < 2:
            continue
        single = [model for model in found if not model.together]
        told = [f"{_each(single)} {_right(single)}"] if single else []
        told += [f"all together {_right([model])}" for model in found if model.together]
        wanted = _WANTED.get(one.pack.facts.study)
        told += _judged(found, *wanted) if found and wanted else []
        lines.append(f"- *{one.titled}:* {'; '.join(told) or 'nothing is whole yet'}.")
    if not lines:
        return "**In short:** only the choice of parts is in."
    return "\n".join(
        ["**In short:** right of the held-out chromosomes, and whether that is what was wanted:", "", *lines]
    )


def _each(models: Sequence[_Model]) -> str:
    return models[0].title if len(models) == 1 else f"each of {len(models)} models"


def _right(models: Sequence[_Model]) -> str:
    """What is right by itself and in its cell, from the worst to the best of ``models``."""

    def span(shares: Sequence[Estimate]) -> str:
        values = sorted(share.value for share in shares)
        ends = dict.fromkeys(percent(value, 2) for value in (values[0], values[-1]))
        return f"{' to '.join(ends)}%"

    placed = [model.placed for model in models if not math.isnan(model.placed.value)]
    told = f"{span([model.alone for model in models])} by itself"
    return f"{told} and {span(placed)} in its cell" if placed else told


def _judged(models: Sequence[_Model], alone: float, placed: float | None) -> Iterator[str]:
    """Whether the single models reach what is wanted, and whether all together do."""
    yield f"wanted by itself more than {alone}: {_met([(model.together, model.alone) for model in models], alone)}"
    if placed is not None:
        yield f"wanted in its cell {placed}: {_met([(model.together, model.placed) for model in models], placed)}"


def _met(shares: Sequence[tuple[bool, Estimate]], wanted: float) -> str:
    """How many single models reach what is ``wanted``, by how much the worst does not, and whether all together do."""
    single = sorted((share for together, share in shares if not together), key=lambda share: share.value)
    reached = [met(share, wanted) for share in single]
    told = reached[0]
    if len(single) > 1:
        told = f"met by {reached.count('met')} of {len(single)} models"
        told += f" ({reached[0]} by the worst)" * (reached[0] != "met")
    return ", ".join([told, *(f"{met(share, wanted)} by all together" for together, share in shares if together)])


def _table_of_best(evidence: Sequence[Evidence], models: Mapping[str, Sequence[_Model]], question: Question) -> Table:
    def lines(one: Evidence) -> Iterator[list[str]]:
        for model in models[one.pack.facts.study]:
            yield [model.title, model.units, f"{model.alone.n:,}", *map(bounded, (model.alone, model.placed))]

    rows = [row for one in evidence for row in headed(one, lines(one))]
    return Table(
        name=f"question-{question.number}",
        title="The numbers",
        sentence=(
            "Right of the held-out images in percent, each chromosome by itself and with its cell placed as a whole, "
            "by what the other folds taught, with 95% intervals by whole cells, or patients where every image names "
            "one. Together: the mean of the models' probabilities."
        ),
        columns=(
            Column("Model", align="left"),
            Column("Held out"),
            Column("Images"),
            Column("By itself", "Right"),
            Column("In its cell", "Right"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(),
        notes=(*_notes(evidence), "Of one fold there is no other to learn from, and nothing is placed."),
    )


def _notes(evidence: Sequence[Evidence]) -> Iterator[str]:
    """What must be known of the studies that are there."""
    names = {one.pack.facts.study for one in evidence}
    if "5-best-q-paper" in names:
        yield _PAPER
    if names & set(_WANTED):
        yield _WHENCE
    yield f"{FITTED} {_FITTED_TOO}" if "5-best-q" in names else FITTED
