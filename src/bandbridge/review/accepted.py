"""Accepted cells as a dataset that a study can train on."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from bandbridge.codes import Codes
from bandbridge.dataset.cards import write_cards
from bandbridge.dataset.imagefolder import COLUMNS, METADATA
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.filenames import free_name, in_letters, safe_paths
from bandbridge.files import csv_lines, replacing, replacing_folder, write_text
from bandbridge.review.coded import coded
from bandbridge.review.database import Store
from bandbridge.review.keeping import NotKeptError, private_file, private_folder
from bandbridge.review.metaphases import Written, write_metaphases
from bandbridge.review.schema import StoredSheet

CORRECTIONS = "corrections.csv"
EXPORTS = "exports"
_CORRECTION_COLUMNS = ("file_name", "cell", "file", "predicted", "suggested", "placed", "by", "flagged", "model")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


_T = TypeVar("_T")


class Export(NamedTuple):
    """A dataset written: its name, folder and zip, how many cells and images it holds, how many were left out.

    metaphases: how many fields it holds for the separator to learn from, and how many were left out.
    """

    name: str
    folder: Path
    archive: Path
    cells: int
    images: int
    unplaced: int
    metaphases: Written = Written()


def export_accepted(store: Store, codes: Codes | None = None) -> Export:
    """Write the accepted cells into a new folder below ``exports`` in the work folder, and as a zip beside it.

    Holds ``metadata.csv`` and images, 8-bit gray PNG as photographed, not turned; chromosomes placed nowhere are left
    out. ``corrections.csv`` tells for every chromosome, these too, what the model thought and what became of it. Cells
    of one name are told apart by a number. The metaphases of cells that were cut from one lie in ``metaphases``: see
    :mod:`bandbridge.review.metaphases`. codes: stand in the place of the names of patients, cells and files.

    Raises :class:`UserError` when no cell is accepted, and :class:`~bandbridge.review.keeping.NotKeptError`, with
    nothing left behind, when the disk does not take it.
    """
    sheets = [store.sheet(one.id) for one in store.cells() if one.accepted and one.state == "ready"]
    if not sheets:
        raise UserError("no cell is accepted yet", "Check a cell and accept it with the key a, then export.")
    name, (images, told, metaphases) = new_export(store, lambda place: _write(store, sheets, place, codes))
    home = store.folder / EXPORTS
    return Export(name, home / name, home / f"{name}.zip", len(sheets), images, told - images, metaphases)


def new_export(store: Store, write: Callable[[Path], _T]) -> tuple[str, _T]:
    """Have ``write`` fill a new folder below ``exports``, for the owner alone, and zip it; return its name and answer.

    Raises :class:`~bandbridge.review.keeping.NotKeptError`, with nothing left behind, when the disk does not take it.
    """
    home = store.folder / EXPORTS
    name = _dated(home)
    folder = home / name
    try:
        private_folder(home)
        with replacing_folder(folder) as place:  # so that none is left that was cut short
            answer = write(place)
            for path in (place, *place.rglob("*")):
                private_folder(path) if path.is_dir() else private_file(path)
        with replacing(home / f"{name}.zip") as temporary:
            pack(folder, private_file(temporary))
    except BaseException as fault:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(fault, OSError | EnvironmentFault):
            remedy = "Make room or check the disk, then export again; every correction is kept."
            why = fault.message if isinstance(fault, EnvironmentFault) else f"cannot write {folder}: {fault.strerror}"
            raise NotKeptError(f"nothing was exported: {why}", remedy) from fault
        raise
    return name, answer


def _write(store: Store, sheets: list[StoredSheet], folder: Path, codes: Codes | None) -> tuple[int, int, Written]:
    """Write the dataset; return how many images it has, of how many chromosomes it tells, and its metaphases."""
    rows, told = [], []
    names = _told_apart([one.record.name for one in sheets])
    if codes is not None:
        sheets = [coded(one, codes) for one in sheets]
        names = [one.record.name for one in sheets]
    for stored, cell in zip(sheets, names, strict=True):
        new_rows, new_told = _write_cell(store, stored, cell, folder)
        rows += new_rows
        told += new_told
    metaphases = write_metaphases(store, sheets, folder)
    write_text(folder / CORRECTIONS, csv_lines(_CORRECTION_COLUMNS, told))
    table = csv_lines(COLUMNS, rows)
    write_cards(folder, "Reviewed cells", COLUMNS, rows, table)
    write_text(folder / METADATA, table)
    return len(rows), len(told), metaphases


def _write_cell(store: Store, stored: StoredSheet, cell: str, folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Copy the images of one cell and return its rows of metadata.csv and of corrections.csv."""
    record, sheet = stored.record, stored.sheet
    home = f"images/{record.id:05d}"
    (folder / home).mkdir(parents=True, exist_ok=True)
    rows, told = [], []
    copies: Counter[str] = Counter()
    letters = []
    for one in sheet.chromosomes:
        letters.append(_letters(copies[one.placed]))
        copies[one.placed] += 1
    # Of classes whose names differ in signs or case alone, the files would else be one.
    named = zip(sheet.chromosomes, letters, strict=True)
    targets = safe_paths(
        [f"{home}/{in_letters(one.placed, '', '-')}{copy}.png" if one.placed else "" for one, copy in named]
    )
    for one, image, suggested, copy, place in zip(
        sheet.chromosomes, stored.images, stored.suggested, letters, targets, strict=True
    ):
        target = place if one.placed else ""
        if target:
            shutil.copyfile(store.image_path(image), folder / target)
            source = f"reviewed: {one.file}"
            rows.append([target, one.placed, cell, record.patient, copy, record.stain, source])
        by = "person" if one.corrected else "model"
        told.append(
            [target, cell, one.file, one.predicted, suggested, one.placed, by, "; ".join(one.reasons), record.model]
        )
    return rows, told


def _letters(number: int) -> str:
    """Return a, b, ... z, aa, ab, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, len(_LETTERS))
        text = _LETTERS[rest] + text
    return text


def _told_apart(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


def _dated(folder: Path) -> str:
    """Return the name of a new export in ``folder``: the time (UTC)."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    return free_name(now, lambda name: (folder / name).exists())


def pack(folder: Path, archive: Path) -> None:
    """Zip ``folder``, images stored as they are: PNG does not shrink further."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for directory, folders, files in os.walk(folder):
            folders.sort()
            for file in sorted(files):
                path = Path(directory) / file
                packed.write(path, path.relative_to(folder).as_posix())
