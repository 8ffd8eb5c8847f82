"""The images that a laboratory hands over: a dataset, a folder of images or of cells, a zip, single files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from bandbridge.dataset.archive import IMAGE_SUFFIXES, folders_and_images, image_files, read_images
from bandbridge.dataset.by_cell import group_by_cell
from bandbridge.dataset.cell_folders import (
    cells_of_folders,
    lone_folder,
    name_of_home,
    patient_of_folder,
    without_images,
)
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.depth import SetDepth
from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES, ImageFolder, holds_table, open_dataset, read_bounded
from bandbridge.errors import UserError, refuse_odd_names
from bandbridge.filenames import composed
from bandbridge.machine import usable_cores
from bandbridge.metaphase.record import cells_in, cut_folder, doubts_in, fields_in, patients_in

#: What a folder holds that is a run, an exported model or a graph.
_OF_MODELS = ("run.json", "config.json", "preparation.json")
#: Images that are decoded ahead of the classifier.
_AHEAD = 4

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Handed:
    """An image by name, the cell it belongs to ("" unknown), its label where one is known, and how to read it.

    depth: the scale of the set that it came with, None where it came alone. patient: whose cell it is, "" unknown.
    cut: whether a program cut it out of a metaphase. doubt: what it may be instead by that cut, "" for nothing.
    """

    name: str
    cell: str
    label: str
    read: Callable[[], bytes]
    depth: SetDepth | None = None
    patient: str = ""
    cut: bool = False
    doubt: str = ""

    def gray(self, expected: int | None = None) -> np.ndarray:
        """Return it as uint8 gray [H, W]; expected: the bits of the images that a model was trained on.

        Raises :class:`UserError` where it cannot be read.
        """
        if self.depth is None:
            return decode_gray(self.read(), self.name, expected)
        return self.depth.gray(self.read(), self.name, expected)


def hand_over(place: Path, bit_depth: int | None = None) -> list[Handed]:
    """Return every image of ``place``, by name.

    bit_depth: how many bits the camera used, of images of 16 that do not say it.

    ``place`` is a dataset (folder or zip with metadata.csv, which names the cells), any other folder or zip, where the
    cell is the folder that an image lies in (:func:`bandbridge.dataset.cell_folders.cells_of_folders`), or a single
    image; of a folder that ``bandbridge cut`` wrote, its cells. Raises :class:`UserError` when there is nothing.
    """
    if cut_folder(place) is not None:
        whose = patients_in(place)
        doubts = doubts_in(place)
        cut = [replace(one, cell=composed(one.cell)) for one in _folder(cells_in(place))]
        found = [
            replace(one, patient=whose.get(one.cell, ""), cut=True, doubt=doubts.get((one.cell, _number(one.name)), ""))
            for one in cut
        ]
    elif place.is_dir():
        found = hand_over_dataset(open_dataset(place)) if holds_table(place) else _folder(place)
    elif place.suffix.lower() in IMAGE_SUFFIXES and place.is_file():
        found = [Handed(place.name, "", "", partial(read_bounded, place, MAX_IMAGE_BYTES))]
    elif place.is_file():
        found = hand_over_dataset(open_dataset(place)) if holds_table(place) else _archive(place)
    else:
        raise UserError(f"{place} does not exist", "Name a folder, a zip, a dataset or an image.")
    if not found and any((place / name).is_file() for name in _OF_MODELS):
        raise UserError(f"{place} is a model and holds no image", "Name the models first, then the images.")
    if not found:
        raise UserError(
            f"{place} holds no image", f"Images end in {', '.join(sorted(IMAGE_SUFFIXES))}, upper or lower case."
        )
    refuse_odd_names([name for one in found for name in (one.name, one.cell, one.patient)], "names of images")
    return on_one_scale(found, bit_depth) if bit_depth or found[0].depth is None else found


def _number(name: str) -> int:
    """The number of a piece by the name of its crop, -1 of any other image."""
    stem = PurePosixPath(name).stem
    return int(stem) if stem.isdecimal() and stem.isascii() else -1


def lone_patient(place: Path, handed: Sequence[Handed]) -> str:
    """Return the one folder around the folders of all cells, or around all fields, of ``place``; "" for none.

    It is that of the patient where somebody says that there are patients, and of none where nobody does: a folder of
    today's cells looks the same.
    """
    if cut_folder(place) is not None:
        return lone_folder(fields_in(place))
    if place.is_file() or holds_table(place):
        return ""
    return lone_folder([one.name.rpartition("/")[0] for one in handed])


def empty_patients(place: Path, *, fields: bool) -> list[str]:
    """Return the folders of patients in ``place`` that hold no image; none where no folder is a patient's.

    fields: whether images are fields of view, which lie in the folder of the patient itself.
    """
    if cut_folder(place) is not None or holds_table(place):
        return []
    return without_images(*folders_and_images(place), between=0 if fields else 1)


def on_one_scale(handed: Sequence[Handed], bit_depth: int | None = None) -> list[Handed]:
    """Return ``handed`` as images of one camera."""
    depth = SetDepth(lambda: ((one.name, one.read) for one in handed), given=bit_depth)
    return [replace(one, depth=depth) for one in handed]


def hand_over_dataset(dataset: ImageFolder) -> list[Handed]:
    """Return every image of ``dataset``, in the order of its table."""
    return [
        Handed(
            row["file_name"],
            row["cell"],
            row["label"],
            partial(dataset.read_bytes, row["file_name"]),
            dataset.depth,
            row["patient"],
        )
        for row in dataset.samples.to_dict("records")
    ]


def _folder(place: Path) -> list[Handed]:
    names = image_files(place)
    cells = cells_of_folders(names, name_of_home(place))
    return [
        Handed(name, cell, "", partial(read_bounded, place / name, MAX_IMAGE_BYTES), patient=patient_of_folder(cell))
        for name, cell in zip(names, cells, strict=True)
    ]


def _archive(place: Path) -> list[Handed]:
    # Read as a stream within bounds, and kept packed: a cell's images are small.
    contents = dict(read_images(place))
    names = sorted(contents)
    cells = cells_of_folders(names, name_of_home(place))
    return [
        Handed(name, cell, "", partial(contents.__getitem__, name), patient=patient_of_folder(cell))
        for name, cell in zip(names, cells, strict=True)
    ]


def in_whole_cells(handed: Sequence[Handed], batch: int) -> list[list[Handed]]:
    """Return ``handed`` in batches of about ``batch`` images; no cell is divided between two."""
    batches: list[list[Handed]] = [[]]
    for group in group_by_cell([one.cell for one in handed]):
        if len(batches[-1]) + len(group) > batch and batches[-1]:
            batches.append([])
        batches[-1] += [handed[position] for position in group]
    return batches


def decoded(
    chunks: list[list[Handed]], prepare: Callable[[list[np.ndarray], list[str]], _T], expected: int | None = None
) -> Iterator[tuple[list[Handed], list[np.ndarray], _T, list[tuple[str, str]]]]:
    """Yield for each chunk (images handed over, uint8 [H, W] each, as prepared, [(name, reason)] of the unreadable).

    Files are read, decoded and prepared in threads, ahead of whoever uses them. ``prepare`` is called with the images
    and their cells. expected: as :meth:`Handed.gray` has it.
    """

    def work(chunk: list[Handed]) -> tuple[list[Handed], list[np.ndarray], _T, list[tuple[str, str]]]:
        kept, images, refused = _decode_all(chunk, expected)
        return kept, images, prepare(images, [one.cell for one in kept]), refused

    with ThreadPoolExecutor(usable_cores()) as pool:
        pending = deque(pool.submit(work, chunk) for chunk in chunks[:_AHEAD])
        for chunk in [*chunks[_AHEAD:], *[None] * _AHEAD]:
            if not pending:
                return
            found = pending.popleft().result()
            if chunk is not None:
                pending.append(pool.submit(work, chunk))
            yield found
            del found  # a cell's images are let go before the next are taken


def _decode_all(
    chunk: list[Handed], expected: int | None
) -> tuple[list[Handed], list[np.ndarray], list[tuple[str, str]]]:
    kept, images, refused = [], [], []
    for one in chunk:
        image = _decode(one, expected)
        if isinstance(image, str):
            refused.append((one.name, image))
        else:
            kept.append(one)
            images.append(image)
    return kept, images, refused


def _decode(one: Handed, expected: int | None) -> np.ndarray | str:
    try:
        return one.gray(expected)
    except UserError as error:
        return f"{error.message.removeprefix(f'{one.name}: ')}. {error.remedy}"  # whoever lists it, names it
