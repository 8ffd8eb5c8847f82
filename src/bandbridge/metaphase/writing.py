"""Many fields cut into one folder: crops by the cell, and for each cell its masks and its place on the metaphase.

    DEST/pieces.csv               where each lies on its metaphase, how sure the cut is, and why it may be wrong
    DEST/alternatives.csv         which pieces may be others: what nearly was decided the other way
    DEST/fields.csv               a row for each field: cells, chromosomes, what else was on it
    DEST/images/CELL/01.png       crops, each chromosome alone on its field's ground: what predict and review read
    DEST/fields/CELL/             field.png, mask.png and overlap.png (16 bits), pieces.png, overview.png, cut.json
    DEST/fields/CELL/alternatives/ the masks of the alternatives

A field's folder is put in place last and whole; fields that are there are not cut again.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_dilation

from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError, first_few, in_one_line
from bandbridge.filenames import folded, free_name, said_of_numbers
from bandbridge.files import csv_text, replacing_folder, write_json, write_text
from bandbridge.leftovers import clear_leftovers
from bandbridge.metaphase.crops import crop_of, layers_of
from bandbridge.metaphase.field import Cut, cut_field
from bandbridge.metaphase.ground import BlankField
from bandbridge.metaphase.intake import (
    FieldFile,
    cell_of_field,
    decode_field,
    looks_arranged,
    refuse_arranged,
    require_room,
    shown,
)
from bandbridge.metaphase.overview import overview, steps
from bandbridge.metaphase.pieces import DEBRIS, FEWEST, NUCLEUS, SURE, Piece
from bandbridge.metaphase.record import CUT, FIELDS, IMAGES, KIND, PIECES, cells_by_folder, is_cut, known_record
from bandbridge.metaphase.told import own_text, told, write_masks
from bandbridge.progress import note, track

#: Raised when the same field would be cut otherwise.
_VERSION = 6


@dataclass(frozen=True)
class CutField:
    """What came of one field. cells: name and number of chromosomes of each. problem: why it holds no cell, "" if it
    does. pieces: a row for each chromosome, as in pieces.csv. note: what of the field is no cell beside those that are.
    alternatives: what :func:`bandbridge.metaphase.told.told` tells.
    """

    name: str
    cells: dict[str, int]
    nuclei: int = 0
    debris: int = 0
    width: float = 0.0
    bright: bool = False
    problem: str = ""
    pieces: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    alternatives: list[dict[str, Any]] = field(default_factory=list)


def cut_fields(
    fields: list[FieldFile], destination: Path, *, show_steps: bool = False
) -> tuple[list[CutField], list[tuple[str, str]]]:
    """Cut ``fields`` into the folder ``destination``; return what came of each, and (name, reason) of the unreadable.

    Fields that were cut before are kept. Raises :class:`UserError` for a destination that holds something else.
    """
    _claim(destination)
    names = _Names.of(destination)
    fields = [replace(one, cell=names.of_field(one)) for one in fields]
    plain = [cell_of_field(one.name) for one in fields]
    if told := said_of_numbers([one.name for one in fields], [one.cell for one in fields], plain):
        note(told)
    done, refused = [], []
    for one in track(fields, len(fields), "Cutting metaphases"):
        try:
            done.append(_cut_one(one, destination, show_steps, names))
        except BlankField as fault:
            done.append(CutField(one.name, {}, problem=fault.message))
        except UserError as fault:
            reason = in_one_line(fault.message.removeprefix(f"{one.name}: "), fault.remedy)
            refused.append((one.name, reason))
    _clear_renamed(destination, {one.name: one.cell for one in fields}, {one.name for one in done})
    unread = [CutField(name, {}, problem=reason) for name, reason in refused]
    _write_tables(destination, [*done, *unread, *_others(destination, [one.name for one in fields])])
    return done, refused


def _others(destination: Path, names: Collection[str]) -> list[CutField]:
    """What earlier commands cut into ``destination`` of fields that are none of ``names``, which is said."""
    found = [one for home in cells_by_folder(destination) if (one := _known(destination / FIELDS / home / CUT, {}))]
    others = [one for one in found if one.name not in names]
    cells = [cell for one in others for cell in one.cells]
    if cells:
        more = f"{destination} holds {counted(len(cells), 'cell')} of other fields as well: {first_few(cells)}"
        note(f"{more}; the tables tell of them, and predict and review read them, too")
    return others


@dataclass(frozen=True)
class _Names:
    """Whose the names of cells in a folder are: the field of each, by the name as file systems tell them apart."""

    fields: dict[str, str]

    @classmethod
    def of(cls, destination: Path) -> _Names:
        known = cells_by_folder(destination)
        return cls({folded(name): whose for home, (whose, cells) in known.items() for name in (home, *cells)})

    def of_field(self, one: FieldFile) -> str:
        """The name of the (first) cell on a field: no other field's, also of those that were cut there before."""
        cell = free_name(one.cell, lambda name: self.fields.get(folded(name), one.name) != one.name)
        self.fields[folded(cell)] = one.name
        return cell

    def of_cells(self, one: FieldFile, number: int) -> list[str]:
        """The names of so many cells on a field."""
        names = [one.cell][:number]
        taken = {name for name, whose in self.fields.items() if whose != one.name}
        while len(names) < number:
            names.append(free_name(one.cell, lambda name: name in names or folded(name) in taken))
        self.fields.update({folded(name): one.name for name in names})
        return names


