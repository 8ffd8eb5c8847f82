"""The images that a laboratory hands over: a dataset, a folder of images or of cells, a zip, single files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from bandbridge.dataset.archive import IMAGE_SUFFIXES, read_images
from bandbridge.dataset.by_cell import group_by_cell
from bandbridge.dataset.cell_folders import cells_of_folders, name_of_home
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES, METADATA, ImageFolder, open_dataset, read_bounded
from bandbridge.errors import UserError

#: Images that are decoded ahead of the classifier.
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Handed:
    """An image by name, the cell it belongs to ("" unknown), its label where one is known, and how to read it."""

    name: str
    cell: str
    label: str
    read: Callable[[], bytes]


def hand_over(place: Path) -> list[Handed]:
    """Return every image of ``place``, by name.

    ``place`` is a dataset (folder or zip with metadata.csv, which names the cells), any other folder or zip, where the
    cell is the folder that an image lies in (:func:`bandbridge.dataset.cell_folders.cells_of_folders`), or a single
    image. Raises :class:`UserError` when there is nothing.
    """
    if place.is_dir():
        found = hand_over_dataset(open_dataset(place)) if (place / METADATA).is_file() else _folder(place)
    elif place.suffix.lower() in IMAGE_SUFFIXES and place.is_file():
        found = [Handed(place.name, "", "", partial(read_bounded, place, MAX_IMAGE_BYTES))]
    elif place.is_file():
        found = hand_over_dataset(open_dataset(place)) if _has_metadata(place) else _archive(place)
    else:
        raise UserError(f"{place} does not exist", "Name a folder, a zip, a dataset or an image.")
    if not found:
        raise UserError(
            f"{place} holds no image", f"Images end in {', '.join(sorted(IMAGE_SUFFIXES))}, upper or lower case."
        )
    return found


def hand_over_dataset(dataset: ImageFolder) -> list[Handed]:
    """Return every image of ``dataset``, in the order of its table."""
    return [
        Handed(row["file_name"], row["cell"], row["label"], partial(dataset.read_bytes, row["file_name"]))
        for row in dataset.samples.to_dict("records")
    ]


def _folder(place: Path) -> list[Handed]:
    files = sorted(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    names = [file.relative_to(place).as_posix() for file in files]
    cells = cells_of_folders(names, name_of_home(place))
    return [
        Handed(name, cell, "", partial(read_bounded, file, MAX_IMAGE_BYTES))
        for name, cell, file in zip(names, cells, files, strict=True)
    ]


def _archive(place: Path) -> list[Handed]:
    # Read as a stream within bounds, and kept packed: a cell's images are small.
    contents = dict(read_images(place))
    names = sorted(contents)
    cells = cells_of_folders(names, name_of_home(place))
    return [
        Handed(name, cell, "", partial(contents.__getitem__, name)) for name, cell in zip(names, cells, strict=True)
    ]


def _has_metadata(place: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(place) as archive:
            return any(PurePosixPath(name).name == METADATA for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # read_images says what is wrong with it


def in_whole_cells(handed: Sequence[Handed], batch: int) -> list[list[Handed]]:
    """Return ``handed`` in batches of about ``batch`` images; no cell is divided between two."""
    batches: list[list[Handed]] = [[]]
    for group in group_by_cell([one.cell for one in handed]):
        if len(batches[-1]) + len(group) > batch and batches[-1]:
            batches.append([])
        batches[-1] += [handed[position] for position in group]
    return batches


def decoded(
    chunks: list[list[Handed]],
) -> Iterator[tuple[list[Handed], list[np.ndarray], list[tuple[str, str]]]]:
    """Yield for each chunk (images handed over, uint8 [H, W] each, [(name, reason)] of those that cannot be read).

    Files are read and decoded in threads, ahead of whoever uses them.
    """
    with ThreadPoolExecutor() as pool:
        pending = [pool.submit(_decode_all, chunk) for chunk in chunks[:_AHEAD]]
        for index in range(len(chunks)):
            found = pending[index].result()
            if index + _AHEAD < len(chunks):
                pending.append(pool.submit(_decode_all, chunks[index + _AHEAD]))
            yield found
            pending[index] = None  # type: ignore[call-overload]


def _decode_all(chunk: list[Handed]) -> tuple[list[Handed], list[np.ndarray], list[tuple[str, str]]]:
    kept, images, refused = [], [], []
    for one in chunk:
        image = _decode(one)
        if isinstance(image, str):
            refused.append((one.name, image))
        else:
            kept.append(one)
            images.append(image)
    return kept, images, refused


def _decode(one: Handed) -> np.ndarray | str:
    try:
        return decode_gray(one.read(), one.name)
    except UserError as error:
        return f"{error.message.removeprefix(f'{one.name}: ')}. {error.remedy}"  # whoever lists it, names it
