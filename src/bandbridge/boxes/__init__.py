"""The models that come in the box: trained on drawn cells alone, one a stain, named box:G and box:Q.

They sort real chromosomes right after installation, offline, and are what a training may start from
(``approaches: [boxed]``, ``bandbridge fine-tune box:G CELLS``). Their folders are beside this file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bandbridge.errors import UserError

#: What the name of such a model begins with.
BOX = "box:"
#: By stain: what the bands look like.
STAINS = {"G": "dark bands on white", "Q": "bright bands on black"}


def is_box(place: Path) -> bool:
    """Whether ``place`` names a model in the box, and not a path."""
    return place.as_posix().startswith(BOX)


def at_home(place: Path) -> Path:
    """Return the folder of the model in the box that ``place`` names; any other place as it is.

    Raises :class:`UserError` for a name that is none of them.
    """
    if not is_box(place):
        return place
    name = place.as_posix().removeprefix(BOX)
    if name not in STAINS:
        known = ", ".join(f"{BOX}{stain} ({look})" for stain, look in STAINS.items())
        raise UserError(f"there is no {place.as_posix()}", f"In the box are {known}.")
    folder = Path(str(files("bandbridge.boxes").joinpath(name)))
    if not folder.is_dir():
        raise UserError(f"{place.as_posix()} is missing from this installation", "Install bandbridge again.")
    return folder
