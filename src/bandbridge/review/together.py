"""What the cells of a patient show together, as readers left them: counts, clones, and the draft that they may sign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bandbridge.dataset.findings import counted
from bandbridge.karyotype import CLASSES
from bandbridge.patient.cells import CountedCell
from bandbridge.patient.verdict import PatientVerdict, judge
from bandbridge.review.database import Store
from bandbridge.review.schema import StoredSheet
from bandbridge.review.session import recount


@dataclass(frozen=True)
class Together:
    """``lines``: what is counted and found, a sentence each. ``draft``: a karyotype by ISCN, "" for none.

    ``notes``: why there is none, or what whoever signs it has to know.
    """

    lines: tuple[str, ...] = ()
    draft: str = ""
    notes: tuple[str, ...] = ()


def together(sheets: Sequence[StoredSheet], *, acquired: bool = False) -> Together:
    """Return what those of ``sheets`` show that readers have closed: accepted, or counted only.

    They are counted as they stand, by the rule of clones alone: how often a reader with this model misses a change is
    not known. acquired: whether changes are written as those of a tissue. Nothing is said of other classes than a
    human's.
    """
    closed = [one for one in sheets if one.record.accepted or one.record.counted]
    if not closed or any(one.sheet.classes != CLASSES for one in closed):
        return Together()
    verdict = judge("", [CountedCell.of(recount(one.sheet)) for one in closed], None, acquired=acquired, read=True)
    notes = verdict.draft.notes if verdict.draft.text else (verdict.draft.why_none,)
    return Together(tuple(_lines(verdict)), verdict.draft.text, notes)


def of_patient(store: Store, patient: str, *, acquired: bool = False) -> Together:
    """Return what the cells of ``patient`` show together; nothing where no patient is named."""
    records = store.cells(patient) if patient else []
    return together([store.sheet(one.id) for one in records if one.accepted or one.counted], acquired=acquired)


def _lines(verdict: PatientVerdict) -> Iterator[str]:
    sexes = ", ".join(f"{name or 'no X or Y'} in {count}" for name, count in verdict.sexes.most_common())
    yield f"{counted(len(verdict.usable), 'cell')} counted{f': {sexes}' if sexes else ''}; {verdict.excluded}"
    for found in verdict.findings:
        yield f"{found.text}: {', '.join(found.cells)}"
    for cell in verdict.cells:
        if cell.excluded:
            yield f"{cell.name} is not counted: {cell.excluded}"
