"""What was cut out of a field: where each piece lies, whether it is a chromosome, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, linkage

from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.dataset.cutout import Cutout
from bandbridge.metaphase.lifted import WIDTH, Said

CHROMOSOME, NUCLEUS, DEBRIS, APART = "chromosome", "nucleus", "debris", "another cell"
#: Thickest part of a chromosome, and of its thinnest, in widths; smallest area, in squared widths.
_THICKEST, _THINNEST, _SMALLEST = 2.1, 0.4, 0.3
#: Mean probability that a chromosome is there below which a piece is debris.
_LEAST_THERE = 0.62
#: Chromosomes of a cell at least, and of a second one in the field; how far apart two cells are, in widths.
FEWEST, _SECOND, _APART = 8, 25, 9.0
#: How much more, and how much less, than the cell's chromosomes a chromosome is stained; how many of those about it
#: tell whether it is so by its place.
_BRIGHTEST, _PALEST, _ABOUT = 2.3, 0.28, 6
#: How much less, where its shape and its axis leave no doubt.
_PALEST_CLEAR = 0.14
#: A piece is doubtful below this.
SURE = 0.75


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a field.

    top, left: of ``mask``, bool [h, w], pixels of the map it was found in. area, overlap: pixels, in all and lying on
    another. length, width: of the ribbon of that area and outline, in typical widths. thickness: of its thickest part,
    in typical widths. sure: 0 to 1, that it is one whole chromosome. doubts: why not, in words. touching: numbers of
    the pieces, from 1, that it touches or crosses.
    """

    top: int
    left: int
    mask: np.ndarray
    kind: str = CHROMOSOME
    area: int = 0
    overlap: int = 0
    length: float = 0.0
    width: float = 0.0
    thickness: float = 0.0
    sure: float = 1.0
    doubts: tuple[str, ...] = ()
    touching: tuple[int, ...] = ()

    @property
    def box(self) -> tuple[slice, slice]:
        """Where the mask lies."""
        return (
            slice(self.top, self.top + self.mask.shape[0]),
            slice(self.left, self.left + self.mask.shape[1]),
        )

    @property
    def middle(self) -> tuple[float, float]:
        """(row, column) of the middle of its box."""
        return self.top + self.mask.shape[0] / 2, self.left + self.mask.shape[1] / 2


def pieces_of(first: np.ndarray, second: np.ndarray, said: Said, strengths: list[float]) -> list[Piece]:
    """Return every piece of the two layers, by its number, with what is measured of it and what it is.

    strengths: how clear the core of each is; those beyond have none.
    """
    count = max(int(first.max()), int(second.max()))
    places = [ndimage.find_objects(layer, count) for layer in (first, second)]
    edge = (first.shape[0], first.shape[1])
    found = []
    for number in range(1, count + 1):
        boxes = [place[number - 1] for place in places if place[number - 1] is not None]
        if not boxes:
            continue
        box = tuple(
            slice(min(each[axis].start for each in boxes), max(each[axis].stop for each in boxes)) for axis in (0, 1)
        )
        over = second[box] == number
        mask = _in_one((first[box] == number) | over)
        shared = mask & (second[box] > 0)
        piece = _measured(mask, int(shared.sum()), box)
        strength = strengths[number - 1] if number <= len(strengths) else 0.0
        found.append(_judged(piece, said, strength, edge))
    return found


def by_stain(pieces: list[Piece], contrast: np.ndarray) -> list[Piece]:
    """Return the pieces, those stained much more than the cell's chromosomes as nuclei, much less as debris.

    contrast: float32 [H, W], of the map they were found in. Where chromosomes lie on each other they are twice as dark.
    What is stained much more than the cell but as those about it is a chromosome where the light or the stain is
    uneven.
    """
    stained = np.array([float(np.median(contrast[piece.box][piece.mask])) for piece in pieces])
    chosen = np.array([piece.kind == CHROMOSOME for piece in pieces], bool)
    if not chosen.any():
        return pieces
    usual = float(np.median(stained[chosen]))
    middles = np.array([piece.middle for piece in pieces])
    found = []
    for k, (piece, value) in enumerate(zip(pieces, stained, strict=True)):
        if piece.kind == CHROMOSOME and value > _BRIGHTEST * usual and piece.overlap == 0:
            others = chosen & (np.arange(len(pieces)) != k)
            about = np.argsort(np.linalg.norm(middles[others] - middles[k], axis=1))[:_ABOUT]
            if not len(about) or value > _BRIGHTEST * float(np.median(stained[others][about])):
                piece = replace(piece, kind=NUCLEUS)
        elif piece.kind == CHROMOSOME and value < (_PALEST if piece.sure < SURE else _PALEST_CLEAR) * usual:
            piece = replace(piece, kind=DEBRIS)
        found.append(piece)
    return found


