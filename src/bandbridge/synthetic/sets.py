"""Labelled cells drawn from the band table: a set anyone may share, as large as wanted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from bandbridge.dataset.cards import write_cards
from bandbridge.dataset.ideogram import Stain, check_stain
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder, open_dataset
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import csv_lines, is_present, load_json, replacing_folder, write_json, write_text
from bandbridge.leftovers import clear_leftovers
from bandbridge.progress import note, track
from bandbridge.synthetic.cells import CELLS_PER_PATIENT, IN_CELL, check_counts, draw_cell, karyotype
from bandbridge.synthetic.cores import all_cores
from bandbridge.synthetic.look import Drawing, Look, usual_look

__all__ = ["DrawnCells", "draw_cells", "write_synthetic_set"]

#: The file that says how a synthetic set was drawn; a set is complete when metadata.csv is there too.
PARAMETERS = "synthetic.json"
#: How the name of every cell begins that stands for all that could be drawn.
ENDLESS = "endless-"
#: How the source of every drawn image begins.
DRAWN_SOURCE = "Bandbridge synthetic"
#: Raised when the same arguments draw other pixels.
_VERSION = 2
#: Cells that are worth the start of processes.
_WORTH_PROCESSES = 60


@dataclass(frozen=True, eq=False, repr=False)
class DrawnCells(ImageFolder):
    """A drawn set in memory, a dataset like any other.

    ``cells``, ``seed``, ``drawing`` and ``look``, None the usual one, say how it was drawn.
    """

    cells: int = 0
    seed: int = 0
    drawing: Drawing = field(default_factory=Drawing)
    look: Look | None = None

    @property
    def stain(self) -> Stain:
        """The band pattern."""
        return check_stain(self.samples["stain"].iloc[0])

    def save(self, folder: str | Path) -> Path:
        """Write the set as ``bandbridge data synth`` does, the same bytes, and return ``folder``.

        Raises as :func:`write_synthetic_set` does.
        """
        return write_synthetic_set(Path(folder), self.stain, self.cells, self.seed, self.drawing, self.look)


def draw_cells(
    stain: Stain, cells: int, *, seed: int = 0, drawing: Drawing | None = None, look: Look | None = None
) -> DrawnCells:
    """Return ``cells`` drawn cells of 46 labelled chromosomes as a dataset in memory.

    stain: "G", dark bands on white, or "Q", bright bands on black. The same ``seed`` draws the same images. Raises
    :class:`UserError` for another stain, fewer than one cell or a negative seed. ``look``: that of a laboratory
    (:func:`bandbridge.synthetic.fitting.fit_look`), the usual one by default.

    >>> cells = draw_cells("G", 3, seed=1)
    >>> cells
    DrawnCells(drawn-g: 138 images, 3 cells, 1 patient, stain G)
    >>> cells.save("sets/drawn").as_posix()
    'sets/drawn'
    """
    stain, drawing = check_stain(stain), drawing or Drawing()
    check_counts(seed=seed)
    _check_cells(cells)
    contents: dict[str, bytes] = {}
    with all_cores(cells >= _WORTH_PROCESSES) as run:
        packed = run(partial(_packed, stain, seed, drawing, look), range(cells))
        for cell, files in enumerate(track(packed, cells, f"Drawing {stain}-banded cells")):
            contents |= {f"images/{_cell_name(stain, cell)}/{name}": content for name, content in files.items()}
    table = pd.DataFrame(_rows(stain, cells, seed), columns=list(COLUMNS), dtype=str)
    place = Path(f"drawn-{stain.lower()}")
    return DrawnCells(place, table, contents=contents, cells=cells, seed=seed, drawing=drawing, look=look)


#: What a study calls a dataset that is drawn: synth:G, synth:Q:400, synth:G:400:7.
DRAWN = "synth:"
#: Cells of such a set where it does not say how many: as many images as a large laboratory set has.
_USUAL_CELLS = 400


@dataclass(frozen=True, eq=False, repr=False)
class EndlessCells(DrawnCells):
    """A drawn set whose cells stand for all that could be drawn: whoever trains on it draws new ones each epoch."""

    def cell_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the cells that ``rows`` of the samples, int64, are of.

        Raises :class:`UserError` where only some images of a cell are among them: a cell is drawn as a whole.
        """
        names = self.samples["cell"].to_numpy()
        numbers = np.array([int(name.rpartition(self.stain.lower())[2]) - 1 for name in names])
        counts = np.bincount(numbers[rows], minlength=self.cells)
        if not np.isin(counts, [0, IN_CELL]).all():
            raise UserError(
                "a drawn set is divided by cell or by patient, not by image", "Write scheme: cell beside its dataset."
            )
        return np.flatnonzero(counts)


def open_named(place: Path) -> ImageFolder:
    """Return the dataset at ``place``, or the drawn one that it names. Raises :class:`UserError` as either does."""
    name = place.as_posix()
    return open_drawn(name) if name.startswith(DRAWN) else open_dataset(place)


