"""What it costs a cell to have another number of chromosomes than it should: the prices of the joint assignment.

A cell is made up in one of several ways (46,XX, 46,XY, and at a price X, XXX, XXY, XYY), and each class may deviate
from what that way expects: images get lost in segmentation, and now and then there is one too many. Prices are
negative natural logarithms of frequencies, in nats, and convex: every further copy gained, or lost, costs at least as
much as the one before, so that the best assignment can be found exactly (:mod:`bandbridge.evaluation.assignment`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandbridge.karyotype import AUTOSOMES, CLASS_INDEX, CLASSES

#: Copies of X and Y in each way a cell can be made up, and the cells each counts for before any was seen.
SEX_CONSTITUTIONS = {
    "XX": (2, 0, 1.0),
    "XY": (1, 1, 1.0),
    "X": (1, 0, 0.1),
    "XXX": (3, 0, 0.1),
    "XXY": (2, 1, 0.1),
    "XYY": (1, 2, 0.1),
}


@dataclass(frozen=True, eq=False)
class Constitution:
    """One way a cell can be made up: the copies it expects of each class, int64 [K], and its price in nats."""

    name: str
    expected: np.ndarray
    price: float
    normal: bool


@dataclass(frozen=True, eq=False)
class CountCosts:
    """The prices of a cell's counts, in nats.

    ``losses`` and ``gains`` are float64 [K, M]: the price of each class having 1, 2, ... M copies fewer or more than
    expected; beyond M each costs as much as the last step. ``rejection`` is what leaving a chromosome out costs above
    the dearest first gain: a chromosome whose likeliest class has a probability above exp(-``rejection``) is never
    left out for having no place in a normal cell. ``weight`` multiplies the prices of counts and constitutions: 0
    gives every chromosome its likeliest class.

    Raises :class:`ValueError` for prices that are negative, not finite or not convex, or constitutions that do not
    fit them or none of which is normal.
    """

    constitutions: tuple[Constitution, ...]
    losses: np.ndarray
    gains: np.ndarray
    rejection: float = 7.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not any(constitution.normal for constitution in self.constitutions):
            raise ValueError("none of the constitutions is normal")
        if any(constitution.expected.shape != self.losses.shape[:1] for constitution in self.constitutions):
            raise ValueError(f"every constitution must expect copies of {len(self.losses)} classes")
        prices = np.array([one.price for one in self.constitutions] + [self.rejection, self.weight])
        if not np.isfinite(prices).all() or prices.min() < 0:
            raise ValueError("prices, the rejection and the weight must be finite and at least 0")
        if self.losses.ndim != 2 or self.losses.shape != self.gains.shape or self.losses.size == 0:
            raise ValueError(f"losses and gains must be [K, M] alike, not {self.losses.shape} and {self.gains.shape}")
        for name, table in (("losses", self.losses), ("gains", self.gains)):
            steps = np.diff(table, axis=1, prepend=0.0)
            if not np.isfinite(table).all() or steps.min() < 0 or np.diff(steps, axis=1, prepend=0.0).min() < -1e-9:
                raise ValueError(f"{name} must be finite, and each further copy must cost at least as much as the last")

    @property
    def rejection_price(self) -> float:
        """The price of leaving one chromosome out, in nats."""
        return self.rejection + self.weight * float(self.gains[:, 0].max())

    @property
    def varying(self) -> np.ndarray:
        """Classes whose expected copies depend on the constitution (the sex chromosomes), bool [K]."""
        return np.ptp([constitution.expected for constitution in self.constitutions], axis=0) > 0

    def penalties(self, constitution: Constitution, most: int) -> np.ndarray:
        """Return the weighted price of each class having 0, 1, ... ``most`` copies, float64 [K, ``most`` + 1]."""
        surplus = np.arange(most + 1) - constitution.expected[:, None]
        return self.weight * (_priced(self.losses, -surplus) + _priced(self.gains, surplus))


def learn_costs(
    counts: np.ndarray, strength: float = 20.0, rejection: float = 7.0, weight: float = 1.0, most: int = 3
) -> CountCosts:
    """Learn the prices from ``counts``, integers [cells, 24]: the chromosomes of each class in each training cell.

    The frequencies of 1, 2, ... ``most`` copies fewer and more than two, over that of two, are those of all autosomes
    together, with half an observation added for one copy, a quarter for two and so on; each autosome's own are drawn
    towards them as if ``strength`` further cells had been seen. The sex chromosomes have the pooled prices. A
    constitution's frequency is that of the cells with exactly its X and Y, with :data:`SEX_CONSTITUTIONS` added.
    Raises :class:`ValueError` for anything but such a table of at least one cell, or a strength that is not above 0.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != len(CLASSES) or len(counts) == 0 or counts.min() < 0:
        raise ValueError(f"counts must be [cells, {len(CLASSES)}], none negative, not {list(counts.shape)}")
    if not strength > 0:
        raise ValueError(f"the strength must be above 0, not {strength}: a class may never have been seen to deviate")
    deviations = counts[:, : len(AUTOSOMES)] - 2
    losses, gains = (_learned_prices(sign * deviations, strength, most) for sign in (-1, 1))
    sex = counts[:, [CLASS_INDEX["X"], CLASS_INDEX["Y"]]]
    seen = {name: prior + (sex == (x, y)).all(axis=1).sum() for name, (x, y, prior) in SEX_CONSTITUTIONS.items()}
    constitutions = []
    for name, (x, y, _) in SEX_CONSTITUTIONS.items():
        expected = np.array([2] * len(AUTOSOMES) + [x, y])
        price = float(np.log(sum(seen.values()) / seen[name]))
        constitutions.append(Constitution(name, expected, price, name in ("XX", "XY")))
    return CountCosts(tuple(constitutions), losses, gains, rejection, weight)


def _learned_prices(surplus: np.ndarray, strength: float, most: int) -> np.ndarray:
    """Return the price of each class having 1..``most`` too many, float64 [24, ``most``], from integers [cells, 22]."""
    steps = np.arange(1, most + 1)
    clipped = np.minimum(surplus, most)
    seen = np.stack([(clipped == step).sum(axis=0) for step in steps], axis=1).astype(np.float64)
    normal = (surplus == 0).sum(axis=0).astype(np.float64)
    pooled = (seen.sum(axis=0) + 0.5**steps) / (normal.sum() + 1)
    own = (seen + strength * pooled) / (normal[:, None] + strength)
    odds = np.vstack([own, pooled, pooled])
    return _made_convex(np.clip(-np.log(odds), 0, None))


def _made_convex(prices: np.ndarray) -> np.ndarray:
    """Raise the later of ``prices`` [K, M] until no step is smaller than the one before.

    The price of a single copy, which is the best known and decides most often, is left as it is.
    """
    steps = np.maximum.accumulate(np.diff(prices, axis=1, prepend=0.0), axis=1)
    return np.cumsum(steps, axis=1)


def _priced(table: np.ndarray, surplus: np.ndarray) -> np.ndarray:
    """Return the price of ``surplus`` [K, S] copies by ``table`` [K, M]; nothing for none or a negative number."""
    most = table.shape[1]
    full = np.hstack([np.zeros((len(table), 1)), table])
    last = full[:, -1:] - full[:, -2:-1]
    inside = np.take_along_axis(full, np.clip(surplus, 0, most), axis=1)
    return inside + last * np.clip(surplus - most, 0, None)
