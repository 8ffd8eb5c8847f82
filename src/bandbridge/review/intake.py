"""Image files and archives that a person hands in, sorted into cells; what cannot be used is named and refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bandbridge.dataset.archive import Bounds, is_left_behind, read_images
from bandbridge.dataset.cell_folders import MOST_IN_CELL, patients_of_folders
from bandbridge.dataset.decode import DecodeError, quiet_pillow
from bandbridge.dataset.depth import NeedsSetError, SetDepth
from bandbridge.dataset.imagefolder import holds_table, open_dataset
from bandbridge.errors import EnvironmentFault, UserError, in_one_line
from bandbridge.filenames import composed
from bandbridge.metaphase.record import cells_in, patients_in
from bandbridge.review.database import Store
from bandbridge.review.schema import Incoming

#: The longest chromosome 1 of a high-resolution camera is a third of this; a whole metaphase is larger.
MAX_SIDE = 1024
MAX_UPLOAD_BYTES = 512 * 2**20
MAX_FILES = 4000
_LONGEST_NAME = 200
_TOLD = ("cell", "patient", "stain")
_SINGLE = "Hand in single, cut-out chromosomes as PNG, TIFF, BMP or JPEG, or a zip of them."


class HandedIn(NamedTuple):
    """One image file: its relative name with "/", its bytes, and what a dataset says of it; bits: of its depth.

    archive: what the archive that it came in is called, "" for none. Cells of two archives are never one.
    """

    name: str
    data: bytes
    cell: str = ""
    patient: str = ""
    stain: str = ""
    bits: int | None = None
    archive: str = ""


class _Key(NamedTuple):
    """What tells cells apart: their name, what a dataset says of them, and the archive that they came in."""

    cell: str
    patient: str
    stain: str
    archive: str


@dataclass
class Sorted:
    """The cells found, and a sentence for each file that was refused.

    origins: of each cell what its archive is called, "" for none, and what the cell is called in there.
    """

    cells: list[Incoming] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    origins: list[tuple[str, str]] = field(default_factory=list)


def read_handed_in(path: Path, shown: str = "", bounds: Bounds | None = None) -> Iterator[HandedIn]:
    """Yield the images of a folder or archive; cells, patients and stains from its metadata.csv where it has one.

    ``shown`` is what to call it; its cells are called so, too, where folders do not name them. Raises
    :class:`UserError` for what :func:`~bandbridge.dataset.archive.read_images` refuses.
    """
    shown = shown or path.name
    whose = patients_in(path)
    path = cells_in(path)
    known, bits = _known_rows(path)
    archive = without_ending(shown)
    home = PurePosixPath(archive).name
    try:
        for name, data in read_images(path, bounds):
            listed = name if name in known else name.partition("/")[2]
            row = known.get(listed) or {"patient": whose.get(composed(name.partition("/")[0]), "")}
            flat = "/" not in name
            shown_name = f"{home}/{name}" if flat else name
            yield HandedIn(shown_name, data, **row, bits=bits.get(listed), archive=archive)
    except EnvironmentFault:
        raise
    except UserError as error:
        raise UserError(error.message.replace(str(path), shown), error.remedy) from error


def without_ending(archive: str) -> str:
    """Return the name of an ``archive`` without what says that it is one.

    >>> without_ending("day/anna.tar.gz")
    'day/anna'
    """
    return archive.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz").removesuffix(".zip")


def _known_rows(path: Path) -> tuple[dict[str, dict[str, str]], Mapping[str, int]]:
    """Return what metadata.csv says of each file, and the bits that it states; nothing where there is no such table.

    A table without labels, as of images not yet looked at, is none: folders then name the cells.
    """
    if path.is_dir() and not holds_table(path):
        return {}, {}
    try:
        dataset = open_dataset(path)
    except UserError:
        return {}, {}
    columns = [dataset.samples[name].tolist() for name in ("file_name", *_TOLD)]
    return {row[0]: dict(zip(_TOLD, row[1:], strict=True)) for row in zip(*columns, strict=True)}, dataset.bits


def sort_into_cells(
    files: Iterable[HandedIn],
    store: Store,
    *,
    expected: int | None = None,
    bit_depth: int | None = None,
    lone: bool = False,
) -> Sorted:
    """Decode ``files``, keep their pictures in ``store`` and return the cells, named by dataset or by folder.

    expected, bit_depth: of deep images, as :class:`bandbridge.dataset.depth.SetDepth` has them (``given``). lone: as
    :func:`bandbridge.dataset.cell_folders.patients_of_folders` has it. An image
    that cannot be read is named among the problems, and in the notes of its cell: a chromosome that is not there must
    not look like a missing one.
    """
    found = Sorted()
    images: dict[_Key, dict[str, str]] = defaultdict(dict)
    notes: dict[_Key, list[str]] = defaultdict(list)
    unscaled: list[tuple[_Key, str, HandedIn]] = []
    told: set[str] = set()

    def keep(one: HandedIn, depth: SetDepth, file: str, key: _Key) -> None:
        try:
            images[key][file] = _keep(one, clean(one.name), depth, expected, store)
        except DecodeError as error:
            images[key].pop(file, None)
            found.problems.append(in_one_line(error.message, _SINGLE))
            notes[key].append(f"not shown, could not be read: {error.message}")

    with quiet_pillow():
        for one in files:
            path = PurePosixPath(one.name)
            if is_left_behind(one.name):
                continue
            cell = clean(one.cell) or clean("/".join(path.parts[:-1]))
            key = _Key(cell, clean(one.patient), clean(one.stain), clean(one.archive))
            if one.cell:
                told.add(cell)
            file = _free_name(clean(path.name), images[key])
            try:
                keep(one, SetDepth(None, given=one.bits or bit_depth), file, key)
            except NeedsSetError:
                images[key][file] = ""  # its place among the cell's; how deep it is, all of them tell
                unscaled.append((key, file, one))
        depth = SetDepth(lambda: ((one.name, partial(bytes, one.data)) for _, _, one in unscaled))
        for key, file, one in unscaled:
            keep(one, depth, file, key)
    whose = _patients(images, told, lone)
    short = _short_names([key.cell for key in images])
    names = _names(images, short)
    for key, of_cell in images.items():
        name = names[key] or "cell"
        if len(of_cell) > MOST_IN_CELL:
            found.problems.append(
                f"{name}: {len(of_cell)} images are not one cell; at most {MOST_IN_CELL}. "
                "Put the images of each cell into a folder of its own."
            )
        elif of_cell:
            found.cells.append(Incoming(name, tuple(of_cell.items()), whose[key], key.stain, tuple(notes[key])))
            found.origins.append((key.archive, short[key.cell]))
    return found


def _patients(images: Iterable[_Key], told: set[str], lone: bool) -> dict[_Key, str]:
    """Return whose each cell is: as a table says, else by the folder around the cell's own. told: cells of tables."""
    untold = [key for key in images if key.cell not in told]
    found = dict(zip(untold, patients_of_folders([key.cell for key in untold], lone), strict=True))
    return {key: key.patient or found.get(key, "") for key in images}


