"""What packs hold, measured, and the cells of tables that answers share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bandbridge.errors import UserError
from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.evaluation.moderation import fewest_folds
from bandbridge.evaluation.pack import Pack, read_pack
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.context import APPROACH_TITLES, TableContext, TaskLabel
from bandbridge.report.contrasts import interval_text
from bandbridge.report.effects import Effects, measure_effects
from bandbridge.report.figures.few_cells import share_right
from bandbridge.report.rendering import MISSING, Cell, Row, percent, signed
from bandbridge.report.scores import fold_scores
from bandbridge.report.sections.answer import Answer, answer_study

APPROACHES = ("scratch", "imagenet", "domain", "two-step")


MODERATED = ("moderated_low_pp", "moderated_high_pp")


#: The comparison of an intermediate domain with none.
DETOUR = {"approach": "two-step", "reference": "imagenet"}


FOLDER = Path(__file__).resolve().parents[1]


#: Notes that several tables have.
FEW_GROUPS = (
    "Gains on fewer than 20 patients or cells have a p value (swaps of whole ones) in place of an interval for new "
    "ones. Accuracies have theirs."
)
FITTED = (
    "What is drawn was fitted to BioImLab and the 65 cells: what the box gains on these two is a little too good to "
    "expect elsewhere; Pki-3 is the clean set."
)
#: The least difference of percentages that two decimals show.
_SHOWN = 0.005


@dataclass(frozen=True)
class Question:
    """A question, its place among the others, and the studies that answer it with what is different in each.

    kind: whether it is what a detour gains, what is gained over numbers of labelled cells, which detour gains what, how
    good the best models are, or what models make of real cells that saw drawn ones alone, and what they flag.
    """

    number: int
    text: str
    studies: Mapping[str, str]
    kind: Literal["detour", "few-cells", "which", "best", "unseen", "flags"] = "detour"

    @property
    def figure(self) -> str:
        """The name of its figure."""
        return f"question-{self.number}.svg"


@dataclass(frozen=True, eq=False)
class Evidence:
    """A pack with all that is measured on it. varied: what is different from the other studies of its question."""

    pack: Pack
    varied: str

    @cached_property
    def runs(self) -> list[RunPredictions]:
        """The runs that tables report."""
        return self.pack.predictions()

    @cached_property
    def context(self) -> TableContext:
        """Names, order and plan of the study, which seeds its intervals as its report does."""
        facts = self.pack.facts
        labels = tuple(TaskLabel(task.name, task.band, task.dataset) for task in facts.tasks)
        context = TableContext(facts.study, facts.protocol, "", facts.folds, labels, seed=facts.seed)
        return context.covering(self.scores)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores of every fold."""
        return fold_scores(self.runs)

    @cached_property
    def effects(self) -> Effects:
        """Every comparison with its intervals."""
        folds = min(task.split_folds for task in self.pack.facts.tasks)
        return measure_effects(self.scores, self.runs, self.context, folds)

    @cached_property
    def answers(self) -> list[Answer]:
        """What the report says of two-step against ImageNet, a sentence for each task."""
        titles = [APPROACH_TITLES[DETOUR[side]] for side in ("approach", "reference")]
        found = answer_study(self.scores, self.effects, self.context)
        return [one for one in found if one.reference == titles[1] and one.approach.startswith(titles[0])]

    def gains(self, compared: Mapping[str, str] = DETOUR) -> list[dict[str, Any]]:
        """The rows of the comparison of two-step with ImageNet, or of another."""
        rows = self.effects.comparisons
        if not len(rows):
            return []
        return rows.loc[(rows[list(compared)] == pd.Series(compared)).all(axis=1)].to_dict("records")

    @cached_property
    def cells(self) -> dict[str, int]:
        """How many labelled cells each task trains on, of the tasks that say so."""
        stated = {run.task: run.record.get("cells") for run in self.pack.facts.runs if run.checkpoints}
        return dict(sorted(((task, n) for task, n in stated.items() if n), key=lambda item: item[1]))

    @property
    def titled(self) -> str:
        """What is different, and how many trainings are in where some are not."""
        facts = self.pack.facts
        if facts.complete:
            return self.varied
        return f"{self.varied} (incomplete: {len(facts.run_ids)} of {facts.planned} trainings are in)"


