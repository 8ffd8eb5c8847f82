"""A patient's cells on one page, to be kept: their karyograms and counts, who changed what, and who signed.

Written as HTML that needs nothing else, as a PDF, and as tables of the changes and of where the readers differ.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from bandbridge import __version__
from bandbridge.codes import Codes
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.files import csv_lines, write_text
from bandbridge.karyogram.drawing import DISCLAIMER, draw_karyogram
from bandbridge.karyogram.page import inline_image
from bandbridge.review.accepted import EXPORTS, new_export
from bandbridge.review.coded import cell_code, coded, coded_record
from bandbridge.review.database import Store
from bandbridge.review.log import Entry, now
from bandbridge.review.schema import TOOLS, CellRecord, StoredSheet
from bandbridge.review.session import recount
from bandbridge.review.signing import SIGN, Signature
from bandbridge.review.together import Together, together
from bandbridge.templates import page_templates

_WIDTH = 1400
_LINES, _LINE_SIGNS = 62, 96
#: What a change was, in words; of what is not here the page says nothing.
_KINDS = ("place", "turn", "accept", "count", "undo", "redo", "describe", "remove", SIGN, *TOOLS)


@dataclass(frozen=True, eq=False)
class PageCell:
    """One cell: how far it is, its counts in words, how many of its chromosomes a person placed, its karyogram."""

    name: str
    state: str
    images: int
    counts: str
    by_person: int
    picture: Image.Image | None


@dataclass(frozen=True)
class Change:
    """One change by a reader: when, who, of which cell and chromosome, and what."""

    at: str
    who: str
    cell: str
    file: str
    what: str


@dataclass(frozen=True)
class Difference:
    """A chromosome that the second reader placed elsewhere than the first one, or the model, had it."""

    cell: str
    file: str
    model: str
    first: str
    second: str


@dataclass(frozen=True, eq=False)
class PatientPage:
    """Everything that the page says."""

    patient: str
    summary: str
    together: Together
    signatures: tuple[Signature, ...]
    cells: tuple[PageCell, ...]
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    read_twice: bool
    written: str
    entries: int
    head: str
    version: str = __version__
    disclaimer: str = DISCLAIMER

    @property
    def nothing_apart(self) -> str:
        """What is said where the second reader placed nothing elsewhere: that there was none, perhaps."""
        if self.read_twice or any(one.role == "second" for one in self.signatures):
            return "The second reader placed nothing elsewhere."
        return "No second reader has changed or signed anything."


def export_patient(store: Store, patient: str, codes: Codes | None = None, *, acquired: bool = False) -> Path:
    """Write the page of ``patient`` into a new folder below ``exports`` in the work folder, a zip of it beside it.

    Returns the folder: ``patient.html``, ``patient.pdf``, ``changes.csv`` and ``readers.csv``. codes: stand in the
    place of the names of the patient, its cells and files. acquired: whether changes are written as of a tissue.

    Raises :class:`UserError` for a patient without cells, and :class:`~bandbridge.review.keeping.NotKeptError`, with
    nothing left behind, where the disk does not take it.
    """
    page = page_of(store, patient, codes, acquired=acquired)
    name, _ = new_export(store, lambda place: _write(page, place))
    return store.folder / EXPORTS / name


def page_of(store: Store, patient: str, codes: Codes | None = None, *, acquired: bool = False) -> PatientPage:
    """Return what the page of ``patient`` says; raises :class:`UserError` for a patient without cells."""
    records = store.cells(patient) if patient else []
    if not records:
        raise UserError(
            f"there is no cell of patient {patient}" if patient else "the cell has no patient",
            "Write the patient's name under About this cell.",
        )
    sheets = {one.id: store.sheet(one.id) for one in records if one.state == "ready"}
    called = patient
    if codes is not None:
        called = codes.code("patient", patient)
        records = [coded_record(one, codes) for one in records]
        sheets = {number: coded(one, codes) for number, one in sheets.items()}
    log = store.log()
    gone = _gone(log, patient, {one.id for one in records})
    if codes is not None:
        gone = {number: cell_code(codes, patient, name, number) for number, name in gone.items()}
    own = [
        one
        for one in log
        if one.cell in sheets
        or (one.cell in gone and one.kind in ("remove", "describe"))
        or (one.kind == SIGN and one.content["patient"] == patient)
    ]
    closed = [f"{sum(one.accepted for one in records)} accepted"]
    closed += [f"{sum(one.counted and not one.accepted for one in records)} counted only"]
    if gone:
        closed.append(f"{len(gone)} more were taken off the list or given to another patient")
    return PatientPage(
        called,
        f"{counted(len(records), 'cell')}: {', '.join(closed)}",
        together(list(sheets.values()), acquired=acquired),
        tuple(replace(one, at=_time(one.at)) for one in store.signatures(patient)),
        tuple(_cell(one, sheets.get(one.id)) for one in records),
        tuple(_changes(own, sheets, gone, codes)),
        tuple(_differences(own, sheets)),
        any(one.reader.role == "second" and one.kind != SIGN for one in own if one.cell in sheets),
        _time(now()),
        len(log),
        log[-1].hash if log else "",
    )


def _cell(record: CellRecord, stored: StoredSheet | None) -> PageCell:
    state = "accepted" if record.accepted else "counted only" if record.counted else "open"
    if stored is None:
        return PageCell(record.name, f"not sorted: {record.problem}", record.images, "", 0, None)
    sheet = recount(stored.sheet)
    told = [one.text for one in sheet.findings if not one.overruled]
    counts = sheet.unknown or "; ".join(told) or "none"
    picture = draw_karyogram(sheet, _WIDTH) if record.accepted else None
    by_person = sum(one.corrected for one in sheet.chromosomes)
    return PageCell(sheet.name, state, len(sheet.chromosomes), counts, by_person, picture)


def _gone(log: Sequence[Entry], patient: str, here: set[int]) -> dict[int, str]:
    """The names of cells that were the patient's and are not ``here`` any more, by their numbers."""
    names: dict[int, str] = {}
    once: set[int] = set()
    for entry in log:
        if entry.cell is not None:
            names[entry.cell] = str(entry.content.get("name", names.get(entry.cell, f"cell {entry.cell}")))
            if entry.content.get("set", {}).get("patient") == patient:
                once.add(entry.cell)
    return {number: names[number] for number in sorted(once - here)}


