"""Karyogram sheets -> a dataset of labelled chromosomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bandbridge.metaphase.intake import FieldFile, fields_of
from bandbridge.metaphase.masks import Masked, pair_up, require_fields, write_masks
from bandbridge.progress import Listener, listening, note
from bandbridge.sheets.importing import ImportedSheets, import_karyograms
from bandbridge.sheets.tables import read_pairs


def import_sheets(
    sheets: str | Path,
    destination: str | Path,
    *,
    stain: str = "",
    layout: str | Path | None = None,
    labels: str | Path | None = None,
    karyotypes: str | Path | None = None,
    metaphases: str | Path | None = None,
    pairs: str | Path | None = None,
    de_identify: bool = False,
    progress: Listener = False,
) -> ImportedSheets:
    """Cut the chromosomes out of karyogram sheets and write them, labelled, as a dataset into ``destination``.

    sheets: a folder, zip, image or PDF, one sheet a picture or page. stain: written in the table. layout, labels,
    karyotypes: CSV files that say how labels stand on the sheets, which labels were set by hand, and which karyotype a
    sheet has. metaphases: fields of the same cells, an image, folder or zip; the chromosomes are found again on them,
    and their masks with classes written into ``fields`` of the dataset. pairs: a CSV file with the columns sheet and
    metaphase, where the two do not go by the same name. de_identify: names of files are replaced by codes. progress: as
    for the other calls.

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
        together = None if pairs is None else read_pairs(Path(pairs))
        fields = [] if metaphases is None else fields_of(Path(metaphases))
        require_fields(together or {}, fields)
        done = import_karyograms(
            Path(sheets),
            Path(destination),
            stain=stain,
            layout=path(layout),
            labels=path(labels),
            karyotypes=path(karyotypes),
            pairs=path(pairs),
            de_identify=de_identify,
        )
        for one in find_on_metaphases(done, fields, together) if fields else []:
            note(one.told)
        return done


def find_on_metaphases(
    done: ImportedSheets, fields: Sequence[FieldFile], pairs: Mapping[str, str] | None = None
) -> list[Masked]:
    """Write the masks of imported sheets on their ``fields``; return what came of each.

    pairs: the metaphase of each sheet; None: by their names. Raises :class:`UserError` where none belong together.
    """
    return write_masks(done.dataset, pair_up(done.records, fields, pairs))