def _clear_renamed(destination: Path, cells: Mapping[str, str], done: Collection[str]) -> None:
    """Remove what was cut of the fields ``done`` under other names than ``cells`` has: their cells would be doubled."""
    known = cells_by_folder(destination)
    kept = {folded(cell) for home, (name, own) in known.items() if _is_home(home, name, cells) for cell in own}
    for home, (name, own) in known.items():
        if name in done and not _is_home(home, name, cells):
            for cell in own:
                if folded(cell) not in kept:
                    shutil.rmtree(destination / IMAGES / cell, ignore_errors=True)
            shutil.rmtree(destination / FIELDS / home, ignore_errors=True)


def _is_home(home: str, name: str, cells: Mapping[str, str]) -> bool:
    """Whether the folder ``home`` of the field ``name`` is called as ``cells`` has it."""
    return name not in cells or folded(home) == folded(cells[name])


def _claim(destination: Path) -> None:
    clear_leftovers(destination)
    # Of a run that was stopped early there may be no record yet.
    own = {FIELDS, IMAGES}
    if destination.is_dir() and not is_cut(destination) and {one.name for one in destination.iterdir()} - own:
        raise UserError(f"{destination} is not empty and holds no cut metaphases", "Choose an empty or new folder.")
    (destination / "fields").mkdir(parents=True, exist_ok=True)


def _cut_one(one: FieldFile, destination: Path, show_steps: bool, named: _Names) -> CutField:
    data = one.read()
    place = destination / "fields" / one.cell
    digest = hashlib.sha256(data).hexdigest()
    wanted = {"kind": KIND, "version": _VERSION, "field": one.name, "sha256": digest}
    known = _known(place / CUT, wanted)
    if known is not None and (place / "steps").is_dir() >= show_steps:
        return known
    values, many = decode_field(data, one.name)
    require_room(values, one.name)
    gray = shown(values)
    try:
        cut = cut_field(values, otherwise=True)
    except BlankField:
        refuse_arranged(gray, one.name)
        raise
    # Of a sheet in frames a grid stands out, not what stands upright in it.
    if not cut.cells or looks_arranged(cut.levelled):
        refuse_arranged(gray, one.name)
    names = named.of_cells(one, len(cut.cells))
    rows: list[dict[str, Any]] = []
    for cell, places in zip(names, cut.cells, strict=True):
        rows += _write_crops(destination / "images" / cell, gray, cut, places, cell)
    others = told(cut, names)
    _doubt(rows, others)
    found = _told(one.name, cut, dict(zip(names, map(len, cut.cells), strict=True)), rows)
    found = replace(found, alternatives=others)
    if many > 1:
        passed = f"of its {many} pages, time points and channels one is read, the first of the largest"
        found = replace(found, note="; ".join(filter(None, (found.note, passed))))
        note(f"{one.name}: {passed}")
    with replacing_folder(place, flushed=False) as unfinished:
        _write_field(unfinished, gray, cut, show_steps)
        write_json(unfinished / CUT, wanted | {"found": asdict(found), "width": cut.width})
    return found