def _names(images: Iterable[_Key], short: Mapping[str, str]) -> dict[_Key, str]:
    """Return what each cell is called: ``short``, with the archive before it where two hold one of the same name."""
    archives: dict[str, set[str]] = defaultdict(set)
    for key in images:
        archives[key.cell].add(key.archive)
    return {
        key: f"{key.archive}/{short[key.cell]}" if key.archive and len(archives[key.cell]) > 1 else short[key.cell]
        for key in images
    }


def _keep(one: HandedIn, shown: str, depth: SetDepth, expected: int | None, store: Store) -> str:
    pixels = depth.gray(one.data, shown, expected)
    if max(pixels.shape) > MAX_SIDE:
        height, width = pixels.shape
        raise DecodeError(shown, f"{width} x {height} pixels are more than one chromosome")
    return store.put_image(pixels)


def clean(text: str) -> str:
    """Return ``text`` fit to be shown: no control signs, 200 signs at most."""
    printable = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return printable.strip()[:_LONGEST_NAME]


def _free_name(file: str, taken: dict[str, str]) -> str:
    number, free = 2, file
    while free in taken:
        free, number = f"{file} ({number})", number + 1
    return free


def _short_names(folders: list[str]) -> dict[str, str]:
    """Return for each folder its last part, or all of it where two would be called alike."""
    last = {folder: folder.rpartition("/")[2] for folder in folders}
    twice = {name for name in last.values() if list(last.values()).count(name) > 1}
    return {folder: folder if name in twice else name for folder, name in last.items()}
