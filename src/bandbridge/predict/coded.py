"""What was predicted, under codes: no name of a patient, a cell or a file is left in it."""

from __future__ import annotations

from dataclasses import replace

from bandbridge.codes import Codes
from bandbridge.predict.classify import Classified


def coded(classified: Classified, codes: Codes) -> Classified:
    """Return ``classified`` with codes in the place of names; images that could not be read are no longer listed.

    A name has the code that it has wherever these ``codes`` are used: another command's files go with this one's.
    """
    whose = {sheet.name: classified.patients.get(sheet.name, "") for sheet in classified.sheets}
    named = {cell: codes.code("cell", _whole_name(cell, patient)) for cell, patient in whose.items()}
    files = {
        one.file: codes.code("file", _whole_name(one.file, whose[sheet.name]))
        for sheet in classified.sheets
        for one in sheet.chromosomes
    }
    coded_sheets = (
        replace(
            sheet,
            name=named[sheet.name],
            chromosomes=tuple(replace(one, file=files[one.file]) for one in sheet.chromosomes),
        )
        for sheet in classified.sheets
    )
    # In the order of the codes: that of the names would tell of them.
    sheets = tuple(sorted(coded_sheets, key=lambda sheet: sheet.name))
    labels = {files[file]: label for file, label in classified.labels.items() if file in files}
    patients = {named[cell]: codes.code("patient", patient) for cell, patient in whose.items() if patient}
    return replace(classified, sheets=sheets, labels=labels, patients=patients, refused=(), notes=())


def _whole_name(name: str, patient: str) -> str:
    """``name`` of a cell or file with its patient's before it: those of two patients may be called alike."""
    return name if not name or not patient or name.startswith(f"{patient}/") else f"{patient}/{name}"