def read_packs(folder: Path) -> dict[str, Pack]:
    """Return the packs in ``folder`` by the name of their study. Raises :class:`UserError` for two of one study."""
    found: dict[str, Pack] = {}
    for path in sorted(folder.glob("*.zip")):
        pack = read_pack(path)
        if pack.facts.study in found:
            raise UserError(f"{path} is a second pack of the study {pack.facts.study}", "Keep the one with more runs.")
        found[pack.facts.study] = pack
    return found


def headed(one: Evidence, lines: Iterable[Sequence[str]]) -> Iterator[Row]:
    """A row of a table for each of ``lines``, the first under what is different in this study."""
    heading = one.titled
    for cells in lines:
        yield Row(tuple(map(Cell, cells)), heading)
        heading = ""


def trainings(row: dict[Any, Any], names: tuple[str, str]) -> tuple[float, float]:
    """The interval for new trainings, NaN where folds are too few to tell, as the report has it."""
    if row["folds"] < fewest_folds(row["moderated_over"]):
        return math.nan, math.nan
    return row[names[0]], row[names[1]]


@dataclass(frozen=True)
class Share:
    """What is right of the images that ``folds`` hold out, and how many cells or patients they are of."""

    right: Estimate
    units: int
    unit: str
    folds: int


def shares_of(evidence: Evidence, task: str, architecture: str) -> dict[str, list[Share]]:
    """The accuracy of each approach, of each intermediate where there are several."""
    found: dict[str, list[Share]] = {}
    for arm in evidence.context.arms_of(task):
        runs = [run for run in evidence.runs if run.arm == (task, architecture, arm.approach, arm.intermediate)]
        if not runs:
            continue
        right, units, unit = share_right(runs, evidence.context.checkpoint)
        found.setdefault(arm.approach, []).append(Share(right, units, unit, len(runs)))
    return found


def accuracies(
    evidence: Evidence, task: str, architecture: str, approaches: Sequence[str] = APPROACHES
) -> tuple[str, list[str]]:
    """How many cells or patients were held out, and the accuracy of each approach."""
    planned, found = len(evidence.context.folds), shares_of(evidence, task, architecture)

    def text(share: Share) -> str:
        told = percent(share.right.value, 2)
        told += f" ({percent(share.right.low, 1)} to {percent(share.right.high, 1)})" if share.right.bounded else ""
        return told + (f" ({share.folds}/{planned})" if share.folds < planned else "")

    most = max((share for shares in found.values() for share in shares), key=lambda share: share.units, default=None)
    shown = ["; ".join(map(text, found.get(approach, ()))) or MISSING for approach in approaches]
    return "" if most is None else f"{most.units} {most.unit}s", shown


def gain_cells(row: dict[str, Any]) -> list[str]:
    """The gains of one row; dashes where a fold is missing, a p value where there are too few groups."""
    if math.isnan(row["pooled_pp"]):
        return [MISSING] * 4
    cells = []
    for name in ("accuracy_pooled", "pooled"):
        span = interval_text(row[f"{name}_low_pp"], row[f"{name}_high_pp"], 2)
        told = f"p = {row[f'{name}_p']:.3f}" if span == MISSING else span
        cells.append(f"{signed(row[f'{name}_pp'], 2)} ({told})")
    corrected = (row["corrected_low_pp"], row["corrected_high_pp"])
    for low, high in (corrected, trainings(row, MODERATED)):
        span = "no interval" if math.isnan(low) else interval_text(low, high, 2)
        cells.append(f"{signed(row['mean_pp'], 2)} ({span})")
    return cells


def bounded(share: Estimate) -> str:
    if math.isnan(share.value):
        return MISSING
    told = percent(share.value, 2)
    return told + (f" ({percent(share.low, 1)} to {percent(share.high, 1)})" if share.bounded else "")


def met(share: Estimate, wanted: float, *, at_most: bool = False) -> str:
    """Whether ``share`` is at least ``wanted`` percent (or at most that), and by how many points it is not."""
    if math.isnan(share.value):
        return "not known"
    missed = (100 * share.value - wanted) * (1 if at_most else -1)
    # A hundredth is what is shown; what misses by less says so with more digits.
    return "met" if missed <= 0 else f"missed by {missed:.2f}" if missed >= _SHOWN else f"missed by {missed:.1g}"
