"""Some images of a dataset prepared, each beside the others of its cell where the preparation asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bandbridge.dataset.by_cell import group_by_cell, prepare_images
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.prepare import Preparation


def cells_of(dataset: ImageFolder) -> list[str]:
    """Return the name of each image's cell, in the order of the samples, "" unknown; two patients' cells are two."""
    known = zip(dataset.samples["patient"].tolist(), dataset.samples["cell"].tolist(), strict=True)
    return [f"{patient}/{cell}" if cell and patient else cell for patient, cell in known]


def read_prepared(dataset: ImageFolder, names: Sequence[str], preparation: Preparation) -> np.ndarray:
    """Return the files ``names`` of ``dataset`` prepared, uint8 [N, *preparation.shape].

    Raises :class:`UserError` for an image, or another of its cell where that counts, that cannot be read.
    """
    prepared = np.empty((len(names), *preparation.shape), dtype=np.uint8)
    wanted: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        wanted.setdefault(name, []).append(place)
    for found, images in each_cell_prepared(dataset, preparation, wanted):
        for name, image in zip(found, images, strict=True):
            prepared[wanted.get(name, [])] = image
    return prepared


def each_cell_prepared(
    dataset: ImageFolder, preparation: Preparation, wanted: Sequence[str] | dict[str, list[int]]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield the file names of every cell that holds one of ``wanted``, and its images prepared, [n, *shape].

    Where no image depends on its cell, each of ``wanted`` comes by itself. Raises as :func:`read_prepared` does.
    """
    files, cells = dataset.samples["file_name"].tolist(), cells_of(dataset)
    groups = group_by_cell(cells) if preparation.by_cell else [[place] for place in range(len(files))]
    for group in groups:
        here = [files[place] for place in group]
        if any(name in wanted for name in here):
            images = [dataset.gray(name, preparation.bits) for name in here]
            yield here, prepare_images(images, [cells[place] for place in group], preparation)


def mates_of(dataset: ImageFolder, name: str, bits: int | None = None) -> list[np.ndarray]:
    """Return the other images of the cell of ``name``, uint8 [H, W] each; none where the cell is not known.

    bits: that a model expects. Raises :class:`UserError` for one that cannot be read.
    """
    files, cells = dataset.samples["file_name"].tolist(), cells_of(dataset)
    own = cells[files.index(name)]
    mates = [file for file, cell in zip(files, cells, strict=True) if own and cell == own and file != name]
    return [dataset.gray(file, bits) for file in mates]