def _in_one(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of ``mask``, and others a fifth of it; its small holes filled."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        mask = (sizes >= 0.2 * sizes.max())[pieces] & mask
    return mask


def _measured(mask: np.ndarray, shared: int, box: tuple[slice, ...]) -> Piece:
    area = int(mask.sum())
    length = max(Cutout(mask.astype(np.uint8), mask, (0, 0, *mask.shape)).length, 1.0)
    thickness = 2 * float(ndimage.distance_transform_edt(np.pad(mask, 1)).max())
    return Piece(
        box[0].start,
        box[1].start,
        mask,
        area=area,
        overlap=shared,
        length=length / WIDTH,
        width=area / length / WIDTH,
        thickness=thickness / WIDTH,
    )


def _judged(piece: Piece, said: Said, strength: float, edge: tuple[int, int]) -> Piece:
    there = float(said.there[piece.box][piece.mask].mean())
    if piece.thickness > _THICKEST:
        return replace(piece, kind=NUCLEUS)
    small = piece.area < _SMALLEST * WIDTH**2
    if small or piece.thickness < _THINNEST or there < _LEAST_THERE:
        return replace(piece, kind=DEBRIS)
    sure, doubts = 1.0, []
    if strength == 0:
        sure, doubts = 0.4, ["no axis was found in it"]
    elif strength < 0.8:
        sure, doubts = strength, ["its axis is not clear"]
    if piece.overlap > 0.35 * piece.area:
        sure, doubts = sure * 0.7, [*doubts, "more than a third of it lies on others"]
    if piece.width > 1.5 or piece.thickness > 1.6:
        sure, doubts = sure * 0.6, [*doubts, "it is wide: two side by side?"]
    if piece.area < 0.8 * WIDTH**2:
        sure, doubts = sure * 0.7, [*doubts, "it is small: a part of one, or debris?"]
    rows, columns = piece.box
    if rows.start == 0 or columns.start == 0 or rows.stop == edge[0] or columns.stop == edge[1]:
        sure, doubts = sure * 0.7, [*doubts, "it lies at the border of the field"]
    return replace(piece, sure=round(sure, 3), doubts=tuple(doubts))


def with_cells(pieces: list[Piece]) -> tuple[list[Piece], list[list[int]]]:
    """Return the pieces, those far from any cell as :data:`APART`, and the cells: places of their chromosomes.

    A cell is :data:`FEWEST` or more, and no more than ``predict`` takes for one; of several in one field the largest
    comes first. Those that are too far away from a cell of 25 or more and are as many themselves are another one; a few
    astray belong to the nearest.
    """
    places = [k for k, piece in enumerate(pieces) if piece.kind == CHROMOSOME]
    if len(places) < FEWEST:
        return pieces, []
    middles = np.array([pieces[k].middle for k in places])
    group = fcluster(linkage(middles, "single"), _APART * WIDTH, "distance")
    sizes = {int(number): int((group == number).sum()) for number in np.unique(group)}
    large = sorted((number for number in sizes if sizes[number] >= _SECOND), key=lambda number: -sizes[number])
    if len(large) < 2:
        return pieces, _of_cells([places])
    homes = np.array(large)[
        np.argmin([np.linalg.norm(middles[:, None] - middles[group == n], axis=2).min(axis=1) for n in large], axis=0)
    ]
    return pieces, _of_cells([k for k, home in zip(places, homes, strict=True) if home == number] for number in large)


def _of_cells(groups: Iterable[list[int]]) -> list[list[int]]:
    return [group for group in groups if len(group) <= MOST_IN_CELL]
