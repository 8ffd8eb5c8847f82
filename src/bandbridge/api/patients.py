"""What the cells of each patient say together, as tables and as a page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.files import csv_text, file_stems, write_text
from bandbridge.karyotype import CLASSES
from bandbridge.patient.page import render
from bandbridge.patient.verdict import PatientVerdict, finding_table, judge_patients, patient_table
from bandbridge.patient.whose import read_patients, require_patients
from bandbridge.predict.classify import Classified, cell_table


class Patients:
    """The verdict on each patient. Research use only: this is no diagnosis, and a draft is for a person to sign.

    >>> result = load_model("models/mine").predict("new-cells")
    >>> patients = result.patients({"synthetic-q0001": "P7", "synthetic-q0002": "P7"})
    >>> patients
    Patients(1 patient, 2 cells)
    >>> patients.table()[["patient", "cells"]].values.tolist()
    [['P7', 2]]
    >>> len(patients.counts("P7"))
    24
    """

    def __init__(
        self, classified: Classified, table: str | Path | Mapping[str, str] | None = None, *, acquired: bool = False
    ) -> None:
        if classified.classes != CLASSES:
            raise UserError("only a human's 24 classes are counted over cells", "Use a model of these classes.")
        cells = [sheet.name for sheet in classified.sheets if sheet.name]
        if table is None:
            known = require_patients(cells, classified.patients)
        elif isinstance(table, str | Path):
            known = require_patients(cells, read_patients(Path(table)), str(table))
        else:
            known = require_patients(cells, dict(table))  # of cells that could not be read there is nothing here
        self._classified = replace(classified, patients=known)  # cells are ranked among those of their patient
        self._verdicts = judge_patients(classified.sheets, known, classified.rates, acquired=acquired)

    @property
    def verdicts(self) -> tuple[PatientVerdict, ...]:
        """The verdicts as values, in the order of the cells."""
        return self._verdicts

    @property
    def rates_in_words(self) -> str:
        """How often the counts are right, and how that is known, in a sentence."""
        rates = self._classified.rates
        if rates is None:
            return "how often they are right is not known: plain intervals, no draft"
        found, alarms = (
            [part[:-1, side].sum() / of[:-1, side].sum() for side in (0, 1)]
            for part, of in ((rates.found, rates.planted), (rates.alarms, rates.cells))
        )
        return (
            f"of one autosome, {found[0]:.0%} of gains and {found[1]:.0%} of losses are found, and {alarms[0]:.2%} and "
            f"{alarms[1]:.2%} of normal ones invented or lost at random, measured on {rates.source}"
        )

    def table(self) -> pd.DataFrame:
        """Return a row for each patient; the columns are those of :func:`bandbridge.patient.verdict.patient_table`."""
        return patient_table(self._verdicts)

    def findings(self) -> pd.DataFrame:
        """Return a row for each finding; the columns are those of :func:`bandbridge.patient.verdict.finding_table`."""
        return finding_table(self._verdicts)

    def counts(self, patient: str) -> pd.DataFrame:
        """Return a row for each chromosome of ``patient``: cells by copies, and the evidence added up, in nats.

        Raises :class:`UserError` where there is no such patient.
        """
        for one in self._verdicts:
            if one.patient == patient:
                return one.counts()
        shown = ", ".join(repr(one.patient) for one in self._verdicts[:5])
        raise UserError(f"no patient is called {patient!r}", f"There are {shown}.")

    def save(self, folder: str | Path, *, karyograms: bool = False) -> Path:
        """Write patients.csv, patient_findings.csv and patients.html into ``folder``.

        karyograms: whether :meth:`Predictions.save` has drawn those of the same cells there; the page then leads to
        them. Returns the folder. Raises :class:`EnvironmentFault` when it cannot be written.
        """
        folder = Path(folder)
        for name, frame in (("patients.csv", self.table()), ("patient_findings.csv", self.findings())):
            write_text(folder / name, csv_text(frame))
        names = [sheet.name for sheet in self._classified.sheets]
        stems = dict(zip(names, file_stems(iter(names), "sheet"), strict=False)) if karyograms else {}
        links = {name: f"karyograms/{stem}.html" for name, stem in stems.items()}
        cells = cell_table(self._classified).set_index("cell").to_dict("index")
        write_text(folder / "patients.html", render(self._verdicts, cells, links, self.rates_in_words))
        return folder

    def __len__(self) -> int:
        return len(self._verdicts)

    def __repr__(self) -> str:
        cells = sum(len(one.cells) for one in self._verdicts)
        return f"Patients({counted(len(self), 'patient')}, {counted(cells, 'cell')})"

    def _repr_html_(self) -> str:
        shown = self.table()[["patient", "cells", "usable", "clones", "draft", "why_none"]]
        return f"<p>{html.escape(repr(self))}</p>{shown.to_html(index=False, max_rows=20)}"
