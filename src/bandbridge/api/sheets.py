"""Karyogram sheets -> a dataset of labelled chromosomes."""

from __future__ import annotations

from pathlib import Path

from bandbridge.progress import Listener, listening
from bandbridge.sheets.importing import ImportedSheets, import_karyograms


def import_sheets(
    sheets: str | Path,
    destination: str | Path,
    *,
    stain: str = "",
    layout: str | Path | None = None,
    labels: str | Path | None = None,
    karyotypes: str | Path | None = None,
    de_identify: bool = False,
    progress: Listener = False,
) -> ImportedSheets:
    """Cut the chromosomes out of karyogram sheets and write them, labelled, as a dataset into ``destination``.

    sheets: a folder, zip, image or PDF, one sheet a picture or page. stain: written in the table. layout, labels,
    karyotypes: CSV files that say how labels stand on the sheets, which labels were set by hand, and which karyotype a
    sheet has. de_identify: names of files are replaced by codes. progress: as for the other calls.

    Sheets that do not add up are not in the dataset: they are shown in ``overview.html`` of the folder beside it.

    >>> done = import_sheets("sheets", "sets/from-sheets", stain="G")
    >>> done.imported, done.to_check
    (['cell 1.png'], ['cell 2.png'])
    >>> len(open_dataset(done.dataset).samples), (done.review / "overview.html").is_file()
    (46, True)

    Raises :class:`UserError` where nothing can be read, the destination holds something else, or a table cannot be
    used.
    """

    def path(given: str | Path | None) -> Path | None:
        return None if given is None else Path(given)

    with listening(progress):
        return import_karyograms(
            Path(sheets),
            Path(destination),
            stain=stain,
            layout=path(layout),
            labels=path(labels),
            karyotypes=path(karyotypes),
            de_identify=de_identify,
        )
