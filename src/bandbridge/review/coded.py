"""Cells under codes: what leaves the work folder without the names of patients, cells and files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bandbridge.codes import TABLE, Codes, open_kept, write_names
from bandbridge.review.database import Store
from bandbridge.review.schema import CellRecord, StoredSheet


def codes_of(store: Store) -> Codes:
    """Return the codes of a work folder, whose key is not exported; raises as :func:`bandbridge.codes.open_kept`."""
    return open_kept(store.folder)


def keep_names(store: Store, codes: Codes) -> None:
    """Write which code stands for which name into the work folder, for its owner alone: those of all its cells."""
    for record in store.cells():
        coded_record(record, codes)
        for file, _ in store.images_of(record.id):
            codes.code("file", f"{_whose(record)}/{file}")
    write_names(store.folder / TABLE, codes)


@contextmanager
def coding(store: Store, wanted: bool) -> Iterator[Codes | None]:
    """Give an export its codes, None where they are not ``wanted``; what they stand for is kept once it is written."""
    codes = codes_of(store) if wanted else None
    yield codes
    if codes is not None:
        keep_names(store, codes)


def coded_record(record: CellRecord, codes: Codes) -> CellRecord:
    """Return ``record`` with codes for its own name and its patient's."""
    patient = codes.code("patient", record.patient)
    return replace(record, name=cell_code(codes, record.patient, record.name, record.id), patient=patient)


def cell_code(codes: Codes, patient: str, name: str, number: int) -> str:
    """Return the code of the cell of this name and ``number`` while it is of ``patient``."""
    return codes.code("cell", f"{patient}/{name}/{number}")


def coded(stored: StoredSheet, codes: Codes) -> StoredSheet:
    """Return ``stored`` with codes in the place of every name that came with its images."""
    record, sheet = stored.record, stored.sheet
    named = coded_record(record, codes)
    files = tuple(replace(one, file=codes.code("file", f"{_whose(record)}/{one.file}")) for one in sheet.chromosomes)
    return replace(stored, record=named, sheet=replace(sheet, name=named.name, chromosomes=files))


def _whose(record: CellRecord) -> str:
    """Cells of one name are told apart by their number."""
    return f"{record.patient}/{record.name}/{record.id}"
