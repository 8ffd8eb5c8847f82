"""What the page may ask to have done with a cell, each a function of values and a plain answer.

Every request says in ``version`` which version of the cell it rests on, and is refused where another change came since.
Every answer says in ``done`` whether anything was changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, get_args

import numpy as np
from starlette.exceptions import HTTPException

from bandbridge import __version__
from bandbridge.dataset.archive import Bounds
from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES
from bandbridge.karyogram.sheet import Chromosome, Pose
from bandbridge.review.coded import coding
from bandbridge.review.cuts import plan
from bandbridge.review.database import Store
from bandbridge.review.intake import MAX_FILES, MAX_UPLOAD_BYTES, clean
from bandbridge.review.log import Reader, Role
from bandbridge.review.metaphase import show_field
from bandbridge.review.patient_page import export_patient
from bandbridge.review.picture import tile
from bandbridge.review.schema import TOOLS, CellRecord, Event, StaleError, StoredSheet
from bandbridge.review.session import list_cell, show_sheet
from bandbridge.review.together import of_patient
from bandbridge.review.worker import Worker

_LONGEST_TEXT = 100
_LONGEST_NAME = 60


@dataclass(frozen=True, eq=False)
class Review:
    """What the server works with. bounds: what an archive handed in may unpack to.

    expected_bits, bit_depth: of images of 16 bits, as the model's training had them and as a person states them.
    reader: who reviews, where a browser has not been told another name. acquired: whether drafts are those of a tissue.
    """

    store: Store
    worker: Worker
    bounds: Bounds = field(default_factory=lambda: Bounds(total=2**30))
    expected_bits: int | None = None
    bit_depth: int | None = None
    reader: str = ""
    acquired: bool = False


def absent(what: str) -> HTTPException:
    """Return the answer for ``what`` that is not there."""
    return HTTPException(404, f"there is no such {what}")


def read_pose(values: Any) -> Pose:
    """Return the pose in ``values`` (a mapping with angle and flipped), or raise the answer that says what is wrong."""
    try:
        angle = float(values.get("angle", 0))
    except (TypeError, ValueError, OverflowError):
        raise HTTPException(400, "the angle is a number of degrees") from None
    if not -360 <= angle <= 360:
        raise HTTPException(400, "the angle is a number of degrees, -360 to 360")
    return Pose(angle, str(values.get("flipped", "0")) in ("1", "True"))


def describe(review: Review) -> dict[str, Any]:
    """Return what the page shows beside a sheet: the cells, the model, what is being classified."""
    records = review.store.cells()
    waiting = sum(record.state == "waiting" for record in records)
    return {
        "version": __version__,
        "model": review.worker.model,
        "folder": str(review.store.folder),
        "reader": review.reader,
        "cells": [list_cell(record) for record in records],
        "waiting": waiting,
        "current": review.worker.current,
        "trouble": review.worker.trouble,
        "limits": {"file": MAX_IMAGE_BYTES, "files": MAX_FILES, "upload": MAX_UPLOAD_BYTES},
    }


def read_sheet(review: Review, cell: int) -> StoredSheet:
    """Return the sheet of a cell, or raise the answer that there is none."""
    try:
        return review.store.sheet(cell)
    except KeyError:
        raise absent("cell, or it is not classified yet,") from None


def show(review: Review, cell: int) -> dict[str, Any]:
    """Return all that the page shows of a cell."""
    store = review.store

    def size_of(one: Chromosome, image: str) -> tuple[int, int]:
        return _tile_size(image, one.pose, store.read_image)

    stored = read_sheet(review, cell)
    standing = store.undone(cell)
    may = {"undo": not all(standing), "redo": bool(standing) and standing[-1]}
    field = {"field": show_field(store, cell)}
    if field["field"] and stored.record.arm == "without":
        field["field"]["others"] = []  # nothing is proposed there
    return {**show_sheet(stored, size_of, may), **_patient(review, stored.record), **field}


def _patient(review: Review, record: CellRecord) -> dict[str, Any]:
    """Return how far the cells of a cell's patient are, and who signed them."""
    cells = review.store.cells(record.patient) if record.patient else []
    signed = review.store.signatures(record.patient) if record.patient else []
    names = ("reader", "role", "at", "stands")
    return {
        "counted": record.counted,
        "of_patient": {
            "cells": len(cells),
            "accepted": sum(one.accepted for one in cells),
            "counted": sum(one.counted and not one.accepted for one in cells),
        },
        "signatures": [{name: getattr(one, name) for name in names} for one in signed],
    }


def show_patient(review: Review, cell: int) -> dict[str, Any]:
    """Return what the page shows of all that readers have closed of a cell's patient."""
    found = of_patient(review.store, read_sheet(review, cell).record.patient, acquired=review.acquired)
    return {"lines": found.lines, "draft": found.draft, "notes": found.notes}


@lru_cache(maxsize=8192)
def _tile_size(image: str, pose: Pose, read: Callable[[str], np.ndarray]) -> tuple[int, int]:
    height, width = tile(read(image), pose).shape
    return height, width


