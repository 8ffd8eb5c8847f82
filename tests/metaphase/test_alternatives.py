"""Decisions turned: what each alternative replaces and gives, where what a perfect separator would say is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.metaphase.test_cores import said_of
from tests.metaphase.test_joins import bar, said_all_there

from bandbridge.metaphase import alternatives as module
from bandbridge.metaphase.alternatives import alternatives
from bandbridge.metaphase.cores import Rules
from bandbridge.metaphase.decided import decide, margin, pieces_by
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.joins import chosen, strung
from bandbridge.metaphase.meetings import Meeting
from bandbridge.metaphase.pieces import CHROMOSOME
from bandbridge.synthetic.spread import draw_spread


def logit(chance: float) -> float:
    return float(np.log(chance / (1 - chance)))


def made_by_hand(ends: list[tuple[int, int, int, int]], chances: list[float], least: float) -> set[int]:
    """The likeliest first, by every rule in the plainest words."""
    made: list[int] = []
    for place in sorted(range(len(ends)), key=lambda k: -chances[k]):
        a, b, end_a, end_b = ends[place]
        used = {(x, e) for k in made for x, e in ((ends[k][0], ends[k][2]), (ends[k][1], ends[k][3]))}
        group = {a}
        for _ in ends:
            group |= {x for k in made for x in ends[k][:2] if group & set(ends[k][:2])}
        if chances[place] >= least and not {(a, end_a), (b, end_b)} & used and b not in group:
            made.append(place)
    return set(made)


def test_joins_are_chosen_as_by_hand_and_one_is_forced_or_barred() -> None:
    rng = np.random.default_rng(4)
    for _ in range(60):
        pairs = [pair for pair in itertools.combinations(range(5), 2) if rng.random() < 0.7]
        ends = [(a, b, *(int(each) for each in rng.choice([0, -1], 2))) for a, b in pairs]
        chances = rng.random(len(ends))
        found = [Meeting(*one, np.zeros(1)) for one in ends]
        made = chosen(found, chances, 0.35)
        assert set(made) == made_by_hand(ends, chances.tolist(), 0.35)
        for place in range(len(ends)):
            barred = np.where(np.arange(len(ends)) == place, 0.0, chances)
            assert set(chosen(found, chances, 0.35, never=place)) == made_by_hand(ends, barred.tolist(), 0.35)
            forced = np.where(np.arange(len(ends)) == place, 2.0, chances)
            assert set(chosen(found, chances, 0.35, first=place)) == made_by_hand(ends, forced.tolist(), 0.35)


def in_line(chance: float, monkeypatch) -> tuple[list, Rules]:
    """Two bars of one line, whose meeting has that chance; the alternatives of their cut."""
    said, _ = said_of([(50, 22, 34, 0), (50, 62, 34, 0)])
    monkeypatch.setattr("bandbridge.metaphase.decided.likelihoods", lambda found: np.full(len(found), chance))
    rules = Rules(nearly=2.0, join=0.35)
    tangled, joined = decide(said, said.there, rules)
    pieces = pieces_by(joined.cores(), said, said.there, rules)
    return alternatives(tangled, joined, pieces, said, said.there, rules), pieces


@pytest.mark.parametrize(
    ("chance", "pieces", "gives", "even"),
    [
        (0.02, 2, 0, False),
        (0.2, 2, 1, False),
        (0.32, 2, 1, True),
        (0.4, 1, 2, True),
        (0.55, 1, 2, False),
        (0.9, 1, 0, False),
    ],
)
def test_a_join_is_told_within_a_nat_of_the_rule_and_is_even_within_a_half(
    chance, pieces, gives, even, monkeypatch
) -> None:
    told, standing = in_line(chance, monkeypatch)
    assert len(standing) == pieces and len(told) == (gives > 0)
    for one in told:
        assert one.by == "join" and len(one.gives) == gives and one.even == even
        assert one.margin == pytest.approx(abs(logit(chance) - logit(0.35)), abs=1e-9)
        assert sorted(one.replaces) == list(range(pieces)) and one.at == pytest.approx((50, 42), abs=3)
        area = sum(piece.area for piece in standing)
        assert sum(piece.area for piece in one.gives) == pytest.approx(area, rel=0.05)


def test_a_margin_is_the_difference_of_log_odds_beyond_the_rules(monkeypatch) -> None:
    parts = [bar(20, 5, 25), bar(20, 30, 50), bar(26, 30, 50)]
    found = [Meeting(0, 1, -1, 0, np.zeros(1)), Meeting(0, 2, -1, 0, np.zeros(1))]
    chances = np.array([0.6, 0.5])
    from bandbridge.metaphase.decided import Joined

    joined = Joined(parts, found, chances, chosen(found, chances, 0.35))
    assert joined.made == [0] and len(joined.cores()) == 2 == len(strung(parts, found, [1]))
    assert margin(joined, [1], Rules(join=0.35)) == pytest.approx(logit(0.6) - logit(0.5))
    assert margin(joined, [], Rules(join=0.35)) == pytest.approx(logit(0.6) - logit(0.35))
    # The runner-up of a join that stands against another is that other.
    assert chosen(found, chances, 0.35, never=0) == [1]


def test_a_cross_may_be_parted_by_its_second_pairing() -> None:
    said, masks = said_of([(50, 50, 80, 20), (50, 50, 80, 50)])
    rules = Rules()
    tangled, joined = decide(said, said.there, rules)
    assert [len(each) for each in tangled] == [2] and tangled[0][0].cost < tangled[0][1].cost
    pieces = pieces_by(joined.cores(), said, said.there, rules)
    told = [one for one in alternatives(tangled, joined, pieces, said, said.there, rules) if one.by == "path"]
    assert len(told) == 1 and sorted(told[0].replaces) == [0, 1] and not told[0].even
    iou = [max((mask[one.box] & one.mask).sum() / (mask.sum() + one.area) for one in told[0].gives) for mask in masks]
    assert max(iou) < 0.4, "neither of the true ones"


def test_what_is_nearly_solid_may_be_one() -> None:
    said, _ = said_of([(50, 30, 21, 0), (51, 51, 21, 6)])
    rules = Rules(join=0.999, solid=0.999)
    tangled, joined = decide(said, said.there, rules)
    pieces = pieces_by(joined.cores(), said, said.there, rules)
    told = [one for one in alternatives(tangled, joined, pieces, said, said.there, rules) if one.by == "outline"]
    assert len(pieces) == 2 and len(told) == 1 and told[0].even and len(told[0].gives) == 1
    assert told[0].gives[0].area == pytest.approx((said.there > 0.5).sum(), abs=8)


def test_of_a_field_the_cut_is_the_same_and_each_alternative_is_another(monkeypatch) -> None:
    gray = draw_spread("Q", 31, 1).gray
    plain, told = cut_field(gray), cut_field(gray, otherwise=True)
    assert not plain.otherwise and [one.area for one in plain.pieces] == [one.area for one in told.pieces]
    assert 2 <= len(told.otherwise) <= Rules().most
    evens = [one.even for one in told.otherwise]
    assert evens == sorted(evens, reverse=True)
    for one in told.otherwise:
        assert all(told.pieces[place].kind == CHROMOSOME for place in one.replaces)
        ours, theirs = np.zeros((2, *told.shape), bool)
        for piece in (told.pieces[place] for place in one.replaces):
            ours[piece.box] |= piece.mask
        for piece in one.gives:
            theirs[piece.box] |= piece.mask
        assert (ours & theirs).sum() > 0.4 * max(ours.sum(), theirs.sum()), "in the same place"
        row, column = one.at
        assert ours[max(0, int(row) - 12) : int(row) + 12, max(0, int(column) - 12) : int(column) + 12].any()
    few = cut_field(gray, Rules(most=1), otherwise=True)
    assert len(few.otherwise) == 1


def test_two_pieces_are_the_same_by_nearly_all_of_their_pixels() -> None:
    from dataclasses import replace

    from bandbridge.metaphase.by_hand import piece_of

    where = np.zeros((40, 40), bool)
    where[5:15, 3:33] = True
    one = piece_of(where)
    assert module._same(one, one) and module._shared(one, one) == 300
    assert module._shared(one, replace(one, left=one.left + 2)) == 280
    assert not module._same(one, replace(one, left=one.left + 2)) and module._same(one, replace(one, left=one.left + 1))
    assert module._shared(one, replace(one, top=30)) == 0
    assert said_all_there().there.all()
