"""A cell as a patient's verdict counts it: its copies, what they deviate in, and whether it can be counted at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.evaluation.count_rates import Direction, shown_changes, unit_of
from bandbridge.karyogram.sheet import CellSheet, CountEvidence
from bandbridge.karyotype import AUTOSOMES, CLASSES

#: A cell with fewer chromosomes has burst: what it lacks says nothing of the patient.
FEWEST_COUNTED = 40
#: More are two cells, or a triploid one, whose copies are counted against another number.
MOST_COUNTED = 57
#: Of a cell with more chromosomes that have no place, the counts are not what its chromosomes are.
MOST_UNPLACED = 3
#: No cell's evidence counts for more, in nats: infinite evidence is one of a number, not of a picture.
MOST_EVIDENCE = 20.0


@dataclass(frozen=True, eq=False)
class CountedCell:
    """A cell. ``copies`` int64 [24] as placed; ``excluded`` says why it is not counted, "" where it is.

    ``evidence`` float64 [24, 2]: what speaks for more and for fewer copies than normal, nats within
    :data:`MOST_EVIDENCE`, of X and Y what speaks for an abnormal constitution; NaN where nobody assigned the cell.
    ``flagged``: chromosomes that a person should look at; ``unplaced``: those without a place.
    """

    name: str
    chromosomes: int
    copies: np.ndarray
    excluded: str
    evidence: np.ndarray
    flagged: int = 0
    unplaced: int = 0

    @property
    def usable(self) -> bool:
        """Whether it is counted."""
        return not self.excluded

    @property
    def sexes(self) -> str:
        """Its sex chromosomes, X before Y: "XX", "XY", "X", "XXY", ..."""
        return "X" * int(self.copies[CLASSES.index("X")]) + "Y" * int(self.copies[CLASSES.index("Y")])

    @property
    def steps(self) -> Mapping[str, int]:
        """Copies of each autosome too many (above 0) or too few, those that are normal left out."""
        return {label: int(self.copies[i]) - 2 for i, label in enumerate(AUTOSOMES) if self.copies[i] != 2}

    def shows(self, unit: str, direction: Direction) -> bool:
        """Whether it has more, or fewer, of an autosome, or ("sex") of the sex chromosomes, than normal."""
        return (unit, direction) in shown_changes(self.copies)

    @property
    def words(self) -> str:
        """What it shows, in words: "46, XX", "47, XX, 21 gained"."""
        changes = [f"{label} {'gained' if step > 0 else 'lost'}" for label, step in self.steps.items()]
        return ", ".join([str(int(self.copies.sum())), self.sexes or "no X or Y", *changes])

    @classmethod
    def of(cls, sheet: CellSheet) -> CountedCell:
        """Return the cell of ``sheet``, counted as its chromosomes are placed, by whomever.

        Raises :class:`ValueError` for classes that are not a human's 24.
        """
        if sheet.classes != CLASSES:
            raise ValueError("only a human's 24 classes are counted over cells")
        copies = np.array([sum(one.placed == label for one in sheet.chromosomes) for label in CLASSES], dtype=np.int64)
        flagged = sum(bool(one.reasons) for one in sheet.chromosomes)
        unplaced, count = sum(not one.placed for one in sheet.chromosomes), len(sheet.chromosomes)
        why = _excluded(sheet, count, unplaced)
        return cls(sheet.name, count, copies, why, _evidence(sheet.evidence), flagged, unplaced)


def _excluded(sheet: CellSheet, count: int, unplaced: int) -> str:
    if sheet.unknown:
        return sheet.unknown
    if count > MOST_IN_CELL:
        return f"{count:,} images are not one cell"
    if count < FEWEST_COUNTED:
        return f"{count} chromosomes: a cell with fewer than {FEWEST_COUNTED} is not counted, too much of it is lost"
    if count > MOST_COUNTED:
        return f"{count} chromosomes: two cells, or more sets than two; for a person to look at"
    if unplaced > MOST_UNPLACED:
        return f"{unplaced} of {count} chromosomes have no place in it"
    return ""


def _evidence(found: CountEvidence | None) -> np.ndarray:
    if found is None:
        return np.full((len(CLASSES), 2), np.nan)
    table = np.stack([found.gains, found.losses], axis=1)
    table[[unit_of(index) == "sex" for index in range(len(CLASSES))]] = found.sex
    return np.clip(table, -MOST_EVIDENCE, MOST_EVIDENCE)
