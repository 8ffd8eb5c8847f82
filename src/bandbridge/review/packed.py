"""An archive of a folder that metaphases were cut into: unpacked while it is read, so that cells keep their fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandbridge.dataset.archive import Bounds, is_image, read_images
from bandbridge.errors import UserError
from bandbridge.files import folder_beside
from bandbridge.metaphase.record import CUT, FIELDS, KIND
from bandbridge.review.keeping import private_folder

#: A field's record in an archive, and what is before: the folder that was packed, "" where its contents were.
_RECORD = re.compile(rf"(?P<home>(?:.*/)?){FIELDS}/[^/]+/{re.escape(CUT)}")


def holds_cut(path: Path, bounds: Bounds | None = None) -> bool:
    """Whether ``path`` is an archive of a folder that metaphases were cut into; of a broken one others say so."""
    try:
        return _home(path, bounds) is not None
    except UserError:
        return False


@contextmanager
def opened(path: Path, work: Path, bounds: Bounds | None = None) -> Iterator[Path]:
    """Yield the folder that is in the archive ``path``, unpacked into ``work`` for as long; else ``path`` itself.

    Raises as :func:`~bandbridge.dataset.archive.read_images`.
    """
    home = _home(path, bounds) if holds_cut(path, bounds) else None
    if home is None:
        yield path
        return
    with folder_beside(work / "incoming") as place:
        folder = private_folder(place) / "cut"
        for name, data in read_images(path, bounds, lambda name: is_image(name) or name.endswith(f"/{CUT}")):
            if name.startswith(home):
                target = folder / name.removeprefix(home)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        yield folder


def _home(path: Path, bounds: Bounds | None) -> str | None:
    """The folder in the archive that was cut into; None where there is none."""
    if not path.is_file():
        return None
    for name, data in read_images(path, bounds, lambda name: bool(_RECORD.fullmatch(name))):
        found = _RECORD.fullmatch(name)
        try:
            record = json.loads(data)
        except ValueError:
            continue
        if found and isinstance(record, dict) and record.get("kind") == KIND:
            return found["home"]
    return None
