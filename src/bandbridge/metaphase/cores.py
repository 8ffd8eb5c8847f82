"""Chromosomes told apart in the space of place and direction, and given their pixels.

Two that cross share pixels but no direction, and two that touch share no core: what hangs together there is one
chromosome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

from bandbridge.dataset.cutout import Cutout
from bandbridge.metaphase.lifted import BINS, WIDTH, Said
from bandbridge.metaphase.meetings import Core
from bandbridge.metaphase.paths import Voxels, ways


@dataclass(frozen=True)
class Rules:
    """How what the separator says is read.

    core: probability from which a core is one. least: pixels of a core. same: share of the smaller of two cores which,
    if it lies in the other, makes them one. there: probability from which a pixel is a chromosome's; two: from which it
    is two's. reach: how far from its core a pixel may be, in widths. lonely: pixels, in squared widths, of a piece
    without any core that is kept. join: probability from which two cores are the two ends of one chromosome.
    solid: share of its convex hull from which what hangs together is one chromosome if it is no wider than slim, in
    widths, and no longer than the longest. nearly, nearly_longest: share, and times the longest, from and up to which
    it nearly is. doubt: a join is doubtful if its log odds are within so many nats of those of ``join``, or of what it
    stands against; even: from there on it is nearly even. most: alternatives that are told of a field.
    """

    core: float = 0.55
    least: int = 8
    same: float = 0.6
    there: float = 0.5
    two: float = 0.4
    reach: float = 0.7
    ribbon: float = 0.3
    lonely: float = 0.5
    join: float = 0.1
    solid: float = 0.88
    slim: float = 1.25
    nearly: float = 0.75
    nearly_longest: float = 1.3
    doubt: float = 1.0
    even: float = 0.5
    most: int = 12


def parts_of_cores(said: Said, rules: Rules) -> list[Core]:
    """Return the cores of ``said`` as they hang together, not yet joined across others and around bends."""
    return merged([each[0] for each in tangles(said, rules, most=1)], said, rules)


@dataclass(frozen=True, eq=False)
class Taken:
    """What hangs together in place and direction, taken apart in one way. cost: as :class:`Way` has it."""

    cost: float
    cores: list[Core]


def tangles(said: Said, rules: Rules, most: int = 2) -> list[list[Taken]]:
    """Return at most so many ways to take apart each that hangs together in place and direction, the best first."""
    volume = said.core > rules.core
    labels = _components(volume)
    if labels.max() == 0:
        return []
    depth, rows, columns = np.nonzero(labels)
    owner = labels[depth, rows, columns]
    strength = said.core[depth, rows, columns]
    order = np.argsort(owner, kind="stable")
    cuts = np.flatnonzero(np.diff(owner[order])) + 1
    found = []
    for each in np.split(order, cuts):
        if len(each) < rules.least:
            continue
        voxels = Voxels(depth[each], rows[each], columns[each])
        found.append(
            [
                Taken(
                    way.cost,
                    [one for part, path in way.parts if (one := _core(voxels, strength[each], part, path, rules))],
                )
                for way in ways(voxels, most)
            ]
        )
    return found


def _core(voxels: Voxels, strength: np.ndarray, part: np.ndarray, path: np.ndarray, rules: Rules) -> Core | None:
    """The core of the voxels ``part``, along ``path``; None of too few pixels."""
    width = int(voxels.columns.max()) + 1
    flat = np.unique(voxels.rows[part] * width + voxels.columns[part])
    if len(flat) < rules.least:
        return None
    along = np.stack([voxels.rows[path], voxels.columns[path]], axis=1)
    return Core(flat // width, flat % width, float(strength[part].mean()), along)


def merged(taken: Sequence[Taken], said: Said, rules: Rules) -> list[Core]:
    """Return the cores of all ``taken``, those one of which lies in another as one."""
    return _merged([core for each in taken for core in each.cores], said.there.shape, rules)


def _components(volume: np.ndarray) -> np.ndarray:
    """Number what hangs together in bool [BINS, H, W]; the last direction lies beside the first."""
    labels, count = ndimage.label(volume, structure=np.ones((3, 3, 3)))
    if not count:
        return labels
    first, last = labels[0], ndimage.grey_dilation(labels[BINS - 1], size=3)
    meet = (first > 0) & (last > 0)
    pairs = np.unique(np.stack([first[meet], last[meet]]), axis=1)
    joined = coo_matrix((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(count + 1, count + 1))
    _, group = connected_components(joined, directed=False)
    # Ground stays 0: its group is the first that is met.
    found: np.ndarray = group[labels]
    return found


def _merged(cores: list[Core], shape: tuple[int, ...], rules: Rules) -> list[Core]:
    """Cores one of which lies in another are one: what has no direction of its own is told in several."""
    order = sorted(range(len(cores)), key=lambda k: -len(cores[k].rows))
    layers: list[np.ndarray] = []
    kept: list[list[Core]] = []
    for k in order:
        core = cores[k]
        home = -1
        for layer in layers:
            seen = layer[core.rows, core.columns]
            counts = np.bincount(seen[seen >= 0]) if (seen >= 0).any() else np.zeros(1)
            if counts.max() > rules.same * len(core.rows):
                home = int(counts.argmax())
                break
        if home >= 0:
            kept[home].append(core)
            continue
        kept.append([core])
        for layer in layers:
            if (layer[core.rows, core.columns] < 0).all():
                break
        else:
            layer = np.full(shape, -1, np.int32)
            layers.append(layer)
        layer[core.rows, core.columns] = len(kept) - 1
    return [_union(each, shape[1]) for each in kept]


def _union(cores: list[Core], width: int) -> Core:
    if len(cores) == 1:
        return cores[0]
    flat = np.unique(np.concatenate([core.rows * width + core.columns for core in cores]))
    return Core(flat // width, flat % width, max(core.strength for core in cores), cores[0].path)


def grow(cores: list[Core], said: Said, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Give each pixel to the nearest core: first, second int32 [H, W], 0 or the core's number from 1.

    second is another one where two lie on each other. Pieces without a core follow the cores' numbers.
    """
    shape = said.there.shape
    far = rules.reach * WIDTH
    near = np.full((2, *shape), np.inf, np.float32)
    whose = np.zeros((2, *shape), np.int32)
    pad = int(far) + 2
    for number, core in enumerate(cores, start=1):
        top, left, bottom, right = core.box
        top, left = max(0, top - pad), max(0, left - pad)
        box = np.s_[top : min(shape[0], bottom + pad), left : min(shape[1], right + pad)]
        outside = np.ones((box[0].stop - top, box[1].stop - left), bool)
        inside = (core.rows < shape[0]) & (core.columns < shape[1])
        outside[core.rows[inside] - top, core.columns[inside] - left] = False
        distance = ndimage.distance_transform_edt(outside).astype(np.float32)
        distance[distance > far] = np.inf
        best, next_best = near[0][box], near[1][box]
        first = distance < best
        second = ~first & (distance < next_best)
        next_best[first], whose[1][box][first] = best[first], whose[0][box][first]
        next_best[second], whose[1][box][second] = distance[second], number
        best[first], whose[0][box][first] = distance[first], number
    inside = said.there > rules.there
    first = np.where(inside & np.isfinite(near[0]), whose[0], 0)
    crossed = (near[1] <= 0) & inside
    across = near[1] <= rules.ribbon * WIDTH
    if crossed.any():
        across &= ndimage.distance_transform_edt(~crossed) < WIDTH
    else:
        across &= crossed
    second = np.where(inside & ((said.two > rules.two) | across) & np.isfinite(near[1]), whose[1], 0)
    return _with_lonely(first, inside, len(cores), rules), second


