"""From a patient's findings to the lines of a draft, or to the reason why none is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.count_rates import CountRates
from bandbridge.karyotype import AUTOSOMES
from bandbridge.patient.cells import CountedCell
from bandbridge.patient.findings import CLONE_CELLS, MOST_CHANCE, Finding
from bandbridge.patient.iscn import CellLine, NotWritten, write
from bandbridge.patient.mosaic import least_shown

#: Fewer cells make no clone, and no draft.
FEWEST_CELLS = 2
#: Of the usable cells, no more than this share may fit none of the lines.
MOST_UNFITTING = 0.2
_NORMAL = ("XX", "XY")


@dataclass(frozen=True)
class Draft:
    """``text``: a karyotype for a person to sign, "" where none is written, and ``why_none`` then says why.

    ``notes``: what the person who signs has to know, a sentence each.
    """

    text: str = ""
    why_none: str = ""
    notes: tuple[str, ...] = ()


def draft_of(
    usable: Sequence[CountedCell],
    findings: Sequence[Finding],
    rates: CountRates | None,
    *,
    acquired: bool = False,
    read: bool = False,
) -> Draft:
    """Return the draft of a patient with these ``usable`` cells and ``findings``.

    None is written of fewer than :data:`FEWEST_CELLS` cells, by a model of which nobody knows how often its counts are
    right, where a change reaches the clone rule and false alarms explain it as often as one time in 1,000, where more
    than one cell in five fits none of the lines, where there is no clone and a change in every cell might have been
    missed in so few (19 times in 20 it must not), and for what :func:`bandbridge.patient.iscn.write` does not write.

    read: whether a person has looked at every cell. Their counts are then taken as they are, where ``rates`` is None.
    """
    if len(usable) < FEWEST_CELLS:
        said = counted(len(usable), "cell") if usable else "no cell"
        return Draft(why_none=f"{said} can be counted, and no clone is made of fewer than two")
    if rates is None and not read:
        return Draft(why_none="how often these counts are right is not known")
    unclear = [one for one in findings if one.kind == "unclear"]
    if unclear:
        shown = ", ".join(f"{one.name} in {len(one.cells)}" for one in unclear)
        return Draft(
            why_none=f"{shown} of {counted(len(usable), 'cell')} may be false alarms (more likely than {MOST_CHANCE:g} "
            "by chance): neither a clone nor nothing; look at these cells"
        )
    exchanged = "" if read else _exchanged(findings)
    if exchanged:
        return Draft(why_none=exchanged)
    clones = [one for one in findings if one.kind == "clone"]
    try:
        lines, fitting = _lines(usable, clones)
        outside = [cell for cell in usable if cell.name not in fitting]
        if len(outside) > MOST_UNFITTING * len(usable):
            shown = ", ".join(f"{cell.name} ({cell.words})" for cell in outside[:5])
            raise NotWritten(f"{len(outside)} of {counted(len(usable), 'cell')} fit none of the lines: {shown}")
        text = write(lines, acquired=acquired)
        if not clones:
            _require_enough(len(usable), rates)
    except NotWritten as why:
        return Draft(why_none=str(why))
    return Draft(text, notes=tuple(_notes(outside, findings, clones, rates is None)))


def _exchanged(findings: Sequence[Finding]) -> str:
    """Why a gain says nothing where the same cells, two or more, lack another chromosome; "" where none is so.

    Two that have exchanged parts have other lengths and bands: one may then be placed as another, in every cell.
    """
    for gain in (one for one in findings if one.direction == "gain" and len(one.cells) >= FEWEST_CELLS):
        for loss in (one for one in findings if one.direction == "loss" and set(one.cells) == set(gain.cells)):
            return (
                f"{gain.name} and {loss.name} in the same {counted(len(gain.cells), 'cell')}: one chromosome that "
                "looks like another, as after an exchange between two, is likelier than both; look at these cells"
            )
    return ""


def _require_enough(usable: int, rates: CountRates | None) -> None:
    """Raise where a change that is in every cell might be missed: of no clone, so few cells are no evidence."""
    for direction, needed in CLONE_CELLS.items():
        if rates is None:
            if usable < needed:
                raise NotWritten(f"{counted(usable, 'cell')} are too few: a clone of a {direction} takes {needed}")
            continue
        worst = min((rates.sensitivity(unit, direction) for unit in AUTOSOMES), key=lambda share: share.value)
        if not np.isfinite(least_shown(usable, needed, worst)):
            raise NotWritten(
                f"no clone in {counted(usable, 'cell')}, but so few may miss a {direction} that is in every cell (of "
                f"the autosome that is missed most, {worst.value:.0%} are found)"
            )


def _lines(usable: Sequence[CountedCell], clones: Sequence[Finding]) -> tuple[list[CellLine], set[str]]:
    """Return the lines, and the names of the cells that are in one.

    A cell is of the line of the clonal changes that it shows; what no other cell shows is no part of a karyotype.
    Where a clone may be in every cell, those that do not show it are in no line: it may have been missed in them.
    """
    sexes = _sexes_of(usable, clones)
    changed = {one.unit: one for one in clones if one.unit != "sex"}
    members: dict[tuple[str, tuple[tuple[str, int], ...]], list[str]] = {}
    for cell in usable:
        shown = tuple((label, cell.steps[label]) for label in AUTOSOMES if label in changed and label in cell.steps)
        missing = [one for one in changed.values() if one.everywhere and cell.name not in one.cells]
        if cell.name in sexes and not missing:
            members.setdefault((sexes[cell.name], shown), []).append(cell.name)
    for one in clones:
        seen = len(one.cells) / one.usable
        if one.everywhere and seen < 1 - MOST_UNFITTING:
            raise NotWritten(
                f"{one.name} in {len(one.cells)} of {counted(one.usable, 'cell')}: whether it is in every cell, or in "
                f"{one.low:.0%} of them, is not told by a model that misses so many"
            )
    plain = {cell.name for cell in usable if not cell.steps and cell.sexes in _NORMAL}
    lines = [
        CellLine(sex, shown, len(names))
        for (sex, shown), names in members.items()
        if _stands(shown, sex, names, len(plain & set(names)))
    ]
    if not lines:
        raise NotWritten("no cells agree in what they show")
    kept = {(line.sexes, line.changes) for line in lines}
    return lines, {name for key, names in members.items() if key in kept for name in names}


def _stands(shown: tuple[tuple[str, int], ...], sexes: str, names: Sequence[str], plain: int) -> bool:
    """Whether so many cells make a line by themselves: the clone rule says, and of a normal one that most are normal.

    plain: those that show nothing at all. A cell with another change alone makes no line of normal cells.
    """
    if not shown and sexes in _NORMAL:
        return 2 * plain >= len(names)
    lost = any(step < 0 for _, step in shown) or len(sexes) < 2
    return len(names) >= (3 if lost else 2)


def _sexes_of(usable: Sequence[CountedCell], clones: Sequence[Finding]) -> dict[str, str]:
    """Return the sex chromosomes of each cell that has those of a line; others are of none.

    A single cell that has lost or won one is of the line that most have; one with the other normal sex is not.
    """
    clonal = [one for one in clones if one.unit == "sex"]
    normal = Counter(cell.sexes for cell in usable if cell.sexes in _NORMAL)
    main = normal.most_common(1)[0][0] if normal else ""
    known = {one.sexes for one in clonal} | {sexes for sexes, count in normal.items() if count > 1 or sexes == main}
    if any(one.everywhere for one in clonal):
        known -= set(_NORMAL)
    elif not known:
        raise NotWritten("no two cells agree in their sex chromosomes")
    rest = main if main in known else ""
    found = {cell.name: cell.sexes if cell.sexes in known else rest for cell in usable if cell.sexes not in _NORMAL}
    found |= {cell.name: cell.sexes for cell in usable if cell.sexes in known}
    return {name: sexes for name, sexes in found.items() if sexes}


def _notes(
    outside: Sequence[CountedCell], findings: Sequence[Finding], clones: Sequence[Finding], read: bool
) -> list[str]:
    notes = ["numerical changes alone: a person looks for structural ones"]
    if read:
        notes.append("counted as the reader left the cells; what a reader misses is not allowed for")
    if outside:
        shown = ", ".join(f"{cell.name} ({cell.words})" for cell in outside)
        notes.append(f"in no line: {shown}")
    for one in clones:
        if one.everywhere and len(one.cells) < one.usable:
            notes.append(f"{one.name} may be in every cell: it is missed as often as in those that do not show it")
    singles = [one for one in findings if one.kind in ("random loss", "single gain")]
    if singles:
        notes.append(f"no part of it: {', '.join(f'{one.name} in {len(one.cells)}' for one in singles)}")
    return notes
