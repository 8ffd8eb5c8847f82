"""One sheet -> its crops, its picture and its record, written; what is done and whole is not done again."""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from bandbridge.errors import UserError
from bandbridge.filenames import safe_name
from bandbridge.files import make_folder, replacing
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.corrections import corrected
from bandbridge.sheets.crops import box_in_file, cut_crop
from bandbridge.sheets.ink import NoSheet
from bandbridge.sheets.judging import Expected, Reading
from bandbridge.sheets.overview import draw_overview
from bandbridge.sheets.pages import Page, decode_page
from bandbridge.sheets.reading import CUT_IT, read_sheet
from bandbridge.sheets.records import Crop, Record, read_record, write_record
from bandbridge.sheets.tables import ByHand
from bandbridge.sheets.tilt import Straight, straightened

#: What is said of a sheet on which labels do not stand as the user says.
_MISFIT = "the layout does not fit it: without --layout it adds up"


@dataclass(frozen=True)
class Job:
    """A sheet to be done. asked: hash of all that decides what comes of it."""

    page: Page
    cell: str
    asked: str
    expected: Expected
    by_hand: ByHand | None
    destination: Path
    review: Path


def do_sheet(job: Job) -> Record:
    """Return the record of one sheet, after its crops, its picture and the record are written."""
    if (record := known_record(job)) is not None:
        return record
    place, started = _place(job), time.monotonic()
    base = Record(
        sheet=job.page.name, cell=job.cell, asked=job.asked, state="refused", karyotype=job.expected.karyotype
    )
    _clear(job)
    try:
        gray, colour = decode_page(job.page)
        pixels = hashlib.sha256(f"{gray.shape}".encode() + gray.tobytes()).hexdigest()
        straight = straightened(gray, colour)
        gray = straight.gray
        reading = _by_layout(straight, job.expected)
    except UserError as fault:
        why = fault.message.removeprefix(f"{job.page.name}: ")
        why += f". {CUT_IT}" if CUT_IT in fault.remedy else ""
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
            "turned": straight.turned,
            "by": reading.by,
            "doubts": reading.doubts,
            "crops": tuple(crops),
            "picture": picture,
            "seconds": round(time.monotonic() - started, 2),
        }
    )
    write_record(place, record)
    return record


def _by_layout(straight: Straight, expected: Expected) -> Reading:
    """The reading of a sheet; a layout that does not fit it is told of, and not the picture blamed.

    Raises as :func:`~bandbridge.sheets.reading.read_sheet` does.
    """
    usual = replace(expected, order=CLASSES, rows=())
    if (expected.order, expected.rows) == (usual.order, usual.rows):
        return read_sheet(straight.gray, straight.colour, expected)
    try:
        reading = read_sheet(straight.gray, straight.colour, expected)
    except NoSheet:
        if not _adds_up(straight, usual):
            raise
        raise NoSheet(_MISFIT) from None
    if reading.doubts and _adds_up(straight, usual):
        return replace(reading, doubts=(_MISFIT, *reading.doubts))
    return reading


def _adds_up(straight: Straight, expected: Expected) -> bool:
    try:
        return not read_sheet(straight.gray, straight.colour, expected).doubts
    except NoSheet:
        return False


def _place(job: Job) -> Path:
    return job.review / "done" / f"{safe_name(job.cell)}.json"


def known_record(job: Job) -> Record | None:
    """The record of a sheet that is done, with all its files."""
    record = read_record(_place(job), job.asked)
    return record if record is not None and _is_whole(record, job) else None


def _is_whole(record: Record, job: Job) -> bool:
    files = [(job.destination if crop.label else job.review) / crop.file for crop in record.crops if crop.file]
    files += [job.review / record.picture] if record.picture else []
    return all(file.is_file() for file in files)


def _clear(job: Job) -> None:
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
