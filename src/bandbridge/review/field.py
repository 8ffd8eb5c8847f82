"""The metaphase that a cell was cut from, as a review keeps it: the field's picture, and where each chromosome lies.

What ``bandbridge cut`` left is read once, when its cells are handed in, and never written to.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bandbridge.dataset.decode import decode_image
from bandbridge.errors import UserError
from bandbridge.filenames import composed
from bandbridge.files import content_hash, load_json
from bandbridge.metaphase.intake import read_field
from bandbridge.metaphase.maps import pieces_of_maps
from bandbridge.metaphase.pieces import Piece
from bandbridge.metaphase.record import CUT, FIELDS, IMAGES, PIECES, cut_folder
from bandbridge.metaphase.told import alternatives_in, from_bits
from bandbridge.review.others import Other, decode_mask, encode_mask, others_difference, others_of

if TYPE_CHECKING:
    from bandbridge.review.database import Store
    from bandbridge.review.schema import Incoming

#: The box of a cell is its chromosomes' with so much around, in widths: what was missed lies near.
_AROUND = 5.0
FIELD_TABLES = """
CREATE TABLE fields (
    cell INTEGER PRIMARY KEY REFERENCES cells, picture TEXT NOT NULL, width REAL NOT NULL, box TEXT NOT NULL,
    found BLOB NOT NULL);
CREATE TABLE masks (
    chromosome INTEGER PRIMARY KEY REFERENCES chromosomes, y INTEGER NOT NULL, x INTEGER NOT NULL, mask BLOB NOT NULL);
