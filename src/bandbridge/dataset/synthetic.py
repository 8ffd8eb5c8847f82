"""Labelled cells drawn from the band table: a set anyone may share, as large as wanted.

Everything random descends from ``(seed, stain)``: a stream for each patient, each cell and each chromosome,
so that a cell's images depend neither on how many cells are drawn nor on the order in which they are drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from bandbridge.dataset.drawing import (
    NEUTRAL,
    Chromosome,
    Drawing,
    Style,
    develop,
    draw_heteromorphism,
    draw_style,
    lay_out,
    paint,
)
from bandbridge.dataset.ideogram import Stain, check_stain
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import csv_lines, is_present, load_json, replacing_folder, write_json, write_text
from bandbridge.karyotype import CLASS_INDEX, CLASSES, expected_copies
from bandbridge.leftovers import clear_leftovers
from bandbridge.progress import note, track

__all__ = [
    "CELLS_PER_PATIENT",
    "NEUTRAL",
    "Drawing",
    "DrawnCells",
    "DrawnChromosome",
    "draw_cell",
    "draw_cells",
    "write_synthetic_set",
]

#: Cells 0 to 2 are the first patient's, 3 to 5 the second's, and so on.
CELLS_PER_PATIENT = 3
#: The file that says how a synthetic set was drawn; a set is complete when metadata.csv is there too.
PARAMETERS = "synthetic.json"
_VERSION = 1
# One number for each purpose that draws at random, so that no two share a stream.
_PATIENT, _HETEROMORPHISM, _STYLE, _SHAPE = range(4)


@dataclass(frozen=True)
class DrawnChromosome:
    """One crop: ``label`` "1".."22", "X" or "Y", ``copy`` "a" or "b", ``image`` uint8 [H, W]."""

    label: str
    copy: str
    image: np.ndarray


def draw_cell(stain: Stain, seed: int, cell: int, drawing: Drawing | None = None) -> list[DrawnChromosome]:
    """Draw the 46 chromosomes of cell number ``cell`` (from 0), in karyotype order.

    Q images are bright on black, G images dark on white. The sex and the heterochromatin are those of patient
    ``cell // CELLS_PER_PATIENT``; condensation, focus, exposure and staining are the cell's own. The same
    arguments always give the same pixels. Raises :class:`UserError` for an unknown stain or a negative seed
    or cell.
    """
    stain, drawing = check_stain(stain), drawing or Drawing()
    _check_counts(seed=seed, cell=cell)
    style = draw_style(stain, drawing, _stream(stain, seed, _STYLE, cell))
    return [
        DrawnChromosome(label, copy, _draw_crop(label, copy, stain, seed, cell, style, drawing))
        for label, copy in _karyotype(stain, seed, cell)
    ]


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 0:
            raise UserError(f"{name} is {value}, expected 0 or more")


def _stream(stain: Stain, seed: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, ord(stain), *purpose]))


def _karyotype(stain: Stain, seed: int, cell: int) -> list[tuple[str, str]]:
    """The (label, copy) of each chromosome of a normal cell; half the patients are XX, half XY."""
    x_count = 1 + int(_stream(stain, seed, _PATIENT, cell // CELLS_PER_PATIENT).random() < 0.5)
    return [(label, copy) for label in CLASSES for copy in "ab"[: expected_copies(label, x_count)]]


def _draw_crop(label: str, copy: str, stain: Stain, seed: int, cell: int, style: Style, drawing: Drawing) -> np.ndarray:
    place = (CLASS_INDEX[label], ord(copy))
    own = draw_heteromorphism(label, drawing, _stream(stain, seed, _HETEROMORPHISM, cell // CELLS_PER_PATIENT, *place))
    rng = _stream(stain, seed, _SHAPE, cell, *place)
    chromosome = lay_out(label, stain, own, style, drawing, rng)
    outline = chromosome.outline()
    low, high = outline.min(axis=0), outline.max(axis=0)
    before, after = style.margin * (1 + drawing.variation * rng.uniform(-0.3, 0.3, size=(2, 2)))
    width, height = np.ceil(high - low + before + after).astype(int)
    # The size is rounded up to whole pixels; half the gain on either side keeps symmetric crops symmetric.
    spare = (np.array([width, height]) - (high - low + before + after)) / 2
    chromosome = chromosome.moved(before - low + spare)

    density = paint(chromosome, height, width)
    if rng.random() < drawing.neighbours:
        density = np.pad(density, ((0, 0), (4, 4)))
        neighbour = _neighbour(stain, style, drawing, height, width + 8, rng)
        density = np.maximum(density, paint(neighbour, height, width + 8))
    return develop(density, stain, style, rng)


def _neighbour(
    stain: Stain, style: Style, drawing: Drawing, height: int, width: int, rng: np.random.Generator
) -> Chromosome:
    """Some other chromosome lying along the left or right border of a crop, most of it outside."""
    label = CLASSES[rng.integers(len(CLASSES))]
    plain = draw_heteromorphism(label, drawing, rng)
    other = lay_out(label, stain, plain, style, drawing, rng)
    border = width + 0.2 * style.width if rng.random() < 0.5 else -0.2 * style.width
    return other.moved(np.array([border, rng.uniform(0, height)]) - other.axis[len(other.axis) // 2])


@dataclass(frozen=True, eq=False, repr=False)
class DrawnCells(ImageFolder):
    """A drawn set in memory, a dataset like any other. ``cells``, ``seed`` and ``drawing`` say how it was drawn."""

    cells: int = 0
    seed: int = 0
    drawing: Drawing = field(default_factory=Drawing)

    def save(self, folder: str | Path) -> Path:
        """Write the set as ``bandbridge data synth`` does, the same bytes, and return ``folder``.

        Raises as :func:`write_synthetic_set` does.
        """
        stain = check_stain(self.samples["stain"].iloc[0])
        return write_synthetic_set(Path(folder), stain, self.cells, self.seed, self.drawing)


def draw_cells(stain: Stain, cells: int, *, seed: int = 0, drawing: Drawing | None = None) -> DrawnCells:
    """Return ``cells`` drawn cells of 46 labelled chromosomes as a dataset in memory.

    stain: "G", dark bands on white, or "Q", bright bands on black. The same ``seed`` draws the same images. Raises
    :class:`UserError` for another stain, fewer than one cell or a negative seed.

    >>> cells = draw_cells("G", 3, seed=1)
    >>> cells
    DrawnCells(drawn-g: 138 images, 3 cells, 1 patient, stain G)
    >>> cells.save("sets/drawn").as_posix()
    'sets/drawn'
    """
    stain, drawing = check_stain(stain), drawing or Drawing()
    _check_counts(seed=seed)
    _check_cells(cells)
    contents: dict[str, bytes] = {}
    for cell in track(range(cells), cells, f"Drawing {stain}-banded cells"):
        for drawn in draw_cell(stain, seed, cell, drawing):
            contents[f"images/{_cell_name(stain, cell)}/{drawn.label}{drawn.copy}.png"] = _as_png(drawn.image)
    table = pd.DataFrame(_rows(stain, cells, seed), columns=list(COLUMNS), dtype=str)
    place = Path(f"drawn-{stain.lower()}")
    return DrawnCells(place, table, contents=contents, cells=cells, seed=seed, drawing=drawing)


def _as_png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def _check_cells(cells: int) -> None:
    if cells < 1:
        raise UserError(f"cells is {cells}, expected 1 or more")


def write_synthetic_set(destination: Path, stain: Stain, cells: int, seed: int, drawing: Drawing | None = None) -> Path:
    """Write ``cells`` cells as images/<cell>/<label><copy>.png with their metadata.csv; return
    ``destination``.

    ``synthetic.json`` is written first and says how the set is drawn, metadata.csv last: without it the set
    is not complete. Cells already there are kept, so the same call carries on where an earlier one was
    stopped.

    Raises :class:`UserError` for a destination that holds anything else, a set drawn otherwise included, and
    :class:`EnvironmentFault` when files cannot be written.
    """
    destination, stain, drawing = Path(destination), check_stain(stain), drawing or Drawing()
    _check_counts(seed=seed)
    _check_cells(cells)
    parameters = {
        "kind": "bandbridge synthetic set",
        "version": _VERSION,
        "stain": stain,
        "cells": cells,
        "seed": seed,
        "drawing": {name: float(value) for name, value in asdict(drawing).items()},
    }
    _claim(destination, parameters)
    kept = 0
    for cell in track(range(cells), cells, f"Drawing {stain}-banded cells"):
        folder = destination / "images" / _cell_name(stain, cell)
        if _is_complete(folder, [f"{label}{copy}.png" for label, copy in _karyotype(stain, seed, cell)]):
            kept += 1
        else:
            _write_cell(folder, draw_cell(stain, seed, cell, drawing))
    if kept:
        note(f"{kept} of {cells} cells were there already")
    write_text(destination / "metadata.csv", _metadata(stain, cells, seed))
    return destination


def _claim(destination: Path, parameters: dict[str, object]) -> None:
    """Make ``destination`` the place of this set or find that it is one; :class:`UserError` if it is not."""
    remedy = "Choose an empty or new folder, or repeat the parameters of the set that is there."
    if is_present(destination) and not destination.is_dir():
        raise UserError(f"{destination} is a file, expected a folder", "Choose an empty or new folder.")
    written = destination / PARAMETERS
    clear_leftovers(destination)
    if not written.is_file():
        if destination.is_dir() and any(destination.iterdir()):
            raise UserError(f"{destination} is not empty and holds no {PARAMETERS}", remedy)
        write_json(written, parameters)
        return
    try:
        found = load_json(written)
    except ValueError as fault:
        raise UserError(f"{written} is damaged: {fault}", "Choose an empty or new folder.") from fault
    if found != parameters:
        raise UserError(f"{destination} holds a synthetic set that differs: {_differences(found, parameters)}", remedy)


def _differences(found: object, wanted: dict[str, object]) -> str:
    if not isinstance(found, dict):
        return f"{PARAMETERS} is not a table of parameters"
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    return ", ".join(f"{key} is {found.get(key)}, not {wanted[key]}" for key in differing) or "unknown parameters"


def _cell_name(stain: Stain, cell: int) -> str:
    return f"synthetic-{stain.lower()}{cell + 1:04d}"


def _is_complete(folder: Path, names: list[str]) -> bool:
    return all((folder / name).is_file() and (folder / name).stat().st_size > 0 for name in names)


def _write_cell(folder: Path, chromosomes: list[DrawnChromosome]) -> None:
    """Write a cell's images beside its folder and rename, so that a cell's folder is never half full."""
    try:
        with replacing_folder(folder, flushed=False) as partial:
            for drawn in chromosomes:
                (partial / f"{drawn.label}{drawn.copy}.png").write_bytes(_as_png(drawn.image))
    except EnvironmentFault as fault:
        remedy = "Check the disk and the folder's permissions, then repeat the command: whole cells are kept."
        raise EnvironmentFault(fault.message, remedy) from fault


def _metadata(stain: Stain, cells: int, seed: int) -> str:
    return csv_lines(COLUMNS, _rows(stain, cells, seed))


def _rows(stain: Stain, cells: int, seed: int) -> Iterator[tuple[str, ...]]:
    source = f"Bandbridge synthetic {stain}-band"
    for cell in range(cells):
        name, patient = (
            _cell_name(stain, cell),
            f"synthetic-{stain.lower()}-p{cell // CELLS_PER_PATIENT + 1:04d}",
        )
        for label, copy in _karyotype(stain, seed, cell):
            yield f"images/{name}/{label}{copy}.png", label, name, patient, copy, stain, source
