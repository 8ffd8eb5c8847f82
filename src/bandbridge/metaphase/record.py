"""What ``bandbridge cut`` leaves in a folder, by which the others know it again."""

from __future__ import annotations

from pathlib import Path

from bandbridge.errors import UserError
from bandbridge.files import load_json

#: The record of one field, in its folder; and what it says it is.
CUT, KIND = "cut.json", "bandbridge cut"
#: Beside it: 1 bit, where any piece of the field is, chromosome or not.
PIECES = "pieces.png"
#: In the folder that was cut into: the fields, with their records, and the cells.
FIELDS, IMAGES = "fields", "images"


def is_cut(place: Path) -> bool:
    """Whether ``place`` is a folder that metaphases were cut into: by the record that each field has there."""
    return any(_is_record(path) for path in sorted((place / FIELDS).glob(f"*/{CUT}"))[:3])


def _is_record(path: Path) -> bool:
    try:
        stored = load_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and stored.get("kind") == KIND


def cells_in(place: Path) -> Path:
    """Return where the cells lie in ``place``: its ``images`` if metaphases were cut into it, else itself.

    Raises :class:`UserError` where metaphases were cut that showed no cell.
    """
    if not is_cut(place):
        return place
    if not (place / IMAGES).is_dir():
        raise UserError(f"{place}: no cell was found on its metaphases", f"Why, is in {place / 'fields.csv'}.")
    return place / IMAGES
