"""What an import remembers of each sheet, so that a sheet that is done is not done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bandbridge.files import load_json, write_json
from bandbridge.karyotype import CLASSES

#: imported: its crops are in the set. to check: it does not add up. refused: no sheet, or unreadable.
State = Literal["imported", "to check", "refused"]


class Crop(BaseModel):
    """A chromosome of a sheet. file: of its picture in the set, "" where there is none. box: top, left, bottom, right,
    pixels of the file, turned straight where it was askew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    label: str
    copy_: str = ""
    certainty: str
    why: str
    box: tuple[int, int, int, int]
    file: str = ""


class Record(BaseModel):
    """A sheet. asked: hash of all that decides what comes of it. pixels: SHA-256 of its gray values. turned: degrees,
    counterclockwise, by which it was turned straight; its crops and boxes are of the turned picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sheet: str
    cell: str
    asked: str
    state: State
    pixels: str = ""
    turned: float = 0.0
    by: str = ""
    karyotype: str = ""
    doubts: tuple[str, ...] = ()
    crops: tuple[Crop, ...] = ()
    picture: str = ""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """Chromosomes with a class."""
        return sum(bool(crop.label) for crop in self.crops)

    @property
    def counts(self) -> dict[str, int]:
        """Of each class."""
        many = Counter(crop.label for crop in self.crops)
        return {label: many[label] for label in CLASSES}


def read_record(path: Path, asked: str) -> Record | None:
    """Return the record at ``path`` of what is ``asked``; None where there is none, or another."""
    try:
        record = Record.model_validate(load_json(path))
    except (OSError, ValueError, ValidationError):
        return None
    return record if record.asked == asked else None


def write_record(path: Path, record: Record) -> None:
    """Write ``record``, last of all that belongs to its sheet."""
    write_json(path, record.model_dump(mode="json"))
