"""What is written of all sheets: the page and tables beside the dataset, and the table of the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bandbridge.dataset.cards import write_cards
from bandbridge.dataset.imagefolder import COLUMNS, METADATA
from bandbridge.errors import UserError
from bandbridge.files import csv_lines, write_text
from bandbridge.karyotype import CLASS_INDEX
from bandbridge.progress import note
from bandbridge.sheets.overview import render_overview
from bandbridge.sheets.records import Record
from bandbridge.sheets.tables import read_labels

#: What is beside the dataset.
OVERVIEW, LABELS, SHEETS = "overview.html", "labels.csv", "sheets.csv"
#: Columns of the dataset besides the usual ones.
EXTRA = ("certainty", "why", "box")


def write_review(review: Path, records: Sequence[Record], notes: Sequence[str], command: str) -> None:
    """Write the page of all sheets, their table, and the template for labels unless somebody has filled it in.

    Of those refused there is a row in the table alone: notes tell of them on the page.
    """
    every, records = records, [one for one in records if one.state != "refused"]
    write_text(review / OVERVIEW, render_overview(records, notes, command))
    rows = [
        (
            one.sheet,
            one.cell,
            one.state,
            str(one.total),
            one.karyotype,
            one.by,
            f"{one.turned:g}",
            " | ".join(one.doubts),
        )
        for one in every
    ]
    header = ("sheet", "cell", "state", "chromosomes", "karyotype", "divided_by", "turned", "doubts")
    write_text(review / SHEETS, csv_lines(header, rows))
    if not (review / LABELS).is_file() or _is_untouched(review / LABELS):
        write_text(review / LABELS, csv_lines(("sheet", "piece", "read_as", "label"), _to_fill_in(records)))


def _to_fill_in(records: Iterable[Record]) -> Iterator[tuple[str, str, str, str]]:
    for record in records:
        if record.state == "to check":
            yield record.sheet, "", "", ""
            for crop in record.crops:
                yield record.sheet, str(crop.number), crop.label, ""


def _is_untouched(path: Path) -> bool:
    """Whether nobody has filled a label in: then it may be written anew."""
    try:
        return not read_labels(path)
    except UserError:
        return False


def write_dataset(destination: Path, records: Sequence[Record], stain: str, source: str) -> None:
    """Write the table and the cards of the dataset of all imported sheets; no table where there is none."""
    rows = [
        (crop.file, crop.label, record.cell, "", crop.copy_, stain, source, crop.certainty, crop.why, _text(crop.box))
        for record in records
        if record.state == "imported"
        for crop in sorted(record.crops, key=lambda each: (CLASS_INDEX.get(each.label, 99), each.copy_))
        if crop.label
    ]
    if not rows:
        note("no sheet adds up: the dataset is empty until some are checked")
        (destination / METADATA).unlink(missing_ok=True)
        return
    columns = (*COLUMNS, *EXTRA)
    table = csv_lines(columns, rows)
    write_cards(destination, source, columns, rows, table)
    write_text(destination / METADATA, table)


def _text(box: tuple[int, int, int, int]) -> str:
    return " ".join(map(str, box))