def _with_lonely(first: np.ndarray, inside: np.ndarray, count: int, rules: Rules) -> np.ndarray:
    pieces, number = ndimage.label(inside)
    if not number:
        return first
    held, sizes = (np.bincount(pieces.ravel(), each, minlength=number + 1) for each in ((first > 0).ravel(), None))
    lonely = (held == 0) & (sizes >= rules.lonely * WIDTH**2)
    lonely[0] = False
    fresh = np.zeros(number + 1, np.int32)
    fresh[lonely] = count + 1 + np.arange(lonely.sum())
    found: np.ndarray = np.where(first > 0, first, fresh[pieces])
    return found


@dataclass(frozen=True, eq=False)
class Outline:
    """What hangs together and has several cores. box: of it; mask: bool, in the box. ribbon: whether its shape is that
    of one chromosome; near: whether it nearly is.
    """

    box: tuple[slice, slice]
    mask: np.ndarray
    ribbon: bool
    near: bool


def outlines(first: np.ndarray, rules: Rules) -> list[Outline]:
    """Return what hangs together in ``first``, int32 [H, W], and has several cores."""
    groups, count = ndimage.label(first > 0, structure=np.ones((3, 3)))
    boxes = ndimage.find_objects(groups)
    alone = [_length(groups[box] == k) for k, box in enumerate(boxes, 1) if _is_one(first[box][groups[box] == k])]
    longest = max(float(np.quantile(alone, 0.95)), 4.0) if alone else 4.0
    found = []
    for number in range(1, count + 1):
        box = boxes[number - 1]
        mask = groups[box] == number
        if _is_one(first[box][mask]):
            continue
        length, solid = _length(mask), _solidity(mask)
        ribbon = length <= longest and mask.sum() / (length * WIDTH**2) <= rules.slim and solid > rules.solid
        near = length <= rules.nearly_longest * longest and solid > rules.nearly
        found.append(Outline(box, mask, ribbon, near and not ribbon))
    return found


def as_one(first: np.ndarray, second: np.ndarray, which: list[Outline]) -> tuple[np.ndarray, np.ndarray]:
    """Return the layers with each of ``which``, found in ``first``, as one piece."""
    found, kept = first.copy(), second.copy()
    for one in which:
        found[one.box][one.mask] = first[one.box][one.mask].min()
        kept[one.box][one.mask] = 0
    return found, kept


def _is_one(members: np.ndarray) -> bool:
    return bool(members.min() == members.max())


def _length(mask: np.ndarray) -> float:
    return Cutout(mask.astype(np.uint8), mask, (0, 0, *mask.shape)).length / WIDTH


def _solidity(mask: np.ndarray) -> float:
    """The share of its convex hull that ``mask`` fills; 0 where it is too small to tell."""
    edge = np.stack(np.nonzero(mask & ~ndimage.binary_erosion(mask)), axis=1)
    if len(edge) < 8 or np.ptp(edge, axis=0).min() < 3:
        return 0.0
    corners = np.concatenate([edge + np.array(step) for step in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))])
    return float(mask.sum() / ConvexHull(corners).volume)
