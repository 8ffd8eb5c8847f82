"""Counted cells as tests want them."""

from __future__ import annotations

import numpy as np

from bandbridge.evaluation.count_rates import UNITS, CountRates
from bandbridge.karyotype import CLASS_INDEX, CLASSES
from bandbridge.patient.cells import CountedCell


def cell(name: str, sexes: str = "XX", changes: dict[str, int] | None = None, excluded: str = "", nats: float = 5.0):
    """A cell with these sex chromosomes and changes, of whose evidence each change has ``nats`` and the rest -nats."""
    copies = np.full(len(CLASSES), 2, dtype=np.int64)
    copies[CLASS_INDEX["X"]], copies[CLASS_INDEX["Y"]] = sexes.count("X"), sexes.count("Y")
    evidence = np.full((len(CLASSES), 2), -nats)
    for label, step in (changes or {}).items():
        copies[CLASS_INDEX[label]] += step
        evidence[CLASS_INDEX[label], int(step < 0)] = nats
    if sexes not in ("XX", "XY"):
        evidence[-2:] = nats
    return CountedCell(name, int(copies.sum()), copies, excluded, evidence)


def cells(*parts: tuple[int, str, dict[str, int]]) -> list[CountedCell]:
    """So many cells of each (number, sexes, changes), named c1, c2, ..."""
    found = [(sexes, changes) for number, sexes, changes in parts for _ in range(number)]
    return [cell(f"c{place}", sexes, changes) for place, (sexes, changes) in enumerate(found, start=1)]


def rates(found: int = 95, planted: int = 100, alarms: int = 0, normal: int = 400) -> CountRates:
    """The same for every chromosome."""
    shape = (len(UNITS), 2)
    return CountRates(*(np.full(shape, value) for value in (found, planted, alarms, normal)), source="made up")