def _doubt(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Add to the ``rows`` of pieces what each may be otherwise; where that was nearly even, it is to be checked."""
    own = {(row["cell"], row["mask"]): row for row in rows}
    for one in others:
        for number in one["pieces"]:
            row = own[one["cell"], number]
            text = own_text([str(each) for each in one["pieces"] if each != number], one["gives"])
            row["alternative"] = "; ".join(filter(None, (row["alternative"], text)))
            if one["even"] and not row["doubt"]:
                row |= {"doubt": text, "check": "yes", "why": "; ".join(filter(None, (row["why"], text)))}


def _known(path: Path, wanted: dict[str, Any]) -> CutField | None:
    try:
        return CutField(**known_record(path, wanted)["found"])
    except (KeyError, TypeError):
        return None


def _told(name: str, cut: Cut, cells: dict[str, int], rows: list[dict[str, Any]]) -> CutField:
    kinds = [piece.kind for piece in cut.pieces]
    nuclei, debris = kinds.count(NUCLEUS) + cut.nuclei, kinds.count(DEBRIS)
    problem = note = ""
    many = len(cut.chromosomes()) - sum(cells.values())
    if cells and many > MOST_IN_CELL:
        note = f"{many} pieces beside them are no cell: more than the {MOST_IN_CELL} of one"
    if not cells:
        than = f"fewer than {FEWEST}" if many < FEWEST else f"more than the {MOST_IN_CELL} of one cell"
        problem = f"no cell: {many} pieces that may be chromosomes, {than}"
        problem += f"; {nuclei} nuclei" if nuclei else ""
    return CutField(name, cells, nuclei, debris, round(cut.width, 1), cut.levelled.bright, problem, rows, note)


def _write_crops(folder: Path, gray: np.ndarray, cut: Cut, places: tuple[int, ...], cell: str) -> list[dict[str, Any]]:
    others = _found(cut)
    beside = _beside(cut, places)
    rows = []
    with replacing_folder(folder, flushed=False) as unfinished:
        for number, place in enumerate(places, start=1):
            piece = cut.pieces[place]
            name = f"{number:02d}.png"
            (unfinished / name).write_bytes(_as_png(crop_of(gray, cut.width, piece, others)))
            rows.append(_row(f"images/{cell}/{name}", cell, number, piece, beside[number - 1]))
    return rows


def _found(cut: Cut) -> np.ndarray:
    """Where any piece is, chromosome or not, bool [H, W]."""
    found = np.zeros(cut.shape, bool)
    for piece in cut.pieces:
        found[piece.box] |= piece.mask
    return found


def _row(file: str, cell: str, number: int, piece: Piece, beside: list[int]) -> dict[str, Any]:
    rows, columns = piece.box
    return {
        "file_name": file,
        "cell": cell,
        "mask": number,
        "x0": columns.start,
        "y0": rows.start,
        "x1": columns.stop,
        "y1": rows.stop,
        "area": piece.area,
        "overlap": piece.overlap,
        "sure": piece.sure,
        "check": "yes" if piece.sure < SURE else "",
        "why": "; ".join(piece.doubts),
        "beside": " ".join(map(str, beside)),
        "alternative": "",
        "doubt": "",
    }


def _beside(cut: Cut, places: tuple[int, ...]) -> list[list[int]]:
    """The numbers of the chromosomes that each of those at ``places`` touches or crosses."""
    first, second = layers_of(cut, places)
    reach = max(2, round(0.15 * cut.width))
    found = []
    for number, place in enumerate(places, start=1):
        rows, columns = cut.pieces[place].box
        box = np.s_[
            max(0, rows.start - reach) : rows.stop + reach, max(0, columns.start - reach) : columns.stop + reach
        ]
        own = (first[box] == number) | (second[box] == number)
        near = binary_dilation(own, iterations=reach)
        meet = set(np.unique(first[box][near])) | set(np.unique(second[box][near]))
        found.append(sorted(int(each) for each in meet - {0, number}))
    return found


def _write_field(folder: Path, gray: np.ndarray, cut: Cut, show_steps: bool) -> None:
    Image.fromarray(gray).save(folder / "field.png")
    # What the review needs to make a crop again as it was made here.
    Image.fromarray(_found(cut)).save(folder / PIECES)
    every = tuple(place for cell in cut.cells for place in cell)
    for k, places in enumerate(cut.cells):
        end = "" if k == 0 else f"-{k + 1}"
        for name, layer in zip(("mask", "overlap"), layers_of(cut, places), strict=True):
            Image.fromarray(layer).save(folder / f"{name}{end}.png")
        overview(gray, cut, places).save(folder / f"overview{end}.png")
    if not every:
        overview(gray, cut, ()).save(folder / "overview.png")
    write_masks(cut, folder)
    if show_steps:
        (folder / "steps").mkdir()
        for name, picture in steps(gray, cut):
            picture.save(folder / "steps" / f"{name}.png")


def _as_png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def _write_tables(destination: Path, done: list[CutField]) -> None:
    pieces = [row for one in done for row in one.pieces]
    write_text(destination / "fields.csv", csv_text(fields_table(done)))
    if not pieces:
        return
    write_text(destination / "pieces.csv", csv_text(pd.DataFrame(pieces).drop(columns="doubt", errors="ignore")))
    write_text(destination / "alternatives.csv", csv_text(alternatives_table(done)))


def alternatives_table(done: list[CutField]) -> pd.DataFrame:
    """Return a row for each alternative: cell, the numbers of the pieces, what they may be, whether it was nearly even,
    which decision it turns, x and y of where, pixels, and the file with its masks.
    """
    columns = ["cell", "pieces", "says", "even", "by", "x", "y", "masks"]
    rows = [
        one
        | {
            "pieces": " ".join(map(str, one["pieces"])),
            "even": "yes" if one["even"] else "",
            "masks": f"{FIELDS}/{next(iter(field.cells))}/{one['masks']}",
        }
        for field in done
        for one in field.alternatives
    ]
    return pd.DataFrame(rows, columns=columns)


def fields_table(done: list[CutField]) -> pd.DataFrame:
    """Return a row for each field: its cells, chromosomes, doubtful cuts, what else was there, width and problem."""
    rows = [
        {
            "field": one.name,
            "cells": " ".join(one.cells),
            "chromosomes": sum(one.cells.values()),
            "check": sum(row["check"] == "yes" for row in one.pieces),
            "alternatives": len(one.alternatives),
            "nuclei": one.nuclei,
            "debris": one.debris,
            "width": one.width,
            "ground": "" if one.problem and not one.width else "dark" if one.bright else "bright",
            "problem": one.problem,
            "note": one.note,
        }
        for one in done
    ]
    return pd.DataFrame(rows)
