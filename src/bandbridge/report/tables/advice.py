"""The advice on candidate source domains: tables of the ranking, of what a study measured, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.domains.advice import MEASURES, PAIRED_IMAGES, Candidate, Measure, firsts, ranks
from bandbridge.domains.evidence import Gain
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, signed
from bandbridge.report.tables.advice_evidence import (
    StudyEvidence,
    agreement_table,
    counted,
    gain_table,
    interval_text,
    measure_agreements,
)

PREDICTION = "No study has measured a gain: the ranking is a prediction."
_DECIMALS = {"mmd2": 4, "domain_auc": 4, "h_score": 2, "h_score_shrunk": 2, "class_rank": 1}
_SCALES = {"coral": (1e3, " × 10³")}


def advice_tables(
    target: str,
    candidates: Sequence[Candidate],
    alone: Mapping[str, float],
    evidence: StudyEvidence | None,
    model: str,
) -> list[Table]:
    """Return the ranking, the classes and, where a study measured gains, these and how the measures agree with them.

    ``alone``: of :func:`imagenet_alone`; ``model``: what made the embeddings, for the sentence above the table.
    """
    tables = [ranking_table(target, candidates, alone, model)]
    if any(candidate.class_ranks for candidate in candidates):
        tables.append(class_table(target, candidates))
    if evidence is not None and evidence.gains:
        tables.append(gain_table(target, evidence))
        tables += [agreement_table(candidates, evidence)] if len(evidence.gains) > 1 else []
    return tables


def ranking_table(target: str, candidates: Sequence[Candidate], alone: Mapping[str, float], model: str) -> Table:
    """Return every measure of every candidate with its rank in parentheses, the most promising in bold."""
    rows: list[Row] = []
    data: list[dict[str, Any]] = []
    for group, members in groupby(MEASURES, key=lambda measure: measure.group):
        section = group
        for measure in members:
            places = ranks(candidates, measure)
            texts = [_value_text(measure, candidate.values[measure.key]) for candidate in candidates]
            best = np.nanmin(places) if not np.isnan(places).all() else math.nan
            cells = [
                Cell(f"{text} ({place:g})" if place == place else MISSING, bold=bool(place == best))
                for text, place in zip(texts, places, strict=True)
            ]
            own = _value_text(measure, alone[measure.key]) if measure.key in alone else ""
            rows.append(Row((Cell(_title(measure)), Cell(measure.better), *cells, Cell(own)), section))
            section = ""
            data += [
                {"measure": measure.key, "better": measure.better, "candidate": candidate.name}
                | {"value": candidate.values[measure.key], "rank": place}
                | {"undefined": candidate.reasons.get(measure.key, "")}
                for candidate, place in zip(candidates, places, strict=True)
            ]
    return Table(
        name="advice",
        title=f"Candidate source domains for {target}",
        sentence=(
            f"What each candidate promises before any training, from embeddings of {model}; the rank stands in "
            "parentheses, 1 promises most."
        ),
        columns=(
            Column("Measure", align="left"),
            Column("Better", align="left"),
            *(Column(candidate.name) for candidate in candidates),
            Column("ImageNet alone"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=_ranking_notes(candidates),
    )


def class_table(target: str, candidates: Sequence[Candidate]) -> Table:
    """Return, class by class, the rank of the same class among a candidate's by distance to the target's class."""
    names = list(dict.fromkeys(name for candidate in candidates for name in candidate.class_ranks))
    shown = [candidate for candidate in candidates if candidate.class_ranks]
    records = [
        {"class": name, "candidate": candidate.name, "rank": candidate.class_ranks.get(name, math.nan)}
        for name in names
        for candidate in shown
    ]
    rows = []
    for name in names:
        places = [candidate.class_ranks.get(name, math.nan) for candidate in shown]
        cells = [Cell(f"{place:g}" if place == place else MISSING, bold=place == 1) for place in places]
        rows.append(Row((Cell(name), *cells)))
    return Table(
        name="advice-classes",
        title=f"Is a class of a candidate near the same class of {target}?",
        sentence=(
            "Rank of the same class among the candidate's classes by class-wise MMD² to the target's class; 1: the "
            "nearest is the class itself."
        ),
        columns=(Column("Class", align="left"), *(Column(candidate.name) for candidate in shown)),
        rows=tuple(rows),
        data=pd.DataFrame(records),
    )


def conclusion(target: str, candidates: Sequence[Candidate], evidence: StudyEvidence | None) -> str:
    """Return what a researcher can do now, and how well it is founded."""
    order = firsts(candidates)
    leader, count = next(iter(order.items()))
    places = f"{leader} is first by {count} of {len(MEASURES)} measures"
    if len(candidates) == 1:
        places = f"{leader} is the only candidate, so there is nothing to rank"
    if evidence is None or not evidence.gains:
        said = f"Study {evidence.study} has nothing to say: {evidence.reason}. " if evidence else ""
        return (
            f"{said}{PREDICTION} {places}. To measure it, train imagenet and two-step on {target} with {leader} among "
            "its intermediates in a study file (bandbridge study run), then give that file to --study."
        )
    best, gain = max(evidence.gains.items(), key=lambda item: item[1].mean)
    interval = "" if math.isnan(gain.low) else f" ({interval_text(gain)})"
    parts = [
        f"Study {evidence.study} measured most gain via {best}: {signed(gain.mean, 2)} points of Macro-F1{interval}, "
        f"{gain.verdict}.",
        _action(target, best, evidence.gains),
        _evidence_text(candidates, evidence.gains),
    ]
    if leader not in evidence.gains and len(candidates) > 1:
        parts.append(f"{places} and not measured: it is the next to try.")
    return " ".join(parts)


def _evidence_text(candidates: Sequence[Candidate], gains: Mapping[str, Gain]) -> str:
    found = measure_agreements(candidates, gains)
    proven = [measure.title for measure, own in zip(MEASURES, found, strict=True) if own.is_evidence]
    if proven:
        return f"Evidence that a measure orders the candidates: {', '.join(proven)}."
    text = f"No evidence that any measure orders candidates ({counted(len(gains), 'gain')} measured)"
    return text + (": of the others the ranking is a prediction." if len(gains) < len(candidates) else ".")


def _action(target: str, best: str, gains: Mapping[str, Gain]) -> str:
    if math.isnan(gains[best].low):
        return "That is too little to act on: train the other folds first (bandbridge study run)."
    if gains[best].low > 0:
        return f"Train {target} by way of {best}."
    if all(gain.high < 0 for gain in gains.values()):
        return f"Train {target} from ImageNet directly: every detour measured did harm."
    return (
        f"No detour is shown to help: train {target} from ImageNet directly, or add folds and architectures to the "
        "study to narrow the interval."
    )


def _ranking_notes(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    sizes = {candidate.name: len(candidate.shared) for candidate in candidates}
    notes = [
        "; ".join(
            f"{candidate.name}: {candidate.images:,} images, {counted(sizes[candidate.name], 'class')} shared"
            for candidate in candidates
        )
        + ".",
        f"MMD², CORAL and class-wise MMD²: whole cells of at most about {PAIRED_IMAGES:,} images of a domain, one "
        "kernel for all candidates; pairs within a cell are left out of MMD² and CORAL.",
        "ImageNet alone: the target's own embeddings, with many more features than a source has classes; not on the "
        "candidates' scale.",
    ]
    if len({candidate.shared for candidate in candidates if candidate.class_ranks}) > 1:
        notes.append(
            "Candidates share different classes with the target: compare measures of the same class with care."
        )
    for candidate in candidates:
        for why in dict.fromkeys(candidate.reasons.values()):
            keys = [_title(measure) for measure in MEASURES if candidate.reasons.get(measure.key) == why]
            notes.append(f"{candidate.name} has no {', '.join(keys)}: {why}.")
    return tuple(notes)


def _value_text(measure: Measure, value: float) -> str:
    return f"{value * _SCALES.get(measure.key, (1, ''))[0]:.{_DECIMALS.get(measure.key, 3)}f}"


def _title(measure: Measure) -> str:
    return measure.title + _SCALES.get(measure.key, (1, ""))[1]
