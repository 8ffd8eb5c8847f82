"""The residual graph of a cell's assignment: what passing chromosomes on from class to class costs.

Nodes are classes, the last one the place of those left out; an edge from a to b costs moving the cheapest chromosome of
a to b. An optimum has no negative cycle (Ahuja, Magnanti & Orlin 1993, Network Flows, section 9.3).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

#: Less than this is no shorter path: sums of the same costs in another order differ by less.
_ROUNDING = 1e-9


def edges_of(costs_of: np.ndarray, classes: np.ndarray, index: int) -> np.ndarray:
    """Return what moving the cheapest chromosome of a class to each costs, float64 [K + 1], infinite to itself."""
    members = costs_of[classes == index]
    found = (members - members[:, index : index + 1]).min(axis=0, initial=np.inf)
    found[index] = np.inf
    return found


def cheapest_path(edges: np.ndarray, target: int, ends: np.ndarray) -> tuple[float, list[int]]:
    """Return the least of ``ends`` at the start of a path to ``target`` and its edges, and the path from ``target``.

    Bellman 1958, Quarterly of Applied Mathematics 16:87; there is no negative cycle.
    """
    lengths, onward = edges[:, target].copy(), np.full(len(edges), target)
    lengths[target] = 0.0
    for _ in range(len(edges)):
        through = edges + lengths
        best = through.argmin(axis=1)
        shorter = through[np.arange(len(edges)), best] < lengths - _ROUNDING
        if not shorter.any():
            break
        lengths[shorter], onward[shorter] = through[shorter, best[shorter]], best[shorter]
    start = int((ends + lengths).argmin())
    path = [start]
    while path[-1] != target:
        path.append(int(onward[path[-1]]))
    return float(ends[start] + lengths[start]), path[::-1]


def pass_on(costs_of: np.ndarray, classes: np.ndarray, edges: np.ndarray, path: list[int]) -> None:
    """Move the cheapest chromosome of each class on ``path`` to the next, in place."""
    moves = []
    for source, target in pairwise(path):
        members = np.flatnonzero(classes == source)
        moves.append((members[(costs_of[members, target] - costs_of[members, source]).argmin()], target))
    for chromosome, target in moves:
        classes[chromosome] = target
    for index in path:
        edges[index] = edges_of(costs_of, classes, index)


def shortest_paths(costs_of: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the least cost of passing a chromosome from each class to each, rejection last, float64 [K + 1, K + 1].

    A path passes one chromosome on at every class between its ends, whose numbers of copies stay (Floyd 1962,
    Communications of the ACM 5:345).
    """
    n, nodes = costs_of.shape
    paths = np.full((nodes, nodes), np.inf)
    np.minimum.at(paths, classes, costs_of - costs_of[np.arange(n), classes][:, None])
    np.fill_diagonal(paths, 0.0)
    for via in range(nodes):
        np.minimum(paths, paths[:, via, None] + paths[via], out=paths)
    return paths
