"""A cell's sheet between the store and the person: what is counted, what is still open, what the page is told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bandbridge.dataset.prepare import background_level
from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding
from bandbridge.karyotype import CLASSES, SEX_CHROMOSOMES, expected_copies
from bandbridge.review.schema import CellRecord, StoredSheet

#: The Denver groups (A to G) of the human karyotype by size and centromere; X stands with C, Y with G, by its size.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("A", ("1", "2", "3")),
    ("B", ("4", "5")),
    ("C", ("6", "7", "8", "9", "10", "11", "12")),
    ("D", ("13", "14", "15")),
    ("E", ("16", "17", "18")),
    ("F", ("19", "20")),
    ("G", ("21", "22")),
    ("sex", ("X", "Y")),
)
_ROWS = (("A", "B"), ("C",), ("D", "E"), ("F", "G", "sex"))
_OTHER_ROW = 8


def recount(sheet: CellSheet) -> CellSheet:
    """Return ``sheet`` with the findings that its placements now give.

    What the analyst found keeps its log-odds as long as the count still stands; a count that a person has made has none
    (NaN). What the analyst overruled stays named for as long as the class has its expected count. Of a cell that the
    model does not know, counts are withheld until a person has placed every chromosome.
    """
    if sheet.classes != CLASSES:
        return sheet
    if sheet.unknown:
        if not all(one.corrected for one in sheet.chromosomes):
            return sheet
        sheet = replace(sheet, unknown="")
    copies = Counter(one.placed for one in sheet.chromosomes)
    found = {one.label: one for one in sheet.findings if not one.overruled and one.copies == copies[one.label]}
    possible = {one.label: one for one in sheet.findings if one.overruled and one.expected == copies[one.label]}
    findings = []
    for label, expected in _expected(copies, found).items():
        if label in found:
            findings.append(found[label])
        elif copies[label] != expected:
            findings.append(CountFinding(label, copies[label], expected, math.nan))
        elif label in possible:
            findings.append(possible[label])
    return replace(sheet, findings=tuple(findings))


def _expected(copies: Counter[str], found: Mapping[str, CountFinding]) -> dict[str, int]:
    """Return the copies of each class in a normal cell like this one: XY where it has a Y, else XX.

    An analyst's finding on X or Y that still stands has said already what the cell is compared with.
    """
    x_count = 1 if copies["Y"] else 2
    told = next((one for label in SEX_CHROMOSOMES if (one := found.get(label))), None)
    if told is not None:
        x_count = told.expected if told.label == "X" else 2 - told.expected
    return {label: expected_copies(label, x_count) for label in CLASSES}


def is_open(one: Chromosome) -> bool:
    """Say whether a person should look at ``one`` and has not placed it yet."""
    return bool(one.reasons) and not one.corrected


def with_twins_flagged(sheet: CellSheet, images: dict[str, str]) -> CellSheet:
    """Return ``sheet`` with images that are there twice flagged: one picture given twice looks like a third copy.

    ``images`` holds the hash of each file's picture.
    """
    files: dict[str, list[str]] = {}
    for file, image in images.items():
        files.setdefault(image, []).append(file)
    twins = {file: [name for name in files[image] if name != file] for file, image in images.items()}
    flagged = (
        replace(one, reasons=(*one.reasons, f"the same picture as {', '.join(twins[one.file])}"))
        if twins.get(one.file)
        else one
        for one in sheet.chromosomes
    )
    return replace(sheet, chromosomes=tuple(flagged))


def blinded(sheet: CellSheet) -> CellSheet:
    """Return ``sheet`` as if no model had looked at it: what a person placed, nothing that is proposed or doubted."""
    count = len(sheet.classes)
    known: dict[str, Any] = {"predicted": sheet.classes[0], "probabilities": np.full(count, 1 / count)}
    chromosomes = (replace(one, **known, labels=(), reasons=()) for one in sheet.chromosomes)
    return replace(sheet, chromosomes=tuple(chromosomes), findings=(), unknown="")


def rows_of(classes: tuple[str, ...]) -> list[list[dict[str, Any]]]:
    """Return the rows of the sheet, each a list of groups with a ``name`` and its ``labels``."""
    if classes == CLASSES:
        groups = dict(GROUPS)
        return [[{"name": name, "labels": groups[name]} for name in row] for row in _ROWS]
    starts = range(0, len(classes), _OTHER_ROW)
    return [[{"name": "", "labels": classes[start : start + _OTHER_ROW]}] for start in starts]


def list_cell(record: CellRecord) -> dict[str, Any]:
    """Return what the page's list of cells shows of one."""
    shown = ("id", "name", "state", "problem", "accepted", "counted", "images", "flagged", "version", "arm")
    told = {name: getattr(record, name) for name in shown}
    return told | {"flagged": 0} if record.arm == "without" else told


