"""Drawn metaphases: the same for the same arguments, and their truth is that of the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bandbridge.errors import UserError
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import NOWHERE, draw_spread

CLEAN = Crowd(share=0.2, crossing=0.0, touching=0.0, bend=1.0, nuclei=0.0, debris=0.0)


def test_the_same_arguments_give_the_same_pixels_and_others_do_not() -> None:
    one, again, other = (draw_spread("G", 3, number) for number in (0, 0, 1))
    assert np.array_equal(one.gray, again.gray) and np.array_equal(one.first, again.first)
    assert one.labels == again.labels
    assert one.gray.shape != other.gray.shape or not np.array_equal(one.gray, other.gray)


@pytest.mark.parametrize(("stain", "bright"), [("Q", True), ("G", False)])
def test_chromosomes_stand_out_from_the_ground_on_their_side(stain, bright) -> None:
    spread = draw_spread(stain, 1, 2, CLEAN)
    inside, outside = spread.gray[spread.first > 0].mean(), np.median(spread.gray[spread.first == 0])
    assert spread.bright == bright and (inside > outside) == bright
    assert sorted(set(spread.labels) - {"X", "Y"}, key=int) == [str(k) for k in range(1, 23)]
    assert len(spread.labels) == 46 == spread.first.max()


def test_the_second_layer_holds_those_that_lie_on_another() -> None:
    crossing = draw_spread("Q", 1, 2, replace(CLEAN, crossing=1.0, share=0.4))
    apart = draw_spread("Q", 1, 2, CLEAN)
    assert (crossing.second > 0).sum() > 10 * max(1, (apart.second > 0).sum())
    on_two = crossing.second > 0
    assert (crossing.first[on_two] != crossing.second[on_two]).all() and (crossing.first[on_two] > 0).all()
    whole = crossing.masks()
    assert sum(mask.sum() for mask in whole) >= (crossing.first > 0).sum() + on_two.sum()


def test_axes_run_along_the_chromosomes() -> None:
    """The principal axis of a straight chromosome's pixels, by their covariance, is the direction that is told."""
    spread = draw_spread("G", 1, 5, replace(CLEAN, bend=0.01))
    checked = 0
    for mask in spread.masks():
        alone = mask & (spread.second == 0)
        told = spread.axes[0][alone & (spread.axes[0] != NOWHERE)]
        rows, columns = np.nonzero(mask)
        values, vectors = np.linalg.eigh(np.cov(np.stack([columns, rows])))
        if len(told) < 20 or values[1] < 6 * values[0]:
            continue
        principal = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180
        middle = np.degrees(0.5 * np.angle(np.exp(2j * np.radians(told.astype(float))).mean())) % 180
        assert min(abs(principal - middle), 180 - abs(principal - middle)) < 8
        checked += 1
    assert checked > 15


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UserError):
        draw_spread("R", 0, 0)
    with pytest.raises(UserError, match="seed"):
        draw_spread("G", -1, 0)
