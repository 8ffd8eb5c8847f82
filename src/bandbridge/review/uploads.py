"""Files that the page hands in, within bounds; each refused one gets a sentence that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES
from bandbridge.errors import UserError, in_one_line
from bandbridge.files import folder_beside
from bandbridge.review.actions import Review
from bandbridge.review.field import with_fields
from bandbridge.review.intake import MAX_FILES, HandedIn, Sorted, clean, read_handed_in, sort_into_cells, without_ending
from bandbridge.review.keeping import private_folder
from bandbridge.review.log import NOBODY, Reader
from bandbridge.review.packed import opened

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class Upload(NamedTuple):
    """A file as the browser calls it, and its content."""

    name: str
    file: IO[bytes]


def take_in(review: Review, files: list[Upload], by: Reader = NOBODY) -> dict[str, Any]:
    """Sort uploaded ``files`` into cells and have them classified; returns as :func:`add_cells` does."""
    refused: list[str] = []
    with review.store.taking_in(), ExitStack() as held:
        places: dict[str, Path] = {}
        uploads = _read_uploads(review, files, refused, held, places)
        depth = review.bit_depth
        # Who chooses a patient's folder in a browser hands in no folder around it that would tell it from others.
        found = sort_into_cells(uploads, review.store, expected=review.expected_bits, bit_depth=depth, lone=True)
        for archive, place in places.items():
            mine = [number for number, (origin, _) in enumerate(found.origins) if origin == archive]
            as_cut = [replace(found.cells[number], name=found.origins[number][1]) for number in mine]
            fields, more = with_fields(place, as_cut, review.store)
            found.problems += [clean(problem) for problem in more]
            for number, cell in zip(mine, fields, strict=True):
                found.cells[number] = replace(found.cells[number], field=cell.field)
        return add_cells(review, Sorted(found.cells, refused + found.problems), by)


def add_cells(review: Review, found: Sorted, by: Reader = NOBODY) -> dict[str, Any]:
    """Keep the cells ``found``, all or none, and have them classified.

    Return the ids of all, how many are new, whose those are, and the problems.
    """
    added = review.store.add_cells(found.cells, by)
    for cell, new in added:
        if new:
            review.worker.submit(cell)
    patients = {cell.patient for cell, (_, new) in zip(found.cells, added, strict=True) if new and cell.patient}
    return {
        "cells": [cell for cell, _ in added],
        "new": sum(new for _, new in added),
        "patients": sorted(patients),
        "problems": found.problems,
    }


def _read_uploads(
    review: Review, files: list[Upload], refused: list[str], held: ExitStack, places: dict[str, Path]
) -> Iterator[HandedIn]:
    """Yield the images of uploaded files, archives opened; a sentence for each file refused goes to ``refused``.

    Folders that were cut into and packed lie at ``places``, by their archives, for as long as ``held`` holds them.
    """
    archives: set[str] = set()
    for part in files:
        name = (part.name or "unnamed").replace("\\", "/").lstrip("/")
        try:
            if name.lower().endswith(_ARCHIVES):
                name = _unlike(name, archives)
                yield from _read_archive(review, part, name, held, places)
            else:
                yield HandedIn(name, _read_part(part, name))
        except UserError as error:
            refused.append(in_one_line(clean(error.message), error.remedy))


def _unlike(name: str, taken: set[str]) -> str:
    """``name``, numbered where an archive called so was handed in with it from another folder; added to ``taken``."""
    number, free, bare = 2, name, without_ending(name)
    while without_ending(free) in taken:
        free, number = f"{bare} ({number}){name.removeprefix(bare)}", number + 1
    taken.add(without_ending(free))
    return free


def _read_part(part: Upload, name: str) -> bytes:
    data = part.file.read(MAX_IMAGE_BYTES + 1)
    if len(data) > MAX_IMAGE_BYTES:
        limit = f"{MAX_IMAGE_BYTES // 2**20} MiB"
        raise UserError(f"{name} is larger than {limit}", "An image of one chromosome is far smaller.")
    return data


def _read_archive(review: Review, part: Upload, name: str, held: ExitStack, places: dict[str, Path]) -> list[HandedIn]:
    with folder_beside(review.store.folder / "incoming") as beside:
        kept = private_folder(beside) / "archive"
        with kept.open("wb") as file:
            while block := part.file.read(2**20):
                file.write(block)
        place = held.enter_context(opened(kept, review.store.folder, review.bounds))
        if place != kept:
            places[clean(without_ending(name))] = place
        # As a whole: half of a refused archive would be a cell that seems to lack chromosomes.
        found = list(islice(read_handed_in(place, name, review.bounds), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise UserError(f"{name} holds more than {MAX_FILES} images", "Hand in fewer cells at a time.")
    if not found:
        raise UserError(f"{name} holds no image", "Zip PNG, TIFF, BMP or JPEG files, a folder for each cell.")
    return found
