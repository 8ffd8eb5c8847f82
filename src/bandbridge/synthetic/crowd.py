"""How a drawn metaphase is filled: chromosomes laid apart, beside, across and end to end with one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

#: Pixels that a drawn chromosome is wide in the middle of the range.
WIDTH = 10.0
_TRIES = 60
#: Pixels between two that lie end to end, from and to; what a bend between them costs, of a share that lies across.
_GAP, _BEND = (-1.5, 2.0), 0.15


@dataclass(frozen=True, eq=False)
class Piece:
    """One chromosome in its own crop: density, whether it is there, and direction of the axis in its core, [h, w].

    tips: float [2, 4], row and column of its two ends and the unit vector outward there, (down, across).
    """

    density: np.ndarray
    mask: np.ndarray
    axis: np.ndarray
    tips: np.ndarray


@dataclass(frozen=True)
class Crowd:
    """How a field is filled.

    share: of the cell's disc that chromosomes cover. crossing, touching, ends, packed: odds that one is laid across
    others, beside one, end to end with one, side by side with others. bend: how much more than in a karyogram they
    bend. condensed: by how much they are shorter for their width, in logarithms. splay: how far the chromatids stand
    apart, in half widths. plain: how even their bands are, 0 to 1. spots: share of them that have a block of far more
    dye. unlike: SD of their dye's logarithm from one to the next, beyond the usual. nuclei, debris: how many on
    average. width: of a chromatid pair in pixels. rim: ground around the cell, in widths. filled: how little more two
    on each other are than the stronger one, 0 to 1. haze: share of the light of fluorescence that comes from out of
    focus; spread: how far that is spread, in widths.
    """

    share: float = 0.25
    crossing: float = 0.25
    touching: float = 0.3
    ends: float = 0.0
    packed: float = 0.0
    bend: float = 3.0
    condensed: float = 0.0
    splay: float = 0.0
    plain: float = 0.0
    spots: float = 0.0
    unlike: float = 0.0
    nuclei: float = 1.0
    debris: float = 12.0
    width: float = WIDTH
    rim: float = 5.0
    filled: float = 0.0
    haze: float = 0.0
    spread: float = 2.0


def draw_crowd(rng: np.random.Generator) -> Crowd:
    """Draw how a field is filled: sparse or dense, straight or bent, long or short, banded or not, clean or not."""
    return Crowd(
        share=float(rng.uniform(0.12, 0.48)),
        crossing=float(rng.uniform(0.05, 0.5)),
        touching=float(rng.uniform(0.1, 0.5)),
        ends=float(rng.uniform(0, 0.35)),
        packed=float(max(0, rng.uniform(-0.3, 0.5))),
        bend=float(rng.uniform(1, 6)),
        condensed=float(max(0, rng.uniform(-0.7, 0.75))),
        splay=float(max(0, rng.normal(0, 0.45))),
        plain=float(max(0, rng.uniform(-1, 0.9))),
        spots=float(max(0, rng.uniform(-0.4, 0.4))),
        unlike=float(max(0, rng.normal(0, 0.15))),
        nuclei=float(rng.choice([0, 1, 3])),
        debris=float(rng.choice([0, 8, 30])),
        width=float(WIDTH * np.exp(rng.normal(0, 0.17))),
        rim=float(rng.uniform(1, 9)),
        filled=float(max(0, rng.uniform(-0.8, 1))),
        haze=float(max(0, rng.uniform(-0.35, 0.5))),
        spread=float(np.exp(rng.uniform(np.log(0.8), np.log(4)))),
    )


def scatter(
    pieces: list[Piece], crowd: Crowd, rng: np.random.Generator
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Lay the pieces in a field: its shape, and (top, left) of each."""
    area = sum(int(piece.mask.sum()) for piece in pieces)
    radius = float(np.sqrt(area / crowd.share / np.pi))
    rim = int(crowd.rim * crowd.width)
    tallest = max(max(piece.mask.shape) for piece in pieces)
    aspect = float(np.exp(rng.normal(0, 0.12)))
    height, width = (int(2 * radius * each) + tallest + 2 * rim for each in (aspect, 1 / aspect))
    taken, near = np.zeros((2, height, width), bool)
    places: list[tuple[int, int]] = []
    tips = np.zeros((0, 4))
    for piece in pieces:
        drawn = rng.random()
        place = None
        if crowd.crossing + crowd.touching <= drawn < crowd.crossing + crowd.touching + crowd.ends:
            place = _end_to_end(piece, tips, taken, rng)
        if place is None:
            place = _find_place(piece, taken, near, _wish(crowd, drawn), (rim, tallest), rng)
        box = np.s_[place[0] : place[0] + piece.mask.shape[0], place[1] : place[1] + piece.mask.shape[1]]
        taken[box] |= piece.mask
        padded = np.s_[max(0, place[0] - 3) : box[0].stop + 3, max(0, place[1] - 3) : box[1].stop + 3]
        near[padded] = binary_dilation(taken[padded], iterations=2) | near[padded]
        tips = np.concatenate([tips, piece.tips + np.array([*place, 0, 0])])
        places.append(place)
    return (height, width), places


