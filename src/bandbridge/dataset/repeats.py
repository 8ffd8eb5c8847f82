"""Which images show the same chromosome, and which cells are the same metaphase.

Of every image, the contrast to its ground is shrunk to a small signature. Its window is set by the centre and the
spread of that contrast, which move by a fraction of a pixel where another threshold, frame or compression would
move a bounding box by a whole one. Two signatures are compared under the four flips (none, up-down, left-right,
both: a half turn) by correlation, so brightness and contrast do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIGNATURE = (16, 8)
FINE_SIGNATURE = (64, 32)
#: Candidates by signature; the fine signature then decides. Unrelated chromosomes of one class reach 0.993.
CANDIDATE_CORRELATION = 0.985
NEAR_CORRELATION = 0.995
_WINDOW = 1.75
#: Two versions of one image differ this much, at most, in the logarithm of height over width.
_SAME_ASPECT = 0.06
_TWIN_CORRELATION = 0.985
_TWIN_LEAST_CLASSES = 8
#: Products of this many by as many signatures stay in a processor's cache.
_BLOCK = 512

Parts = tuple[np.ndarray, ...]


def signature(contrast: np.ndarray, shape: tuple[int, int] = SIGNATURE) -> np.ndarray:
    """Return float32 ``shape``: uint8 ``contrast`` [H, W] in its window, with mean 0 and norm 1 (all 0 where flat).

    The window is the centre of ``contrast`` and 1.75 standard deviations to each side: about the length and width
    of an even bar, whose half is 1.73 deviations long.
    """
    if not contrast.any():
        return np.zeros(shape, dtype=np.float32)
    (left, right), (top, bottom) = (_window(contrast, axis) for axis in (1, 0))
    height, width = contrast.shape
    margin = 1 + int(np.ceil(max(0.0, -left, -top, right - width, bottom - height)))
    box = (left + margin, top + margin, right + margin, bottom + margin)
    padded = Image.fromarray(np.pad(contrast.astype(np.float32), margin))
    small = padded.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
    values = np.asarray(small, dtype=np.float32)
    values = values - values.mean()
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 0 else values


def _window(contrast: np.ndarray, axis: int) -> tuple[float, float]:
    """Return where the window begins and ends along ``axis``, in pixels from the edge."""
    weight = contrast.sum(axis=1 - axis, dtype=np.float64)
    place = np.arange(len(weight)) + 0.5
    centre = float(weight @ place / weight.sum())
    # A single line of pixels is one pixel wide, not of no width.
    spread = max(float(np.sqrt(weight @ (place - centre) ** 2 / weight.sum())), 0.29)
    return centre - _WINDOW * spread, centre + _WINDOW * spread


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
    """Say whether two images, given as contrast (uint8 [H, W]), are one but for flips, scale and brightness."""
    if not (first.any() and second.any()) or abs(_log_aspect(first) - _log_aspect(second)) > _SAME_ASPECT:
        return False
    fine = [signature(contrast, FINE_SIGNATURE)[None] for contrast in (first, second)]
    return bool(flip_correlation(fine[0], fine[1])[0, 0] >= NEAR_CORRELATION)


def _log_aspect(contrast: np.ndarray) -> float:
    (left, right), (top, bottom) = (_window(contrast, axis) for axis in (1, 0))
    return float(np.log((bottom - top) / (right - left)))


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
