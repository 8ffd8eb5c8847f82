"""What was predicted, under codes: no name of a patient, a cell or a file is left in it."""

from __future__ import annotations

from dataclasses import replace

from bandbridge.codes import Codes
from bandbridge.predict.classify import Classified


def coded(classified: Classified, codes: Codes) -> Classified:
    """Return ``classified`` with codes in the place of names; images that could not be read are no longer listed.

    A name has the code that it has wherever these ``codes`` are used: another command's files go with this one's.
    """
    named = {sheet.name: codes.code("cell", _whole_name(sheet.name, classified)) for sheet in classified.sheets}
    coded_sheets = (
        replace(
            sheet,
            name=named[sheet.name],
            chromosomes=tuple(replace(one, file=codes.code("file", one.file)) for one in sheet.chromosomes),
        )
        for sheet in classified.sheets
    )
    # In the order of the codes: that of the names would tell of them.
    sheets = tuple(sorted(coded_sheets, key=lambda sheet: sheet.name))
    labels = {codes.code("file", file): label for file, label in classified.labels.items()}
    patients = {named[cell]: codes.code("patient", name) for cell, name in classified.patients.items() if cell in named}
    return replace(classified, sheets=sheets, labels=labels, patients=patients, refused=(), notes=())


def _whole_name(cell: str, classified: Classified) -> str:
    """The name of ``cell`` with its patient's before it: two patients' cells may be called alike."""
    patient = classified.patients.get(cell, "")
    return cell if not cell or not patient or cell.startswith(f"{patient}/") else f"{patient}/{cell}"