def show_sheet(
    stored: StoredSheet, size_of: Callable[[Chromosome, str], tuple[int, int]], may: dict[str, bool]
) -> dict[str, Any]:
    """Return everything the page shows of a cell, in plain values.

    size_of: height and width in pixels of a chromosome (with its picture's hash) on the sheet. may: whether ``undo``
    and ``redo`` have something to do.
    """
    record = stored.record
    sheet = recount(blinded(stored.sheet) if record.arm == "without" else stored.sheet)
    ids = dict(zip((one.file for one in sheet.chromosomes), stored.ids, strict=True))
    chromosomes = [
        _show(sheet, one, number, image, suggested, size_of(one, image), record.arm == "without")
        for one, number, image, suggested in zip(
            sheet.chromosomes, stored.ids, stored.images, stored.suggested, strict=True
        )
    ]
    return {
        **list_cell(record),
        "patient": record.patient,
        "stain": record.stain,
        "notes": [*record.notes, *([sheet.unknown] if sheet.unknown else [])],
        "model": record.model,
        "ground": _ground(sheet),
        "rows": rows_of(sheet.classes),
        "classes": sheet.classes,
        "findings": [_show_finding(one) for one in sheet.findings],
        "order": {label: [ids[one.file] for one in sheet.of(label)] for label in ("", *sheet.classes)},
        "chromosomes": chromosomes,
        **may,
    }


def _ground(sheet: CellSheet) -> int:
    """Return the gray value that the chromosomes of a cell stand on."""
    return int(np.median([background_level(one.image) for one in sheet.chromosomes])) if sheet.chromosomes else 255


def _show(
    sheet: CellSheet,
    one: Chromosome,
    number: int,
    image: str,
    suggested: str,
    size: tuple[int, int],
    blind: bool,
) -> dict[str, Any]:
    ranked = sorted(zip(sheet.classes, one.probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
    pose = one.pose
    return {
        "id": number,
        "file": one.file,
        "tile": f"/images/{image}/tile.png?angle={pose.angle:g}&flipped={int(pose.flipped)}",
        "large": f"/images/{image}/large.png?angle={pose.angle:g}&flipped={int(pose.flipped)}",
        "height": size[0],
        "width": size[1],
        "predicted": "" if blind else one.predicted,
        "suggested": "" if blind else suggested,
        "placed": one.placed,
        "probability": None if blind else round(sheet.probability(one), 4),
        "ranked": [] if blind else [[label, round(value, 4)] for label, value in ranked],
        "labels": one.labels,
        "reasons": one.reasons,
        "open": is_open(one),
        "corrected": one.corrected,
        "angle": pose.angle,
        "flipped": pose.flipped,
    }


def _show_finding(one: CountFinding) -> dict[str, Any]:
    plain = {"label": one.label, "copies": one.copies, "expected": one.expected}
    return {**plain, "text": one.text, "extra": one.copies > one.expected, "possible": one.overruled}
