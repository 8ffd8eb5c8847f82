"""The answer of a study in a sentence for each target: does the intermediate domain help here, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.moderation import MANY_COMPARISONS, fewest_folds
from bandbridge.report.context import APPROACH_TITLES, Arm, TableContext
from bandbridge.report.contrasts import comparisons_of
from bandbridge.report.effects import ALL, COMPARISON, Effects
from bandbridge.report.rendering import signed
from bandbridge.report.scores import KEY
from bandbridge.report.tables.effects import ALPHA, p_text
from bandbridge.report.tables.published import reported

Verdict = Literal["helps", "hurts", "leans-help", "leans-hurt", "depends", "unclear", "unknown", "alone"]
#: Intervals wider than this, in percentage points, say nothing: Macro-F1 itself has no more room.
_USELESS = 100.0


@dataclass(frozen=True)
class Answer:
    """What a comparison of a task says.

    approach, reference: the two titles compared. verdict: ``helps`` or ``hurts`` where both intervals exclude zero on
    one side, that of new cells (the trained models held fixed) and that of new trainings; ``leans-help`` or
    ``leans-hurt`` where only that of new cells does, or one of the two is withheld: of new cells where there are too
    few groups to resample (their p value then speaks), of new trainings where there are too few folds; ``depends``
    where single architectures differ clearly (Holm), some up and some down; ``unclear`` where the interval of new cells
    includes zero; ``unknown`` where planned folds are missing, or where too few patients or cells are all that was held
    out; ``alone`` where nothing is compared (:mod:`bandbridge.report.sections.own_results`). claim: the verdict in
    words. sentence: the numbers behind it, and what would give those that are withheld.
    """

    task: str
    approach: str
    reference: str
    verdict: Verdict
    claim: str
    sentence: str


@dataclass(frozen=True)
class _Evidence:
    """The difference in percentage points and both intervals; ``wide`` is that of new trainings.

    p: of the swaps of whole groups. over: the comparisons that tell how far trainings scatter. better, worse: the
    architectures that differ clearly by themselves, each with its difference.
    """

    mean: float
    cells: tuple[float, float]
    p: float
    wide: tuple[float, float]
    unit: str
    groups: int
    detectable: float
    folds: int
    over: int
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()

    @property
    def few_groups(self) -> bool:
        return self.groups < FEWEST_RESAMPLED

    @property
    def few_folds(self) -> bool:
        return self.folds < fewest_folds(self.over)

    @property
    def side(self) -> int:
        """1 where new cells too are better, -1 where they are worse, 0 where either may be."""
        if self.few_groups:
            return int(math.copysign(1, self.mean)) if self.p < ALPHA else 0
        return _side(*self.cells)


def answer_study(scores: pd.DataFrame, effects: Effects, context: TableContext) -> list[Answer]:
    """Return one answer for each task and comparison, the paper's question (two-step against ImageNet) first.

    ``scores`` is the frame of ``fold_scores``, ``effects`` what ``measure_effects`` makes of it.
    """
    context = context.covering(scores)
    pairs = [(arm, reference) for task in context.tasks for arm, reference in comparisons_of(context, task.name)]
    first = [pair for pair in pairs if pair[0].approach == "two-step"]
    ordered = [*first, *(pair for pair in pairs if pair not in first)]
    return [_answer(scores, effects, context, arm, reference) for arm, reference in ordered]


def _answer(scores: pd.DataFrame, effects: Effects, context: TableContext, arm: Arm, reference: Arm) -> Answer:
    means = _paired_means(scores, context, arm, reference)
    complete = means.loc[means["folds"] == len(context.folds)]
    evidence = _evidence(effects, arm, reference)
    title = context.arm_title(arm)
    via = context.data_title(arm.intermediate).removesuffix(".zip")
    against = APPROACH_TITLES[reference.approach]
    if evidence is None:
        verdict: Verdict = "unknown"
        sentence = _so_far(means, context, title, against)
    else:
        verdict = _verdict(evidence)
        alone = "" if reference.intermediate else " alone"
        sentence = " ".join(_sentences(evidence, complete, title, against + alone, verdict))
    claim = _claim(verdict, _change(arm, via, reference), evidence, len(complete) > 0)
    return Answer(context.task(arm.task).shown, title, against, verdict, claim, sentence)


def _change(arm: Arm, via: str, reference: Arm) -> str:
    """What ``arm`` does that ``reference`` does not, in words."""
    if arm.approach == "boxed":
        return "the model in the box, in place of ImageNet alone,"
    if arm.approach == "boxed-two-step":
        return f"the model in the box, in place of ImageNet before the detour over {via},"
    if arm.approach == "self-supervised":
        return "training on the target's images without labels, after ImageNet,"
    return f"the detour over {via}, {'after' if reference.approach == 'imagenet' else 'without'} ImageNet,"


def _claim(verdict: Verdict, detour: str, evidence: _Evidence | None, whole: bool) -> str:
    """The verdict on ``detour`` in words; ``whole``: some architecture has all planned folds."""
    # All folds without evidence: there was no second patient or cell to compare with.
    unknown = (
        f"Not known: {detour} was measured on {counted(evidence.groups, evidence.unit)}, too few to tell of others."
        if evidence is not None
        else f"Not known: {detour} was measured on one patient or cell, which says nothing about others."
        if whole
        else f"Not known yet: {detour} has not been measured on all planned folds."
    )
    others = "new trainings"
    if evidence is not None and evidence.few_groups:
        others += f" and other {evidence.unit}s"
    return {
        "helps": f"Yes: {detour} helps.",
        "hurts": f"No: {detour} hurts.",
        "leans-help": f"On these models, yes: {detour} helps; {others} may differ.",
        "leans-hurt": f"On these models, no: {detour} hurts; {others} may differ.",
        "depends": f"It depends on the architecture: {detour} helps some and hurts others.",
        "unclear": f"No clear difference: {detour} neither helps nor hurts as far as these data can tell.",
        "unknown": unknown,
        "alone": "",
    }[verdict]


def _verdict(evidence: _Evidence) -> Verdict:
    near, wide = evidence.side, _side(*evidence.wide)
    if evidence.better and evidence.worse:
        return "depends"
    if near == 0:
        return "unknown" if evidence.few_groups else "unclear"
    if near == wide and not evidence.few_folds and not evidence.few_groups:
        return "helps" if near > 0 else "hurts"
    return "leans-help" if near > 0 else "leans-hurt"


def _side(low: float, high: float) -> int:
    """1 above zero, -1 below, 0 on both sides or not known."""
    return 1 if low > 0 else -1 if high < 0 else 0


def _evidence(effects: Effects, arm: Arm, reference: Arm) -> _Evidence | None:
    """The mean over architectures where there are two or more; else the one architecture; None where folds miss."""
    named = dict(zip(COMPARISON, (arm.task, arm.approach, arm.intermediate, reference.approach), strict=True))
    mixed = _rows(effects.mixed, {**named, "family": ALL})
    single = [row for row in _rows(effects.comparisons, named) if not math.isnan(row["pooled_pp"])]
    if len(mixed) and not math.isnan(mixed[0]["pooled_pp"]):
        evidence = _from_row(mixed[0], "low_pp", "high_pp", math.nan)
        clear = [row for row in single if row["pooled_p_holm"] < ALPHA]
        named_ones = [(row["pooled_pp"] > 0, f"{row['architecture']} ({signed(row['pooled_pp'], 1)})") for row in clear]
        better, worse = (tuple(name for up, name in named_ones if up is wanted) for wanted in (True, False))
        return replace(evidence, better=better, worse=worse)
    if not single:
        return None
    return _from_row(single[0], "moderated_low_pp", "moderated_high_pp", single[0]["moderated_detectable_pp"])


def _from_row(row: dict[Any, Any], low: str, high: str, detectable: float) -> _Evidence:
    cells = (row["pooled_low_pp"], row["pooled_high_pp"])
    wide = (row[low], row[high])
    return _Evidence(
        mean=row["mean_pp"],
        cells=cells,
        p=row["pooled_p"],
        wide=wide,
        unit=row["unit"],
        groups=row["groups"],
        detectable=detectable,
        folds=row["folds"],
        over=row["moderated_over"],
    )


def _rows(frame: pd.DataFrame, named: dict[str, str]) -> list[dict[Any, Any]]:
    if frame.empty:
        return []
    return frame.loc[(frame[list(named)] == pd.Series(named)).all(axis=1)].to_dict("records")


def _paired_means(scores: pd.DataFrame, context: TableContext, arm: Arm, reference: Arm) -> pd.DataFrame:
    """Macro-F1 of both arms by architecture over the folds that both have: columns folds, approach, reference."""
    rows = reported(scores, context.checkpoint)
    keys = [[arm.task, arm.approach, arm.intermediate], [reference.task, reference.approach, reference.intermediate]]
    sides = [
        rows.loc[(rows[[name for name in KEY if name != "architecture"]] == key).all(axis=1)].set_index(
            ["architecture", "fold"]
        )["macro_f1"]
        for key in keys
    ]
    both = pd.concat(sides, axis=1, keys=["approach", "reference"]).dropna()
    grouped = both.groupby(level="architecture")
    return grouped.mean().assign(folds=grouped.size())


def _sentences(
    evidence: _Evidence, complete: pd.DataFrame, title: str, against: str, verdict: Verdict
) -> Iterator[str]:
    count = len(complete)
    of = f"mean of {count} architectures" if count > 1 else str(complete.index[0])
    means = 100 * complete[["approach", "reference"]].mean()
    yield (
        f"{title} reaches a Macro-F1 of {means['approach']:.1f}%, {against} {means['reference']:.1f}% ({of}): "
        f"a difference of {_points(evidence.mean)}{_cells(evidence)}{_trainings(evidence, count)}."
    )
    yield from _withheld(evidence)
    if evidence.better or evidence.worse:
        sides = (("better", evidence.better), ("worse", evidence.worse))
        found = "; ".join(f"{word} in {', '.join(names)}" for word, names in sides if names)
        yield f"Clear by itself after Holm's correction: {found}."
    elif count > 1:
        helped = int((complete["approach"] > complete["reference"]).sum())
        yield f"It raised the score of {helped} of {count} architectures, none clearly by itself."
    told = not evidence.few_folds and evidence.wide[1] - evidence.wide[0] <= _USELESS  # False for NaN too
    if told and verdict in ("unclear", "leans-help", "leans-hurt") and not math.isnan(evidence.detectable):
        yield f"These folds would have shown a difference of {evidence.detectable:.1f} points four times in five."


def _cells(evidence: _Evidence) -> str:
    if evidence.few_groups:
        return f" (P = {p_text(evidence.p)} for swaps within {counted(evidence.groups, evidence.unit)})"
    return (
        f", 95% interval {_span(evidence.cells)} for new {evidence.unit}s ({evidence.groups:,} resampled, models as "
        "trained)"
    )


def _withheld(evidence: _Evidence) -> Iterator[str]:
    """Why an interval is not given, and what would give it."""
    if evidence.few_groups:
        yield (
            f"There is no interval for new {evidence.unit}s: {evidence.groups} of them cannot tell how others differ; "
            f"{FEWEST_RESAMPLED} or more held out would."
        )
    if evidence.few_folds and evidence.folds > 1:
        needed = fewest_folds(evidence.over)
        yield (
            f"There is no interval for new trainings: {evidence.folds} folds may agree by chance; {needed} folds or "
            f"more would tell{_by_more_comparisons(evidence.over, needed)}."
        )


def _by_more_comparisons(over: int, needed: int) -> str:
    fewer = next((count for count in range(over + 1, MANY_COMPARISONS + 1) if fewest_folds(count) < needed), 0)
    return f", or {fewest_folds(fewer)} with {fewer} comparisons or more in the study" if fewer else ""


def _trainings(evidence: _Evidence, count: int) -> str:
    low, high = evidence.wide
    if evidence.few_folds and evidence.folds > 1 and not math.isnan(low):
        return ""
    if math.isnan(low):
        if evidence.folds == 1:
            return "; one fold says nothing about new trainings"
        return "; folds that all differ by the same have no scatter to tell new trainings by"
    if high - low > _USELESS:
        return "; so few folds and architectures say nothing about new trainings"
    return f" and {_span(evidence.wide)} for new trainings{' and other architectures' if count > 1 else ''}"


def _so_far(means: pd.DataFrame, context: TableContext, title: str, against: str) -> str:
    if means.empty:
        return f"No fold has been finished by both {title} and {against}."
    planned = len(context.folds)
    differences = 100 * (means["approach"] - means["reference"])
    parts = [
        f"{name} {_points(value)} ({folds} of {planned} folds)"
        for name, value, folds in zip(means.index, differences, means["folds"], strict=True)
    ]
    so_far = "" if (means["folds"] == planned).all() else " so far"
    return f"{title} minus {against}{so_far}, without intervals: {', '.join(parts)}."


def _points(value: float) -> str:
    return f"{signed(value, 1)} points"


def _span(interval: tuple[float, float]) -> str:
    return f"{signed(interval[0], 1)} to {signed(interval[1], 1)}"
