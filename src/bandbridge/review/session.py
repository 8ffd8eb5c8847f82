"""A cell's sheet between the store and the person: what is counted, what is still open, what the page is told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bandbridge.dataset.prepare import background_level
from bandbridge.karyotype import CLASSES, expected_copies
from bandbridge.predict.sheet import CellSheet, Chromosome, CountFinding
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

    A human cell without a Y is compared with XX, one with a Y with XY. What the analyst found keeps its log-odds as
    long as it still stands; a count that a person has made has none (NaN).
    """
    if sheet.classes != CLASSES:
        return replace(sheet, findings=())
    copies = Counter(one.placed for one in sheet.chromosomes)
    odds = {(one.label, one.copies, one.expected): one.log_odds for one in sheet.findings}
    x_count = 1 if copies["Y"] else 2
    findings = []
    for label in CLASSES:
        found, expected = copies[label], expected_copies(label, x_count)
        if found != expected:
            findings.append(CountFinding(label, found, expected, odds.get((label, found, expected), math.nan)))
    return replace(sheet, findings=tuple(findings))


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


def rows_of(classes: tuple[str, ...]) -> list[list[dict[str, Any]]]:
    """Return the rows of the sheet, each a list of groups with a ``name`` and its ``labels``."""
    if classes == CLASSES:
        groups = dict(GROUPS)
        return [[{"name": name, "labels": groups[name]} for name in row] for row in _ROWS]
    starts = range(0, len(classes), _OTHER_ROW)
    return [[{"name": "", "labels": classes[start : start + _OTHER_ROW]}] for start in starts]


def list_cell(record: CellRecord) -> dict[str, Any]:
    """Return what the page's list of cells shows of one."""
    shown = ("id", "name", "state", "problem", "accepted", "images", "flagged")
    return {name: getattr(record, name) for name in shown}


def show_sheet(
    stored: StoredSheet, size_of: Callable[[Chromosome, str], tuple[int, int]], may: dict[str, bool]
) -> dict[str, Any]:
    """Return everything the page shows of a cell, in plain values.

    size_of: height and width in pixels of a chromosome (with its picture's hash) on the sheet. may: whether ``undo``
    and ``redo`` have something to do.
    """
    sheet, record = recount(stored.sheet), stored.record
    ids = dict(zip((one.file for one in sheet.chromosomes), stored.ids, strict=True))
    chromosomes = [
        _show(sheet, one, number, image, suggested, size_of(one, image))
        for one, number, image, suggested in zip(
            sheet.chromosomes, stored.ids, stored.images, stored.suggested, strict=True
        )
    ]
    return {
        **list_cell(record),
        "patient": record.patient,
        "stain": record.stain,
        "notes": record.notes,
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
    sheet: CellSheet, one: Chromosome, number: int, image: str, suggested: str, size: tuple[int, int]
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
        "predicted": one.predicted,
        "suggested": suggested,
        "placed": one.placed,
        "probability": round(sheet.probability(one), 4),
        "ranked": [[label, round(value, 4)] for label, value in ranked],
        "labels": one.labels,
        "reasons": one.reasons,
        "open": is_open(one),
        "corrected": one.corrected,
        "angle": pose.angle,
        "flipped": pose.flipped,
    }


def _show_finding(one: CountFinding) -> dict[str, Any]:
    plain = {"label": one.label, "copies": one.copies, "expected": one.expected}
    return {**plain, "text": one.text, "extra": one.copies > one.expected}
