"""Several chromosomes in one core: taken apart along the paths that turn least.

Chromosomes that cross at a small angle, or of which one ends on the other, hang together in place and direction too.
A single one is a path and what lies beside it; of several, ends are left over. Ends are paired so that the paths
between them turn as little as they can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra

from bandbridge.metaphase.lifted import BINS, WIDTH

#: What turning by a direction costs, and a step across it more, pixels; what is no step across it yet, radians.
_TURN, _ACROSS, _GRID = 3.0, 2.0, 0.45
#: How far from a path is still beside it, and from there on an end is one, in widths.
_BESIDE, _END = 0.4, 0.65
_MOST_ENDS = 6
#: What belongs to a path is no farther from it, in widths and directions.
_NEAR, _ALIKE = 0.4, 2.0


@dataclass(frozen=True, eq=False)
class Voxels:
    """Points of place and direction: bins, rows, columns, int [P] each."""

    bins: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def only(self, which: np.ndarray) -> Voxels:
        """Return those that ``which``, bool or places, says."""
        return Voxels(self.bins[which], self.rows[which], self.columns[which])


@dataclass(frozen=True, eq=False)
class Way:
    """A way to take voxels apart. cost: what its paths turn, pixels. parts: of each chromosome its places in the
    voxels, which hang together, and its path from end to end; those on two are in both.
    """

    cost: float
    parts: list[tuple[np.ndarray, np.ndarray]]


def apart(voxels: Voxels) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the parts of the :class:`Way` that costs least."""
    return ways(voxels, 1)[0].parts


def ways(voxels: Voxels, most: int = 2) -> list[Way]:
    """Return at most so many ways to take ``voxels`` apart, that which costs least first; one of a single path."""
    turning, plain = _graphs(voxels)
    ends = _ends(voxels, turning)
    if len(ends) < 3:
        _, before = dijkstra(turning, directed=False, indices=ends[0], return_predecessors=True)
        return [Way(0.0, [(np.arange(len(voxels.rows)), _path(before, ends[1]))])]
    far, before = dijkstra(turning, directed=False, indices=ends, return_predecessors=True)
    excess = (far - dijkstra(plain, directed=False, indices=ends))[:, ends]
    costs = [
        (float(sum(excess[a, b] for a, b in pairs if b >= 0)), pairs) for pairs in _pairings(list(range(len(ends))))
    ]
    return [
        Way(cost, _along(voxels, ends, far, before, pairs))
        for cost, pairs in sorted(costs, key=lambda each: each[0])[:most]
    ]


