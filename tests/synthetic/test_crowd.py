"""How drawn fields are filled: what is asked for is what the truth shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt

from bandbridge.synthetic.crowd import Crowd, Piece, draw_crowd, scatter
from bandbridge.synthetic.spread import Spread, draw_spread

CLEAN = Crowd(share=0.2, crossing=0.0, touching=0.0, bend=1.0, nuclei=0.0, debris=0.0)


def lengths(spread: Spread) -> np.ndarray:
    """The extent of each chromosome along its principal axis, pixels: four standard deviations of a straight bar
    are 1.15 times its length."""
    found = []
    for mask in spread.masks():
        rows, columns = np.nonzero(mask)
        found.append(np.sqrt(12 * np.linalg.eigvalsh(np.cov(np.stack([rows, columns])))[1]))
    return np.array(found)


def test_condensed_chromosomes_are_shorter_and_no_narrower() -> None:
    usual, short = (draw_spread("G", 2, 3, replace(CLEAN, condensed=by)) for by in (0.0, 0.7))
    ratio = np.median(np.sort(lengths(short))[10:] / np.sort(lengths(usual))[10:])
    assert np.exp(-0.7) - 0.05 < ratio < np.exp(-0.7) + 0.2  # rounded ends and blur are added to both
    thick = [np.median([distance_transform_edt(np.pad(m, 1)).max() for m in s.masks()]) for s in (usual, short)]
    assert thick[1] > 0.85 * thick[0]


def bar(vertical: bool) -> Piece:
    """A straight bar of 30 x 8 pixels whose ends are its own."""
    mask = np.ones((30, 8) if vertical else (8, 30), bool)
    tips = [[0, 4, -1, 0], [30, 4, 1, 0]] if vertical else [[4, 0, 0, -1], [4, 30, 0, 1]]
    return Piece(mask.astype(np.float32), mask, np.zeros(mask.shape, np.uint8), np.array(tips, float))


def test_ends_lie_end_to_end_as_the_other_goes_on() -> None:
    pieces = [bar(True), bar(True), bar(False), bar(True)]
    crowd = Crowd(share=0.1, crossing=0, touching=0, ends=1.0)
    met = 0
    for seed in range(12):
        _, places = scatter(pieces, crowd, np.random.default_rng(seed))
        (top, left), (below, beside) = places[0], places[1]
        # The second upright bar has only the first to go on from: exactly above or below it, hardly apart.
        assert beside == left and min(abs(below - top - 30), abs(top - below - 30)) <= 2
        met += 1
    assert met == 12


def test_nothing_lies_end_to_end_where_it_would_lie_on_others() -> None:
    pieces = [bar(True) for _ in range(6)]
    shape, places = scatter(pieces, Crowd(share=0.3, crossing=0, touching=0, ends=1.0), np.random.default_rng(5))
    taken = np.zeros(shape, int)
    for piece, (top, left) in zip(pieces, places, strict=True):
        taken[top : top + 30, left : left + 8] += piece.mask
    assert (taken > 1).sum() < 6 * 0.12 * 240


def test_more_chromosomes_touch_where_ends_are_asked_for() -> None:
    def touching(spread: Spread) -> int:
        masks = spread.masks()
        return sum(
            bool((binary_dilation(one, iterations=2) & other).any())
            for k, one in enumerate(masks)
            for other in masks[k + 1 :]
        )

    apart, chained = (draw_spread("Q", 2, 4, replace(CLEAN, ends=share)) for share in (0.0, 0.6))
    assert touching(chained) > touching(apart) + 8


EVEN = replace(CLEAN, plain=0.8)


def told_of(crowd: Crowd) -> tuple[float, float]:
    """The mean of three fields: SD of the logarithm of chromosomes' brightest parts; these over their medians."""
    unlike, spotted = [], []
    for number in range(3):
        spread = draw_spread("Q", 6, number, crowd)
        seen = [spread.gray[mask].astype(float) for mask in spread.masks()]
        bright = np.array([np.quantile(each, 0.95) for each in seen])
        unlike.append(np.std(np.log(bright)))
        spotted.append(np.median(bright / [np.median(each) for each in seen]))
    return float(np.mean(unlike)), float(np.mean(spotted))


def test_packed_chromosomes_lie_side_by_side() -> None:
    """Bars that are packed lie along each other more than those that touch, and hardly lie on each other."""
    pieces = [bar(True) for _ in range(5)]
    beside, over = [], []
    for wish in ({"touching": 1.0}, {"touching": 0.0, "packed": 1.0}):
        near, on = 0, 0
        for seed in range(20):
            shape, places = scatter(pieces, Crowd(share=0.15, crossing=0, **wish), np.random.default_rng(seed))
            taken = np.zeros((len(pieces), *shape), bool)
            for one, piece, (top, left) in zip(taken, pieces, places, strict=True):
                one[top : top + 30, left : left + 8] = piece.mask
            for k, one in enumerate(taken):
                others = np.delete(taken, k, axis=0).any(axis=0)
                near += (binary_dilation(others, iterations=2) & one & ~others).sum()
                on += (others & one).sum()
        beside.append(near), over.append(on / (20 * len(pieces) * 240))
    assert beside[1] > 1.25 * beside[0]
    assert over[1] < 0.12


def test_chromosomes_are_as_unlike_as_is_asked_for() -> None:
    assert told_of(replace(EVEN, unlike=0.5))[0] > 1.15 * told_of(EVEN)[0]


def test_blocks_of_more_dye_stand_out_within_their_chromosome() -> None:
    assert told_of(replace(EVEN, spots=1.0))[1] > 1.15 * told_of(EVEN)[1]


def test_even_bands_leave_less_contrast_within_a_chromosome() -> None:
    def within(spread: Spread) -> float:
        return float(np.median([np.std(spread.gray[mask]) / np.mean(spread.gray[mask]) for mask in spread.masks()]))

    banded, plain = (draw_spread("Q", 6, 2, replace(CLEAN, plain=by)) for by in (0.0, 0.9))
    assert within(plain) < within(banded)


def test_crowds_differ_and_stay_in_bounds() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_crowd(rng) for _ in range(300)]
    for name, low, high in (("condensed", 0, 0.75), ("plain", 0, 0.9), ("spots", 0, 0.4), ("ends", 0, 0.35)):
        values = np.array([getattr(one, name) for one in drawn])
        assert values.min() >= low and values.max() <= high and values.std() > 0.05
