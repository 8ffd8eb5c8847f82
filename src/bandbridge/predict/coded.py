"""What was predicted, under codes: no name of a patient, a cell or a file is left in it."""

from __future__ import annotations

from dataclasses import replace

from bandbridge.codes import Codes
from bandbridge.predict.classify import Classified


def coded(classified: Classified, codes: Codes) -> Classified:
    """Return ``classified`` with codes in the place of names; images that could not be read are no longer listed.

    A name has the code that it has wherever these ``codes`` are used: another command's files go with this one's.
    """
    sheets = tuple(
        replace(
            sheet,
            name=codes.code("cell", sheet.name),
            chromosomes=tuple(replace(one, file=codes.code("file", one.file)) for one in sheet.chromosomes),
        )
        for sheet in classified.sheets
    )
    labels = {codes.code("file", file): label for file, label in classified.labels.items()}
    patients = {codes.code("cell", cell): codes.code("patient", name) for cell, name in classified.patients.items()}
    return replace(classified, sheets=sheets, labels=labels, patients=patients, refused=(), notes=())
