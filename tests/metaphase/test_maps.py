"""Maps of pieces and back again."""

from __future__ import annotations

import numpy as np

from bandbridge.metaphase.maps import maps_of, pieces_of_maps
from bandbridge.metaphase.pieces import Piece


def test_two_that_cross_are_both_whole_and_of_three_the_last_is_left_out() -> None:
    lying, upright = Piece(4, 0, np.ones((3, 12), bool)), Piece(0, 5, np.ones((12, 3), bool))
    first, second = maps_of([lying, upright], (12, 12))
    assert first.dtype == np.uint16 and (first == 1).sum() == 36 and (second == 2).sum() == 9
    back = pieces_of_maps(first, second)
    assert [(one.top, one.left, one.area) for one in back.values()] == [(4, 0, 36), (0, 5, 36)]
    third = Piece(4, 5, np.ones((3, 5), bool))
    first, second = maps_of([lying, upright, third], (12, 12))
    assert (second == 3).sum() == 6 and (second == 2).sum() == 9
    assert pieces_of_maps(np.zeros((3, 4), np.uint16), np.zeros((3, 4), np.uint16)) == {}
