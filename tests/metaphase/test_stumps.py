"""Stumps go back to what they were cut from; two chromosomes that meet stay two."""

from __future__ import annotations

import numpy as np

from bandbridge.metaphase.stumps import without_stumps


def layers(*boxes: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    first = np.zeros((120, 120), np.int32)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        first[top:bottom, left:right] = number
    return first, np.zeros_like(first)


def test_a_stump_at_full_width_is_given_back() -> None:
    first, second = layers((20, 30, 20, 42), (20, 30, 42, 54))
    second[20:30, 40:42] = 2  # what the two shared is no overlap any more
    one, over = without_stumps(first, second)
    assert set(np.unique(one)) == {0, 1} and (one > 0).sum() == 340 and not over.any()
    assert (first == 2).any(), "what was given stays as it was"


def test_what_is_long_or_hangs_by_a_thread_stays_two() -> None:
    long = layers((20, 30, 20, 50), (20, 30, 50, 80))
    assert np.array_equal(without_stumps(*long)[0], long[0])
    beside = layers((20, 30, 20, 55), (30, 40, 20, 55))  # two side by side
    assert np.array_equal(without_stumps(*beside)[0], beside[0])
    thread = layers((20, 30, 20, 38), (24, 26, 38, 41), (20, 30, 41, 53))
    assert np.array_equal(without_stumps(*thread)[0] > 0, thread[0] > 0)
    corner = layers((20, 30, 20, 40), (30, 42, 40, 50))  # corner to corner
    assert np.array_equal(without_stumps(*corner)[0], corner[0])


def test_each_is_given_once() -> None:
    first, second = layers((20, 30, 20, 32), (20, 30, 32, 44), (20, 30, 44, 56))
    assert len(np.unique(without_stumps(first, second)[0])) == 3
