"""Many sheets -> a dataset of the crops of those that add up, and a folder beside it with all that a person checks.

The folder beside holds what names patients may stand on: pictures of the sheets, their names, the key of the codes. The
dataset holds chromosomes alone.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from PIL import Image

from bandbridge.codes import open_codes, read_names, write_names
from bandbridge.dataset.cards import write_cards
from bandbridge.dataset.formats import ORIGIN, check_apart, check_own
from bandbridge.dataset.imagefolder import COLUMNS, METADATA
from bandbridge.errors import ManyErrors, UserError, in_one_line
from bandbridge.filenames import safe_name
from bandbridge.files import (
    content_hash,
    csv_lines,
    file_stems,
    make_folder,
    replacing,
    write_json,
    write_text,
)
from bandbridge.karyotype import CLASS_INDEX
from bandbridge.machine import usable_cores
from bandbridge.progress import note, track
from bandbridge.sheets.corrections import corrected
from bandbridge.sheets.crops import box_in_file, cut_crop
from bandbridge.sheets.overview import draw_overview, render_overview
from bandbridge.sheets.pages import Page, decode_page, read_pages
from bandbridge.sheets.reading import Expected, Reading, read_sheet
from bandbridge.sheets.records import Crop, Record, read_record, write_record
from bandbridge.sheets.tables import ByHand, counts_of, matching, read_karyotypes, read_labels, read_layout
from bandbridge.workers import Workers

#: Changes when sheets are read in another way: what was done before is done again.
_VERSION = 1
#: What is beside the dataset.
REVIEW, OVERVIEW, LABELS, SHEETS = "-review", "overview.html", "labels.csv", "sheets.csv"
#: There, too: the key of the codes, and what each stands for.
KEY, TABLE = "codes.key", "codes.csv"
#: Columns of the dataset besides the usual ones.
EXTRA = ("certainty", "why", "box")
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


@dataclass(frozen=True)
class _Job:
    page: Page
    cell: str
    asked: str
    expected: Expected
    by_hand: ByHand | None
    destination: Path
    review: Path


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
    de_identify: bool = False,
) -> ImportedSheets:
    """Read the sheets in ``source`` (folder, zip, tar, image, PDF) into a dataset at ``destination``.

    layout, labels, karyotypes: tables as :mod:`bandbridge.sheets.tables` reads them. de_identify: sheets go by codes in
    the dataset, whose key is kept beside it. A sheet that is done is not done again. Raises :class:`UserError` for a
    source that is none and a destination that holds something else; :class:`ManyErrors` for tables that cannot be used,
    and where no file is a sheet.
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
    _refuse_unknown_sheets(pages, cells, asked, (karyotypes, labels))
    write_json(destination / ORIGIN, origin)
    jobs = [_job(page, cell, asked, destination, review) for page, cell in zip(pages, cells, strict=True)]
    records = _without_twins(list(track(_done(jobs), len(jobs), "reading sheets")), destination)
    notes = [f"{record.sheet}: {record.doubts[0]}" for record in records if record.state == "refused"] + problems
    kept = [record for record in records if record.state != "refused"]
    options = {"--stain": stain, "--layout": layout, "--karyotypes": karyotypes, "--labels": review / LABELS}
    command = ["bandbridge", "data", "import", "karyogram", str(source), str(destination)]
    command += [word for name, value in options.items() if value for word in (name, str(value))]
    _write_review(review, kept, notes, shlex.join([*command, *(["--de-identify"] if de_identify else [])]))
    if not kept:
        for made in (destination, *([] if known else [review])):
            shutil.rmtree(made, ignore_errors=True)
        raise ManyErrors(f"{source}: no file is a karyogram sheet that can be read:", notes, "Give pictures of sheets.")
    _write_dataset(destination, kept, stain, origin["source"])
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
        return list(file_stems([page.stem for page in pages], "sheet"))
    if not (review / KEY).exists() and (review / TABLE).is_file():
        raise UserError(
            f"{review / KEY} is gone, and {review / TABLE} has codes of it",
            "Bring the key back from a copy, or choose a new DEST.",
        )
    codes = open_codes(review / KEY)
    # Of sheets that are no longer handed in, too: what was passed on before may name them.
    for name in [*read_names(review / TABLE).values(), *(page.name for page in pages)]:
        codes.code("cell", name)
    write_names(review / TABLE, codes)
    return [codes.code("cell", page.name) for page in pages]


def _refuse_unknown_sheets(
    pages: Sequence[Page], cells: Sequence[str], asked: Asked, files: tuple[Path | None, Path | None]
) -> None:
    problems = []
    for table, file in zip((asked.karyotypes, asked.by_hand), files, strict=True):
        meant = {matching(table, page.name, cell) for page, cell in zip(pages, cells, strict=True)}
        problems += [f"{file}: there is no sheet {name!r}" for name in table if name not in meant]
    if problems:
        raise ManyErrors("tables that name sheets which are not there:", problems, "Name sheets as their files are.")


def _job(page: Page, cell: str, asked: Asked, destination: Path, review: Path) -> _Job:
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
    return _Job(page, cell, content_hash(what), expected, by_hand, destination, review)


def _done(jobs: Sequence[_Job]) -> Iterator[Record]:
    """The record of each job, in their order; by all cores where that is worth it."""
    cores, known = usable_cores(), [_known(job) for job in jobs]
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


