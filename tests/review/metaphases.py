"""A folder as ``bandbridge cut`` leaves it, made of a drawn metaphase's truth: a pair as one piece, and one missed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from bandbridge.karyogram.sheet import CellSheet, Chromosome, Pose
from bandbridge.karyotype import CLASSES
from bandbridge.metaphase.by_hand import join
from bandbridge.metaphase.crops import crop_of
from bandbridge.metaphase.maps import maps_of, pieces_of_maps
from bandbridge.metaphase.pieces import Piece
from bandbridge.metaphase.record import ALTERNATIVES
from bandbridge.metaphase.told import as_bits
from bandbridge.review.field import with_fields
from bandbridge.review.intake import read_handed_in, sort_into_cells
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

WIDTH = 10.0


class SizeAnalyst:
    """Sorts by size: the two largest are of chromosome 1, and so on; the sizes of all bear on each."""

    classes = CLASSES

    def sheet(self, name: str, images: list[tuple[str, np.ndarray]]) -> CellSheet:
        sizes = [int((abs(image.astype(int) - int(image[0, 0])) > 12).sum()) for _, image in images]
        order = np.argsort([-size for size in sizes], kind="stable")
        rank = {int(place): min(at // 2, 23) for at, place in enumerate(order)}
        found = []
        for place, (file, image) in enumerate(images):
            row = np.full(24, 0.2 / 23 + sizes[place] / sum(sizes) / 1000)
            row[rank[place]] += 0.8
            pose = Pose(float(sizes[place] % 90), bool(sizes[place] % 2), 0.8)
            label = CLASSES[rank[place]]
            found.append(Chromosome(file, image, label, label, row / row.sum(), pose=pose))
        return CellSheet(name, CLASSES, tuple(found))

    def cam(self, image: np.ndarray, label: str, mates: object = ()) -> np.ndarray:
        return np.repeat(image[..., None], 3, axis=2)


@dataclass(frozen=True, eq=False)
class CutFolder:
    """The folder; the pieces of the cut by their number; the two truths of ``pair``; the piece that was ``missed``."""

    folder: Path
    gray: np.ndarray
    pieces: dict[int, Piece]
    truths: tuple[Piece, Piece]
    pair: int
    missed: Piece

    @property
    def line(self) -> list[list[float]]:
        """The straight line through the point between the two of the pair that has least of each on the other side."""
        one, other = (np.argwhere(each.mask)[:, ::-1] + (each.left, each.top) + 0.5 for each in self.truths)
        best = []
        for angle in np.linspace(0, np.pi, 60, endpoint=False):
            across, along = np.array([-np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), np.sin(angle)])
            wrong = sum(((each - self.between) @ across * sign > 0).sum() for each, sign in ((one, 1), (other, -1)))
            best.append((min(wrong, len(one) + len(other) - wrong), along))
        along = min(best, key=lambda each: each[0])[1]
        return [(self.between + far * along).round(2).tolist() for far in (-2 * WIDTH, 2 * WIDTH)]

    @property
    def between(self) -> np.ndarray:
        """The point between the two of the pair, (x, y)."""
        masks = [np.zeros(self.gray.shape, bool) for _ in self.truths]
        for mask, piece in zip(masks, self.truths, strict=True):
            mask[piece.box] = piece.mask
        near = [ndimage.distance_transform_edt(~mask) for mask in masks]
        row, column = np.unravel_index(np.argmin(near[0] + near[1]), self.gray.shape)
        return np.array([column + 0.5, row + 0.5])


def make_folder(home: Path) -> CutFolder:
    """Write the folder: each chromosome is a piece of its own but the two nearest, and the largest is missed.

    What it tells may be otherwise: the pair two, nearly even, and the first two pieces one.
    """
    spread = draw_spread("Q", 11, 1, Crowd(share=0.16, crossing=0, touching=0, bend=1, nuclei=0, debris=0))
    truth = pieces_of_maps(spread.first, spread.second)
    middles = np.array([one.middle for one in truth.values()])
    apart = np.hypot(*(middles[:, None] - middles[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(middles))
    one, other = (int(each) + 1 for each in np.unravel_index(np.argmin(apart), apart.shape))
    missed = max((k for k in truth if k not in (one, other)), key=lambda k: truth[k].area)
    kept = [truth[k] for k in truth if k not in (one, other, missed)] + [join([truth[one], truth[other]])]
    place = home / "fields" / "drawn"
    (home / "images" / "drawn").mkdir(parents=True)
    place.mkdir(parents=True)
    covered = np.zeros(spread.gray.shape, bool)
    for piece in kept:
        covered[piece.box] |= piece.mask
    for number, piece in enumerate(kept, start=1):
        crop = crop_of(spread.gray, WIDTH, piece, covered)
        Image.fromarray(crop).save(home / "images" / "drawn" / f"{number:02d}.png")
    first, second = maps_of(kept, spread.gray.shape)
    for name, image in (("field", spread.gray), ("mask", first), ("overlap", second), ("pieces", covered)):
        Image.fromarray(image).save(place / f"{name}.png")
    others = []
    for replaced, given in (([len(kept)], [truth[one], truth[other]]), ([1, 2], [join(kept[:2])])):
        masks = f"{ALTERNATIVES}/{len(others) + 1:02d}.png"
        (place / ALTERNATIVES).mkdir(exist_ok=True)
        Image.fromarray(as_bits(given)).save(place / masks)
        corner = {"left": min(each.left for each in given), "top": min(each.top for each in given)}
        told = {"cell": "drawn", "pieces": replaced, "gives": len(given), "even": len(replaced) == 1}
        others.append(told | corner | {"masks": masks})
    found = {"name": "drawn.png", "cells": {"drawn": len(kept)}, "width": WIDTH, "alternatives": others}
    (place / "cut.json").write_text(json.dumps({"kind": "bandbridge cut", "found": found, "width": WIDTH}))
    pieces = dict(enumerate(kept, start=1))
    return CutFolder(home, spread.gray, pieces, (truth[one], truth[other]), len(kept), truth[missed])


def hand_in_cut(store, folder: Path, analyst) -> int:
    """Hand the cell of a cut folder in, sorted, and return its id."""
    with store.taking_in():
        found = sort_into_cells(read_handed_in(folder), store)
        cells, problems = with_fields(folder, found.cells, store)
        assert problems == []
        ((cell, _),) = store.add_cells(cells)
    images = [(file, store.read_image(image)) for file, image in store.images_of(cell)]
    store.save_sheet(cell, analyst.sheet("drawn", images), "m")
    return cell
