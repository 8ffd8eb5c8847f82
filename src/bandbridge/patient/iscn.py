"""The draft of a karyotype by ISCN 2024, numerical changes alone, for a person to sign.

What is written, and in which order (ISCN: An International System for Human Cytogenomic Nomenclature 2024, Hastings,
Moore & Chia, Cytogenetic and Genome Research 164, supplement 1; the rules are those of its editions before):

- the number of chromosomes, the sex chromosomes (X before Y), then changes of autosomes by number, a chromosome gained
  twice written twice; a gain has a plus, a loss a minus;
- a constitutional change of the sex chromosomes shows in these alone (47,XXY); an acquired one is written as a change
  (45,X,-Y), of the sex chromosomes first X, then Y;
- cell lines are parted by slashes, each with its number of cells in brackets; the normal diploid one is the last, the
  others come by size, the largest first, of equal ones that with fewer changes; acquired ones that grow out of one
  another come in that order, whatever their size;
- a mosaic begins with ``mos``, which ISCN leaves to the writer; acquired lines have none.

Structural changes, markers and more than two sets are not written: the counts do not show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bandbridge.karyotype import AUTOSOMES

#: Chromosomes of a line that is written against two sets: beyond, ISCN counts from one, three or four.
_NEAR_DIPLOID = range(35, 58)
_NORMAL = ("XX", "XY")


class NotWritten(ValueError):
    """What is not written, and why, in a sentence."""


@dataclass(frozen=True)
class CellLine:
    """Cells with the same copies. sexes: "XX", "XY", "X", ... changes: (autosome, copies too many or too few)."""

    sexes: str
    changes: tuple[tuple[str, int], ...]
    cells: int

    @property
    def is_normal(self) -> bool:
        """Whether it is 46,XX or 46,XY."""
        return self.sexes in _NORMAL and not self.changes

    @property
    def chromosomes(self) -> int:
        """The number of chromosomes of one of its cells."""
        return 2 * len(AUTOSOMES) + len(self.sexes) + sum(step for _, step in self.changes)


def write(lines: Sequence[CellLine], *, acquired: bool = False, born: str = "") -> str:
    """Return the karyotype of ``lines``.

    acquired: whether the changes are those of a tissue, not of the person. born: "XX" or "XY", the sex chromosomes that
    the person was born with, needed only where acquired lines differ in them and none has XX or XY.

    Raises :class:`NotWritten` for what is not written, :class:`ValueError` for lines that are none.

    >>> write([CellLine("XX", (), 12), CellLine("XX", (("21", 1),), 8)])
    'mos 47,XX,+21[8]/46,XX[12]'
    >>> write([CellLine("X", (), 18), CellLine("XY", (), 2)], acquired=True)
    '45,X,-Y[18]/46,XY[2]'
    """
    _require(lines)
    base = (born or _born_with(lines)) if acquired else ""
    texts = [f"{_line(line, base)}[{line.cells}]" for line in _in_order(lines, acquired)]
    return ("mos " if len(texts) > 1 and not acquired else "") + "/".join(texts)


def _require(lines: Sequence[CellLine]) -> None:
    if not lines or any(line.cells < 1 for line in lines):
        raise ValueError("a karyotype is of at least one line with at least one cell")
    if len({(line.sexes, line.changes) for line in lines}) < len(lines):
        raise ValueError("two lines are the same")
    for line in lines:
        labels = [label for label, _ in line.changes]
        if labels != sorted(set(labels), key=AUTOSOMES.index) or any(not step >= -2 for _, step in line.changes):
            raise ValueError("changes are of autosomes, each once, by number, and no more than two are lost")
        if line.sexes != "X" * line.sexes.count("X") + "Y" * line.sexes.count("Y"):
            raise ValueError(f"{line.sexes!r} are no sex chromosomes, X before Y")
        if "X" not in line.sexes:
            raise NotWritten(f"{line.cells} cells without an X: no cell lives so, look at them")
        if line.chromosomes not in _NEAR_DIPLOID:
            raise NotWritten(f"{line.chromosomes} chromosomes are counted against more or fewer sets than two")
    sexes = {line.sexes for line in lines}
    if sexes.issuperset(_NORMAL):
        raise NotWritten(
            "cells with XX and cells with XY: two persons' cells may have been mixed up, or the patient is a chimera; "
            "which it is, the counts cannot tell"
        )


def _born_with(lines: Sequence[CellLine]) -> str:
    sexes = {line.sexes for line in lines}
    normal = sexes.intersection(_NORMAL)
    if normal:
        return normal.pop()
    raise NotWritten(f"no line has XX or XY: which of {', '.join(sorted(sexes))} was acquired cannot be told from them")


def _line(line: CellLine, base: str) -> str:
    changes = [f"{'+' if step > 0 else '-'}{label}" for label, step in line.changes for _ in range(abs(step))]
    shown = line.sexes
    if base and line.sexes != base:
        steps = {sex: line.sexes.count(sex) - base.count(sex) for sex in "XY"}
        shown = "".join(sex * min(line.sexes.count(sex), base.count(sex)) for sex in "XY")
        changes = [
            f"{'+' if step > 0 else '-'}{sex}" for sex, step in steps.items() for _ in range(abs(step))
        ] + changes
    return ",".join([str(line.chromosomes), shown, *changes])


def _in_order(lines: Sequence[CellLine], acquired: bool) -> list[CellLine]:
    def weight(line: CellLine) -> tuple[int, int, list[tuple[int, int]]]:
        size = sum(abs(step) for _, step in line.changes) + abs(len(line.sexes) - 2)
        return -line.cells, size, [(AUTOSOMES.index(label), step) for label, step in line.changes]

    changed = sorted((line for line in lines if not line.is_normal), key=weight)
    if acquired and _grow_out_of_one_another(changed):
        changed.sort(key=lambda line: weight(line)[1])
    return changed + [line for line in lines if line.is_normal]


def _grow_out_of_one_another(lines: Sequence[CellLine]) -> bool:
    sets = sorted((set(line.changes) | {("sex", line.sexes)} for line in lines), key=len)
    return all(fewer <= more for fewer, more in pairwise(sets))