def _along(
    voxels: Voxels, ends: list[int], far: np.ndarray, before: np.ndarray, pairs: list[tuple[int, int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The parts along the paths between the ``pairs`` of ``ends``; one without another goes to the nearest path."""
    paths = [_path(before[a], ends[b]) for a, b in pairs if b >= 0]
    for a, b in pairs:
        if b < 0:
            paths.append(_stub(voxels, _to_nearest(far[a], before[a], paths), paths))
    paths = [path for path in paths if len(path)]
    return list(zip(_shared_out(voxels, paths), paths, strict=True))


def _graphs(voxels: Voxels) -> tuple[csr_matrix, csr_matrix]:
    """What a step costs between neighbours, with what turning costs and without."""
    top, left = voxels.rows.min(), voxels.columns.min()
    rows, columns = voxels.rows - top + 1, voxels.columns - left + 1
    size = (BINS, int(rows.max()) + 2, int(columns.max()) + 2)
    place = np.full(size, -1, np.int64)
    count = len(rows)
    place[voxels.bins, rows, columns] = np.arange(count)
    starts, stops, turning, plain = [], [], [], []
    for turn, down, over in _steps():
        beside = place[(voxels.bins + turn) % BINS, rows + down, columns + over]
        start = np.flatnonzero(beside >= 0)
        length = float(np.hypot(down, over))
        cost = np.full(len(start), 0.01 + length)
        starts.append(start)
        stops.append(beside[start])
        plain.append(cost)
        way = np.arctan2(down, over) - (voxels.bins[start] + turn / 2) * np.pi / BINS
        # On a grid a path steps up to an eighth of a turn beside its direction without any meaning.
        aside = np.maximum(np.arcsin(np.abs(np.sin(way))) - _GRID, 0)
        turning.append(cost + _TURN * abs(turn) + (length * _ACROSS * np.sin(aside) ** 2 if length else 0))
    where = (np.concatenate(starts), np.concatenate(stops))
    return tuple(coo_matrix((np.concatenate(each), where), shape=(count, count)).tocsr() for each in (turning, plain))


def _steps() -> Iterator[tuple[int, int, int]]:
    """Half of the 26 neighbours: the other half are the same steps back."""
    for turn in (-1, 0, 1):
        for down in (-1, 0, 1):
            for over in (-1, 0, 1):
                if (turn, down, over) > (0, 0, 0):
                    yield turn, down, over


def _ends(voxels: Voxels, graph: csr_matrix) -> list[int]:
    """The two that are farthest apart, then each that is far from the paths between those before."""
    first = int(np.argmax(_reached(dijkstra(graph, directed=False, indices=0))))
    far, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    second = int(np.argmax(_reached(far)))
    ends, covered = [first, second], _path(before, second)
    while len(ends) < _MOST_ENDS:
        away, before, _ = dijkstra(graph, directed=False, indices=covered, min_only=True, return_predecessors=True)
        distance = _distance(voxels, covered)
        # By place alone: what has the same place in another direction is beside the path.
        reach = np.where(distance > _BESIDE * WIDTH, _reached(away), 0)
        end = int(np.argmax(reach))
        if distance[end] < _END * WIDTH:
            break
        ends.append(end)
        covered = np.concatenate([covered, _path(before, end)])
    return ends


def _reached(distance: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(distance), distance, 0)


def _distance(voxels: Voxels, path: np.ndarray) -> np.ndarray:
    """How far each voxel is from the path by place, pixels."""
    from scipy.spatial import cKDTree

    points = np.stack([voxels.rows, voxels.columns], axis=1)
    found: np.ndarray = cKDTree(points[path]).query(points)[0]
    return found


def _path(before: np.ndarray, end: int) -> np.ndarray:
    found = [end]
    while before[found[-1]] >= 0:
        found.append(int(before[found[-1]]))
    return np.array(found)


def _pairings(ends: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Every way to pair ``ends``; of an odd number one stays alone, with -1."""
    if not ends:
        yield []
        return
    first, rest = ends[0], ends[1:]
    if len(ends) % 2:
        for alone in range(len(ends)):
            for others in _pairings(ends[:alone] + ends[alone + 1 :]):
                yield [*others, (ends[alone], -1)]
        return
    for k, partner in enumerate(rest):
        for others in _pairings(rest[:k] + rest[k + 1 :]):
            yield [(first, partner), *others]


def _to_nearest(far: np.ndarray, before: np.ndarray, paths: Sequence[np.ndarray]) -> np.ndarray:
    goals = np.concatenate(paths)
    return _path(before, int(goals[np.argmin(far[goals])]))


def _stub(voxels: Voxels, path: np.ndarray, paths: Sequence[np.ndarray]) -> np.ndarray:
    """The part of ``path`` that does not lie beside another."""
    distance = _distance(voxels, np.concatenate(paths))
    return path[distance[path] > 0.5 * _BESIDE * WIDTH]


def _shared_out(voxels: Voxels, paths: list[np.ndarray]) -> list[np.ndarray]:
    """Give each voxel to the paths that it is near and that run as it does, or else to the nearest."""
    from scipy.spatial import cKDTree

    points = np.stack([voxels.rows, voxels.columns], axis=1).astype(float)
    cost, near = [], []
    for path in paths:
        distance, place = cKDTree(points[path]).query(points)
        turn = np.abs(voxels.bins - voxels.bins[path][place])
        turn = np.minimum(turn, BINS - turn)
        cost.append(distance / WIDTH + 0.3 * turn)
        near.append((distance < _NEAR * WIDTH) & (turn <= _ALIKE))
    best = np.argmin(cost, axis=0)
    return [np.flatnonzero(each | (best == k)) for k, each in enumerate(near)]
