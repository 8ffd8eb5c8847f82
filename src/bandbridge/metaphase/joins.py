"""Cores that are two parts of one chromosome: across another one, a pale band or a bend.

How likely two ends are of one chromosome was fitted to drawn spreads: a logistic regression on :func:`terms` of what is
seen, whose numbers are in joins.json. The program that fitted it was not kept; what it was fitted to can be drawn again
(:mod:`bandbridge.synthetic.spread`), and :func:`meetings` gives what is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from bandbridge.metaphase.lifted import BINS, WIDTH, Said

#: Ends farther apart, in widths, or at a sharper angle, radians, are never those of one chromosome.
REACH, SHARPEST = 2.4, 1.6
#: The rule: how far, how bent, and how clear another's core, or this one's own, has to be in between.
_FAR, _BENT, _OTHER, _FAINT = 1.9, 0.65, 0.4, 0.2
#: The direction of an end is that of its last part, in widths.
_LAST = 1.0


@dataclass(frozen=True, eq=False)
class Core:
    """The core of a chromosome: its pixels' rows and columns, int [P], and how clear it is, 0 to 1.

    path: int [L, 2], (row, column) from one end to the other.
    """

    rows: np.ndarray
    columns: np.ndarray
    strength: float
    path: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row and column, and those after the last."""
        return int(self.rows.min()), int(self.columns.min()), int(self.rows.max()) + 1, int(self.columns.max()) + 1


@dataclass(frozen=True, eq=False)
class Meeting:
    """Two ends that may be of one chromosome: of core a and b, which end of each (0 or -1), and what is seen there."""

    a: int
    b: int
    end_a: int
    end_b: int
    seen: np.ndarray


def meetings(cores: list[Core], said: Said) -> list[Meeting]:
    """Return every two ends of different cores that could be of one chromosome."""
    ends = [(k, end, *_end(core.path, end)) for k, core in enumerate(cores) for end in (0, -1)]
    if len(ends) < 2:
        return []
    points = np.array([point for _, _, point, _ in ends])
    found = []
    for first, second in sorted(cKDTree(points).query_pairs(REACH * WIDTH)):
        a, end_a, from_, out_a = ends[first]
        b, end_b, to, out_b = ends[second]
        if a == b:
            continue
        seen = _seen(from_, to, out_a, out_b, (cores[a], cores[b]), said)
        if seen is not None:
            found.append(Meeting(a, b, end_a, end_b, seen))
    return found