def open_drawn(name: str) -> EndlessCells:
    """Return the drawn set that a study calls ``name``: ``synth:STAIN``, then ``:CELLS``, then ``:SEED``.

    Raises :class:`UserError` for anything else.
    """
    parts = name.removeprefix(DRAWN).split(":")
    numbers = parts[1:]
    if not 1 <= len(parts) <= 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise UserError(f"{name!r} names no drawn set", "Write synth:G, synth:Q:400 (cells) or synth:G:400:7 (seed).")
    cells, seed = (int(number) for number in [*numbers, *(str(_USUAL_CELLS), "0")[len(numbers) :]])
    drawn = draw_cells(check_stain(parts[0]), cells, seed=seed)
    samples = drawn.samples.assign(
        **{key: ENDLESS + drawn.samples[key].str.removeprefix("synthetic-") for key in ("cell", "patient")}
    )
    return EndlessCells(Path(name.replace(":", "-")), samples, contents=drawn.contents, cells=cells, seed=seed)


def _packed(stain: Stain, seed: int, drawing: Drawing, look: Look | None, cell: int) -> dict[str, bytes]:
    """The files of a cell by their names."""
    return {f"{one.label}{one.copy}.png": _as_png(one.image) for one in draw_cell(stain, seed, cell, drawing, look)}


def _as_png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def _check_cells(cells: int) -> None:
    if cells < 1:
        raise UserError(f"cells is {cells}, expected 1 or more")


def write_synthetic_set(
    destination: Path,
    stain: Stain,
    cells: int,
    seed: int,
    drawing: Drawing | None = None,
    look: Look | None = None,
) -> Path:
    """Write ``cells`` cells as images/<cell>/<label><copy>.png with their metadata.csv; return
    ``destination``.

    ``synthetic.json`` is written first and says how the set is drawn, metadata.csv last: without it the set
    is not complete. Cells already there are kept, so the same call carries on where an earlier one was
    stopped.

    Raises :class:`UserError` for a destination that holds anything else, a set drawn otherwise included, and
    :class:`EnvironmentFault` when files cannot be written. A whole set that an earlier version drew is left as it is.
    """
    destination, stain, drawing = Path(destination), check_stain(stain), drawing or Drawing()
    check_counts(seed=seed)
    _check_cells(cells)
    parameters = {
        "kind": "bandbridge synthetic set",
        "version": _VERSION,
        "stain": stain,
        "cells": cells,
        "seed": seed,
        "drawing": {name: float(value) for name, value in asdict(drawing).items()},
        "look": (look or usual_look(stain)).model_dump(mode="json"),
    }
    if _was_drawn_earlier(destination, parameters):
        note(f"{destination} is whole, and was drawn by an earlier version: it is kept as it is")
        return destination
    _claim(destination, parameters)
    wanted = [cell for cell in range(cells) if not _is_complete(destination, stain, seed, cell)]
    if len(wanted) < cells:
        note(f"{cells - len(wanted)} of {cells} cells were there already")
    with all_cores(len(wanted) >= _WORTH_PROCESSES) as run:
        packed = run(partial(_packed, stain, seed, drawing, look), wanted)
        shown = track(packed, len(wanted), f"Drawing {stain}-banded cells")
        for cell, files in zip(wanted, shown, strict=True):
            _write_cell(destination / "images" / _cell_name(stain, cell), files)
    rows = list(_rows(stain, cells, seed))
    table = csv_lines(COLUMNS, rows)
    write_cards(destination, f"Drawn {stain}-banded cells, seed {seed}", COLUMNS, rows, table)
    write_text(destination / "metadata.csv", table)
    return destination


def _was_drawn_earlier(destination: Path, parameters: dict[str, object]) -> bool:
    """Whether ``destination`` is the whole set of these parameters, by a version that drew it otherwise."""
    try:
        found = load_json(destination / PARAMETERS)
    except (OSError, ValueError):
        return False
    if not isinstance(found, dict) or found.get("version") not in range(1, _VERSION):
        return False
    alike = all(found.get(key) == parameters[key] for key in ("kind", "stain", "cells", "seed"))
    return alike and (destination / "metadata.csv").is_file()


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


def _is_complete(destination: Path, stain: Stain, seed: int, cell: int) -> bool:
    folder = destination / "images" / _cell_name(stain, cell)
    files = [folder / f"{label}{copy}.png" for label, copy in karyotype(stain, seed, cell)]
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def _write_cell(folder: Path, files: dict[str, bytes]) -> None:
    """Write a cell's images beside its folder and rename, so that a cell's folder is never half full."""
    try:
        with replacing_folder(folder, flushed=False) as unfinished:
            for name, content in files.items():
                (unfinished / name).write_bytes(content)
    except EnvironmentFault as fault:
        remedy = "Check the disk and the folder's permissions, then repeat the command: whole cells are kept."
        raise EnvironmentFault(fault.message, remedy) from fault


def _rows(stain: Stain, cells: int, seed: int) -> Iterator[tuple[str, ...]]:
    source = f"{DRAWN_SOURCE} {stain}-band"
    for cell in range(cells):
        name, patient = (
            _cell_name(stain, cell),
            f"synthetic-{stain.lower()}-p{cell // CELLS_PER_PATIENT + 1:04d}",
        )
        for label, copy in karyotype(stain, seed, cell):
            yield f"images/{name}/{label}{copy}.png", label, name, patient, copy, stain, source
