"""What a study measured of the candidate source domains, and whether any measure foresaw it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.domains.advice import MEASURES, Candidate, Measure, promises, ranks
from bandbridge.domains.evidence import Agreement, Gain, agreements, fold_gains, measured_gains
from bandbridge.evaluation.moderation import fewest_folds
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, signed
from bandbridge.report.scores import fold_scores
from bandbridge.report.study import study_predictions
from bandbridge.report.tables.domains import p_text
from bandbridge.study.plan import Study
from bandbridge.study.resolve import TaskData


@dataclass(frozen=True, eq=False)
class StudyEvidence:
    """What a study says of the candidates for one of its tasks.

    gains: by candidate, over the folds and architectures that all of them have; empty with a ``reason`` where there
    is none. unmeasured: why the other candidates have none.
    """

    study: str
    protocol: str
    task: str = ""
    gains: Mapping[str, Gain] = field(default_factory=dict)
    reason: str = ""
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def tasks_of(study: Study, fingerprint: str) -> list[TaskData]:
    """Return the tasks of ``study`` whose dataset has the ``fingerprint``, wherever it lies."""
    return [task for task in study.tasks.values() if task.fingerprint == fingerprint]


def study_evidence(study: Study, root: Path, target: str, candidates: Mapping[str, str]) -> StudyEvidence:
    """Return the gain of two-step over ImageNet via each candidate, from the finished runs under ``root``.

    ``target`` is a dataset's fingerprint and so is each candidate's, by name. Where a dataset serves as several tasks
    (prepared in different ways), the first is taken. Raises as :func:`fold_scores` does.
    """
    spec = study.spec
    task = next((task for task in tasks_of(study, target) if task.spec.target), None)
    if task is None:
        return StudyEvidence(spec.name, spec.protocol, reason="it has no task that classifies the target")
    if not {"imagenet", "two-step"} <= set(spec.approaches):
        return StudyEvidence(spec.name, spec.protocol, task.name, reason="it does not compare two-step with imagenet")
    via = {
        name: next((other.name for other in tasks_of(study, own) if other.name in task.spec.intermediates), "")
        for name, own in candidates.items()
    }
    scores = fold_scores(study_predictions(study, root))
    tables = {name: fold_gains(scores, task.name, other, spec.kept_checkpoint) for name, other in via.items() if other}
    gains = measured_gains(tables, spec.split.folds)
    unmeasured = {
        name: f"no intermediate of task {task.name}" if not via[name] else "no finished fold to compare"
        for name in candidates
        if name not in gains
    }
    reason = "" if gains else "; ".join(f"{name}: {why}" for name, why in unmeasured.items())
    return StudyEvidence(spec.name, spec.protocol, task.name, gains, reason, unmeasured)


def gain_table(target: str, evidence: StudyEvidence) -> Table:
    """Return what each candidate gained in the study, most first."""
    gains = sorted(evidence.gains.items(), key=lambda item: -item[1].mean)
    some = gains[0][1]
    rows = [
        Row((Cell(name), Cell(signed(gain.mean, 2)), Cell(interval_text(gain)), Cell(gain.verdict)))
        for name, gain in gains
    ]
    return Table(
        name="advice-gains",
        title=f"Measured gain of two-step over ImageNet on {target} (study {evidence.study})",
        sentence=(
            f"Macro-F1 of two-step via the candidate minus ImageNet, percentage points, task {evidence.task} "
            f"(protocol: {evidence.protocol}): mean over {counted(some.folds, 'fold')} of "
            f"{', '.join(some.architectures)}{', those that all candidates have' if len(gains) > 1 else ''}."
        ),
        columns=(
            Column("Candidate", align="left"),
            Column("Gain"),
            Column("95% interval"),
            Column("Verdict", align="left"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(
            [
                {"candidate": name, "gain_pp": gain.mean, "low_pp": gain.low, "high_pp": gain.high}
                | {"architectures": len(gain.architectures), "folds": gain.folds, "verdict": gain.verdict}
                for name, gain in gains
            ]
        ),
        notes=(
            "Interval: for new trainings, corrected for the training images that folds share, their scatter moderated "
            "over the candidates; architectures, where several, are a second random effect. There is none for so few "
            f"folds that they may agree by chance ({fewest_folds(len(gains))} for {counted(len(gains), 'candidate')}).",
            *(f"Not measured: {name}: {why}." for name, why in evidence.unmeasured.items()),
        ),
    )


def agreement_table(candidates: Sequence[Candidate], evidence: StudyEvidence) -> Table:
    """Return the order that each measure predicted beside the order of the measured gains."""
    gains = evidence.gains
    rows, data = [], []
    for measure, found in zip(MEASURES, measure_agreements(candidates, gains), strict=True):
        order = _predicted_order(candidates, measure, gains)
        texts = [measure.title, order, *map(_coefficient_text, (found.spearman, found.kendall))]
        texts[3:3] = [p_text(found.spearman_p)]
        texts += [p_text(found.kendall_p), p_text(found.family_p), found.verdict]
        rows.append(Row(tuple(map(Cell, texts))))
        data.append({"measure": measure.key, "predicted": order, **vars(found), "verdict": found.verdict})
    measured = " > ".join(sorted(gains, key=lambda name: -gains[name].mean))
    titles = ("Spearman", "P", "Kendall", "P", "P, any measure")
    return Table(
        name="advice-agreement",
        title="Predicted order beside the measured gain",
        sentence=f"Measured order: {measured}. Rank correlation of each measure's order with it.",
        columns=(
            Column("Measure", align="left"),
            Column("Predicted order", align="left"),
            *(Column(title) for title in titles),
            Column("Verdict", align="left"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=(
            "P: share of all orders of the gains that agree as well or better (exact, one-sided).",
            "P, any measure: share of orders in which at least one of the measures has so small a P (Spearman). "
            "Evidence needs four candidates, and all three P at most 0.05.",
            "The measured order itself is uncertain where intervals overlap.",
        ),
    )


def measure_agreements(candidates: Sequence[Candidate], gains: Mapping[str, Gain]) -> list[Agreement]:
    """Return the agreement of each of ``MEASURES`` with the measured gains, in their order."""
    values = [promises(candidates, measure) for measure in MEASURES]
    measured = [gains[candidate.name].mean if candidate.name in gains else math.nan for candidate in candidates]
    return agreements(np.array(values), np.array(measured))


def interval_text(gain: Gain) -> str:
    """Return the interval of a gain, "-0.40 to +2.80", in percentage points."""
    return "no interval" if math.isnan(gain.low) else f"{signed(gain.low, 2)} to {signed(gain.high, 2)}"


def counted(count: int, noun: str) -> str:
    """Return "1 class", "24 classes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def _predicted_order(candidates: Sequence[Candidate], measure: Measure, gains: Mapping[str, Gain]) -> str:
    measured = [candidate for candidate in candidates if candidate.name in gains]
    placed = sorted(
        (place, candidate.name)
        for place, candidate in zip(ranks(measured, measure), measured, strict=True)
        if not math.isnan(place)
    )
    tied = [" = ".join(name for _, name in group) for _, group in groupby(placed, key=lambda pair: pair[0])]
    return " > ".join(tied) or MISSING


def _coefficient_text(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:+.2f}"
