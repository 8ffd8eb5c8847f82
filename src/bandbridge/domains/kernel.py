"""Kernel matrices in blocks, and everything that is summed over them in a single pass.

A pooled set of N images, the first domain's before the second's, has an N x N kernel matrix that may not fit into
memory and need not: every statistic here is a sum over it. Blocks of the upper triangle are made one at a time, and
each is handed to *collectors* before the next is made. The matrix product that fills the blocks is the only costly
step, and it is done once for all bootstraps and permutations together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

#: Rows and columns of a block: 2048 x 2048 float64 are 32 MiB.
BLOCK = 2048
#: Pairs drawn to bracket the median, and the share of all pairs the bracket reaches to each side. The standard error
#: of a sample median's rank is 0.5 / sqrt(50,000) = 0.0022, a ninth of it.
_BRACKET_PAIRS, _BRACKET_SHARE = 50_000, 0.02

Convention = Literal["sigma-median", "gamma-median"]
#: The two usual readings of "median heuristic", as a factor of 1 / median^2 in exp(-gamma d^2): sigma is the median
#: distance in exp(-d^2 / (2 sigma^2)); or gamma is one over the median squared distance (Gretton et al. 2012, their
#: published code).
CONVENTIONS: dict[Convention, float] = {"sigma-median": 0.5, "gamma-median": 1.0}

#: What to do where the median distance is 0, and no kernel has a width.
ALIKE_REMEDY = "Look for blank and repeated images with bandbridge data check."

Block = tuple[slice, slice, Tensor]
#: Turns a block of inner products [r, c] and squared norms [r], [c] into a block of kernel values, float64.
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


class Collector(Protocol):
    """Sums something over the blocks of a symmetric matrix; off-diagonal blocks stand for their mirror image too."""

    def add(self, rows: slice, columns: slice, block: Tensor) -> None:
        """Take in float64 ``block``, the part [rows, columns] of the upper triangle."""


def rbf(gamma: float) -> Kernel:
    """Return the Gaussian kernel exp(-gamma |x - y|^2)."""

    def kernel(inner: Tensor, row_norms: Tensor, column_norms: Tensor) -> Tensor:
        return squared_distances(inner, row_norms, column_norms).mul_(-gamma).exp_()

    return kernel


def squared_inner(inner: Tensor, row_norms: Tensor, column_norms: Tensor) -> Tensor:
    """Return (x . y)^2, whose sums are inner products of second moments: <x x^T, y y^T>."""
    return inner.square_()


def squared_distances(inner: Tensor, row_norms: Tensor, column_norms: Tensor) -> Tensor:
    """Return |x - y|^2 from inner products, in place of them."""
    return inner.mul_(-2).add_(row_norms[:, None]).add_(column_norms[None, :]).clamp_min_(0)


def sweep(values: Tensor, boundary: int, kernel: Kernel, collectors: Sequence[Collector]) -> None:
    """Show every block of the kernel matrix of ``values`` [N, D] to ``collectors``.

    ``boundary``: how many rows belong to the first domain; no block reaches across it. The diagonal of a diagonal
    block holds the kernel of each image with itself.
    """
    for rows, columns, block in _blocks(values, boundary, kernel):
        for collector in collectors:
            collector.add(rows, columns, block)


def _blocks(values: Tensor, boundary: int, kernel: Kernel) -> Iterator[Block]:
    norms = values.square().sum(1)
    spans = _spans(0, boundary) + _spans(boundary, len(values))
    for place, rows in enumerate(spans):
        for columns in spans[place:]:
            inner = values[rows] @ values[columns].T
            if rows == columns:
                # The product may differ from the norm in its last bit; a distance to itself is zero.
                inner.diagonal().copy_(norms[rows])
            yield rows, columns, kernel(inner, norms[rows], norms[columns])


def _spans(start: int, stop: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK)]


class Gaussian:
    """Hands squared distances on to a collector as kernel values exp(-gamma d^2), so that one pass serves several."""

    def __init__(self, gamma: float, collector: Collector) -> None:
        self._gamma, self._collector = gamma, collector

    def add(self, rows: slice, columns: slice, block: Tensor) -> None:
        """See :class:`Collector`."""
        self._collector.add(rows, columns, torch.exp(-self._gamma * block))


class UnitSums:
    """Collects the kernel summed over pairs of units: ``total`` float64 [G, G], symmetric.

    A unit is a run of neighbouring rows (the images of one cell). ``starts``: int64 [G], the first row of each.
    """

    def __init__(self, starts: np.ndarray, count: int, device: torch.device) -> None:
        self.total = torch.zeros((len(starts), len(starts)), dtype=torch.float64, device=device)
        sizes = np.diff(np.append(starts, count))
        self._unit_of = torch.from_numpy(np.repeat(np.arange(len(starts)), sizes)).to(device)

    def add(self, rows: slice, columns: slice, block: Tensor) -> None:
        """See :class:`Collector`."""
        row_units, column_units = self._unit_of[rows], self._unit_of[columns]
        first_row, first_column = int(row_units[0]), int(column_units[0])
        height, width = int(row_units[-1]) + 1 - first_row, int(column_units[-1]) + 1 - first_column
        if height == len(row_units) and width == len(column_units):
            sums = block
        else:
            narrow = torch.zeros((len(block), width), dtype=block.dtype, device=block.device)
            narrow.index_add_(1, column_units - first_column, block)
            sums = torch.zeros((height, width), dtype=block.dtype, device=block.device)
            sums.index_add_(0, row_units - first_row, narrow)
        across = slice(first_row, first_row + height), slice(first_column, first_column + width)
        self.total[across] += sums
        if rows != columns:
            self.total[across[1], across[0]] += sums.T


class RowSums:
    """Collects each row's sum over either domain: ``total`` float64 [N, 2]."""

    def __init__(self, boundary: int, count: int, device: torch.device) -> None:
        self.boundary = boundary
        self.total = torch.zeros((count, 2), dtype=torch.float64, device=device)

    def add(self, rows: slice, columns: slice, block: Tensor) -> None:
        """See :class:`Collector`."""
        self.total[rows, int(columns.start >= self.boundary)] += block.sum(1)
        if rows != columns:
            self.total[columns, int(rows.start >= self.boundary)] += block.sum(0)


