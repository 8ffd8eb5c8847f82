"""What a patient's cells have too many or too few of, by the rule that makes a clone of it, and beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from bandbridge.evaluation.count_rates import CountRates, Direction
from bandbridge.karyotype import AUTOSOMES, CLASS_INDEX
from bandbridge.patient.cells import CountedCell
from bandbridge.patient.mosaic import chance_of, clopper_pearson, estimated_fraction, melded_interval

#: Cells with the same change that make a clone: ISCN 2024, and the same in its editions before.
CLONE_CELLS: dict[Direction, int] = {"gain": 2, "loss": 3}
#: How likely so many cells may show a change by false alarms alone, for it to be written as a clone. Of 46 changes that
#: are looked for, fewer than one patient in 20 would have one that passes by chance.
MOST_CHANCE = 0.001

Kind = Literal["clone", "unclear", "random loss", "single gain"]
#: What each kind is called where a person reads it.
SAID: dict[Kind, str] = {
    "clone": "clone",
    "unclear": "enough cells for a clone, but false alarms may explain them",
    "random loss": "random loss, no clone",
    "single gain": "gain in a single cell, no clone",
}


@dataclass(frozen=True, eq=False)
class Finding:
    """A change that at least one usable cell shows.

    ``name``: "21 gained", "7 lost", "XXY". ``unit``: the autosome, or "sex". ``sexes``: the constitution, "" for an
    autosome. ``cells``: those that show it, of ``usable`` counted. ``evidence``: nats for the change in every cell over
    none; ``part``: for it in the share of them that it fits best. ``chance``: of so many by false alarms alone.
    ``fraction`` with ``low`` and ``high``: the share of cells that have it, as :mod:`bandbridge.patient.mosaic` has it;
    all four NaN where nothing is known of the counts. ``plain``: Clopper & Pearson's interval of what is shown.
    """

    name: str
    unit: str
    direction: Direction
    sexes: str
    cells: tuple[str, ...]
    usable: int
    kind: Kind
    evidence: float
    part: float
    chance: float
    fraction: float
    low: float
    high: float
    plain: tuple[float, float]

    @property
    def everywhere(self) -> bool:
        """Whether the cells that do not show it may be those in which it was missed."""
        return self.high >= 0.999

    @property
    def text(self) -> str:
        """In words: "21 gained in 18 of 20 cells: clone; 95% (75 to 100%) of the cells"."""
        shown = f"{self.name} in {len(self.cells)} of {self.usable} cells: {SAID[self.kind]}"
        if np.isnan(self.fraction):
            return f"{shown}; {self.plain[0]:.0%} to {self.plain[1]:.0%} of the cells, if none was missed or invented"
        return f"{shown}; {self.fraction:.0%} ({self.low:.0%} to {self.high:.0%}) of the cells have it"


def find(cells: Sequence[CountedCell], rates: CountRates | None) -> tuple[Finding, ...]:
    """Return what the usable of ``cells`` show, clones first, then by how many cells show it."""
    usable = [cell for cell in cells if cell.usable]
    found = []
    for unit, direction in product(AUTOSOMES, CLONE_CELLS):
        shown = [cell for cell in usable if cell.shows(unit, direction)]
        if shown:
            name = f"{unit} {'gained' if direction == 'gain' else 'lost'}"
            found.append(_finding(name, unit, direction, "", shown, usable, rates))
    for sexes in sorted({cell.sexes for cell in usable} - {"XX", "XY"}):
        shown = [cell for cell in usable if cell.sexes == sexes]
        way: Direction = "gain" if shown[0].shows("sex", "gain") else "loss"
        found.append(_finding(sexes or "no X or Y", "sex", way, sexes, shown, usable, rates))
    order: tuple[Kind, ...] = ("clone", "unclear", "single gain", "random loss")
    return tuple(sorted(found, key=lambda one: (order.index(one.kind), -len(one.cells))))


def _finding(
    name: str,
    unit: str,
    direction: Direction,
    sexes: str,
    shown: Sequence[CountedCell],
    usable: Sequence[CountedCell],
    rates: CountRates | None,
) -> Finding:
    hits, trials = len(shown), len(usable)
    chance = fraction = low = high = float("nan")
    if rates is not None:
        there, invented = rates.sensitivity(unit, direction), rates.false_alarms(unit, direction)
        chance = chance_of(hits, trials, invented)
        fraction = estimated_fraction(hits, trials, there, invented)
        low, high = melded_interval(hits, trials, there, invented)
    every, part = _evidence(unit, direction, usable)
    return Finding(
        *(name, unit, direction, sexes, tuple(cell.name for cell in shown), trials, _kind(hits, direction, chance)),
        *(every, part, chance, fraction, low, high, clopper_pearson(hits, trials)),
    )


def _kind(hits: int, direction: Direction, chance: float) -> Kind:
    if hits < CLONE_CELLS[direction]:
        return "random loss" if direction == "loss" else "single gain"
    return "unclear" if chance > MOST_CHANCE else "clone"  # where nothing is known of the counts, the rule alone


def _evidence(unit: str, direction: Direction, usable: Sequence[CountedCell]) -> tuple[float, float]:
    """Return the nats for the change in every cell, and in the part of them that it fits best.

    With the change in a share p of the cells, a cell whose odds are exp(l) makes it 1 - p + p exp(l) times as likely.
    """
    row, column = CLASS_INDEX["X" if unit == "sex" else unit], int(direction == "loss")
    nats = np.array([cell.evidence[row, column] for cell in usable])
    nats = nats[~np.isnan(nats)]
    if not len(nats):
        return float("nan"), float("nan")
    shares = np.linspace(0, 1, 101)[:, None]
    parts = np.log1p(shares * np.expm1(nats)).sum(axis=1)
    return float(nats.sum()), float(parts.max())
