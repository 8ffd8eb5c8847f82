"""Short pieces given back to what they were taken from: of two parts, one of which is a stump, the whole is better.

A cut is right where both parts are chromosomes. A part shorter than the smallest one is none, and where it meets the
other at full width, and both together are no wider and no longer than a chromosome, there was nothing to cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bandbridge.metaphase.cores import length_of
from bandbridge.metaphase.lifted import WIDTH

_AROUND = np.ones((3, 3))


@dataclass(frozen=True)
class Stump:
    """When two are one, in widths but for seam: the smaller is shorter than ``short``, both together shorter than
    ``long`` and narrower than ``wide``, and where they meet they are this share of their width.
    """

    short: float = 2.0
    long: float = 4.0
    wide: float = 1.35
    seam: float = 0.7


def without_stumps(first: np.ndarray, second: np.ndarray, limits: Stump | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the layers, int [H, W] each, with stumps given to the piece they meet at full width, the widest first.

    The number of the other is then that of no pixel. No piece is given another twice.
    """
    limits = limits or Stump()
    depth = ndimage.distance_transform_edt(first > 0)
    seams = []
    for a, b in _neighbours(first):
        seam = _seam(first, second, depth, (a, b), limits)
        if seam > limits.seam:
            seams.append((-seam, a, b))
    first, second, given = first.copy(), second.copy(), set[int]()
    for _, a, b in sorted(seams):
        if {a, b} & given:
            continue
        given |= {a, b}
        first[first == b], second[second == b] = a, a
        second[(second == a) & (first == a)] = 0
    return first, second


def _neighbours(labels: np.ndarray) -> Iterator[tuple[int, int]]:
    """Every two numbers that have pixels beside each other, the smaller first."""
    height, width = labels.shape
    found: set[tuple[int, int]] = set()
    for down, over in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = labels[: height - down, max(0, -over) : width - max(0, over)]
        other = labels[down:, max(0, over) : width + min(0, over)]
        meet = (one != other) & (one > 0) & (other > 0)
        found |= {(min(a, b), max(a, b)) for a, b in zip(one[meet].tolist(), other[meet].tolist(), strict=True)}
    yield from sorted(found)


def _seam(first: np.ndarray, second: np.ndarray, depth: np.ndarray, pair: tuple[int, int], limits: Stump) -> float:
    """How wide the two are where they meet, as a share of their width together; 0 where they are two."""
    rows, columns = np.nonzero(np.isin(first, pair) | np.isin(second, pair))
    box = np.s_[max(0, rows.min() - 1) : rows.max() + 2, max(0, columns.min() - 1) : columns.max() + 2]
    one, other = ((first[box] == k) | (second[box] == k) for k in pair)
    if min(length_of(one), length_of(other)) >= limits.short:
        return 0.0
    length = length_of(one | other)
    width = float((one | other).sum()) / length / WIDTH**2
    if length >= limits.long or width >= limits.wide:
        return 0.0
    meet = ndimage.binary_dilation(first[box] == pair[0], _AROUND) & (first[box] == pair[1])
    return 2 * float(depth[box][meet].max()) / WIDTH / width
