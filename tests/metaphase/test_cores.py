"""Chromosomes told apart where what a perfect separator would say is known."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.metaphase.cores import Rules, grow
from bandbridge.metaphase.decided import decide
from bandbridge.metaphase.lifted import BINS, Said
from bandbridge.metaphase.paths import Voxels, apart


def said_of(bars: list[tuple[float, float, float, float]], size: int = 100, width: float = 10.0) -> tuple[Said, list]:
    """What there is to say of straight bars (row, column of the middle, length, degrees from x to y), and masks."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    core, masks = np.zeros((BINS, size, size), np.float32), []
    for row, column, length, angle in bars:
        turn = np.radians(angle)
        along = (columns - column) * np.cos(turn) + (rows - row) * np.sin(turn)
        across = -(columns - column) * np.sin(turn) + (rows - row) * np.cos(turn)
        masks.append((abs(along) <= length / 2) & (abs(across) <= width / 2))
        inside = (abs(along) <= length / 2 - 2.5) & (abs(across) <= 2.5)
        for k in range(BINS):
            away = abs((angle - k * 180 / BINS + 90) % 180 - 90)
            core[k] = np.maximum(core[k], inside * max(0.0, min(1.0, 2 - 2 * away / 15)))
    count = np.sum(masks, axis=0)
    return Said((count > 0).astype(np.float32), (count > 1).astype(np.float32), core), masks


def pieces_of(said: Said) -> list[np.ndarray]:
    cores = decide(said, None, Rules())[1].cores()
    first, second = grow(cores, said, Rules())
    return [(first == k) | (second == k) for k in range(1, int(first.max()) + 1)]


def agree(found: list[np.ndarray], masks: list[np.ndarray]) -> bool:
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in found] for a in masks])
    return (
        len(found) == len(masks) and bool((iou.max(axis=1) > 0.8).all()) and len(set(iou.argmax(axis=1))) == len(masks)
    )


@pytest.mark.parametrize("angle", [90, 60, 45, 30])
def test_both_are_whole_where_two_cross(angle: int) -> None:
    said, masks = said_of([(50, 50, 80, 20), (50, 50, 80, 20 + angle)])
    assert agree(pieces_of(said), masks)


def test_two_side_by_side_are_two() -> None:
    said, masks = said_of([(44, 50, 60, 0), (55, 50, 60, 0)])
    assert agree(pieces_of(said), masks)


def test_one_whose_direction_lies_between_the_last_bin_and_the_first_is_one() -> None:
    said, masks = said_of([(50, 50, 60, 174)])
    assert agree(pieces_of(said), masks)


def test_three_across_each_other() -> None:
    said, masks = said_of([(50, 40, 76, 0), (50, 28, 70, 90), (50, 56, 70, 75)])
    assert agree(pieces_of(said), masks)


def test_a_piece_without_a_core_is_kept() -> None:
    said, _ = said_of([(30, 50, 60, 0)])
    said.there[70:80, 40:52] = 1
    found = pieces_of(said)
    assert len(found) == 2 and found[1].sum() == 120


def test_nothing_is_nothing() -> None:
    empty = np.zeros((40, 40), np.float32)
    assert pieces_of(Said(empty, empty, np.zeros((BINS, 40, 40), np.float32))) == []


def test_a_path_that_bends_is_one_and_a_cross_of_small_angle_is_two() -> None:
    turn = np.linspace(0, np.pi / 2, 90)
    points = np.stack([50 - 40 * np.cos(turn), 10 + 40 * np.sin(turn)], axis=1)
    bins = np.rint((np.degrees(turn) + 90) % 180 / 15).astype(int)[::1] % BINS
    arc = np.unique(
        np.concatenate(
            [np.stack([(90 // 15 - bins) % BINS, *np.rint(points + s).astype(int).T], axis=1) for s in (0, 1)]
        ),
        axis=0,
    )
    assert len(apart(Voxels(*arc.T))) == 1
    said, _ = said_of([(50, 50, 90, 0), (50, 50, 90, 24)])
    cross = np.stack(np.nonzero(said.core > 0.4))
    parts = apart(Voxels(*cross))
    assert len(parts) == 2
    for _, path in parts:
        ends = cross[1:, path[[0, -1]]]
        assert abs(ends[1, 1] - ends[1, 0]) > 70
