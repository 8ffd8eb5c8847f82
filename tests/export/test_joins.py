"""What joins are fitted to: meetings on drawn spreads, whose chromosomes are known."""

from __future__ import annotations

import numpy as np

from bandbridge.export import joins
from bandbridge.metaphase.joins import likelihoods
from bandbridge.metaphase.meetings import FACTS, Core, Meeting
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

#: Long, bent and crossing: a few are cut in two.
CROSSING = Crowd(share=0.25, crossing=0.5, touching=0.2, nuclei=0, debris=0)


def test_a_core_is_the_chromosomes_that_most_of_it_lies_in() -> None:
    spread = draw_spread("G", 11, 1, Crowd(share=0.2, crossing=0, touching=0, nuclei=0, debris=0))
    rows, columns = np.nonzero(spread.first == 7)
    inside = Core(rows, columns, 1.0, np.zeros((2, 2)))
    assert joins._owner(inside, spread, spread.first.shape) == 7
    ground = np.argwhere(spread.first == 0)[:50]
    assert joins._owner(Core(*ground.T, 1.0, np.zeros((2, 2))), spread, spread.first.shape) == 0
    half = (spread.first.shape[0] // 2, spread.first.shape[1] // 2)
    assert joins._owner(Core(rows // 2, columns // 2, 1.0, np.zeros((2, 2))), spread, half) == 7


def test_those_of_one_chromosome_are_likelier_on_spreads_that_nothing_was_fitted_to(tmp_path) -> None:
    seen, same = (np.concatenate(each) for each in zip(*(joins.seen_on(_spread(k)) for k in range(3)), strict=True))
    assert seen.shape == (len(same), FACTS) and 0 < same.sum() < len(same)
    told = likelihoods([Meeting(0, 1, 0, 0, one) for one in seen])
    # As by a Mann-Whitney statistic: how often one of the same chromosome is above one of two.
    assert (told[same][:, None] > told[~same]).mean() > 0.75


def _spread(number: int):
    return draw_spread("Q", 21, number, CROSSING)


def test_what_was_seen_is_kept_and_gone_on_from(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(joins, "draw_spread", lambda stain, seed, number: (stain, seed, number))
    monkeypatch.setattr(joins, "seen_on", lambda spread: (np.full((2, FACTS), spread[2]), np.array([True, False])))
    for number in (0, 3):
        joins._see(tmp_path, number)
    monkeypatch.setattr(joins, "seen_on", None)
    joins._see(tmp_path, 3)
    seen, same = joins.read_seen(sorted(tmp_path.glob("seen-*.npz")))
    assert seen[:, 0].tolist() == [0, 0, 1, 1] and same.tolist() == [True, False, True, False]
