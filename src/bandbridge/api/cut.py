"""Metaphases cut into chromosomes, as a value to type with."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.dataset.formats import refuse_nested
from bandbridge.files import require_folder
from bandbridge.metaphase.intake import fields_of, passed_over
from bandbridge.metaphase.writing import CutField, alternatives_table, cut_fields, fields_table
from bandbridge.progress import Listener, listening, note


class CutCells:
    """What :func:`cut` made: cells of single chromosomes in a folder, and what was on each field.

    >>> found = cut("fields", "cut-cells")
    >>> found.fields()[["field", "cells"]].values.tolist()
    [['spread-g1.png', 'spread-g1']]
    """

    def __init__(self, folder: Path, done: list[CutField], refused: list[tuple[str, str]]) -> None:
        self.folder = folder
        self._done = done
        self._refused = tuple(refused)

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """The files that could not be read, each with the reason."""
        return self._refused

    @property
    def without_cell(self) -> tuple[tuple[str, str], ...]:
        """The fields on which no cell was found, each with what was there instead."""
        return tuple((one.name, one.problem) for one in self._done if one.problem)

    @property
    def cells(self) -> dict[str, int]:
        """The name of each cell, and how many chromosomes were cut from it."""
        return {name: count for one in self._done for name, count in one.cells.items()}

    def fields(self) -> pd.DataFrame:
        """Return a row for each field: its cells, chromosomes, cuts to check, nuclei, debris."""
        return fields_table(self._done)

    def table(self) -> pd.DataFrame:
        """Return a row for each chromosome: where it lies on its metaphase, how sure the cut is, and why not."""
        return pd.DataFrame([row for one in self._done for row in one.pieces]).drop(columns="doubt", errors="ignore")

    def alternatives(self) -> pd.DataFrame:
        """Return a row for each decision that nearly went the other way: which pieces may be what instead, and where.

        even: "yes" where the decision was nearly even.
        """
        return alternatives_table(self._done)

    @property
    def images(self) -> Path:
        """The folder of crops, one folder for each cell, that :meth:`Model.predict` reads."""
        return self.folder / "images"

    def __repr__(self) -> str:
        table = self.table()
        check = int((table["check"] == "yes").sum()) if len(table) else 0
        facts = [counted(len(self._done), "field"), counted(len(self.cells), "cell")]
        facts += [counted(len(table), "chromosome"), f"{check} to check"]
        facts.append(counted(len(self.alternatives()), "alternative"))
        return f"CutCells({self.folder}: {', '.join(facts)})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.fields().to_html(index=False, escape=True)}"


def cut(
    metaphases: str | Path, destination: str | Path, *, show_steps: bool = False, progress: Listener = False
) -> CutCells:
    """Cut ``metaphases`` into single chromosomes, and write them into ``destination``.

    metaphases: an image of a field of view, a folder of them or a zip. Bright or dark ground, any size up to 24
    megapixels, gray or colour, 8 or 16 bits. show_steps: write a picture of each step. Fields that are in
    ``destination`` already are not cut again. Research use only: look at every cut.

    Raises :class:`UserError` where there is no image, for a destination that holds something else, and where one lies
    in the other.

    >>> found = cut("fields", "cut-cells")
    >>> list(found.cells)
    ['spread-g1']
    >>> found.table()["cell"].nunique()
    1
    """
    destination = Path(destination)
    require_folder(destination)
    refuse_nested(Path(metaphases), destination)
    with listening(progress):
        fields = fields_of(Path(metaphases))
        if told := passed_over(Path(metaphases)):
            note(told)
        done, refused = cut_fields(fields, destination, show_steps=show_steps)
    return CutCells(destination, done, refused)
