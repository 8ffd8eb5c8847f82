"""The fields of view that a laboratory hands over, and how one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from scipy import ndimage

from bandbridge.dataset.archive import IMAGE_SUFFIXES, image_files, is_left_behind, read_images
from bandbridge.dataset.claims import MAX_FIELD_PIXELS, allowing
from bandbridge.dataset.decode import DecodeError, decode_image
from bandbridge.dataset.findings import counted
from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES, holds_table, read_bounded
from bandbridge.errors import UserError, first_few, refuse_odd_names
from bandbridge.filenames import file_stem
from bandbridge.files import file_stems
from bandbridge.metaphase.ground import BlankField, Levelled, level, shrunk
from bandbridge.metaphase.record import is_cut
from bandbridge.sheets.upright import LYING, upright_share

#: Pixels of the shorter side that a field has at least: 46 chromosomes do not fit into less.
LEAST_SIDE = 64
#: A crop is told from a field by its shorter side, pixels, and by how many pieces of so many pixels it shows.
_FIELD_SIDE, _PIECES, _PIECE = 300, 8, 40
#: Images that are looked at for it, at no more than so many pixels a side; and how many are opened at most, to find
#: some that can be read and are not blank.
_LOOKED_AT, _AT_SIDE, _OPENED = 3, 800, 12
#: A cell whose field has no letter in its name.
_UNNAMED = "field"
_TOO_LARGE = "A metaphase is a few megabytes: save the part of the slide that shows the cell."


@dataclass(frozen=True, eq=False)
class FieldFile:
    """A field of view: its file's name, the name of its cell, and how to read its bytes."""

    name: str
    cell: str
    read: Callable[[], bytes]


def cell_of_field(name: str) -> str:
    """Return what the cell on the field ``name``, a relative path with "/", is called where no other is called so."""
    return file_stem(_without_ending(name), _UNNAMED)


def _without_ending(name: str) -> str:
    return name.rpartition(".")[0] or name


def fields_of(place: Path) -> list[FieldFile]:
    """Return the fields of ``place``: an image, a folder of images, also in folders, or a zip or tar of them.

    Raises :class:`UserError` where there is none.
    """
    if place.is_dir():
        named = {name: partial(_read, place / name) for name in image_files(place)}
    elif place.is_file() and place.suffix.lower() in IMAGE_SUFFIXES:
        named = {place.name: partial(_read, place)}
    elif place.is_file():
        contents = dict(read_images(place))
        named = {name: partial(contents.__getitem__, name) for name in sorted(contents)}
    else:
        raise UserError(f"{place} does not exist", "Name a metaphase, or a folder or zip of metaphases.")
    if not named:
        remedy = f"Images end in {', '.join(sorted(IMAGE_SUFFIXES))}, upper or lower case."
        raise UserError(f"{place} holds no image", f"{told}. {remedy}" if (told := passed_over(place)) else remedy)
    refuse_odd_names(list(named), "names of images")
    stems = file_stems(map(_without_ending, named), _UNNAMED)
    return [FieldFile(name, cell, read) for (name, read), cell in zip(named.items(), stems, strict=True)]


def passed_over(place: Path) -> str:
    """Return a sentence on the PDFs in the folder ``place``, which are no fields of view; "" where there are none."""
    pdfs = image_files(place, _is_pdf) if place.is_dir() else []
    if not pdfs:
        return ""
    what = f"{counted(len(pdfs), 'PDF')} in {place}, no field of view: {first_few(pdfs)}"
    return f"{what}; sheets as PDF are read by bandbridge data import karyogram"


def _is_pdf(name: str) -> bool:
    return name.lower().endswith(".pdf") and not is_left_behind(name)


def are_fields(place: Path) -> bool:
    """Whether the images of ``place`` are fields of view, not single chromosomes: at least half of the first three.

    What cannot be read and what is blank tells nothing: of the others the first three are looked at. A dataset and a
    folder of cut cells hold no fields.
    """
    if not place.exists() or is_cut(place) or holds_table(place):
        return False
    try:
        told = list(islice(_told_of(_first(place)), _LOOKED_AT))
    except UserError:
        # Whoever reads them next says what is wrong with them.
        return False
    return bool(told) and 2 * sum(told) >= len(told)


