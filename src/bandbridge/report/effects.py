"""How sure a gain is: every comparison of a study by folds, by pooled cells, over architectures and by class.

All differences are approach minus reference in percentage points (columns ``*_pp``); Macro-F1 unless the column says
otherwise. The tables and the figure show these frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.evaluation.comparison import TTest, corrected_resampled_t, detectable_difference, holm
from bandbridge.evaluation.mixed import CrossedEffects, balanced, crossed_effects
from bandbridge.evaluation.moderation import moderate
from bandbridge.evaluation.pooled import (
    PairedPredictions,
    PooledComparison,
    PooledDifference,
    compare_pooled,
    pair_predictions,
    stack_architectures,
)
from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.files import content_hash
from bandbridge.report.context import Arm, TableContext
from bandbridge.report.contrasts import comparisons_of, differences_table

#: What names a comparison; with ``architecture``, a row of ``comparisons``.
COMPARISON = ["task", "approach", "intermediate", "reference"]
ALL = "all"


@dataclass(frozen=True, eq=False)
class Effects:
    """What the comparisons of a study say, each as a frame.

    ``comparisons`` has a row for each task, architecture and comparison, the numbers NaN where a planned fold is
    missing; ``mixed`` one for each task, comparison and family of architectures ("all": every one); ``classes`` one
    for each class of a comparison and architecture ("all": their mean). ``test_share`` is n_test / n_train. In both of
    the first two ``moderated_over`` counts the comparisons that tell how far new trainings scatter: all rows, and all
    of a family.
    """

    comparisons: pd.DataFrame
    mixed: pd.DataFrame
    classes: pd.DataFrame
    checkpoint: str
    test_share: float


def measure_effects(
    scores: pd.DataFrame, runs: Sequence[RunPredictions], context: TableContext, split_folds: int
) -> Effects:
    """Return every comparison of ``runs``, whose ``fold_scores`` are ``scores``.

    ``split_folds`` is the k of the cross-validation, of which ``context.folds`` were trained: n_test / n_train is
    1 / (k - 1). Random numbers are seeded from ``context.seed`` and the names of a row, so that it does not depend on
    what else there is.
    """
    context = context.covering(scores)
    by_arm: dict[tuple[str, ...], list[RunPredictions]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, []).append(run)
    measure = _Measure(context, by_arm, 1 / (split_folds - 1))
    differences = differences_table(scores, context).data
    rows, mixed, of_classes = [], [], []
    for task in context.tasks:
        for arm, reference in comparisons_of(context, task.name):
            named = dict(zip(COMPARISON, (arm.task, arm.approach, arm.intermediate, reference.approach), strict=True))
            group = differences.loc[(differences[COMPARISON] == pd.Series(named)).all(axis=1)]
            pairs = measure.paired(group, arm, reference)
            for record in group.to_dict("records"):
                row, frame = measure.comparison(record, named, pairs.get(record["architecture"]))
                rows.append(row)
                of_classes.append(frame)
            for family, frame in measure.families(group, named, pairs):
                mixed.append(family)
                of_classes += [frame] if family.row["family"] == ALL else []
    classes = pd.concat(of_classes, ignore_index=True) if of_classes else pd.DataFrame()
    comparisons = _adjusted(_moderated(pd.DataFrame(rows), measure.test_share))
    whole = pd.DataFrame(_mixed_rows(mixed, measure.test_share))
    return Effects(comparisons, whole, classes, context.checkpoint, measure.test_share)


_MODERATED = [f"moderated_{name}" for name in ("low_pp", "high_pp", "p", "detectable_pp")]


def _moderated(comparisons: pd.DataFrame, test_share: float) -> pd.DataFrame:
    """The comparisons with the interval and test for new trainings whose spread all of them tell together."""
    if comparisons.empty:
        return comparisons
    # Folds that all differ by the same have no test of their own: their spread is a coincidence of rounding.
    tested = comparisons.index[comparisons["corrected_p"].notna()]
    comparisons[_MODERATED] = np.nan
    comparisons["moderated_over"] = len(tested)
    if len(tested):
        folds = int(comparisons.loc[tested[0], "folds"])
        spreads = moderate(comparisons.loc[tested, "sd_pp"].to_numpy(dtype=np.float64) ** 2, folds - 1)
        for row, spread in zip(tested, spreads, strict=True):
            test = spread.test(comparisons.loc[row, "mean_pp"], 1 / folds + test_share)
            # The deviation that Student's law would have for an interval as wide.
            deviation = test.mean / test.t / math.sqrt(1 / folds + test_share)
            found = detectable_difference(abs(deviation), folds, test_share, df=test.df)
            comparisons.loc[row, _MODERATED] = [test.low, test.high, test.p, found]
    return comparisons


def _adjusted(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with p values adjusted over the architectures of each task and comparison."""
    if len(comparisons):
        groups = comparisons.groupby(COMPARISON, sort=False)
        for name in ("corrected_p", "moderated_p", "pooled_p"):
            comparisons[f"{name}_holm"] = groups[name].transform(lambda values: holm(values.to_numpy()))
    return comparisons


