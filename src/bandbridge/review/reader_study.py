"""What proposals are worth to a person, from the log of a review: time, corrections, and what was left as proposed.

Cells come in an order that a seed draws. Every other one of that order is shown without the model's proposals; a second
work folder with the same seed and the other half shows those with them, so that each cell is read both ways by two
readers. The time of a cell is what passed between a reader's entries of the log on it, from when it came up to when it
was accepted; a pause counts as :data:`PAUSE_S` seconds at most.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from scipy.stats import bootstrap

from bandbridge.patient.mosaic import clopper_pearson
from bandbridge.review.database import Store
from bandbridge.review.log import Entry
from bandbridge.review.schema import StoredSheet

Arm = Literal["with", "without"]
PAUSE_S = 120.0
#: Cells of each kind below which no interval is given.
FEWEST = 8
_RESAMPLES = 2000


@dataclass(frozen=True)
class ReadCell:
    """One accepted cell. seconds: see the module. moves: chromosomes placed, turned or confirmed, each time counted.

    ``changed``: chromosomes that stand elsewhere than the model proposed, though it may not have been shown. ``kept``
    and ``proposed``: of each class, how many of the chromosomes proposed in it stand there.
    """

    name: str
    reader: str
    arm: Arm
    chromosomes: int
    seconds: float
    moves: int
    changed: int
    kept: Mapping[str, int]
    proposed: Mapping[str, int]

    @property
    def untouched(self) -> bool:
        """Whether all stands as the model proposed it."""
        return not self.changed


@dataclass(frozen=True)
class Measured:
    """A number with its 95% interval; NaN ends where there are too few cells for one."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0


def arms_of(cells: Sequence[int], seed: int, other_half: bool = False) -> dict[int, tuple[int, Arm]]:
    """Return each cell's turn, from 1, and whether its proposals are shown; the order is drawn by ``seed``."""
    order = np.random.default_rng(seed).permutation(len(cells))
    arms: tuple[Arm, Arm] = ("without", "with") if other_half else ("with", "without")
    return {cells[place]: (turn + 1, arms[turn % 2]) for turn, place in enumerate(order)}


def read_cells(store: Store) -> list[ReadCell]:
    """Return the accepted cells of a reader study in their turn."""
    log = store.log()
    found = []
    for record in store.cells():
        if record.arm and record.accepted:
            found.append(_read(store.sheet(record.id), [one for one in log if one.cell == record.id], log))
    return found


def _read(stored: StoredSheet, own: Sequence[Entry], log: Sequence[Entry]) -> ReadCell:
    record, sheet = stored.record, stored.sheet
    reader = next(one.reader.name for one in reversed(own) if one.kind == "accept")
    pairs = list(zip(stored.suggested, (one.placed for one in sheet.chromosomes), strict=True))
    return ReadCell(
        record.name,
        reader,
        "with" if record.arm == "with" else "without",
        len(pairs),
        _seconds(log, record.id, reader),
        sum(one.kind in ("place", "turn") for one in own),
        sum(proposed != placed for proposed, placed in pairs),
        Counter(proposed for proposed, placed in pairs if proposed == placed),
        Counter(proposed for proposed, _ in pairs),
    )


def _seconds(log: Sequence[Entry], cell: int, reader: str) -> float:
    """Return the time of ``reader`` on a cell: between two entries of theirs on it that follow one another."""
    total, before = 0.0, None
    for entry in log:
        if entry.reader.name != reader:
            continue
        if before is not None and before.cell == cell == entry.cell:
            passed = datetime.fromisoformat(entry.at) - datetime.fromisoformat(before.at)
            total += min(max(passed.total_seconds(), 0.0), PAUSE_S)
        before = entry
    return total


def mean(values: Sequence[float], seed: int = 0) -> Measured:
    """Return the mean with a bootstrap interval over cells (BCa), as SciPy has it."""
    return _measured([np.asarray(values, dtype=float)], lambda x, axis=-1: np.mean(x, axis=axis), seed)


def difference(values: Sequence[float], others: Sequence[float], seed: int = 0) -> Measured:
    """Return by how much the mean of ``values`` is above that of ``others``, with a bootstrap interval over cells."""
    groups = [np.asarray(each, dtype=float) for each in (values, others)]
    return _measured(groups, lambda x, y, axis=-1: np.mean(x, axis=axis) - np.mean(y, axis=axis), seed)


def _measured(groups: Sequence[np.ndarray], statistic: Callable[..., Any], seed: int) -> Measured:
    fewest = min(map(len, groups))
    if not fewest:
        return Measured(math.nan)
    value = float(statistic(*groups))
    if fewest < FEWEST or all(np.ptp(group) == 0 for group in groups):
        return Measured(value, n=fewest)
    found = bootstrap(groups, statistic, n_resamples=_RESAMPLES, rng=np.random.default_rng(seed), method="BCa")
    interval = found.confidence_interval
    return Measured(value, float(interval.low), float(interval.high), fewest)


def share(hits: int, of: int) -> Measured:
    """Return a share with the interval of Clopper and Pearson."""
    return Measured(hits / of, *clopper_pearson(hits, of), of) if of else Measured(math.nan)
