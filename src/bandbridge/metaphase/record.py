"""What ``bandbridge cut`` leaves in a folder, by which the others know it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandbridge.dataset.cell_folders import patients_of_folders
from bandbridge.errors import UserError
from bandbridge.filenames import composed
from bandbridge.files import load_json

#: The record of one field, in its folder; and what it says it is.
CUT, KIND = "cut.json", "bandbridge cut"
#: Beside it: 1 bit, where any piece of the field is, chromosome or not.
PIECES = "pieces.png"
#: Beside it too: the masks of what the cut may be otherwise.
ALTERNATIVES = "alternatives"
#: In the folder that was cut into: the fields, with their records, and the cells.
FIELDS, IMAGES = "fields", "images"


def is_cut(place: Path) -> bool:
    """Whether ``place`` is a folder that metaphases were cut into: by the record that each field has there."""
    return any(_is_record(path) for path in sorted((place / FIELDS).glob(f"*/{CUT}"))[:3])


def cut_folder(place: Path) -> Path | None:
    """Return the folder that metaphases were cut into, where ``place`` is it or its ``images``; None where neither."""
    for folder in (place, place.parent) if place.name == IMAGES else (place,):
        if is_cut(folder):
            return folder
    return None


def patients_in(place: Path) -> dict[str, str]:
    """Return whose each cell in ``place`` is, by the folder that its field lay in, where it lay in one of several.

    ``place``: as :func:`cut_folder` has it; nothing where it was not cut into.
    """
    records = _records(place)
    whose = patients_of_folders(_fields_of(records))
    return {cell: patient for one, patient in zip(records, whose, strict=True) if patient for cell in _cells_of(one)}


def cells_by_folder(place: Path) -> dict[str, tuple[str, list[str]]]:
    """Return, by the folder of each field that was cut into ``place``, the field's name and those of its cells."""
    return {home: (str(one.get("field", "")), _cells_of(one)) for home, one in _stored(place)}


def doubts_in(place: Path) -> dict[tuple[str, int], str]:
    """Return of each doubtful piece in ``place``, by its cell and number, what it may as well be instead.

    ``place``: as :func:`cut_folder` has it. Of several that which is likeliest; nothing in older records.
    """
    found: dict[tuple[str, int], str] = {}
    for one in _records(place):
        for row in one["found"].get("pieces", []) if isinstance(one.get("found"), dict) else []:
            if row.get("doubt"):
                found[composed(str(row["cell"])), int(row["mask"])] = str(row["doubt"])
    return found


def fields_in(place: Path) -> list[str]:
    """Return the names of the fields that were cut into ``place``, with the folders that they lay in."""
    return _fields_of(_records(place))


def _cells_of(record: dict[str, Any]) -> list[str]:
    told = record.get("found")
    return [str(cell) for cell in told.get("cells", {})] if isinstance(told, dict) else []


def _fields_of(records: list[dict[str, Any]]) -> list[str]:
    return [str(one.get("field", "")) for one in records]


def _records(place: Path) -> list[dict[str, Any]]:
    folder = cut_folder(place)
    return [one for _, one in _stored(folder)] if folder else []


def _stored(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of the folder of each field that was cut into ``folder``, and its record."""
    for path in sorted((folder / FIELDS).glob(f"*/{CUT}")):
        if stored := _read(path):
            yield path.parent.name, stored


def _is_record(path: Path) -> bool:
    return bool(_read(path))


def known_record(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the record at ``path`` if it says all of ``wanted``: nothing has to be done again. Else nothing."""
    try:
        stored = load_json(path)
    except (OSError, ValueError):
        return {}
    agrees = isinstance(stored, dict) and all(stored.get(key) == value for key, value in wanted.items())
    return stored if agrees else {}


def _read(path: Path) -> dict[str, Any]:
    """The record at ``path``, nothing where it is none."""
    try:
        stored = load_json(path)
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) and stored.get("kind") == KIND else {}


def cells_in(place: Path) -> Path:
    """Return where the cells lie in ``place``: its ``images`` if metaphases were cut into it, else itself.

    Raises :class:`UserError` where metaphases were cut that showed no cell.
    """
    if not is_cut(place):
        return place
    if not (place / IMAGES).is_dir():
        raise UserError(f"{place}: no cell was found on its metaphases", f"Why, is in {place / 'fields.csv'}.")
    return place / IMAGES
