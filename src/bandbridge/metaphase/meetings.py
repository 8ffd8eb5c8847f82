"""Where the ends of two cores meet that may be of one chromosome, and all that is seen there.

How one chromosome goes on beneath another, or around a bend, is seen between the ends; whether it may, by what else
ends there, by how long both would be together and by how each is stained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from bandbridge.metaphase.lifted import BINS, WIDTH, Said

#: Ends farther apart, in widths, or at a sharper angle, radians, are never those of one chromosome.
REACH, SHARPEST = 2.4, 1.6
#: The direction of an end is that of its last part, in widths.
_LAST = 1.0
#: What is less stained is taken for so much, in strongly stained chromatin; what is no longer than this, in widths,
#: does not say how long chromosomes are.
_FAINT, _SHORT = 0.05, 1.0
#: How odd a meeting is where there is no other.
_ODD = 5.0
#: How many facts there are of a meeting, and which of them says how it turns, radians.
FACTS, TURN = 23, 3


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
    """Two ends that may be of one chromosome: of core a and b, which end of each (0 or -1), and what is seen there.

    seen: float [FACTS]. Between them: how far apart they are, in widths; the two angles, radians, and how they turn;
    what the separator says on the way; the lengths of the cores, in widths, and how unlike they are in clearness. About
    them: both lengths and their sum in usual lengths, how many others meet there and how much odder the least odd of
    them is, how unlike the two are stained, and the least, most and mean stain on the way.
    """

    a: int
    b: int
    end_a: int
    end_b: int
    seen: np.ndarray


def meetings(cores: list[Core], said: Said, stain: np.ndarray | None = None) -> list[Meeting]:
    """Return every two ends of different cores that could be of one chromosome.

    stain: contrast, float32 [H, W], about 1 in strongly stained chromatin; None: the same everywhere.
    """
    stain = said.there if stain is None else stain
    ends = [(k, end, *_end(core.path, end)) for k, core in enumerate(cores) for end in (0, -1)]
    if len(ends) < 2:
        return []
    points = np.array([point for _, _, point, _ in ends])
    found, ways = [], []
    for first, second in sorted(cKDTree(points).query_pairs(REACH * WIDTH)):
        a, end_a, from_, out_a = ends[first]
        b, end_b, to, out_b = ends[second]
        if a == b:
            continue
        seen = _seen(from_, to, out_a, out_b, (cores[a], cores[b]), said)
        if seen is not None:
            found.append(Meeting(a, b, end_a, end_b, seen))
            ways.append(_along(stain, from_, to))
    return _with_others(found, ways, cores, stain)


def _along(stain: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    steps = start + np.linspace(0, 1, max(3, int(np.hypot(*(stop - start))) + 1))[:, None] * (stop - start)
    rows, columns = np.rint(steps).astype(int).T
    return np.asarray(stain[rows, columns], dtype=float)


def _with_others(found: list[Meeting], ways: list[np.ndarray], cores: list[Core], stain: np.ndarray) -> list[Meeting]:
    """``found`` with what else is known of each, of the cell and of the other meetings of the same ends."""
    lengths = np.array([len(core.path) / WIDTH for core in cores])
    whole = lengths[lengths > _SHORT]
    usual = float(np.median(whole)) if len(whole) else 1.0
    stained = np.array([max(float(np.median(stain[core.rows, core.columns])), _FAINT) for core in cores])
    odd = [one.seen[0] / 2 + one.seen[2] + one.seen[3] for one in found]
    at: dict[tuple[int, int], list[int]] = {}
    for place, one in enumerate(found):
        for end in ((one.a, one.end_a), (one.b, one.end_b)):
            at.setdefault(end, []).append(place)
    told = []
    for place, (one, way) in enumerate(zip(found, ways, strict=True)):
        others = [each for end in ((one.a, one.end_a), (one.b, one.end_b)) for each in at[end] if each != place]
        short, long = sorted((lengths[one.a] / usual, lengths[one.b] / usual))
        between = way / np.sqrt(stained[one.a] * stained[one.b])
        more = [
            short,
            long,
            short + long + one.seen[0] / usual,
            len(others),
            min((odd[each] for each in others), default=_ODD) - odd[place],
            abs(np.log(stained[one.a] / stained[one.b])),
            between.min(),
            between.max(),
            between.mean(),
        ]
        told.append(Meeting(one.a, one.b, one.end_a, one.end_b, np.concatenate([one.seen, more])))
    return told


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
