"""What a model was found to be worth: the numbers by name, as a table, and in words."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.evaluation.pooled import Unit
from bandbridge.files import csv_text, write_json, write_text

#: The estimates in reading order, and what each is called.
TITLES = {
    "accuracy": "Chromosomes right by themselves",
    "macro_f1": "Mean F1 of the classes, by themselves",
    "in_cell_accuracy_by_itself": "In whole cells: chromosomes right by themselves",
    "in_cell_accuracy": "In whole cells: right when the cell is placed together",
    "in_cell_macro_f1_by_itself": "In whole cells: mean F1 of the classes, by themselves",
    "in_cell_macro_f1": "In whole cells: mean F1 when the cell is placed together",
    "cells_right_by_itself": "Cells without an error, chromosomes by themselves",
    "cells_right": "Cells without an error, placed together",
    "false_alarms": "Normal cells with an unusual count reported",
    "false_alarms_suspected": "Normal cells with one reported or suspected",
    "abnormal_found": "Abnormal or incomplete cells with a right count reported",
    "abnormal_found_suspected": "Abnormal or incomplete cells with a right one reported or suspected",
    "flagged": "Chromosomes flagged for a look",
    "error_unflagged": "Errors among those not flagged",
    "errors_flagged": "Errors that are flagged",
    "calibration_error": "Calibration error",
    "overconfidence": "Mean confidence minus share right",
    "set_coverage": "Prediction sets with the true class",
    "set_size": "Classes in a prediction set, mean",
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model on ``images`` of ``cells`` of ``patients`` (those that have a name); chance is in whole ``unit``s.

    Shares are in 0..1, of images or, where the name says cells, of cells placed as a whole; every
    :class:`~bandbridge.evaluation.cluster_intervals.Estimate` has its 95% interval and n. What nothing can be said of
    is NaN with n = 0.

    >>> score = load_model("models/mine").evaluate("new-cells")
    >>> score.accuracy.n, score.unit, score.units
    (92, 'patient', 1)
    >>> score.table()["what"][0]
    'Chromosomes right by themselves'
    >>> sorted(path.name for path in score.save("results/score").iterdir())
    ['cells.csv', 'classes.csv', 'evaluation.csv', 'evaluation.json', 'evaluation.txt']

    - ``accuracy``, ``macro_f1``: every chromosome by itself. Macro-F1 is the mean over the classes that have images.
    - ``in_cell_*``: in the chromosomes of cells placed as a whole; ``*_by_itself``: the same ones by themselves.
    - ``cells_right``: cells without an error after the placing, ``cells_right_by_itself`` before.
    - ``false_alarms``: cells normal by their labels for which an unusual count is reported; ``abnormal_found``:
      abnormal ones with a report of the right class and direction (for X and Y: any). ``*_suspected`` take in what
      the placing overruled and named all the same.
    - ``flagged``: chromosomes a person should look at; ``error_unflagged``: wrong after the placing, of the others;
      ``errors_flagged``: flagged, of the wrong ones.
    - ``calibration_error``: expected calibration error in 15 bins; ``overconfidence``: mean confidence minus accuracy,
      in -1..1, both by itself.
    - ``set_coverage``: prediction sets that hold the true class; ``set_size``: classes in a set.

    per_class: a row for each class with label, images, recall, precision, f1 (by itself, NaN where undefined),
    mistaken_for (the class its images are most often mistaken for, "" for none) and times, and the four numbers
    ``*_in_cell``. worst_cells: a row for each cell, most errors first: cell, patient, chromosomes, wrong_by_itself,
    wrong_in_cell (NA where it was not placed as a whole), flagged. notes: what to know of these numbers. own: what was
    known of the model from its own held-out cells, shares by the names of the estimates: ``accuracy``,
    ``calibration_error``, ``set_coverage`` (as promised) and ``flagged``; empty where nothing is, or where these are
    they. :meth:`drift` puts both side by side.
    """

    images: int
    cells: int
    patients: int
    unit: Unit
    units: int
    accuracy: Estimate
    macro_f1: Estimate
    in_cell_accuracy_by_itself: Estimate
    in_cell_accuracy: Estimate
    in_cell_macro_f1_by_itself: Estimate
    in_cell_macro_f1: Estimate
    cells_right_by_itself: Estimate
    cells_right: Estimate
    false_alarms: Estimate
    false_alarms_suspected: Estimate
    abnormal_found: Estimate
    abnormal_found_suspected: Estimate
    flagged: Estimate
    error_unflagged: Estimate
    errors_flagged: Estimate
    calibration_error: Estimate
    overconfidence: Estimate
    set_coverage: Estimate
    set_size: Estimate
    per_class: pd.DataFrame
    worst_cells: pd.DataFrame
    notes: tuple[str, ...] = ()
    own: Mapping[str, float] = field(default_factory=dict)

    def drift(self) -> pd.DataFrame:
        """Return what, own (on the model's own held-out cells), here and change, shares in 0..1."""
        rows = [
            {"what": TITLES[name], "own": own, "here": here, "change": here - own}
            for name, own in self.own.items()
            for here in (getattr(self, name).value,)
        ]
        return pd.DataFrame(rows, columns=["what", "own", "here", "change"])

    def estimates(self) -> dict[str, Estimate]:
        """Return every estimate by its name, in reading order."""
        return {name: getattr(self, name) for name in TITLES}

    def table(self) -> pd.DataFrame:
        """Return what, value, low, high (shares in 0..1) and n of every estimate, in reading order."""
        return pd.DataFrame([{"what": TITLES[name], **asdict(one)} for name, one in self.estimates().items()])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, texts and lists for JSON; None where there is no number."""
        numbers = {name: _plain(asdict(one)) for name, one in self.estimates().items()}
        frames = {
            name: [_plain(row) for row in getattr(self, name).astype(object).to_dict("records")]
            for name in ("per_class", "worst_cells")
        }
        facts = {name: getattr(self, name) for name in ("images", "cells", "patients", "unit", "units")}
        drift = [_plain(row) for row in self.drift().astype(object).to_dict("records")]
        return {**facts, "estimates": numbers, **frames, "drift": drift, "notes": list(self.notes)}

    def save(self, folder: str | Path) -> Path:
        """Write evaluation.csv, classes.csv, cells.csv, evaluation.json and evaluation.txt into ``folder``; return it.

        Raises :class:`EnvironmentFault` when it cannot be written.
        """
        folder = Path(folder)
        frames = {"evaluation": self.table(), "classes": self.per_class, "cells": self.worst_cells}
        for name, frame in frames.items():
            write_text(folder / f"{name}.csv", csv_text(frame))
        write_json(folder / "evaluation.json", self.as_dict())
        write_text(folder / "evaluation.txt", f"{self}\n")
        return folder

    def sentences(self) -> tuple[str, ...]:
        """Return what it comes to, a sentence or two a line: sorting, unusual counts, flags, probabilities, notes."""
        said = (
            self._sorting(),
            self._unusual_counts(),
            self._looks(),
            self._probabilities(),
            self._drift(),
            self._brackets(),
        )
        return tuple(line for line in (*said, *self.notes) if line)

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def __repr__(self) -> str:
        of = [counted(self.images, "chromosome")]
        of += [counted(number, noun) for number, noun in ((self.cells, "cell"), (self.patients, "patient")) if number]
        return f"Evaluation({', '.join(of)}: {_percent(self.accuracy.value)} right by themselves)"

    def _repr_html_(self) -> str:
        shown = [(TITLES[name], *_cells_of(one, name != "set_size")) for name, one in self.estimates().items() if one.n]
        table = pd.DataFrame(shown, columns=["", "value", "95% interval", "n"]).to_html(index=False, escape=True)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p>{html.escape(repr(self))}</p>{table}" + (f"<ul>{notes}</ul>" if notes else "")

    def _sorting(self) -> str:
        text = f"{_percent(self.accuracy.value)} right by themselves"
        text += _bracket(self.accuracy, counted(self.units, self.unit))
        if not self.in_cell_accuracy.n:
            return f"{text}. Mean F1 {_said(self.macro_f1)}."
        text += f", {_percent(self.in_cell_accuracy.value)} in their cell{_bracket(self.in_cell_accuracy)}"
        if self.in_cell_accuracy.n < self.images:
            text += f", of those in whole cells ({_percent(self.in_cell_accuracy_by_itself.value)} by themselves)"
        text += f". Mean F1 {_said(self.macro_f1)}, {_said(self.in_cell_macro_f1)} in their cell."
        right, before = self.cells_right, self.cells_right_by_itself
        return f"{text} {_said(right)} of {counted(right.n, 'cell')} without an error, {_percent(before.value)} before."

    def _unusual_counts(self) -> str:
        parts = []
        for one, suspected, noun, verb in (
            (self.false_alarms, self.false_alarms_suspected, "normal cell", "reported with an unusual count"),
            (self.abnormal_found, self.abnormal_found_suspected, "abnormal or incomplete cell", "found"),
        ):
            if one.n:
                also = f", {_number(suspected)} with suspicions"
                parts.append(f"{_number(one)} of {one.n:,} {noun}s {verb}{_bracket(one)}{also}")
        return f"Unusual counts: {'; '.join(parts)}." if parts else ""

    def _looks(self) -> str:
        text = f"{_said(self.flagged)} flagged for a look"
        if self.error_unflagged.n:
            text += f"; of the others {_said(self.error_unflagged)} are wrong"
        if self.errors_flagged.n:
            text += f"; {_said(self.errors_flagged)} of all errors are flagged"
        return text + "."

    def _probabilities(self) -> str:
        gap = self.overconfidence.value
        how = f"{100 * abs(gap):.1f} points {'more' if gap > 0 else 'less'} sure than right"
        text = f"Probabilities: calibration error {_said(self.calibration_error)}, {how}."
        if self.set_coverage.n:
            text += f" The true class is in {_said(self.set_coverage)} of the prediction sets"
            text += f", of {self.set_size.value:.2f} classes on average."
        return text

    def _drift(self) -> str:
        words = {"accuracy": "right by themselves", "calibration_error": "calibration error"}
        words |= {"set_coverage": "sets with the true class", "flagged": "flagged"}
        said = [
            f"{words[name]} {_percent(own)}, here {_percent(getattr(self, name).value)}"
            for name, own in self.own.items()
            if getattr(self, name).n
        ]
        return f"On the model's own held-out cells: {'; '.join(said)}." if said else ""

    def _brackets(self) -> str:
        bounded = any(one.bounded for one in self.estimates().values())
        return f"In brackets: 95% intervals, for further {self.unit}s like these." if bounded else ""


def _plain(values: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(name): None if pd.isna(value) else value.item() if hasattr(value, "item") else value
        for name, value in values.items()
    }


def _digits(share: float) -> int:
    """As many decimals, 1 to 3, as it takes not to round an error or a success away."""
    return next((digits for digits in (1, 2) if share in (0, 1) or 0 < round(100 * share, digits) < 100), 3)


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.{_digits(share)}f}%"


def _number(one: Estimate) -> str:
    return f"{round(one.value * one.n):,}"


def _bracket(one: Estimate, *more: str) -> str:
    low, high = (f"{100 * end:.{_digits(one.value)}f}" for end in (one.low, one.high))
    said = ([f"{low} to {high}"] if one.bounded else []) + list(more)
    return f" ({', '.join(said)})" if said else ""


def _said(one: Estimate) -> str:
    return _percent(one.value) + _bracket(one)


def _cells_of(one: Estimate, percent: bool) -> tuple[str, str, str]:
    scale, digits = (100, _digits(one.value)) if percent else (1, 2)
    value, low, high = (f"{scale * number:.{digits}f}" for number in (one.value, one.low, one.high))
    return f"{value}%" if percent else value, f"{low} to {high}" if one.bounded else "", f"{one.n:,}"
