"""A reader study as one page and two tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bandbridge import __version__
from bandbridge.dataset.findings import counted
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import csv_lines, write_text
from bandbridge.karyogram.drawing import DISCLAIMER
from bandbridge.karyotype import order_classes
from bandbridge.review.database import DATABASE, Store
from bandbridge.review.reader_study import FEWEST, PAUSE_S, Measured, ReadCell, difference, mean, read_cells, share
from bandbridge.templates import page_templates

_ARMS = ("with", "without")
_COLUMNS = ("reader", "cell", "proposals", "seconds", "chromosomes", "moves", "elsewhere_than_proposed", "untouched")


@dataclass(frozen=True)
class _Row:
    """A measure, with proposals and without, and the difference."""

    title: str
    cells: tuple[str, str]
    gain: str


def write_reader_study(folders: Sequence[Path], out: Path) -> list[str]:
    """Write readers.html, reader_cells.csv and reader_classes.csv of the work ``folders`` into ``out``.

    Returns the measures in words, a line each. Raises :class:`UserError` for folders that are no review's, or in use,
    and where no cell of a reader study is accepted.
    """
    cells = _read(folders)
    if not cells:
        raise UserError(
            f"no cell of a reader study is accepted in {', '.join(map(str, folders))}",
            "Begin one with bandbridge review MODEL CELLS --reader-study SEED, and accept its cells.",
        )
    rows, classes = _measures(cells), _classes(cells)
    readers = sorted({one.reader for one in cells})
    environment = page_templates("bandbridge.review")
    counts = Counter(one.arm for one in cells)
    page = environment.get_template("readers.html.j2").render(
        rows=rows,
        classes=classes,
        readers=readers,
        counts=counts,
        pause=round(PAUSE_S),
        fewest=FEWEST,
        version=__version__,
        disclaimer=DISCLAIMER,
    )
    write_text(out / "readers.html", page)
    told = [
        [
            *(one.reader, one.name, one.arm, f"{one.seconds:.1f}", f"{one.chromosomes}", f"{one.moves}"),
            *(f"{one.changed}", "yes" if one.untouched else ""),
        ]
        for one in cells
    ]
    write_text(out / "reader_cells.csv", csv_lines(_COLUMNS, told))
    write_text(out / "reader_classes.csv", csv_lines(("class", "proposed", "kept", "share"), classes))
    lines = [f"{counted(len(cells), 'cell')} read by {', '.join(readers)}"]
    return lines + [
        f"{row.title}: {row.cells[0]} with proposals, {row.cells[1]} without; difference {row.gain}" for row in rows
    ]


def _read(folders: Sequence[Path]) -> list[ReadCell]:
    problems = [f"{folder} is no work folder of a review" for folder in folders if not (folder / DATABASE).is_file()]
    if problems:
        raise ManyErrors("reader studies that cannot be read:", problems, "Name what --work named.")
    found = []
    for folder in folders:
        store = Store(folder)
        try:
            found += read_cells(store)
        finally:
            store.close()
    return found


def _measures(cells: Sequence[ReadCell]) -> list[_Row]:
    arms = [[one for one in cells if one.arm == arm] for arm in _ARMS]

    def row(title: str, values: Sequence[Sequence[float]], digits: int) -> _Row:
        told = [_text(mean(each), digits) for each in values]
        return _Row(title, (told[0], told[1]), _text(difference(values[0], values[1]), digits, signed=True))

    seconds = [[one.seconds for one in arm] for arm in arms]
    moves = [[float(one.moves) for one in arm] for arm in arms]
    changed = [[float(one.changed) for one in arm] for arm in arms]
    kept = [[100 * sum(one.kept.values()) / max(one.chromosomes, 1) for one in arm] for arm in arms]
    untouched = [[float(one.untouched) for one in arm] for arm in arms]
    shares = [_text(share(int(sum(each)), len(each)), 0, percent=True) for each in untouched]
    apart = _text(difference(untouched[0], untouched[1]), 0, percent=True, signed=True)
    return [
        row("Seconds a cell", seconds, 1),
        row("Chromosomes placed, confirmed or turned, a cell", moves, 1),
        row("Chromosomes that stand elsewhere than the model proposed, a cell", changed, 2),
        row("Percent of a cell's chromosomes that stand as proposed", kept, 1),
        _Row("Cells that stand as proposed", (shares[0], shares[1]), apart),
    ]


def _classes(cells: Sequence[ReadCell]) -> list[list[str]]:
    """How many of the proposals that were shown stand, by the class proposed."""
    proposed: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for one in cells:
        if one.arm == "with":
            proposed.update(one.proposed)
            kept.update(one.kept)
    named = [label for label in order_classes(filter(None, proposed)) if proposed[label]]
    rows = []
    for label in [*named, *([""] if proposed[""] else [])]:
        told = _text(share(kept[label], proposed[label]), 0, percent=True)
        rows.append([label or "nowhere", f"{proposed[label]}", f"{kept[label]}", told])
    return rows


def _text(one: Measured, digits: int, *, percent: bool = False, signed: bool = False) -> str:
    if math.isnan(one.value):
        return "–"
    factor, unit = (100, "%") if percent else (1, "")
    sign = "+" if signed else ""
    value = f"{factor * one.value:{sign}.{digits}f}{unit}"
    if math.isnan(one.low):
        return value
    return f"{value} ({factor * one.low:{sign}.{digits}f} to {factor * one.high:{sign}.{digits}f})"
