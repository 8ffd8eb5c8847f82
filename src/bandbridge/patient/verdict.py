"""What is said of each patient: cells counted and left out, findings, what cannot be excluded, and a draft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.count_rates import CountRates
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.karyotype import AUTOSOMES, CLASSES
from bandbridge.patient.cells import CountedCell
from bandbridge.patient.draft import Draft, draft_of
from bandbridge.patient.findings import CLONE_CELLS, Finding, find
from bandbridge.patient.mosaic import CERTAIN, least_shown

#: Copies that cells are counted by.
COPIES = ("0", "1", "2", "3", "4 or more")


@dataclass(frozen=True, eq=False)
class PatientVerdict:
    """A patient. ``cells``: every one, also those left out. ``findings``: what the others show, clones first.

    ``least``: by number of cells that must show a change (1, 2 for a gained clone, 3 for a lost one), the smallest
    mosaic that so many cells show 19 times in 20, where no change is missed; infinity where there are too few cells.
    ``least_found`` is the same for 2 and 3 with the changes that are missed, NaN where nothing is known of the counts.
    """

    patient: str
    cells: tuple[CountedCell, ...]
    findings: tuple[Finding, ...]
    least: Mapping[int, float]
    least_found: Mapping[int, float]
    draft: Draft

    @property
    def usable(self) -> tuple[CountedCell, ...]:
        """The cells that are counted."""
        return tuple(cell for cell in self.cells if cell.usable)

    @property
    def clones(self) -> tuple[Finding, ...]:
        """The findings that reach the clone rule and are no false alarms."""
        return tuple(one for one in self.findings if one.kind == "clone")

    @property
    def sexes(self) -> Counter[str]:
        """How many usable cells have which sex chromosomes."""
        return Counter(cell.sexes for cell in self.usable)

    @property
    def excluded(self) -> str:
        """What the cells at hand cannot exclude, in words."""
        count = len(self.usable)
        if not count:
            return "no cell can be counted: nothing is excluded"
        text = (
            f"{counted(count, 'cell')} exclude{'s' if count == 1 else ''}, at 95%, a mosaic of {_from(self.least[1])}"
        )
        for needed, what in ((2, "a gain"), (3, "a loss")):
            share = self.least_found[needed] if not np.isnan(self.least_found[needed]) else self.least[needed]
            clone = f"a clone of {what} ({needed} cells)"
            text += f"; {clone}, of {_from(share)}" if np.isfinite(share) else f"; no {clone.removeprefix('a ')}"
        return text

    def counts(self) -> pd.DataFrame:
        """Return a row for each chromosome: how many usable cells have 0, 1, 2, 3 and more copies of it, and nats.

        ``gain`` and ``loss``: the evidence of all usable cells added up; of X and Y that for an abnormal constitution.
        """
        copies = np.array([cell.copies for cell in self.usable], dtype=np.int64).reshape(-1, len(CLASSES))
        evidence = np.array([cell.evidence for cell in self.usable]).reshape(-1, len(CLASSES), 2)
        rows = []
        for index, label in enumerate(CLASSES):
            seen = np.bincount(np.minimum(copies[:, index], 4), minlength=5)
            nats = evidence[:, index].sum(axis=0)
            row: dict[str, Any] = {"patient": self.patient, "chromosome": label}
            row |= {name: int(count) for name, count in zip(COPIES, seen, strict=True)}
            rows.append(row | {"gain": round(float(nats[0]), 2), "loss": round(float(nats[1]), 2)})
        return pd.DataFrame(rows)


def _from(share: float) -> str:
    return f"{share:.0%} or more"


def judge_patients(
    sheets: Sequence[CellSheet], patients: Mapping[str, str], rates: CountRates | None, *, acquired: bool = False
) -> tuple[PatientVerdict, ...]:
    """Return the verdict on each patient of ``patients``, a mapping from the names of cells, in the order of the cells.

    Cells without a name or a patient are left out. acquired: whether changes are those of a tissue, for the draft.
    """
    cells: dict[str, list[CountedCell]] = {}
    for sheet in sheets:
        if sheet.name and patients.get(sheet.name):
            cells.setdefault(patients[sheet.name], []).append(CountedCell.of(sheet))
    return tuple(judge(patient, members, rates, acquired=acquired) for patient, members in cells.items())


def judge(
    patient: str,
    cells: Sequence[CountedCell],
    rates: CountRates | None,
    *,
    acquired: bool = False,
    read: bool = False,
) -> PatientVerdict:
    """Return the verdict on one patient of whom these are the cells.

    acquired: whether changes are those of a tissue, for the draft. read: whether the counts are those of a person who
    looked at every cell; then there is a draft without ``rates``.
    """
    usable = [cell for cell in cells if cell.usable]
    findings = find(cells, rates)
    numbers = (1, *CLONE_CELLS.values())
    least = {needed: least_shown(len(usable), needed, CERTAIN) for needed in numbers}
    found = {1: float("nan")} | {
        needed: least_shown(len(usable), needed, rates.sensitivity(_typical(rates), direction)) if rates else np.nan
        for direction, needed in CLONE_CELLS.items()
    }
    draft = draft_of(usable, findings, rates, acquired=acquired, read=read)
    return PatientVerdict(patient, tuple(cells), findings, least, found, draft)


def _typical(rates: CountRates) -> str:
    """The autosome whose gains are found as often as those of the middle one."""
    order = sorted(AUTOSOMES, key=lambda label: rates.sensitivity(label, "gain").value)
    return order[len(order) // 2]


def patient_table(verdicts: Sequence[PatientVerdict]) -> pd.DataFrame:
    """Return a row for each patient.

    Columns: patient; cells, usable; excluded (the cells left out, each with the reason); sexes (of the usable cells);
    clones, unclear, single (findings in words: see :data:`bandbridge.patient.findings.SAID`); not_excluded; draft (by
    ISCN, for a person to sign, "" where none is written) and why_none; notes on the draft.
    """
    rows = [
        {
            "patient": one.patient,
            "cells": len(one.cells),
            "usable": len(one.usable),
            "excluded": "; ".join(f"{cell.name}: {cell.excluded}" for cell in one.cells if not cell.usable),
            "sexes": ", ".join(f"{sexes or 'none'} {count}" for sexes, count in one.sexes.most_common()),
            "clones": "; ".join(found.text for found in one.clones),
            "unclear": "; ".join(found.text for found in one.findings if found.kind == "unclear"),
            "single": "; ".join(found.text for found in one.findings if found.kind in ("random loss", "single gain")),
            "not_excluded": one.excluded,
            "draft": one.draft.text,
            "why_none": one.draft.why_none,
            "notes": "; ".join(one.draft.notes),
        }
        for one in verdicts
    ]
    names = ["patient", "cells", "usable", "excluded", "sexes", "clones", "unclear", "single", "not_excluded"]
    return pd.DataFrame(rows, columns=[*names, "draft", "why_none", "notes"])


def finding_table(verdicts: Sequence[PatientVerdict]) -> pd.DataFrame:
    """Return a row for each finding of each patient, with its numbers as :class:`Finding` has them, and its cells."""
    rows = [
        {
            "patient": verdict.patient,
            "finding": one.name,
            "kind": one.kind,
            "cells": len(one.cells),
            "usable": one.usable,
            "nats_every_cell": round(one.evidence, 2),
            "nats_part": round(one.part, 2),
            "chance": float(f"{one.chance:.3g}"),
            "fraction": round(one.fraction, 4),
            "low": round(one.low, 4),
            "high": round(one.high, 4),
            "plain_low": round(one.plain[0], 4),
            "plain_high": round(one.plain[1], 4),
            "shown_by": "; ".join(one.cells),
        }
        for verdict in verdicts
        for one in verdict.findings
    ]
    names = ["patient", "finding", "kind", "cells", "usable", "nats_every_cell", "nats_part", "chance", "fraction"]
    return pd.DataFrame(rows, columns=[*names, "low", "high", "plain_low", "plain_high", "shown_by"])
