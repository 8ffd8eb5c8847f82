"""Which images show the same chromosome, and which cells are the same metaphase.

Every image is cut to its foreground and shrunk to a small signature. Two signatures are compared under the four
flips (none, up-down, left-right, both: a half turn) by correlation, so brightness and contrast do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIGNATURE = (16, 8)
FINE_SIGNATURE = (64, 32)
#: Candidates by signature; the fine signature then decides. Unrelated chromosomes of one class reach 0.99.
CANDIDATE_CORRELATION = 0.985
NEAR_CORRELATION = 0.995
#: Two crops of one image differ this much, at most, in the logarithm of height over width.
_SAME_ASPECT = 0.06
_TWIN_CORRELATION = 0.98
_TWIN_LEAST_CLASSES = 8
#: Products of this many by as many signatures stay in a processor's cache.
_BLOCK = 512

Parts = tuple[np.ndarray, ...]


def signature(crop: np.ndarray, shape: tuple[int, int] = SIGNATURE) -> np.ndarray:
    """Return float32 ``shape``: uint8 ``crop`` [H, W] resized, with mean 0 and norm 1 (all 0 where flat)."""
    height, width = shape
    small = Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float32)
    values = values - values.mean()
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 0 else values


def flip_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return float32 [N, M]: for signatures [N, h, w] and [M, h, w], the highest correlation over four flips.

    A signature is the sum of four parts, even or odd in each direction; parts of unlike kind are orthogonal and
    a flip only turns signs. Four products of quarter size therefore give all four flips at the price of one.
    """
    return _highest_over_flips(_parts(first), _parts(second))


def _highest_over_flips(first: Parts, second: Parts) -> np.ndarray:
    even, odd_x, odd_y, odd_both = (left @ right.T for left, right in zip(first, second, strict=True))
    # Over the signs x, y of the two flips: max of even + x odd_x + y odd_y + x y odd_both.
    return np.maximum(even + odd_x + np.abs(odd_y + odd_both), even - odd_x + np.abs(odd_y - odd_both))


def _parts(signatures: np.ndarray) -> Parts:
    count, height, width = signatures.shape
    upside_down = signatures[:, ::-1]
    parts = []
    for half in (signatures + upside_down, signatures - upside_down):
        mirrored = half[:, :, ::-1]
        for quarter in (half + mirrored, half - mirrored):
            # A quarter holds each value four times, each 4 times too large: the scale 1/2 restores dot products.
            parts.append((quarter[:, : height // 2, : width // 2] / 2).reshape(count, height * width // 4))
    return tuple(parts)


def candidate_pairs(signatures: np.ndarray, threshold: float = CANDIDATE_CORRELATION) -> np.ndarray:
    """Return int64 [P, 2], first < second: the pairs of ``signatures`` [N, h, w] that correlate under a flip."""
    found = [np.empty((0, 2), dtype=np.int64)]
    parts = _parts(signatures)
    for row in range(0, len(signatures), _BLOCK):
        first = tuple(part[row : row + _BLOCK] for part in parts)
        for column in range(row, len(signatures), _BLOCK):
            second = tuple(part[column : column + _BLOCK] for part in parts)
            pairs = np.argwhere(_highest_over_flips(first, second) > threshold) + np.array([row, column])
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)


def is_near(first: np.ndarray, second: np.ndarray) -> bool:
    """Say whether two foreground crops, uint8 [H, W], are one image apart from flips, scale and brightness."""
    if abs(_log_aspect(first) - _log_aspect(second)) > _SAME_ASPECT:
        return False
    pair = [signature(crop, FINE_SIGNATURE)[None] for crop in (first, second)]
    return bool(flip_correlation(pair[0], pair[1])[0, 0] >= NEAR_CORRELATION)


def _log_aspect(crop: np.ndarray) -> float:
    return float(np.log(crop.shape[0] / crop.shape[1]))


def twin_cells(signatures: np.ndarray, labels: Sequence[str], cells: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """Return (cell, cell, classes alike, classes shared) for cells that look like one metaphase taken twice.

    In such a pair at least half of the shared classes (and no fewer than eight) hold a chromosome with a
    like one in the other cell; where that is so of most pairs, the images are too alike to tell and none is
    returned. Empty cell names are left out.
    """
    names = sorted(set(cells) - {""})
    index = {name: position for position, name in enumerate(names)}
    alike = np.zeros((len(names), len(names)), dtype=np.int32)
    shared = np.zeros_like(alike)
    classes = np.asarray(labels)
    cell_of = np.array([index.get(cell, -1) for cell in cells])
    for label in sorted(set(labels)):
        rows = np.flatnonzero((classes == label) & (cell_of >= 0))
        holders = np.zeros(len(names), dtype=np.int32)
        holders[cell_of[rows]] = 1
        shared += np.outer(holders, holders)
        matches = np.zeros_like(alike)
        pairs = rows[candidate_pairs(signatures[rows], _TWIN_CORRELATION)]
        matches[cell_of[pairs[:, 0]], cell_of[pairs[:, 1]]] = 1
        alike += np.maximum(matches, matches.T)
    upper = np.triu_indices(len(names), 1)
    if len(upper[0]) > 2 and np.median(alike[upper]) >= 0.1 * np.median(shared[upper]):
        return []
    needed = np.maximum(_TWIN_LEAST_CLASSES, (shared + 1) // 2)
    return [
        (names[first], names[second], int(alike[first, second]), int(shared[first, second]))
        for first, second in zip(*upper, strict=True)
        if alike[first, second] >= needed[first, second]
    ]
