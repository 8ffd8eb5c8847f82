"""Many sheets -> a dataset of the crops of those that add up, and a folder beside it with all that a person checks.

The folder beside holds what names patients may stand on: pictures of the sheets, their names, the key of the codes. The
dataset holds chromosomes alone.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bandbridge.codes import kept_codes
from bandbridge.dataset.formats import ORIGIN, check_apart, check_own
from bandbridge.errors import ManyErrors, UserError, in_one_line
from bandbridge.filenames import file_stem, safe_name, said_of_numbers
from bandbridge.files import content_hash, file_stems, write_json
from bandbridge.machine import usable_cores
from bandbridge.progress import note, track
from bandbridge.sheets.doing import Job, do_sheet, known_record
from bandbridge.sheets.judging import Expected
from bandbridge.sheets.pages import Page, read_pages
from bandbridge.sheets.records import Record
from bandbridge.sheets.reporting import LABELS, write_dataset, write_review
from bandbridge.sheets.tables import ByHand, counts_of, matching, read_karyotypes, read_labels, read_layout, read_pairs
from bandbridge.workers import Workers

#: Changes when sheets are read in another way: what was done before is done again.
_VERSION = 3
#: What the folder beside the dataset is called after it.
REVIEW = "-review"
#: From so many sheets on, processes are worth their start.
_WORTH = 3


@dataclass(frozen=True)
class Asked:
    """What is wanted of all sheets. karyotypes, by_hand: by sheet, as the tables name them."""

    expected: Expected
    karyotypes: Mapping[str, str]
    by_hand: Mapping[str, ByHand]
    de_identify: bool = False


@dataclass(frozen=True)
class ImportedSheets:
    """What came of sheets: what :func:`import_sheets` gives.

    dataset: the folder of their crops. review: that beside it, whose overview.html shows every sheet. records: one a
    sheet. notes: files that gave none, a sentence each.

    >>> done = import_sheets("sheets", "sets/cut")
    >>> [(record.sheet, record.state, record.total) for record in done.records]
    [('cell 1.png', 'imported', 46), ('cell 2.png', 'to check', 47)]
    >>> done.records[1].doubts
    ('47 chromosomes: 3 of 21',)
    """

    dataset: Path
    review: Path
    records: tuple[Record, ...]
    notes: tuple[str, ...]

    @property
    def imported(self) -> list[str]:
        """Names of the sheets whose crops are in the dataset."""
        return [record.sheet for record in self.records if record.state == "imported"]

    @property
    def to_check(self) -> list[str]:
        """Names of those that do not add up."""
        return [record.sheet for record in self.records if record.state == "to check"]


def review_folder(destination: Path) -> Path:
    """Return the folder beside the dataset ``destination`` for what a person checks."""
    destination = destination.absolute()
    return destination.with_name(destination.name + REVIEW)


def import_karyograms(
    source: Path,
    destination: Path,
    *,
    stain: str = "",
    layout: Path | None = None,
    labels: Path | None = None,
    karyotypes: Path | None = None,
    pairs: Path | None = None,
    de_identify: bool = False,
) -> ImportedSheets:
    """Read the sheets in ``source`` (folder, zip, tar, image, PDF) into a dataset at ``destination``.

    layout, labels, karyotypes, pairs: tables as :mod:`bandbridge.sheets.tables` reads them; of pairs no more is asked
    than that their sheets are there. de_identify: sheets go by codes in the dataset, whose key is kept beside it. A
    sheet that is done is not done again. Raises :class:`UserError` for a source that is none and a destination that
    holds something else; :class:`ManyErrors` for tables that cannot be used, and where no file is a sheet.
    """
    check_apart(source, destination)
    origin = {"layout": "karyogram", "source": "karyogram sheets" if de_identify else source.resolve().name}
    check_own(destination, origin)
    asked = Asked(
        read_layout(layout) if layout else Expected(),
        read_karyotypes(karyotypes) if karyotypes else {},
        read_labels(labels) if labels else {},
        de_identify,
    )
    review = review_folder(destination)
    known = review.exists()
    pages, problems = _pages(source)
    if not pages and not problems:
        raise UserError(f"{source} holds no sheet", "Sheets are .png, .bmp, .tif, .jpg and .pdf files.")
    cells = _cells(pages, review, asked)
    named = {karyotypes: asked.karyotypes, labels: asked.by_hand, pairs: read_pairs(pairs) if pairs else {}}
    _refuse_unknown_sheets(pages, cells, named)
    write_json(destination / ORIGIN, origin)
    jobs = [_job(page, cell, asked, destination, review) for page, cell in zip(pages, cells, strict=True)]
    records = _without_twins(list(track(_done(jobs), len(jobs), "reading sheets")), destination)
    notes = [f"{record.sheet}: {record.doubts[0]}" for record in records if record.state == "refused"] + problems
    kept = [record for record in records if record.state != "refused"]
    options = {"--stain": stain, "--layout": layout, "--karyotypes": karyotypes, "--labels": review / LABELS}
    command = ["bandbridge", "data", "import", "karyogram", str(source), str(destination)]
    command += [word for name, value in options.items() if value for word in (name, str(value))]
    write_review(review, records, notes, shlex.join([*command, *(["--de-identify"] if de_identify else [])]))
    if not kept:
        for made in (destination, *([] if known else [review])):
            shutil.rmtree(made, ignore_errors=True)
        raise ManyErrors(f"{source}: no file is a karyogram sheet that can be read:", notes, "Give pictures of sheets.")
    write_dataset(destination, kept, stain, origin["source"])
    return ImportedSheets(destination, review, tuple(kept), tuple(notes))


def _pages(source: Path) -> tuple[list[Page], list[str]]:
    pages: list[Page] = []
    problems = []
    for one in read_pages(source):
        if isinstance(one, UserError):
            problems.append(in_one_line(one.message, one.remedy))
        else:
            pages.append(one)
    return pages, problems


def _cells(pages: Sequence[Page], review: Path, asked: Asked) -> list[str]:
    """A name for the cell of each sheet: that of its file, or a code."""
    if not asked.de_identify:
        stems = list(file_stems([page.stem for page in pages], "sheet"))
        plain = [file_stem(page.stem, "sheet") for page in pages]
        if told := said_of_numbers([page.name for page in pages], stems, plain):
            note(told)
        return stems
    # Of sheets that are no longer handed in, too: what was passed on before may name them.
    with kept_codes(review) as codes:
        return [codes.code("cell", page.name) for page in pages]


def _refuse_unknown_sheets(
    pages: Sequence[Page], cells: Sequence[str], named: Mapping[Path | None, Mapping[str, Any]]
) -> None:
    """Raise :class:`ManyErrors` where tables, by their files, name sheets that are not there."""
    problems = []
    for file, table in named.items():
        meant = {matching(table, page.name, cell) for page, cell in zip(pages, cells, strict=True)}
        problems += [f"{file}: there is no sheet {name!r}" for name in table if name not in meant]
    if problems:
        raise ManyErrors("tables that name sheets which are not there:", problems, "Name sheets as their files are.")


def _job(page: Page, cell: str, asked: Asked, destination: Path, review: Path) -> Job:
    expected = asked.expected
    if (key := matching(asked.karyotypes, page.name, cell)) is not None:
        text = asked.karyotypes[key]
        expected = replace(expected, counts=counts_of(text), karyotype=text)
    key = matching(asked.by_hand, page.name, cell)
    by_hand = asked.by_hand[key] if key is not None else None
    what = {
        "version": _VERSION,
        "data": hashlib.sha256(page.data).hexdigest(),
        "page": page.page,
        "name": page.name,
        "cell": cell,
        "order": list(expected.order),
        "rows": list(expected.rows),
        "karyotype": expected.karyotype,
        "by_hand": by_hand.as_json() if by_hand else None,
    }
    return Job(page, cell, content_hash(what), expected, by_hand, destination, review)


def _done(jobs: Sequence[Job]) -> Iterator[Record]:
    """The record of each job, in their order; by all cores where that is worth it."""
    cores, known = usable_cores(), [known_record(job) for job in jobs]
    to_do = [job for job, record in zip(jobs, known, strict=True) if record is None]
    if cores == 1 or len(to_do) < _WORTH:
        yield from (record or do_sheet(job) for job, record in zip(jobs, known, strict=True))
        return
    with Workers(min(cores, len(to_do))) as pool:
        waiting = iter(to_do)
        # A few ahead, not all: each carries the file that it is of.
        running = [pool.submit(do_sheet, job) for job in islice(waiting, 2 * cores)]
        for record in known:
            if record is not None:
                yield record
                continue
            yield running.pop(0).result()
            running += [pool.submit(do_sheet, job) for job in islice(waiting, 1)]


def _without_twins(records: Sequence[Record], destination: Path) -> list[Record]:
    """``records``, those refused that show the very sheet of one before."""
    first: dict[str, str] = {}
    kept = []
    for record in records:
        if record.pixels and record.pixels in first:
            shutil.rmtree(destination / "images" / safe_name(record.cell), ignore_errors=True)
            why = f"the same picture as {first[record.pixels]}"
            record = record.model_copy(update={"state": "refused", "doubts": (why,), "crops": ()})
        elif record.pixels:
            first[record.pixels] = record.sheet
        kept.append(record)
    return kept
