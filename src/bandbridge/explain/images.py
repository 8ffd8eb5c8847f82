"""The images that a person asks about: files, folders, datasets, and files inside a zip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.dataset.archive import image_files, is_image
from bandbridge.dataset.cell_folders import cells_of_folders, name_of_home
from bandbridge.dataset.depth import SetDepth
from bandbridge.dataset.imagefolder import (
    MAX_IMAGE_BYTES,
    ImageFolder,
    holds_table,
    is_present,
    open_dataset,
    read_bounded,
)
from bandbridge.dataset.metadata import TABLES
from bandbridge.dataset.read_prepared import mates_of
from bandbridge.errors import UserError
from bandbridge.explain.cases import draw_images
from bandbridge.study.resolve import DATA_VARIABLE


@dataclass(frozen=True, eq=False)
class AskedImage:
    """An image by name, with its label ("" where none is known) and how to read it.

    gray: gives it as uint8 [H, W], mates the other images of its cell, none where no cell is known; both are told how
    many bits the classifier expects (:meth:`bandbridge.dataset.depth.SetDepth.gray`). held_out: whether the classifier
    asked has not been trained on it; None where that cannot be told. depth: the scale that it is read on.
    """

    name: str
    label: str
    gray: Callable[[int | None], np.ndarray]
    held_out: bool | None = None
    mates: Callable[[int | None], list[np.ndarray]] = lambda expected: []
    depth: SetDepth | None = None


def gather_images(
    arguments: Sequence[Path],
    data_dir: Path | None,
    limit: int,
    seed: int,
    held_out: frozenset[str] = frozenset(),
    bit_depth: int | None = None,
) -> tuple[list[AskedImage], list[str], bool]:
    """Return the images that ``arguments`` name, in their order; a line for each that names none; whether some of a
    dataset or folder were left out.

    An argument is an image file; an image inside a zipped dataset (``set.zip/images/1a.png``); a dataset, folder or
    zip; or any folder of images. Of datasets and folders at most ``limit`` images are drawn by ``seed``, classes by
    turns; of the classifier's own dataset, which is one that holds every image of ``held_out``, from these only. What
    is not found as named is looked for in ``data_dir``, else in the folder that BANDBRIDGE_DATA names. Raises
    :class:`UserError` for broken datasets. bit_depth: how many bits the camera used, where files of 16 do not say it.
    """
    variable = os.environ.get(DATA_VARIABLE)
    folder = data_dir or (Path(variable) if variable else None)
    finder = _Finder(limit, seed, held_out, bit_depth)
    images: list[AskedImage] = []
    problems: list[str] = []
    for argument in arguments:
        places = [argument] if folder is None or argument.is_absolute() else [argument, folder / argument]
        found = next((images_ for place in places if (images_ := finder.at(place))), [])
        if not found:
            empty = any(is_present(place) and place.is_dir() for place in places)
            problems.append(f"{argument}: {'holds no image' if empty else 'there is no image or dataset of this name'}")
        images += found
    return images, problems, finder.left_out


def _beside(path: Path, depth: SetDepth, expected: int | None) -> list[np.ndarray]:
    """The other images of the folder of ``path``, uint8 [H, W] each; those that cannot be read are left out."""
    found = []
    for name in _names_beside(path):
        if name != path.name:
            with suppress(UserError):
                found.append(_gray(path.parent / name, depth, expected))
    return found


def _names_beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if is_image(file.name) and file.is_file())


def _readers(folder: Path, names: Iterable[str]) -> list[tuple[str, Callable[[], bytes]]]:
    """How to read the files ``names`` of a folder: of one camera, more likely than not."""
    return [(str(folder / name), partial(read_bounded, folder / name, MAX_IMAGE_BYTES)) for name in names]


def _gray(path: Path, depth: SetDepth, expected: int | None) -> np.ndarray:
    return depth.gray(read_bounded(path, MAX_IMAGE_BYTES), str(path), expected)


class _Finder:
    """Finds images and opens each dataset once."""

    def __init__(self, limit: int, seed: int, held_out: frozenset[str], bit_depth: int | None) -> None:
        self._limit, self._seed, self._held_out, self._bit_depth = limit, seed, held_out, bit_depth
        self._opened: dict[Path, ImageFolder] = {}
        self.left_out = False

    def at(self, place: Path) -> list[AskedImage]:
        """Return the images that ``place`` names; none where there is nothing."""
        if not is_present(place):
            archive = next((parent for parent in place.parents if parent.is_file()), None)
            if archive is None:
                return []
            return self._listed(self._open(archive), place.relative_to(archive).as_posix())
        if place.is_dir() and not holds_table(place):
            names = image_files(place)
            files = [str(place / name) for name in names]
            cells = dict(zip(files, cells_of_folders(names, name_of_home(place)), strict=True))
            drawn = self._draw(pd.DataFrame({"image": files, "label": ""}))
            depth = SetDepth(lambda: _readers(place, names), given=self._bit_depth)
            return [self._in_folder(Path(name), cells[name], depth) for name in drawn]
        if place.is_dir() or place.suffix.lower() == ".zip":
            dataset = self._open(place)
            rows = dataset.samples.rename(columns={"file_name": "image"})
            if self._is_own(dataset):
                rows = rows[rows["image"].isin(self._held_out)]
            return [image for name in self._draw(rows) for image in self._listed(dataset, name)]
        return [self._lone(place)]

    def _draw(self, rows: pd.DataFrame) -> list[str]:
        self.left_out |= len(rows) > self._limit
        return sorted(draw_images(rows, self._limit, self._seed)["image"])

    def _lone(self, path: Path, depth: SetDepth | None = None) -> AskedImage:
        """An image file; its label stands in the nearest table above it, if that lists it."""
        home = next(
            (parent for parent in path.absolute().parents if any((parent / name).is_file() for name in TABLES)), None
        )
        if home is not None:
            listed = self._listed(self._open(home), path.absolute().relative_to(home).as_posix())
            if listed:
                return listed[0]
        beside = depth or SetDepth(lambda: _readers(path.parent, _names_beside(path)), given=self._bit_depth)
        return AskedImage(str(path), "", partial(_gray, path, beside), depth=beside)

    def _in_folder(self, path: Path, cell: str, depth: SetDepth) -> AskedImage:
        """An image of a folder of cells, or of one; ``cell`` as ``predict`` has it, "" where it is not known."""
        found = self._lone(path, depth)
        return replace(found, mates=partial(_beside, path, depth)) if cell else found

    def _listed(self, dataset: ImageFolder, name: str) -> list[AskedImage]:
        held_out = name in self._held_out if self._is_own(dataset) else None
        labels = dataset.samples.loc[dataset.samples["file_name"] == name, "label"]
        mates = partial(mates_of, dataset, name)
        gray = partial(dataset.gray, name)
        return [AskedImage(name, label, gray, held_out, mates, dataset.depth) for label in labels]

    def _is_own(self, dataset: ImageFolder) -> bool:
        return bool(self._held_out) and self._held_out <= set(dataset.samples["file_name"])

    def _open(self, path: Path) -> ImageFolder:
        if path not in self._opened:
            found = open_dataset(path)
            given = dict.fromkeys(found.samples["file_name"], self._bit_depth) if self._bit_depth else {}
            self._opened[path] = replace(found, bits={**given, **found.bits})
        return self._opened[path]
