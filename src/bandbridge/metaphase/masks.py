"""Masks with classes, of metaphases whose chromosomes a laboratory arranged on sheets: what a separator can learn from.

    DEST/fields/CELL/mask.png, overlap.png   16 bits: the number of the chromosome at a pixel, and of a second one there
    DEST/fields/CELL/classes.csv             for each number its class, its crop, how like that is, and how it was found
    DEST/fields/CELL/masks.json              of what they were made

The field itself is not copied: its name and what is written on it stay where they are.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError, first_few
from bandbridge.filenames import safe_name
from bandbridge.files import csv_lines, read_regular, replacing_folder, write_json, write_text
from bandbridge.karyotype import CLASS_INDEX
from bandbridge.metaphase.again import Again, find_again
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.intake import FieldFile, read_field, shown
from bandbridge.metaphase.record import FIELDS, known_record
from bandbridge.progress import note, track
from bandbridge.sheets.records import Crop, Record
from bandbridge.sheets.tables import matching

#: What is in a cell's folder; raised when chromosomes would be found otherwise.
MASK, OVERLAP, CLASSES_FILE, MADE_OF, _VERSION = "mask.png", "overlap.png", "classes.csv", "masks.json", 1


@dataclass(frozen=True)
class Masked:
    """What came of one sheet: its name, the name of its field, chromosomes on the sheet and found again on the field.

    problem: why there are no masks, "" if there are.
    """

    sheet: str
    field: str
    chromosomes: int
    found: int = 0
    problem: str = ""

    @property
    def told(self) -> str:
        """What came of it, in a line."""
        if self.problem:
            return f"{self.sheet}: no masks on {self.field}: {self.problem}"
        return f"{self.sheet}: {self.found} of {self.chromosomes} chromosomes found again on {self.field}"


def _by_name(fields: Sequence[FieldFile]) -> dict[str, FieldFile]:
    by_name: dict[str, FieldFile] = {}
    for one in fields:
        for name in (one.name, PurePosixPath(one.name).name, PurePosixPath(one.name).stem, one.cell):
            by_name.setdefault(name, one)
    return by_name


def require_fields(pairs: Mapping[str, str], fields: Sequence[FieldFile]) -> None:
    """Raise :class:`UserError` where ``pairs``, from sheets to fields, name fields that are not among ``fields``."""
    known = _by_name(fields)
    absent = sorted({name for name in pairs.values() if not {name, PurePosixPath(name).name} & set(known)})
    if absent:
        raise UserError(
            f"the pairs name {counted(len(absent), 'metaphase')} that --metaphase does not hold: {first_few(absent)}",
            "Correct the names in the table, or add the files.",
        )


def pair_up(
    records: Sequence[Record], fields: Sequence[FieldFile], pairs: Mapping[str, str] | None = None
) -> list[tuple[Record, FieldFile]]:
    """Return the imported sheets that have a field: by ``pairs``, from sheets to fields, else by their names.

    What is left over is told of. Raises :class:`UserError` where no sheet has one.
    """
    by_name, found = _by_name(fields), []
    for record in records:
        path = PurePosixPath(record.sheet)
        names = [path.stem, safe_name(path.stem), record.cell]
        if pairs is not None:
            key = matching(pairs, record.sheet, record.cell)
            names = [] if key is None else [pairs[key], PurePosixPath(pairs[key]).name]
        field = next((by_name[name] for name in names if name in by_name), None)
        if record.state == "imported" and field is not None:
            found.append((record, field))
    if not found:
        told = "no sheet that was imported and no metaphase belong together"
        raise UserError(told, "Name both alike, or give --pairs, a table with the columns sheet and metaphase.")
    sheets, paired = {record.sheet for record, _ in found}, {field.name for _, field in found}
    alone = [one.sheet for one in records if one.state == "imported" and one.sheet not in sheets]
    left = [one.name for one in fields if one.name not in paired]
    for names, what, without in ((alone, "sheet", "metaphase"), (left, "metaphase", "sheet that was imported")):
        if names:
            note(f"{counted(len(names), what)} without a {without}: {first_few(names)}")
    return found


def write_masks(destination: Path, pairs: Sequence[tuple[Record, FieldFile]]) -> list[Masked]:
    """Find the crops of each sheet, in the dataset ``destination``, again on its field, and write their masks there.

    Cells that are done are kept.
    """
    return [_one(destination, *pair) for pair in track(pairs, len(pairs), "finding chromosomes on metaphases")]


def _one(destination: Path, record: Record, field: FieldFile) -> Masked:
    place = destination / FIELDS / safe_name(record.cell)
    crops = [one for one in record.crops if one.label and one.file]
    crops.sort(key=lambda one: (CLASS_INDEX.get(one.label, 99), one.copy_))
    try:
        data = field.read()
        wanted = {"version": _VERSION, "sheet": record.asked, "field": hashlib.sha256(data).hexdigest()}
        known = _known(place / MADE_OF, wanted)
        if known is not None:
            return Masked(record.sheet, field.name, len(crops), known)
        gray = read_field(data, field.name)
        images = [decode_gray(read_regular(destination / one.file), one.file) for one in crops]
        found = find_again(images, shown(gray), cut_field(gray))
    except UserError as fault:
        why = fault.message.removeprefix(f"{field.name}: ")
        return Masked(record.sheet, field.name, len(crops), problem=why + _earlier(place, record))
    if not found:
        why = "it shows none of the chromosomes of the sheet: another cell, or no metaphase"
        return Masked(record.sheet, field.name, len(crops), problem=why + _earlier(place, record))
    found.sort(key=lambda one: one.crop)
    with replacing_folder(place, flushed=False) as unfinished:
        for name, layer in zip((MASK, OVERLAP), layers((gray.shape[0], gray.shape[1]), found), strict=True):
            Image.fromarray(layer).save(unfinished / name)
        write_text(unfinished / CLASSES_FILE, _table(crops, found))
        write_json(unfinished / MADE_OF, wanted | {"found": len(found)})
    return Masked(record.sheet, field.name, len(crops), len(found))


def _earlier(place: Path, record: Record) -> str:
    """What is said of masks that are there of an earlier field; those of crops that are no more are taken away."""
    if known_record(place / MADE_OF, {"version": _VERSION, "sheet": record.asked}):
        return f"; masks of an earlier metaphase of it stay in {FIELDS}/{place.name}"
    shutil.rmtree(place, ignore_errors=True)
    return ""


def _known(path: Path, wanted: dict[str, object]) -> int | None:
    found = known_record(path, wanted).get("found")
    return found if isinstance(found, int) else None


def layers(shape: tuple[int, int], found: Sequence[Again]) -> tuple[np.ndarray, np.ndarray]:
    """Return two maps, uint16 of ``shape``: 0, or whose pixel it is, from 1, and whose besides where two are."""
    first, second = np.zeros((2, *shape), np.uint16)
    for number, one in enumerate(found, start=1):
        box = np.s_[one.top : one.top + one.mask.shape[0], one.left : one.left + one.mask.shape[1]]
        taken = one.mask & (first[box] > 0)
        second[box][taken & (second[box] == 0)] = number
        first[box][one.mask & ~taken] = number
    return first, second


def _table(crops: Sequence[Crop], found: Sequence[Again]) -> str:
    rows = [
        (
            str(number),
            crops[one.crop].label,
            crops[one.crop].copy_,
            crops[one.crop].file,
            f"{one.likeness:.3f}",
            "sheet" if one.looked_for else "cut",
        )
        for number, one in enumerate(found, start=1)
    ]
    return csv_lines(("number", "class", "copy", "file_name", "likeness", "outline"), rows)