def do_sheet(job: _Job) -> Record:
    """Return the record of one sheet, after its crops, its picture and the record are written."""
    if (record := _known(job)) is not None:
        return record
    place, started = _place(job), time.monotonic()
    base = Record(
        sheet=job.page.name, cell=job.cell, asked=job.asked, state="refused", karyotype=job.expected.karyotype
    )
    _clear(job)
    try:
        gray, colour = decode_page(job.page)
        pixels = hashlib.sha256(f"{gray.shape}".encode() + gray.tobytes()).hexdigest()
        reading = read_sheet(gray, colour, job.expected)
    except UserError as fault:
        why = fault.message.removeprefix(f"{job.page.name}: ")
        record = base.model_copy(update={"doubts": (why,)})
        write_record(place, record)
        return record
    if job.by_hand is not None:
        reading, problems = corrected(reading, job.by_hand.labels)
        reading = replace(reading, doubts=tuple(f"labels set by hand: {problem}" for problem in problems))
    state = "to check" if reading.doubts else "imported"
    crops = _crops(reading, gray.shape)
    if state == "imported":
        crops = [_with_file(crop, job.cell) for crop in crops]
        for crop, one in zip(crops, reading.found, strict=True):
            folder = job.destination if crop.label else job.review
            _write_png(folder / crop.file, Image.fromarray(cut_crop(gray, one, reading)))
    picture = f"pictures/{safe_name(job.cell)}.png"
    _write_png(job.review / picture, draw_overview(gray, reading))
    record = base.model_copy(
        update={
            "state": state,
            "pixels": pixels,
            "by": reading.by,
            "doubts": reading.doubts,
            "crops": tuple(crops),
            "picture": picture,
            "seconds": round(time.monotonic() - started, 2),
        }
    )
    write_record(place, record)
    return record


def _place(job: _Job) -> Path:
    return job.review / "done" / f"{safe_name(job.cell)}.json"


def _known(job: _Job) -> Record | None:
    """The record of a sheet that is done, with all its files."""
    record = read_record(_place(job), job.asked)
    return record if record is not None and _is_whole(record, job) else None


def _is_whole(record: Record, job: _Job) -> bool:
    files = [(job.destination if crop.label else job.review) / crop.file for crop in record.crops if crop.file]
    files += [job.review / record.picture] if record.picture else []
    return all(file.is_file() for file in files)


def _clear(job: _Job) -> None:
    """Take away what an earlier reading of the sheet left."""
    for folder in (job.destination / "images", job.review / "aside"):
        shutil.rmtree(folder / safe_name(job.cell), ignore_errors=True)


def _crops(reading: Reading, shape: tuple[int, ...]) -> list[Crop]:
    seen: dict[str, int] = {}
    crops = []
    for one in reading.found:
        seen[one.label] = seen.get(one.label, 0) + 1
        copy = chr(ord("a") + min(seen[one.label] - 1, 25))
        crops.append(
            Crop(
                number=one.number,
                label=one.label,
                copy_=copy,
                certainty=one.sure,
                why=one.why,
                box=box_in_file(one, reading, shape),
            )
        )
    return crops


def _with_file(crop: Crop, cell: str) -> Crop:
    """With the place of its picture: in the set, or aside where it has no class."""
    if crop.label:
        return crop.model_copy(update={"file": f"images/{safe_name(cell)}/{crop.label}{crop.copy_}.png"})
    return crop.model_copy(update={"file": f"aside/{safe_name(cell)}/{crop.number}.png"})


def _write_png(path: Path, picture: Image.Image) -> None:
    make_folder(path.parent)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    with replacing(path) as temporary:
        temporary.write_bytes(stream.getvalue())


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


def _write_review(review: Path, records: Sequence[Record], notes: Sequence[str], command: str) -> None:
    write_text(review / OVERVIEW, render_overview(records, notes, command))
    rows = [
        (one.sheet, one.cell, one.state, str(one.total), one.karyotype, one.by, " | ".join(one.doubts))
        for one in records
    ]
    header = ("sheet", "cell", "state", "chromosomes", "karyotype", "divided_by", "doubts")
    write_text(review / SHEETS, csv_lines(header, rows))
    if not (review / LABELS).is_file() or _is_untouched(review / LABELS):
        write_text(review / LABELS, csv_lines(("sheet", "piece", "read_as", "label"), _to_fill_in(records)))


def _to_fill_in(records: Iterable[Record]) -> Iterator[tuple[str, str, str, str]]:
    for record in records:
        if record.state == "to check":
            yield record.sheet, "", "", ""
            for crop in record.crops:
                yield record.sheet, str(crop.number), crop.label, ""


def _is_untouched(path: Path) -> bool:
    """Whether nobody has filled a label in: then it may be written anew."""
    try:
        return not read_labels(path)
    except UserError:
        return False


def _write_dataset(destination: Path, records: Sequence[Record], stain: str, source: str) -> None:
    rows = [
        (crop.file, crop.label, record.cell, "", crop.copy_, stain, source, crop.certainty, crop.why, _text(crop.box))
        for record in records
        if record.state == "imported"
        for crop in sorted(record.crops, key=lambda each: (CLASS_INDEX.get(each.label, 99), each.copy_))
        if crop.label
    ]
    if not rows:
        note("no sheet adds up: the dataset is empty until some are checked")
        (destination / METADATA).unlink(missing_ok=True)
        return
    columns = (*COLUMNS, *EXTRA)
    table = csv_lines(columns, rows)
    write_cards(destination, source, columns, rows, table)
    write_text(destination / METADATA, table)


def _text(box: tuple[int, int, int, int]) -> str:
    return " ".join(map(str, box))