@dataclass(frozen=True, eq=False)
class _Family:
    """Architectures over which a comparison is averaged: what is said of them, and their ``differences`` [I, J]."""

    row: dict[str, Any]
    differences: np.ndarray
    left_out: tuple[str, ...]
    pooled: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Measure:
    """The runs of a study by arm, and what is measured on them."""

    context: TableContext
    by_arm: dict[tuple[str, ...], list[RunPredictions]]
    test_share: float

    @property
    def fold_columns(self) -> list[str]:
        return [f"fold_{fold}_pp" for fold in self.context.folds]

    def paired(self, group: pd.DataFrame, arm: Arm, reference: Arm) -> dict[str, PairedPredictions]:
        """The predictions of both arms by every architecture that has all planned folds."""
        pairs = {}
        for architecture in group.loc[
            (group["folds"] > 0) & (group["folds"] == len(self.context.folds)), "architecture"
        ]:
            approach, against = (
                self.by_arm[one.task, architecture, one.approach, one.intermediate] for one in (arm, reference)
            )
            pairs[str(architecture)] = pair_predictions(approach, against, self.context.checkpoint)
        return pairs

    def comparison(
        self, record: dict[Any, Any], named: dict[str, str], pairs: PairedPredictions | None
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """One row of the comparisons, and the rows of its classes; without ``pairs`` the folds are incomplete."""
        architecture = record["architecture"]
        row: dict[str, Any] = {"task": named["task"], "architecture": architecture} | named
        row |= {"folds": record["folds"], "mean_pp": record["mean_pp"]}
        row |= {"published_low_pp": record["low_pp"], "published_high_pp": record["high_pp"]}
        folds = [record[name] for name in self.fold_columns] if pairs else []
        row |= _fold_tests(np.array(folds, dtype=np.float64), self.test_share)
        numbers, frame = self._pooled(named, architecture, pairs)
        return row | numbers | {name: record.get(name, math.nan) for name in self.fold_columns}, frame

    def families(
        self, group: pd.DataFrame, named: dict[str, str], pairs: dict[str, PairedPredictions]
    ) -> Iterator[tuple[_Family, pd.DataFrame]]:
        """All architectures and each family of two or more, with the rows of their classes."""
        table = group.set_index("architecture")[self.fold_columns]
        families = {ALL: list(table.index)}
        for label in self.context.architectures:
            if label.family:
                families.setdefault(label.family, []).append(label.name)
        for family, members in families.items():
            kept, left_out = balanced(table.loc[members])
            # One family alone would say what all of them say.
            if min(kept.shape) < 2 or (family != ALL and len(members) == len(table)):
                continue
            numbers, frame = self._pooled(named, family, stack_architectures([pairs[name] for name in kept.index]))
            differences = kept.to_numpy(dtype=np.float64)
            yield _Family(named | {"family": family}, differences, left_out, numbers), frame

    def _pooled(
        self, named: dict[str, str], architecture: str, pairs: PairedPredictions | None
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """The comparison of pooled predictions; NaN and no classes where there are none, or a single group."""
        row: dict[str, Any] = {"unit": "", "groups": 0, "images": 0}
        if pairs is None or pairs.groups < 2:
            return row | dict.fromkeys(_POOLED, np.nan), pd.DataFrame()
        seed = int(content_hash([self.context.seed, "pooled", architecture, *named.values()])[:16], 16)
        result = compare_pooled(pairs, self.context.bootstrap_iterations, generator=np.random.default_rng(seed))
        if pairs.groups < FEWEST_RESAMPLED:
            result = result.without_intervals()
        row = {"unit": pairs.unit, "groups": pairs.groups, "images": len(pairs.truth)}
        row |= dict(zip(_POOLED, (*_in_points(result.macro_f1), *_in_points(result.accuracy)), strict=True))
        return row, _class_rows({**named, "architecture": architecture}, pairs.classes, result)


_POOLED = [f"{prefix}{name}" for prefix in ("pooled_", "accuracy_pooled_") for name in ("pp", "low_pp", "high_pp", "p")]


def _fold_tests(differences: np.ndarray, test_share: float) -> dict[str, float]:
    """The t tests of the folds and what they could have found; NaN for fewer than two folds."""
    enough = len(differences) > 1
    deviation = float(differences.std(ddof=1)) if enough else math.nan
    row = {"sd_pp": deviation}
    for name, share in (("student", 0.0), ("corrected", test_share)):
        test = corrected_resampled_t(differences, share) if enough else TTest(*[math.nan] * 6)
        row |= {f"{name}_low_pp": test.low, f"{name}_high_pp": test.high, f"{name}_t": test.t, f"{name}_p": test.p}
        # Equal folds leave no test, so there is nothing that it could have found either.
        tested = not math.isnan(test.p)
        found = detectable_difference(deviation, len(differences), share) if tested else math.nan
        row[f"{name}_detectable_pp"] = found
    return row


def _mixed_rows(families: Sequence[_Family], test_share: float) -> Iterator[dict[str, Any]]:
    """A row for each of ``families``: the spread of the fold means is told by all that average alike, "all" or one."""
    alone = [crossed_effects(family.differences, test_share) for family in families]
    for family, own in zip(families, alone, strict=True):
        alike = [
            other.fold_mean_variance
            for one, other in zip(families, alone, strict=True)
            if one.row["family"] == family.row["family"] and not math.isnan(other.overall.p)
        ]
        effects = own
        if own.fold_mean_variance > 0 and own.fold_mean_variance in alike and min(alike) > 0:
            spread = list(moderate(np.array(alike), own.folds - 1))[alike.index(own.fold_mean_variance)]
            effects = crossed_effects(family.differences, test_share, spread=spread)
        yield family.row | _mixed_row(effects, family.left_out) | {"moderated_over": len(alike)} | family.pooled


def _mixed_row(effects: CrossedEffects, left_out: tuple[str, ...]) -> dict[str, Any]:
    test = effects.overall
    return {
        "architectures": effects.architectures,
        "folds": effects.folds,
        "left_out": ", ".join(left_out),
        "mean_pp": test.mean,
        "low_pp": test.low,
        "high_pp": test.high,
        "df": test.df,
        "p": test.p,
        "helped": effects.helped,
        "architecture_sd_pp": effects.architecture_sd,
        "fold_sd_pp": effects.fold_sd,
        "rest_sd_pp": effects.rest_sd,
    }


def _in_points(score: PooledDifference) -> tuple[float, float, float, float]:
    interval = score.difference
    return 100 * interval.mean, 100 * interval.low, 100 * interval.high, score.p


def _class_rows(named: dict[str, str], classes: tuple[str, ...], result: PooledComparison) -> pd.DataFrame:
    by_class = result.by_class
    frame = pd.DataFrame(
        {
            "class": classes,
            "images": by_class.support,
            "f1_reference": by_class.reference,
            "f1_approach": by_class.approach,
            "difference_pp": 100 * by_class.difference,
            "low_pp": 100 * by_class.low,
            "high_pp": 100 * by_class.high,
            "p": by_class.p,
            "p_holm": holm(by_class.p),
        }
    )
    order = ["task", "architecture", *COMPARISON[1:]]
    return pd.concat([pd.DataFrame([named] * len(frame))[order], frame], axis=1)