def _told_of(images: Iterator[tuple[str, bytes]]) -> Iterator[bool]:
    """Whether each of ``images``, names and bytes, is a field of view; nothing of those that tell nothing."""
    for name, data in images:
        try:
            yield shows_many(decode_field(data, name)[0])
        except (DecodeError, BlankField):
            continue


def _first(place: Path) -> Iterator[tuple[str, bytes]]:
    """The first images of ``place``; of a zip no more of it is unpacked than that takes."""
    if place.is_dir() or place.suffix.lower() in IMAGE_SUFFIXES:
        yield from ((one.name, one.read()) for one in fields_of(place)[:_OPENED])
    else:
        yield from islice(read_images(place), _OPENED)


def looks_arranged(levelled: Levelled) -> bool:
    """Whether what stands out stands so upright, or lies so flat, that it may be an arranged karyogram."""
    pieces, _ = ndimage.label(levelled.contrast > levelled.threshold)
    masks = [pieces[box] == number for number, box in enumerate(ndimage.find_objects(pieces), start=1)]
    return upright_share(masks) >= LYING or upright_share(mask.T for mask in masks) >= LYING


def refuse_arranged(gray: np.ndarray, name: str) -> None:
    """Raise :class:`UserError` if uint8 ``gray`` [H, W] is an arranged karyogram, from which nothing is to be cut."""
    from bandbridge.sheets.arranged import how_arranged  # matplotlib's letters, by which numbers are read

    stands = how_arranged(gray)
    if stands:
        what = f"{name}: an arranged karyogram, no metaphase"
        how = "Bring it in with: bandbridge data import karyogram"
        raise (
            UserError(f"{what}; it lies on its side", f"Turn it upright. {how}")
            if stands == "lying"
            else UserError(what, how)
        )


def shows_many(gray: np.ndarray) -> bool:
    """Whether ``gray`` [H, W] is as large as a field of view and shows several things that lie apart."""
    if min(gray.shape) < _FIELD_SIDE:
        return False
    by = -(-max(gray.shape) // _AT_SIDE)
    found = level(shrunk(gray, by))
    sizes = np.bincount(ndimage.label(found.contrast > found.threshold)[0].ravel())[1:]
    return int((sizes * by**2 >= _PIECE).sum()) >= _PIECES


def _read(path: Path) -> bytes:
    return read_bounded(path, MAX_IMAGE_BYTES, _TOO_LARGE)


def decode_field(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """Decode the bytes of a field to gray values, uint8 or uint16 [H, W], brighter is larger; and say of how many.

    The largest of its pages, time points and channels is read, the first of those. Raises :class:`DecodeError` as
    :func:`bandbridge.dataset.decode.decode_image` does, up to 24 megapixels.
    """
    with allowing(MAX_FIELD_PIXELS):
        found = decode_image(data, name)
    values = found.values
    return np.asarray(values.max() - values if found.inverted else values), found.images


def read_field(data: bytes, name: str) -> np.ndarray:
    """Return what :func:`decode_field` has, of a field that is large enough to hold a cell.

    Raises :class:`DecodeError` as it does, and for a smaller one.
    """
    values, _ = decode_field(data, name)
    require_room(values, name)
    return values


def require_room(values: np.ndarray, name: str) -> None:
    """Raise :class:`DecodeError` where ``values`` [H, W] are too few to hold a cell."""
    if min(values.shape) < LEAST_SIDE:
        size = " x ".join(map(str, values.shape[::-1]))
        raise DecodeError(name, f"{size} pixels are too few for a field of view", "Give whole metaphases, not crops.")


def shown(values: np.ndarray) -> np.ndarray:
    """Return ``values`` of a field as uint8: those of 16 bits stretched over what the field uses."""
    if values.dtype == np.uint8:
        return values
    low, high = np.quantile(values[::4, ::4], [0.0005, 0.9995])
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