"""


@dataclass(frozen=True, eq=False)
class IncomingField:
    """Where a cell was cut from.

    picture: hash of the stored picture of the field. width: of a chromosome, pixels. found: bool [H, W], where the cut
    found anything. pieces: where each chromosome lies, by the name of its image. others: what it may be otherwise.
    """

    picture: str
    width: float
    found: np.ndarray
    pieces: Mapping[str, Piece]
    others: tuple[Other, ...] = ()


@dataclass(frozen=True, eq=False)
class StoredField:
    """The field of a cell as it stands; as :class:`IncomingField`, its pieces by the number of the chromosome.

    box: (left, top, right, bottom) of the part that shows the cell. others: by their places in what was handed in,
    those whose pieces all stand.
    """

    picture: str
    width: float
    box: tuple[int, int, int, int]
    found: np.ndarray
    pieces: Mapping[int, Piece]
    others: Mapping[int, Other] = field(default_factory=dict)


# Handed in


def with_fields(place: Path, cells: Sequence[Incoming], store: Store) -> tuple[list[Incoming], list[str]]:
    """Return ``cells`` with the fields that ``place`` was cut from, where it was, and a sentence for what is not read.

    A cell with an image that the cut did not make has no field.
    """
    cut = cut_folder(place)
    if cut is None:
        return list(cells), []
    known = dict(_cells_of(cut))
    found, problems = [], []
    for cell in cells:
        try:
            where = known.get(composed(cell.name))
            field = _read(*where, cell, store) if where else None
        except UserError as error:
            problems.append(f"{cell.name}: its metaphase is not shown: {error.message}")
            field = None
        found.append(replace(cell, field=field) if field else cell)
    return found, problems


def _cells_of(place: Path) -> list[tuple[str, tuple[Path, str]]]:
    """Return, for each cell of a folder that was cut into, its field's folder and the ending of its maps there."""
    found = []
    for path in sorted((place / FIELDS).glob(f"*/{CUT}")):
        try:
            cells = list(load_json(path)["found"]["cells"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for number, name in enumerate(cells, start=1):
            if (place / IMAGES / name).is_dir():
                found.append((name, (path.parent, "" if number == 1 else f"-{number}")))
    return found


def _read(folder: Path, ending: str, cell: Incoming, store: Store) -> IncomingField | None:
    gray, first, second = (_read_map(folder / f"{name}.png") for name in ("field", f"mask{ending}", f"overlap{ending}"))
    if not gray.shape == first.shape == second.shape:
        raise UserError(f"{folder}: field.png, mask{ending}.png and overlap{ending}.png differ in size")
    pieces = pieces_of_maps(first, second)
    named = {f"{number:02d}.png": piece for number, piece in pieces.items()}
    if not {file for file, _ in cell.images} <= set(named):
        return None
    stored = load_json(folder / CUT)
    width = float(stored.get("width") or stored["found"]["width"])
    found = (first > 0) | (second > 0)
    if (folder / PIECES).is_file():
        found |= _read_map(folder / PIECES) > 0
    handed = {file: named[file] for file, _ in cell.images}
    return IncomingField(
        store.put_image(gray), width, found, handed, _read_others(folder, cell.name, set(handed), first.shape)
    )


def _read_others(folder: Path, cell: str, files: set[str], shape: tuple[int, ...]) -> tuple[Other, ...]:
    """Return what the cut may be otherwise, of pieces in ``files``; nothing of a cut of before it was told."""
    found = []
    for one in alternatives_in(folder, cell):
        replaced = tuple(f"{int(number):02d}.png" for number in one["pieces"])
        given = from_bits(_read_bits(folder / one["masks"]), int(one["top"]), int(one["left"]))
        if any(
            side.start < 0 or side.stop > most for each in given for side, most in zip(each.box, shape, strict=True)
        ):
            raise UserError(f"{folder / one['masks']} reaches beyond the field")
        if set(replaced) <= files and given:
            found.append(Other(replaced, tuple(given), bool(one["even"])))
    return tuple(found)


def _read_map(path: Path) -> np.ndarray:
    return read_field(_read_bytes(path), path.name)


def _read_bits(path: Path) -> np.ndarray:
    found = decode_image(_read_bytes(path), path.name).values
    if found.dtype != np.uint8:
        raise UserError(f"{path} has not 8 bits")
    return found


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise UserError(f"cannot read {path}: {fault.strerror or fault}") from fault


# Kept


def keep_field(database: sqlite3.Connection, cell: int, field: IncomingField) -> dict[str, Any]:
    """Keep the field of a cell whose chromosomes are kept; return what the log is to tell of it."""
    held = database.execute("SELECT id, file FROM chromosomes WHERE cell = ?", (cell,)).fetchall()
    masks = {one["id"]: field.pieces[one["file"]] for one in held if one["file"] in field.pieces}
    row = (cell, field.picture, field.width, json.dumps(_box_of(field)), encode_mask(field.found))
    database.execute("INSERT INTO fields (cell, picture, width, box, found) VALUES (?, ?, ?, ?, ?)", row)
    return {"field": {str(cell): _field_digest(*row[1:])}, "mask": keep_masks(database, masks)}


def keep_masks(database: sqlite3.Connection, pieces: Mapping[int, Piece]) -> dict[str, str]:
    """Keep where chromosomes lie; return a digest of each for the log."""
    told = {}
    for number, piece in pieces.items():
        row = (piece.top, piece.left, encode_mask(piece.mask))
        database.execute("INSERT INTO masks (chromosome, y, x, mask) VALUES (?, ?, ?, ?)", (number, *row))
        told[str(number)] = _mask_digest(*row)
    return told


def has_field(database: sqlite3.Connection, cell: int) -> bool:
    """Whether the field of a cell is kept."""
    return database.execute("SELECT 1 FROM fields WHERE cell = ?", (cell,)).fetchone() is not None


def pictures_of(database: sqlite3.Connection) -> dict[int, str]:
    """Return the hash of the field's picture of each cell that has one and was not removed."""
    query = "SELECT cell, picture FROM fields JOIN cells ON id = cell WHERE removed = 0 ORDER BY cell"
    return {row["cell"]: row["picture"] for row in database.execute(query).fetchall()}


def stored_field(database: sqlite3.Connection, cell: int) -> StoredField | None:
    """Return the field of a cell as it stands, None where it was not cut from one."""
    row = database.execute("SELECT * FROM fields WHERE cell = ?", (cell,)).fetchone()
    if row is None:
        return None
    query = "SELECT masks.* FROM masks JOIN chromosomes ON id = chromosome WHERE cell = ? AND gone = 0 ORDER BY id"
    pieces = {one["chromosome"]: _piece(one) for one in database.execute(query, (cell,)).fetchall()}
    left, top, right, bottom = json.loads(row["box"])
    others = others_of(database, cell, pieces)
    return StoredField(
        row["picture"], row["width"], (left, top, right, bottom), decode_mask(row["found"]), pieces, others
    )


def _piece(row: sqlite3.Row) -> Piece:
    mask = decode_mask(row["mask"])
    return Piece(row["y"], row["x"], mask, area=int(mask.sum()))


def _box_of(field: IncomingField) -> tuple[int, int, int, int]:
    height, width = field.found.shape
    margin = round(_AROUND * field.width)
    boxes = [piece.box for piece in field.pieces.values()]
    return (
        max(0, min(columns.start for _, columns in boxes) - margin),
        max(0, min(rows.start for rows, _ in boxes) - margin),
        min(width, max(columns.stop for _, columns in boxes) + margin),
        min(height, max(rows.stop for rows, _ in boxes) + margin),
    )


def _field_digest(picture: str, width: float, box: str, found: bytes) -> str:
    return content_hash([picture, width, box, found.hex()])


def _mask_digest(top: int, left: int, mask: bytes) -> str:
    return content_hash([top, left, mask.hex()])


def fields_difference(database: sqlite3.Connection, log: Sequence[Mapping[str, Any]]) -> str:
    """Return in words which field or mask first is not as ``log``, the contents of its entries, told; "" for none."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'masks'").fetchone():
        return ""  # of a version before
    told: dict[str, dict[int, str]] = {"field": {}, "mask": {}, "alternatives": {}}
    for content in log:
        for kind, known in told.items():
            known.update((int(number), digest) for number, digest in content.get(kind, {}).items())
    fields = {
        row["cell"]: _field_digest(row["picture"], row["width"], row["box"], row["found"])
        for row in database.execute("SELECT * FROM fields")
    }
    if fields != told["field"]:
        return "the metaphase of a cell is not as its log says"
    masks = {
        row["chromosome"]: _mask_digest(row["y"], row["x"], row["mask"])
        for row in database.execute("SELECT * FROM masks")
    }
    if masks != told["mask"]:
        return "where a chromosome lies on its metaphase is not as its log says"
    return others_difference(database, told["alternatives"])
