"""What a ranking of candidate domains is worth: the gains that a study measured, and whether a measure foresaw them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from bandbridge.evaluation.comparison import paired_differences
from bandbridge.evaluation.mixed import crossed_effects
from bandbridge.evaluation.moderation import fewest_folds, moderate

#: Below this many candidates even a perfect order comes about by chance more often than once in twenty.
FEWEST_CANDIDATES = 4
_LEVEL = 0.05
#: 8! = 40,320 orders are counted out; for more candidates orders are drawn.
_COUNTED_CANDIDATES = 8
_DRAWN_ORDERS = 100_000


@dataclass(frozen=True)
class Gain:
    """What one intermediate domain gained in Macro-F1, in percentage points: mean and 95% interval.

    NaN ends mean that folds or architectures are too few for an interval. ``folds`` counts those that entered.
    """

    mean: float
    low: float
    high: float
    architectures: tuple[str, ...]
    folds: int

    @property
    def verdict(self) -> str:
        """What the interval says, in words."""
        if math.isnan(self.low):
            return "without an interval: too few folds, or folds that agree"
        if self.low > 0:
            return "helped"
        return "harmed" if self.high < 0 else "not told from zero: the interval includes 0"


@dataclass(frozen=True)
class Agreement:
    """How well a measure's order agrees with the order of the measured gains.

    ``candidates`` have both. Spearman's rho and Kendall's tau-b are positive where the measure promised more to what
    gained more; ``*_p`` is the share of all orders of the gains that agree as well or better, and ``family_p`` the
    share in which any of the measures tried has a Spearman P as small as this. NaN where nothing can be computed.
    """

    candidates: int
    spearman: float = math.nan
    spearman_p: float = math.nan
    kendall: float = math.nan
    kendall_p: float = math.nan
    family_p: float = math.nan

    @property
    def is_evidence(self) -> bool:
        """Whether both coefficients are above chance, with enough candidates, and so for all measures tried."""
        enough = self.candidates >= FEWEST_CANDIDATES
        return enough and all(p <= _LEVEL for p in (self.spearman_p, self.kendall_p, self.family_p))

    @property
    def verdict(self) -> str:
        """What this agreement is worth, in words."""
        if self.candidates < 2:
            return "no evidence: fewer than two candidates have a measured gain"
        if math.isnan(self.spearman):
            return "no evidence: the measure or the gains are the same for all candidates"
        if self.candidates < FEWEST_CANDIDATES:
            chance = 1 / math.factorial(self.candidates)
            return f"no evidence: {self.candidates} candidates can agree by chance with probability {chance:.2g}"
        if not max(self.spearman_p, self.kendall_p) <= _LEVEL:
            return "no evidence that this measure orders the candidates"
        if not self.is_evidence:
            return f"no evidence: one of the measures tried agrees as well by chance, probability {self.family_p:.2g}"
        return "evidence that this measure orders the candidates"


def fold_gains(scores: pd.DataFrame, task: str, intermediate: str, checkpoint: str) -> pd.DataFrame:
    """Return Macro-F1 of two-step via ``intermediate`` minus ImageNet, percentage points [architecture x fold].

    ``scores`` is the frame of ``fold_scores``; NaN where either run is missing, empty where every one is.
    """
    rows = scores.loc[(scores["task"] == task) & (scores["checkpoint"] == checkpoint)]
    found = {}
    for architecture, part in rows.groupby("architecture", sort=False):
        series = part.set_index("fold")["macro_f1"]
        arms = (
            (part["approach"] == "two-step") & (part["intermediate"] == intermediate),
            part["approach"] == "imagenet",
        )
        differences = 100 * paired_differences(*(series[arm.to_numpy()] for arm in arms))
        if len(differences):
            found[str(architecture)] = differences
    return pd.DataFrame(found).T.sort_index(axis=1)


def measured_gains(differences: Mapping[str, pd.DataFrame], folds: int) -> dict[str, Gain]:
    """Return the gain of each candidate over the architectures and folds that all of them have.

    ``differences``: of :func:`fold_gains`, by candidate; those without any are left out. ``folds``: of the whole
    cross-validation, trained or not. Intervals are for new trainings, whose scatter is moderated over the candidates;
    several architectures are a second random effect beside the folds. There are none below
    :func:`~bandbridge.evaluation.moderation.fewest_folds`. Returns nothing when the candidates have no fold of one
    architecture in common.
    """
    tables = {name: table for name, table in differences.items() if table.size}
    if not tables:
        return {}
    architectures, common_folds = common_cells(list(tables.values()))
    if not architectures:
        return {}
    share = 1 / (folds - 1)
    return _gains({name: table.loc[architectures, common_folds] for name, table in tables.items()}, share)


def common_cells(tables: Sequence[pd.DataFrame]) -> tuple[list[str], list[int]]:
    """Return architectures and folds such that every table has each of the former on each of the latter.

    As a study goes fold by fold, one architecture's folds hold another's: of the fold sets that occur, the one that
    keeps most cells is taken.
    """
    cells = set.intersection(*map(_cells, tables))
    folds_of: dict[str, set[int]] = {}
    for architecture, fold in cells:
        folds_of.setdefault(architecture, set()).add(fold)
    kept = [
        ([name for name, own in folds_of.items() if folds <= own], folds)
        for folds in sorted(folds_of.values(), key=sorted)
    ]
    names, folds = max(kept, key=lambda pair: len(pair[0]) * len(pair[1]), default=([], set()))
    return sorted(names), sorted(folds)


def agreements(values: np.ndarray, gains: np.ndarray) -> list[Agreement]:
    """Return how each measure's order agrees with the gains: exact one-sided permutation tests.

    ``values`` float [M, k], one row for each measure, higher promising more, NaN where undefined; ``gains`` float [k],
    NaN where not measured. All k! orders are counted (100,000 drawn for more than 8 candidates). ``family_p`` takes
    the smallest P of all measures in each order (minP, Westfall & Young 1993), so that trying many measures is paid
    for; P and not rho, because a measure that is not defined for some candidates reaches a high rho more easily.
    """
    measured = ~np.isnan(gains)
    gains, values = gains[measured], values[:, measured]
    results = [_agreement(row[~np.isnan(row)], gains[~np.isnan(row)]) for row in values]
    usable = [index for index, found in enumerate(results) if not math.isnan(found.spearman)]
    if not usable:
        return results
    permuted = gains[_orders(len(gains))]
    p = np.array([_p_of_orders(values[index], permuted) for index in usable])
    lowest = p.min(axis=0)
    for index, own in zip(usable, p[:, 0], strict=True):
        results[index] = replace(results[index], family_p=float(np.mean(lowest <= own + 1e-9)))
    return results


def _cells(table: pd.DataFrame) -> set[tuple[str, int]]:
    return {(str(name), int(fold)) for fold in table.columns for name in table.index[table[fold].notna()]}


def _gains(tables: Mapping[str, pd.DataFrame], test_share: float) -> dict[str, Gain]:
    """The gains of ``tables`` of one shape; how far new trainings scatter is told by all of them together."""
    values = {name: table.to_numpy(dtype=float) for name, table in tables.items()}
    ends = dict.fromkeys(values, (math.nan, math.nan))
    # The scatter of the fold means is that of a single architecture's folds. Folds that agree to rounding tell nothing.
    told = {name: own for name, own in values.items() if own.shape[1] > 1 and not _agree(own.mean(axis=0))}
    folds = next((own.shape[1] for own in told.values()), 0)
    if told and folds >= fewest_folds(len(told)):
        spreads = moderate(np.array([own.mean(axis=0).var(ddof=1) for own in told.values()]), folds - 1)
        for (name, own), spread in zip(told.items(), spreads, strict=True):
            if len(own) > 1:
                test = crossed_effects(own, test_share, spread=spread).overall
            else:
                test = spread.test(float(own.mean()), 1 / folds + test_share)
            ends[name] = (test.low, test.high)
    return {
        name: Gain(float(own.mean()), *ends[name], tuple(map(str, tables[name].index)), own.shape[1])
        for name, own in values.items()
    }


def _agree(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def _agreement(values: np.ndarray, gains: np.ndarray) -> Agreement:
    count = len(values)
    if count < 2 or not _varies(values) or not _varies(gains):
        return Agreement(count)
    orders = _orders(count)
    rho = _standard(gains)[orders] @ _standard(values)
    first, second = np.triu_indices(count, 1)
    signs = np.sign(values[first] - values[second])
    permuted = gains[orders]
    pairs = np.sign(permuted[:, first] - permuted[:, second])
    tau = pairs @ signs / math.sqrt(np.sum(signs**2) * np.sum(pairs[0] ** 2))
    return Agreement(count, float(rho[0]), _share(rho, rho[0]), float(tau[0]), _share(tau, tau[0]))


def _p_of_orders(values: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Return float [P], for each order of the gains, ``permuted`` [P, k], the share of orders with as high a rho."""
    defined = ~np.isnan(values)
    centred = rankdata(permuted[:, defined], axis=1) - (defined.sum() + 1) / 2
    length = np.linalg.norm(centred, axis=1)
    # Where an order leaves only equal gains to a measure, it agrees neither way.
    rho = centred @ _standard(values[defined]) / np.where(length > 0, length, 1)
    rho = rho.round(9)
    return np.asarray(1 - np.searchsorted(np.sort(rho), rho) / len(rho))


def _orders(count: int) -> np.ndarray:
    """Return int [P, count]: the order as it is, then all others, or as many as are drawn."""
    if count <= _COUNTED_CANDIDATES:
        return np.array(list(permutations(range(count))))
    drawn = np.random.default_rng(0).permuted(np.tile(np.arange(count), (_DRAWN_ORDERS, 1)), axis=1)
    return np.concatenate([np.arange(count)[None], drawn])


def _share(statistics: np.ndarray, own: float) -> float:
    """The share of orders, the one at hand included, that reach ``own``; equal values may differ in their last bits."""
    return float(np.mean(statistics >= own - 1e-9))


def _standard(values: np.ndarray) -> np.ndarray:
    """Midranks shifted to mean 0 and scaled to length 1: products of two are Spearman's rho."""
    centred = rankdata(values) - (len(values) + 1) / 2
    return np.asarray(centred / np.linalg.norm(centred))


def _varies(values: np.ndarray) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 0)
