"""The two maps by which a field's chromosomes are kept in files, and the pieces that they tell of.

The whole of chromosome k is where either map is k: the second holds the other one where two lie on each other.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from bandbridge.metaphase.pieces import Piece


def maps_of(pieces: Iterable[Piece], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return two maps of ``pieces``, uint16 [H, W]: 0, or which one's pixel it is, from 1.

    The second holds the other one where two lie on each other; of three the last is left out.
    """
    first, second = np.zeros((2, *shape), np.uint16)
    for number, piece in enumerate(pieces, start=1):
        one, two = first[piece.box], second[piece.box]
        taken = piece.mask & (one > 0)
        two[taken & (two == 0)] = number
        one[piece.mask & ~taken] = number
    return first, second


def pieces_of_maps(first: np.ndarray, second: np.ndarray) -> dict[int, Piece]:
    """Return the whole of each chromosome of the two maps, uint16 [H, W], by its number."""
    count = max(int(first.max(initial=0)), int(second.max(initial=0)))
    places = [ndimage.find_objects(layer.astype(np.int32), count) for layer in (first, second)]
    found = {}
    for number in range(1, count + 1):
        boxes = [place[number - 1] for place in places if place[number - 1] is not None]
        if not boxes:
            continue
        rows, columns = (
            slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in (0, 1)
        )
        mask = (first[rows, columns] == number) | (second[rows, columns] == number)
        found[number] = Piece(rows.start, columns.start, mask, area=int(mask.sum()))
    return found