def _changes(
    log: Sequence[Entry], sheets: dict[int, StoredSheet], gone: dict[int, str], codes: Codes | None
) -> Iterator[Change]:
    for entry in log:
        if entry.kind not in _KINDS or not (entry.reader.name or entry.kind == SIGN):
            continue
        cell = file = ""
        if entry.cell in gone:
            cell = gone[entry.cell]
        elif entry.cell is not None:
            stored = sheets[entry.cell]
            cell, file = stored.record.name, _file(stored, entry.chromosome)
        who = f"{entry.reader.name}, {entry.reader.role} reader"
        yield Change(_time(entry.at), who, cell, file, _what(entry, codes))


def _file(stored: StoredSheet, chromosome: int | None) -> str:
    if chromosome is None:
        return ""
    # A piece that was cut or joined since has no place on the sheet any more.
    return stored.sheet.chromosomes[stored.ids.index(chromosome)].file if chromosome in stored.ids else "a piece gone"


def _what(entry: Entry, codes: Codes | None) -> str:
    kind, content = entry.kind, entry.content
    if kind in ("undo", "redo"):
        how = "took back" if kind == "undo" else "made again"
        return f"{how}: {_set(content['of'], content['before'] if kind == 'undo' else content['set'], {}, codes)}"
    if kind == SIGN:
        return "signed the cells as they stood"
    if kind in TOOLS:
        return _reshaped(kind, len(content["from"]), len(content["to"]))
    return _set(kind, content.get("set", {}), content.get("before", {}), codes)


def _reshaped(kind: str, ended: int, made: int) -> str:
    told = {"cut": f"cut a piece into {made}", "join": f"joined {ended} pieces", "erase": "erased a piece"}
    told["other"] = f"took the other way of a doubtful cut, {ended} for {made}"
    return told.get(kind, "took a missed piece")


def _set(kind: str, after: dict[str, Any], before: dict[str, Any], codes: Codes | None) -> str:
    if kind == "place":
        placed = f"placed in {after['placed']}" if after["placed"] else "placed nowhere"
        was = before.get("placed")
        if was is None:
            return placed
        return f"confirmed in {was}" if was == after["placed"] else f"{placed}, was {f'in {was}' if was else 'nowhere'}"
    if kind == "turn":
        return "turned"
    if kind == "accept":
        return "accepted" if after["accepted"] else "opened again"
    if kind == "count":
        return "counted only" if after["counted"] else "no longer counted only"
    if kind == "describe":
        patient = codes.code("patient", after["patient"]) if codes else after["patient"]
        return f"patient {patient or 'not named'}, stain {after['stain'] or 'not named'}"
    tools = {"cut": "a cut", "join": "a join", "erase": "an erasure", "take": "a missed piece taken"}
    tools["other"] = "the other way of a doubtful cut"
    return {"remove": "taken off the list", **tools}.get(kind, kind)


