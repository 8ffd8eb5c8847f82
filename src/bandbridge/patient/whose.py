"""Whose cells they are: what the images say, or a table that a person gives."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bandbridge.dataset.cell_folders import patient_name
from bandbridge.errors import ManyErrors, UserError, first_few
from bandbridge.files import read_regular, unguard_formula

_FORM = "It has two columns, cell and patient, with the names that cells.csv has."
_REMEDY = (
    "Put the folders of one patient's cells into a folder of their own, name patients in the column patient of "
    "metadata.csv, or give a table of cell and patient with --patient-table; --patient NAME if all are of one."
)


def read_patients(path: Path) -> dict[str, str]:
    """Return the patient of each cell by the CSV file ``path``, which has the columns cell and patient.

    Raises :class:`UserError` where it is none, and :class:`ManyErrors` naming every cell that has two patients or none.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
        first = text.partition("\n")[0]
        parted = max(",;\t", key=first.count)  # as a spreadsheet of the land writes it
        table = pd.read_csv(io.StringIO(text), sep=parted, dtype=str, keep_default_na=False)
    except FileNotFoundError as fault:
        raise UserError(f"{path} does not exist", _FORM) from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"{path} is not written in UTF-8", "Save it as CSV in UTF-8.") from fault
    except ValueError as fault:  # pandas' errors of parsing are ValueErrors
        raise UserError(f"{path} cannot be read as a table: {fault}", _FORM) from fault
    table.columns = [str(name).strip().lower() for name in table.columns]
    if not {"cell", "patient"} <= set(table.columns):
        raise UserError(f"{path} has the columns {', '.join(table.columns)}", _FORM)
    found: dict[str, str] = {}
    problems = []
    for line, (cell, patient) in enumerate(zip(table["cell"], table["patient"], strict=True), start=2):
        cell, patient = unguard_formula(cell.strip()), patient_name(patient)
        if not cell:
            problems.append(f"line {line}: no cell")
        elif not patient:
            continue  # of nobody, as an empty cell of metadata.csv is
        elif found.setdefault(cell, patient) != patient:
            problems.append(f"line {line}: cell {cell} is of {patient} here and of {found[cell]} above")
    if problems:
        raise ManyErrors(f"{path} does not say whose each cell is:", problems, _FORM)
    return found


def require_patients(cells: Sequence[str], known: Mapping[str, str], given: str = "") -> dict[str, str]:
    """Return the entries of ``known`` that are of ``cells``.

    given: the table that they come from, "" for the images themselves. Raises :class:`UserError` where no cell has a
    patient, and where a table names a cell that is not there.
    """
    strange = sorted(set(known) - set(cells)) if given else []
    if strange:
        raise UserError(
            f"{given} names cells that are not there: {first_few(strange)}", f"There are {first_few(list(cells))}."
        )
    found = {cell: known[cell] for cell in cells if known.get(cell)}
    if not found:
        raise UserError("nothing says which cells are of one patient", _REMEDY)
    return found