def _place(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    stored, label = _correctable(review, cell, values), values.get("label")
    if not isinstance(label, str) or label not in ("", *stored.sheet.classes):
        raise HTTPException(400, f"there is no class {str(label)[:20]!r}")
    number = _number(stored, values)
    return _show_after(review, cell, _change(review, cell, "place", (label, 1), values, number))


def _turn(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    pose = read_pose(values)
    stored = _correctable(review, cell, values)
    # A person is certain which arm is up.
    turned = (pose.angle, int(pose.flipped), 1.0)
    number = _number(stored, values)
    return _show_after(review, cell, _change(review, cell, "turn", turned, values, number))


def _accept(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    accepted = values.get("accepted")
    if not isinstance(accepted, bool):
        raise HTTPException(400, "accepted is true or false")
    read_sheet(review, cell)
    return _show_after(review, cell, _change(review, cell, "accept", (int(accepted),), values))


def _count(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    counted = values.get("counted")
    if not isinstance(counted, bool):
        raise HTTPException(400, "counted is true or false")
    read_sheet(review, cell)
    return _show_after(review, cell, _change(review, cell, "count", (int(counted),), values))


def _sign(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    """Sign the cells of this cell's patient, as they stand and as the page was shown this one."""
    stored = read_sheet(review, cell)
    if stored.record.version != _version(values):
        raise StaleError
    review.store.sign(stored.record.patient, _by(values))
    return {**show(review, cell), "done": True}


def _write_page(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    """Write the page of this cell's patient."""
    patient = read_sheet(review, cell).record.patient
    with coding(review.store, values.get("coded") is True) as codes:
        folder = export_patient(review.store, patient, codes, acquired=review.acquired)
    return {"folder": str(folder), "address": f"/exports/{folder.name}.zip"}


def _shown(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    """Note that a cell of a reader study came up."""
    review.store.note_shown(_listed(review, cell), _by(values))
    return {"done": True}


def _undo(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    read_sheet(review, cell)
    return _show_after(review, cell, review.store.undo(cell, _version(values), _by(values)))


def _redo(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    read_sheet(review, cell)
    return _show_after(review, cell, review.store.redo(cell, _version(values), _by(values)))


def _change(
    review: Review, cell: int, kind: str, new: tuple[Any, ...], values: dict[str, Any], number: int | None = None
) -> Event | None:
    return review.store.change(cell, kind, new, number, _version(values), _by(values))


def _show_after(review: Review, cell: int, event: Event | None) -> dict[str, Any]:
    """Return what the page shows of a cell after ``event``, and which chromosome it was about."""
    shown = show(review, cell)
    about = [event.chromosome] if event else []
    if event and event.kind in TOOLS:
        about = [event.after["chosen"], event.before["chosen"]]
    ids = {one["id"] for one in shown["chromosomes"]}
    return {**shown, "done": event is not None, "chromosome": next((one for one in about if one in ids), None)}


def _reshape(review: Review, cell: int, values: dict[str, Any], tool: str) -> dict[str, Any]:
    """Change which pieces of its metaphase are a cell's chromosomes."""
    stored, by = _correctable(review, cell, values), _by(values)
    with review.store.taking_in():  # crops that are not kept in the end leave nothing behind
        change = plan(review.store, review.worker, stored, tool, values)
        event = review.store.reshape(cell, change, _version(values), by)
    return _show_after(review, cell, event)


def _name(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    patient, stain = (clean(str(values.get(key, ""))[:_LONGEST_TEXT]) for key in ("patient", "stain"))
    read_sheet(review, cell)
    review.store.describe(cell, patient, stain, _version(values), _by(values))
    return {**show(review, cell), "done": True}


def _remove(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    review.store.remove(_listed(review, cell), _version(values), _by(values))
    return describe(review)


def _retry(review: Review, cell: int, values: dict[str, Any]) -> dict[str, Any]:
    review.store.retry(_listed(review, cell), _version(values), _by(values))
    review.worker.submit(cell)
    return describe(review)


ACTIONS: dict[str, Callable[[Review, int, dict[str, Any]], dict[str, Any]]] = {
    "place": _place,
    "turn": _turn,
    "accept": _accept,
    "count": _count,
    "sign": _sign,
    "page": _write_page,
    "shown": _shown,
    "undo": _undo,
    "redo": _redo,
    "describe": _name,
    "remove": _remove,
    "retry": _retry,
    **{tool: partial(_reshape, tool=tool) for tool in TOOLS},
}


def reader_name(value: object) -> str:
    """Return the name that a request gives for who asks, "" for none."""
    return clean(" ".join(value.split())[:_LONGEST_NAME]) if isinstance(value, str) else ""


def _by(values: Any) -> Reader:
    """Return who asks, or raise the answer that it has to be said."""
    name, role = reader_name(values.get("reader")), values.get("role", "first")
    if role not in get_args(Role):
        raise HTTPException(400, "the role is first or second")
    if not name:
        raise HTTPException(400, "it is not known who reviews: load the page again and say your name")
    return Reader(name, role)


def _version(values: dict[str, Any]) -> int:
    version = values.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise HTTPException(400, "the request does not say which version of the cell it changes: load the page again")
    return version


def _listed(review: Review, cell: int) -> int:
    try:
        return review.store.cell(cell).id
    except KeyError:
        raise absent("cell") from None


def _correctable(review: Review, cell: int, values: dict[str, Any]) -> StoredSheet:
    stored = read_sheet(review, cell)
    # The store looks again as it writes; what is checked here, is checked of the version that was shown.
    if stored.record.version != _version(values):
        raise StaleError
    if stored.record.accepted:
        raise HTTPException(409, "this cell is accepted; open it again (key a) to correct it")
    return stored


def _number(stored: StoredSheet, values: dict[str, Any]) -> int:
    number = values.get("chromosome")
    if not isinstance(number, int) or number not in stored.ids:
        raise absent("chromosome in this cell")
    return number
