"""Cores that are two parts of one chromosome: across another one, a pale band or a bend.

How likely two ends are of one chromosome was fitted to drawn spreads alone (:mod:`bandbridge.export.joins`): small
networks, whose mean counts, on what :mod:`bandbridge.metaphase.meetings` sees. Their numbers are in joins.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np

from bandbridge.metaphase.meetings import TURN, Core, Meeting

#: Two ends that turn by more than this, radians, are never of one chromosome.
_BACK = 2.4
#: What is seen is clipped to so many spreads about its middle.
_CLIPPED = 5.0


@dataclass(frozen=True, eq=False)
class Judge:
    """Small networks of one hidden layer.

    middle, spread: float [FACTS], of what is seen. inner: float [N, FACTS + 1, H] and outer: float [N, H + 1], of N
    networks, the bias last.
    """

    middle: np.ndarray
    spread: np.ndarray
    inner: np.ndarray
    outer: np.ndarray

    def likelihoods(self, seen: np.ndarray) -> np.ndarray:
        """Return how likely what is ``seen``, float [n, FACTS], is of one chromosome: the networks' mean, [n]."""
        scaled = np.clip((seen - self.middle) / self.spread, -_CLIPPED, _CLIPPED)
        hidden = np.tanh(scaled @ self.inner[:, :-1] + self.inner[:, -1:])
        logits = (hidden * self.outer[:, None, :-1]).sum(axis=2) + self.outer[:, -1:]
        found: np.ndarray = (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).mean(axis=0)
        return found


@cache
def _judge() -> Judge:
    stored = json.loads(files("bandbridge.metaphase").joinpath("joins.json").read_text(encoding="utf-8"))
    return Judge(*(np.array(stored[name], dtype=float) for name in ("middle", "spread", "inner", "outer")))


def likelihoods(found: list[Meeting]) -> np.ndarray:
    """Return for each meeting the probability, 0 to 1, that its two cores are one chromosome."""
    if not found:
        return np.zeros(0)
    seen = np.stack([one.seen for one in found])
    # Whoever turns back at once runs beside the other: two, side by side.
    return np.where(seen[:, TURN] > _BACK, 0.0, _judge().likelihoods(seen))


def chosen(
    found: list[Meeting], chances: np.ndarray, least: float, *, first: int | None = None, never: int | None = None
) -> list[int]:
    """Return the places of the meetings that are joins: of at least ``least`` by ``chances``, the likeliest first.

    An end is of one join, and nothing comes back to itself. first: one that is a join before any other, however likely;
    never: one that is none.
    """
    used: set[tuple[int, int]] = set()
    home: dict[int, int] = {}
    made = []
    order = [int(place) for place in np.argsort(-chances, kind="stable") if chances[place] >= least]
    for place in order if first is None else [first, *order]:
        one = found[place]
        homes = home.get(one.a, one.a), home.get(one.b, one.b)
        if place == never or homes[0] == homes[1] or {(one.a, one.end_a), (one.b, one.end_b)} & used:
            continue
        used |= {(one.a, one.end_a), (one.b, one.end_b)}
        home.update({one.a: homes[0], one.b: homes[0]} | {k: homes[0] for k, each in home.items() if each == homes[1]})
        made.append(place)
    return made


def strung(cores: list[Core], found: list[Meeting], made: list[int]) -> list[Core]:
    """Return the cores, those that the meetings ``found`` at the places ``made`` join as one."""
    links: dict[int, list[tuple[int, int, int]]] = {}
    home = list(range(len(cores)))
    for one in (found[place] for place in made):
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