def _wish(crowd: Crowd, drawn: float) -> str:
    """How a chromosome is to lie, by a number ``drawn`` from 0 to 1; what was to lie end to end and cannot is free."""
    if drawn < crowd.crossing:
        return "cross"
    if drawn < crowd.crossing + crowd.touching:
        return "touch"
    return "pack" if 0 <= drawn - crowd.crossing - crowd.touching - crowd.ends < crowd.packed else "free"


def _end_to_end(piece: Piece, tips: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Where an end of ``piece`` meets one of ``tips`` [n, 4] and goes on as that one ends; None where it cannot lie."""
    gap = rng.uniform(*_GAP)
    height, width = piece.mask.shape
    area, best, best_cost = piece.mask.sum(), None, np.inf
    for theirs in tips[rng.permutation(len(tips))[:_TRIES]]:
        for own in piece.tips:
            bent = 1 + float(theirs[2:] @ own[2:])
            if _BEND * bent >= best_cost:
                continue
            top, left = np.rint(theirs[:2] + gap * theirs[2:] - own[:2]).astype(int)
            if top < 0 or left < 0 or top + height > taken.shape[0] or left + width > taken.shape[1]:
                continue
            over = float((taken[top : top + height, left : left + width] & piece.mask).sum() / area)
            cost = over + _BEND * bent
            if over < 0.12 and cost < best_cost:
                best, best_cost = (int(top), int(left)), cost
    return best


def _find_place(
    piece: Piece,
    taken: np.ndarray,
    near: np.ndarray,
    wish: str,
    bounds: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[int, int]:
    rim, tallest = bounds
    height, width = taken.shape
    area, best, best_cost = piece.mask.sum(), (0, 0), np.inf
    for _ in range(_TRIES):
        turn, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        y = height / 2 + far * (height / 2 - rim - tallest / 2) * np.sin(turn) - piece.mask.shape[0] / 2
        x = width / 2 + far * (width / 2 - rim - tallest / 2) * np.cos(turn) - piece.mask.shape[1] / 2
        top = int(np.clip(y, 0, height - piece.mask.shape[0]))
        left = int(np.clip(x, 0, width - piece.mask.shape[1]))
        box = np.s_[top : top + piece.mask.shape[0], left : left + piece.mask.shape[1]]
        over = (taken[box] & piece.mask).sum() / area
        beside = (near[box] & piece.mask).sum() / area
        if wish == "free":
            cost = over * 3 + beside
        elif wish == "touch":
            cost = over * 5 + (beside == 0) * 0.5
        elif wish == "pack":  # as much of it beside others as may be
            cost = max(0.0, over - 0.03) * 5 + 1 - beside
        else:
            cost = abs(over - 0.15) + 2 * max(0, over - 0.4)
        if cost < best_cost:
            best, best_cost = (top, left), cost
            if cost == 0 or (wish == "cross" and cost < 0.07):
                break
    return best
