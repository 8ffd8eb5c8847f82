"""What a model says of images: a table, its cells, their karyograms, and what a person should look at."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.predict.classify import Classified, cell_table, prediction_table
from bandbridge.progress import track

if TYPE_CHECKING:
    from bandbridge.api.patients import Patients

#: Karyograms that a notebook shows of one result.
_SHOWN_CELLS = 2


class Predictions:
    """The classes of images, and which of them a person should look at. Research use only: this is no diagnosis.

    >>> result = load_model("models/mine").predict("new-cells")
    >>> result
    Predictions(92 chromosomes of 2 cells, 92 flagged)
    >>> result.table()[["file", "class"]].shape
    (92, 2)
    >>> result.cells()["cell"].tolist()
    ['synthetic-q0001', 'synthetic-q0002']
    >>> result.karyogram("synthetic-q0001").size[0]
    2240
    """

    def __init__(self, classified: Classified) -> None:
        self._classified = classified
        self._table = prediction_table(classified)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return self._classified.classes

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """The images that could not be read, each with the reason."""
        return self._classified.refused

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how the images were read, a sentence each: their depth, pages that were passed over."""
        return self._classified.notes

    @property
    def sheets(self) -> tuple[CellSheet, ...]:
        """The cells as values: every chromosome with its probabilities and reasons; "" holds those without a cell."""
        return self._classified.sheets

    def table(self) -> pd.DataFrame:
        """Return a row for each chromosome; the columns are those of
        :func:`bandbridge.predict.classify.prediction_table`."""
        return self._table.copy()

    def cells(self) -> pd.DataFrame:
        """Return a row for each cell; the columns are those of :func:`bandbridge.predict.classify.cell_table`."""
        return cell_table(self._classified)

    def patients(self, table: str | Path | Mapping[str, str] | None = None, *, acquired: bool = False) -> Patients:
        """Return what the cells of each patient say together: counts, clones, mosaics, and a draft of the karyotype.

        table: whose each cell is, a CSV file with the columns cell and patient, or a mapping from cells to patients;
        None: as the images say, by metadata.csv or by a folder for each patient around those of the cells. acquired:
        whether changes are those of a tissue, which ISCN writes differently, and not of the person. Raises
        :class:`UserError` where nothing says whose the cells are, or the classes are not a human's.
        """
        from bandbridge.api.patients import Patients

        return Patients(self._classified, table, acquired=acquired)

    def de_identified(self, keep: str | Path) -> Predictions:
        """Return the same with codes in the place of the names of patients, cells and files, to pass on.

        keep: the folder of the key, made if absent, apart from what is passed on. With the same key a name has the same
        code every time. ``codes.csv`` there says what each code stands for, for its owner alone. Images that could not
        be read are no longer listed, nor what was noted of reading. Raises :class:`UserError` where the folder holds
        something that is no key.

        >>> result = load_model("models/mine").predict("new-cells")
        >>> result.de_identified("keys").cells()["cell"].str.startswith("cell-").tolist()
        [True, True]
        """
        from bandbridge.codes import kept_codes
        from bandbridge.predict.coded import coded

        with kept_codes(Path(keep)) as codes:
            return Predictions(coded(self._classified, codes))

    @property
    def flagged(self) -> pd.DataFrame:
        """The rows of :meth:`table` that a person should look at, each with its reason."""
        return self._table.loc[self._table["flag"] == "yes"].reset_index(drop=True) if len(self) else self.table()

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        cells = sum(bool(sheet.name) for sheet in self.sheets)
        flagged = int((self._table["flag"] == "yes").sum()) if len(self) else 0
        unread = f", {len(self.refused)} could not be read" if self.refused else ""
        of_cells = f" of {counted(cells, 'cell')}" if cells else ""
        return f"Predictions({counted(len(self), 'chromosome')}{of_cells}, {flagged:,} flagged{unread})"

    def _repr_html_(self) -> str:
        shown = [sheet for sheet in self.sheets if sheet.name][:_SHOWN_CELLS]
        pictures = "".join(
            _picture(self.karyogram(sheet.name, 1120), sheet.name) for sheet in shown if _has_images(sheet)
        )
        first = self._table.iloc[:, :11].to_html(index=False, max_rows=12)
        return f"<p>{html.escape(repr(self))}</p>{pictures}{first}"

    def karyogram(self, cell: str | None = None, width: int = 2240) -> Image.Image:
        """Return the karyogram of ``cell`` (the only one, unless named) as an RGB picture ``width`` pixels wide.

        Raises :class:`UserError` when there is no such cell, or its pictures were not kept.
        """
        from bandbridge.karyogram.drawing import draw_karyogram

        return draw_karyogram(self.sheet(cell), width)

    def sheet(self, cell: str | None = None) -> CellSheet:
        """Return ``cell`` (the only one, unless named) with its chromosomes turned short arm up."""
        names = [sheet.name for sheet in self.sheets]
        if cell is None and len(names) != 1:
            raise UserError("several cells were classified", f"Name one of them: {_some(names)}.")
        found = self.sheets[0] if cell is None else next((one for one in self.sheets if one.name == cell), None)
        if found is None:
            raise UserError(f"no cell is called {cell!r}", f"There are {_some(names)}.")
        if not _has_images(found):
            raise UserError("the pictures of these cells were not kept", "Classify with keep_images=True.")
        return _upright(found)

    def save(self, folder: str | Path, *, karyograms: bool = False) -> Path:
        """Write predictions.csv, predictions.json and cells.csv into ``folder``, with ``karyograms`` every cell's too.

        Returns the folder. Raises :class:`EnvironmentFault` when it cannot be written.
        """
        from bandbridge.files import csv_text, write_text

        folder = Path(folder)
        for name, frame in (("predictions.csv", self._table), ("cells.csv", self.cells())):
            write_text(folder / name, csv_text(frame))
        write_text(folder / "predictions.json", self.as_json())
        if karyograms:
            self._draw(folder / "karyograms")
        return folder

    def as_json(self) -> str:
        """Return :meth:`table` as JSON, a record for each chromosome; what is not a number is null."""
        return self._table.to_json(orient="records", indent=2)

    def _draw(self, folder: Path) -> None:
        from bandbridge.files import file_stems
        from bandbridge.karyogram.drawing import write_karyogram

        stems = file_stems((sheet.name for sheet in self.sheets), "sheet")
        shown = track(self.sheets, len(self.sheets), "drawing karyograms")
        for sheet, stem in zip(shown, stems, strict=False):
            write_karyogram(_upright(sheet), folder, stem)


def _upright(sheet: CellSheet) -> CellSheet:
    """Return ``sheet`` with its chromosomes short arm up."""
    from bandbridge.karyogram.orientation import upright

    return replace(sheet, chromosomes=tuple(upright(sheet.chromosomes, sheet.classes)))


def _has_images(sheet: CellSheet) -> bool:
    return all(one.image.size for one in sheet.chromosomes)


def _some(names: list[str]) -> str:
    shown = [repr(name) for name in names[:5]]
    return ", ".join(shown) + (" ..." if len(names) > 5 else "")


def _picture(image: Image.Image, title: str) -> str:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    source = f"data:image/png;base64,{data}"
    return f'<p><img alt="karyogram of {html.escape(title)}" style="max-width:100%" src="{source}"></p>'
