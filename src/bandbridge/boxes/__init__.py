"""The models that come in the box: trained on drawn cells alone, one a stain, named box:G and box:Q.

They sort real chromosomes right after installation, offline, and are what a training may start from
(``approaches: [boxed]``, ``bandbridge fine-tune box:G CELLS``). Their folders are beside this file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bandbridge.errors import UserError
from bandbridge.seal import EXPORTED_WEIGHTS, SUMS

#: What the name of such a model begins with.
BOX = "box:"
#: By stain: what the bands look like.
STAINS = {"G": "dark bands on white", "Q": "bright bands on black"}


def is_box(place: Path) -> bool:
    """Whether ``place`` names a model in the box, and not a path; in capital letters or small ones."""
    return place.as_posix().lower().startswith(BOX)


def name_of(identity: str) -> str:
    """Return the name of the model in the box whose weights' SHA-256 begins as ``identity`` says, "" for no such.

    identity: ``sha256:`` and 16 digits, as a training records what it started from.
    """
    for stain in STAINS:
        sums = _folder(stain) / SUMS
        lines = sums.read_text(encoding="ascii").splitlines() if sums.is_file() else []
        if any(f"sha256:{line[:16]}" == identity and line.endswith(EXPORTED_WEIGHTS) for line in lines):
            return BOX + stain
    return ""


def at_home(place: Path) -> Path:
    """Return the folder of the model in the box that ``place`` names; any other place as it is.

    Raises :class:`UserError` for a name that is none of them, and for one that a folder here has too.
    """
    if not is_box(place):
        return place
    if place.exists():
        raise UserError(
            f"{place} names a model in the box, and a folder that lies here", f"Name the folder as {place.resolve()}."
        )
    stain = place.as_posix()[len(BOX) :].upper()
    if stain not in STAINS:
        known = ", ".join(f"{BOX}{stain} ({look})" for stain, look in STAINS.items())
        raise UserError(f"there is no {place.as_posix()}", f"In the box are {known}.")
    folder = _folder(stain)
    if not folder.is_dir():
        raise UserError(f"{place.as_posix()} is missing from this installation", "Install bandbridge again.")
    return folder


def refuse_as_images(place: Path) -> None:
    """Raise :class:`UserError` where ``place``, given as images, names a model in the box."""
    if is_box(place):
        raise UserError(f"{place.as_posix()} is a model, and no images are named", "Name them after it.")


def _folder(stain: str) -> Path:
    return Path(str(files("bandbridge.boxes").joinpath(stain)))