def _end(path: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Where an end of ``path`` is, (row, column), and its direction outwards."""
    points = path if end == -1 else path[::-1]
    length = min(len(points) - 1, max(1, round(_LAST * WIDTH)))
    way = (points[-1] - points[-1 - length]).astype(float)
    return points[-1].astype(float), way / max(float(np.hypot(*way)), 1e-6)


def _seen(
    start: np.ndarray, stop: np.ndarray, out_a: np.ndarray, out_b: np.ndarray, cores: tuple[Core, Core], said: Said
) -> np.ndarray | None:
    """What is seen between two ends, float [F]; None where they cannot be of one chromosome."""
    gap = stop - start
    far = float(np.hypot(*gap))
    way = gap / far if far > 1.5 else (out_a - out_b) / max(float(np.hypot(*(out_a - out_b))), 1e-6)
    angles = [float(np.arccos(np.clip(out @ way, -1, 1))) for out in (out_a, -out_b)]
    if max(angles) > SHARPEST:
        return None
    steps = start + np.linspace(0, 1, max(3, round(far) + 1))[:, None] * gap
    rows, columns = np.rint(steps).astype(int).T
    there, two = said.there[rows, columns], said.two[rows, columns]
    core = said.core[:, rows, columns]
    aim = round(float(np.arctan2(way[0], way[1])) / np.pi * BINS) % BINS
    along = core[[(aim - 1) % BINS, aim, (aim + 1) % BINS]].max(axis=0)
    across = core[[(aim + k) % BINS for k in range(3, BINS - 2)]].max(axis=0)
    most = core.max(axis=0)
    lengths = sorted(len(each.path) / WIDTH for each in cores)
    return np.array(
        [
            far / WIDTH,
            *sorted(angles),
            float(np.arccos(np.clip(-out_a @ out_b, -1, 1))),
            there.min(),
            two.max(),
            along.min(),
            along.mean(),
            across.max(),
            most.min(),
            most.mean(),
            *np.minimum(lengths, 8),
            abs(cores[0].strength - cores[1].strength),
        ]
    )


@cache
def _judge() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stored = json.loads(files("bandbridge.metaphase").joinpath("joins.json").read_text(encoding="utf-8"))
    return np.array(stored["middle"]), np.array(stored["spread"]), np.array(stored["weights"])


def terms(seen: np.ndarray) -> np.ndarray:
    """Return what is weighed, [n, T], of what is seen [n, F] in spreads about the middle: each, and all products."""
    rows, columns = np.triu_indices(seen.shape[1])
    return np.concatenate([np.ones((len(seen), 1)), seen, seen[:, rows] * seen[:, columns]], axis=1)


def likelihoods(found: list[Meeting]) -> np.ndarray:
    """Return for each meeting the probability, 0 to 1, that its two cores are one chromosome."""
    if not found:
        return np.zeros(0)
    middle, spread, weights = _judge()
    seen = np.clip((np.stack([one.seen for one in found]) - middle) / spread, -4, 4)
    fitted = 1 / (1 + np.exp(-np.clip(terms(seen) @ weights, -30, 30)))
    return np.maximum(fitted, [_straight(one.seen) for one in found])


def _straight(seen: np.ndarray) -> float:
    """The same by a rule: straight on, beneath another or where the separator nearly sees the core go on."""
    far, _, sharper, turn, there, _, along, _, across = seen[:9]
    if far > _FAR or max(sharper, turn) > _BENT or there < 0.5 or (across < _OTHER and along < _FAINT):
        return 0.0
    return float(0.95 - 0.25 * max(sharper, turn) / _BENT - 0.15 * far / _FAR)


def joined(cores: list[Core], said: Said, least: float) -> list[Core]:
    """Return the cores, those that are one chromosome by at least ``least`` as one, the likeliest first."""
    if least >= 1:
        return cores
    found = meetings(cores, said)
    chances = likelihoods(found)
    used: set[tuple[int, int]] = set()
    links: dict[int, list[tuple[int, int, int]]] = {}
    home = list(range(len(cores)))
    for place in np.argsort(-chances, kind="stable"):
        if chances[place] < least:
            break
        one = found[place]
        if home[one.a] == home[one.b] or {(one.a, one.end_a), (one.b, one.end_b)} & used:
            continue
        used |= {(one.a, one.end_a), (one.b, one.end_b)}
        links.setdefault(one.a, []).append((one.end_a, one.b, one.end_b))
        links.setdefault(one.b, []).append((one.end_b, one.a, one.end_a))
        home = [home[one.a] if each == home[one.b] else each for each in home]
    return [_strung(cores, members, links) for members in _groups(home)]


def _groups(home: list[int]) -> Iterator[list[int]]:
    groups: dict[int, list[int]] = {}
    for place, each in enumerate(home):
        groups.setdefault(each, []).append(place)
    yield from groups.values()


def _strung(cores: list[Core], members: list[int], links: dict[int, list[tuple[int, int, int]]]) -> Core:
    """The cores ``members``, linked end to end, as one, with what lies on the straight way between their ends."""
    if len(members) == 1:
        return cores[members[0]]
    start = next(each for each in members if len(links[each]) == 1)
    path, came, here = [], None, start
    while True:
        onward = [link for link in links[here] if link[:2] != came]
        points = cores[here].path
        # Leave by the end that is linked on; arrive at the other.
        if onward:
            points = points if onward[0][0] == -1 else points[::-1]
        elif came is not None:
            points = points if came[0] == 0 else points[::-1]
        path.append(points)
        if not onward:
            break
        _, after, its_end = onward[0]
        came, here = (its_end, here), after
    bridges = [_line(a[-1], b[0]) for a, b in pairwise(path)]
    whole = np.concatenate([each for pair in zip(path, [*bridges, path[0][:0]], strict=True) for each in pair])
    own = [np.stack([cores[k].rows, cores[k].columns], axis=1) for k in members]
    thick = [bridge + np.array(step) for bridge in bridges for step in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))]
    spots = np.unique(np.concatenate([*own, *(np.maximum(each, 0) for each in thick)]), axis=0)
    size = np.array([len(cores[k].rows) for k in members])
    strength = float(np.array([cores[k].strength for k in members]) @ size / size.sum())
    return Core(spots[:, 0], spots[:, 1], strength, whole)


def _line(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    steps = int(np.abs(stop - start).max()) + 1
    return np.rint(start + np.linspace(0, 1, steps + 1)[:, None] * (stop - start)).astype(int)