class Forms:
    """Collects quadratic forms w^T K w of many weight vectors at once, split by domain.

    ``weights``: float32 or float64 [N, B]. ``within_first``, ``across``, ``within_second``: float64 [B], so that
    w^T K w = within_first + 2 across + within_second. Products are of the type of the weights and their sums float64:
    with float32 the error of a form is about 1e-7 of its size, far below the spread of the resamples that it measures.
    """

    def __init__(self, weights: Tensor, boundary: int) -> None:
        self._weights, self._boundary = weights, boundary
        self._sums = torch.zeros((3, weights.shape[1]), dtype=torch.float64, device=weights.device)

    def add(self, rows: slice, columns: slice, block: Tensor) -> None:
        """See :class:`Collector`."""
        products = self._weights[rows].mul(block.to(self._weights.dtype) @ self._weights[columns])
        part = int(rows.start >= self._boundary) + int(columns.start >= self._boundary)
        mirrored = 2 if rows != columns and part != 1 else 1
        self._sums[part] += mirrored * products.sum(0, dtype=torch.float64)

    @property
    def within_first(self) -> np.ndarray:
        """w_x^T K_xx w_x, [B]."""
        return self._sums[0].cpu().numpy()

    @property
    def across(self) -> np.ndarray:
        """w_x^T K_xy w_y, [B]."""
        return self._sums[1].cpu().numpy()

    @property
    def within_second(self) -> np.ndarray:
        """w_y^T K_yy w_y, [B]."""
        return self._sums[2].cpu().numpy()


def median_distance(values: Tensor, seed: int = 0) -> float:
    """Return the median of the N(N-1)/2 Euclidean distances between the rows of ``values`` [N, D].

    Every pair counts, none is kept: a bracket around the median is found from a sample, then one pass counts the
    pairs below it and collects those inside. Distances are float32, so the result is exact to about 1e-6 of its size.
    Raises :class:`ValueError` for fewer than two rows.
    """
    if len(values) < 2:
        raise ValueError("a median distance needs at least two images")
    values = (values - values.mean(0)).float()
    low, high = _bracket(values, seed)
    pairs = len(values) * (len(values) - 1) // 2
    below, inside = _count_and_collect(values, low, high)
    if not below < (pairs + 1) // 2 <= pairs // 2 + 1 <= below + len(inside):
        below, inside = _count_and_collect(values, -1.0, float("inf"))
    middle = np.partition(inside, [(pairs - 1) // 2 - below, pairs // 2 - below])
    squared = (middle[(pairs - 1) // 2 - below], middle[pairs // 2 - below])
    return float(np.sqrt(squared, dtype=np.float64).mean())


def _bracket(values: Tensor, seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    first, second = generator.integers(len(values), size=(2, _BRACKET_PAIRS))
    chosen = torch.from_numpy(np.stack([first, second])[:, first != second])
    portions = chosen.to(values.device).split(4096, dim=1)
    sample = np.concatenate([(values[i] - values[j]).square().sum(1).cpu().numpy() for i, j in portions])
    low, high = np.quantile(sample, [0.5 - _BRACKET_SHARE, 0.5 + _BRACKET_SHARE])
    return float(low), float(high)


def _count_and_collect(values: Tensor, low: float, high: float) -> tuple[int, np.ndarray]:
    """Return how many squared distances of distinct pairs are below ``low``, and those from there to ``high``."""
    below, inside = 0, []
    for rows, columns, block in _blocks(values, len(values), squared_distances):
        if rows == columns:
            block = block[torch.ones_like(block, dtype=torch.bool).triu_(1)]
        below += int((block < low).sum())
        inside.append(block[(block >= low) & (block <= high)].flatten().cpu().numpy())
    return below, np.concatenate(inside)