def _differences(log: Sequence[Entry], sheets: dict[int, StoredSheet]) -> Iterator[Difference]:
    """Follow where each chromosome stood: as the first reader left it, and as the second did."""
    first: dict[int, str] = {}
    second: dict[int, str] = {}
    for entry in log:
        if entry.chromosome is None or "placed" not in entry.content.get("set", {}):
            continue
        (second if entry.reader.role == "second" else first)[entry.chromosome] = entry.content["set"]["placed"]
    for stored in sheets.values():
        for number, one, suggested in zip(stored.ids, stored.sheet.chromosomes, stored.suggested, strict=True):
            left = first.get(number, suggested)
            if number in second and second[number] != left:
                yield Difference(stored.record.name, one.file, suggested, left, second[number])


def _time(at: str) -> str:
    return at[:19].replace("T", " ")


# Writing


def _write(page: PatientPage, folder: Path) -> None:
    environment = page_templates("bandbridge.review")
    environment.filters["picture"] = inline_image
    write_text(folder / "patient.html", environment.get_template("patient.html.j2").render(page=page))
    (folder / "patient.pdf").write_bytes(_paper(page))
    rows = [[one.at, one.who, one.cell, one.file, one.what] for one in page.changes]
    write_text(folder / "changes.csv", csv_lines(("at", "who", "cell", "file", "what"), rows))
    columns = ("cell", "file", "model", "first", "second")
    told = [[getattr(one, name) for name in columns] for one in page.differences]
    write_text(folder / "readers.csv", csv_lines(columns, told))


def _paper(page: PatientPage) -> bytes:
    """Return the page as a PDF on A4: the words first, then a karyogram a sheet."""
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    drawn = io.BytesIO()
    lines = list(_lines(page))
    metadata = {"Title": f"Patient {page.patient}", "Subject": DISCLAIMER, "Creator": "Bandbridge"}
    with (
        matplotlib.rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}),
        PdfPages(drawn, metadata=metadata) as pages,
    ):
        for start in range(0, len(lines), _LINES):
            figure = Figure(figsize=(8.27, 11.69))
            for row, (text, bold) in enumerate(lines[start : start + _LINES]):
                weight = "bold" if bold else "normal"
                figure.text(0.07, 0.95 - row * 0.0146, text, size=8, weight=weight, va="top", parse_math=False)
            pages.savefig(figure)
        for cell in page.cells:
            if cell.picture is not None:
                figure = Figure(figsize=(11.69, 8.27))
                axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
                axes.set_axis_off()
                axes.imshow(cell.picture, interpolation="none")
                pages.savefig(figure, dpi=150)
    return drawn.getvalue()


def _lines(page: PatientPage) -> Iterator[tuple[str, bool]]:
    """Yield each line of the words, and whether it is a heading."""
    parts: list[tuple[str, list[str]]] = [(f"Patient {page.patient}", [f"{page.summary}. {page.disclaimer}"])]
    signed = [
        f"{one.reader}, {one.role} reader, {one.at} UTC{'' if one.stands else ': cells were changed since'}"
        for one in page.signatures
    ]
    if page.together.lines:
        draft = page.together.draft or "none is written"
        told = [*page.together.lines, f"Draft (ISCN 2024): {draft}", *page.together.notes]
        parts.append(("What the cells show together", told))
    parts.append(("Signed", signed or ["Nobody has signed these cells."]))
    parts.append(
        (
            "Cells",
            [
                f"{one.name}: {one.state}, {counted(one.images, 'chromosome')}, unusual counts: {one.counts}"
                f"{f', {one.by_person} placed by a person' if one.by_person else ''}"
                for one in page.cells
            ],
        )
    )
    changes = [f"{one.at} {one.who}: {' '.join(filter(None, (one.cell, one.file, one.what)))}" for one in page.changes]
    parts.append(("Changed by readers", changes or ["Nothing was changed."]))
    apart = [
        f"{one.cell} {one.file}: model {one.model or '–'}, first {one.first or '–'}, second {one.second or '–'}"
        for one in page.differences
    ]
    parts.append(("The second reader against the first", apart or [page.nothing_apart]))
    end = f"Written {page.written} UTC by Bandbridge {page.version}. The log had {page.entries} entries, the last: "
    parts.append(("", [f"{end}{page.head}"]))
    for heading, texts in parts:
        if heading:
            yield heading, True
        for text in texts:
            for line in textwrap.wrap(text, _LINE_SIGNS) or [""]:
                yield line, False
        yield "", False
