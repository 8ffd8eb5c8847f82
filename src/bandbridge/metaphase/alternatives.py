"""What a cut may be otherwise: the runner-up of each decision that nearly went the other way, as pieces.

Three decisions have a runner-up: whether two cores are of one chromosome (near even by the fitted likelihood), how a
tangle is taken apart (the paths that cost second least), and whether what hangs together is one chromosome by its
outline (nearly as solid as one). How often the other way is the better one is measured in docs/results/intake.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import ndimage

from bandbridge.metaphase.cores import Rules, Taken
from bandbridge.metaphase.decided import Joined, join_up, laid_out, margin, pieces_by, taken_first
from bandbridge.metaphase.joins import chosen
from bandbridge.metaphase.lifted import Said
from bandbridge.metaphase.pieces import CHROMOSOME, Piece

Decision = Literal["join", "path", "outline"]
#: Pieces that share so much of both, and differ in area by less than so much, are the same piece.
_SAME, _DIFFERS = 0.9, 0.1
#: A meeting that is less likely than this is none, whatever it stands against.
_UNLIKELY = 0.03
#: Pieces that an alternative gives, at most: each is a bit where they are kept.
MOST_GIVEN = 8


@dataclass(frozen=True, eq=False)
class Alternative:
    """Other pieces in the place of some.

    by: which decision it turns. even: whether that was nearly even. margin: nats by which the join that was made is
    likelier, NaN for other decisions. replaces: places of the pieces that it replaces. gives: those in their place. at:
    (row, column) of where it is decided.
    """

    by: Decision
    even: bool
    margin: float
    replaces: tuple[int, ...]
    gives: tuple[Piece, ...]
    at: tuple[float, float]


def alternatives(
    tangled: Sequence[Sequence[Taken]],
    joined: Joined,
    pieces: Sequence[Piece],
    said: Said,
    stain: np.ndarray,
    rules: Rules,
) -> list[Alternative]:
    """Return what ``pieces``, as decided in ``joined``, may be otherwise, the likeliest first, ``rules.most`` at most.

    Each has other pieces; what two decisions would come to alike, is told once.
    """
    found: list[Alternative] = []
    for by, even, apart, others in _turned(tangled, joined, said, stain, rules):
        one = _compared(pieces, others)
        if one is not None and not any(_alike(one, each) for each in found):
            found.append(replace(one, by=by, even=even, margin=apart))
    return sorted(found, key=lambda one: (not one.even, np.nan_to_num(one.margin, nan=rules.even)))[: rules.most]


_Turned = tuple[Decision, bool, float, list[Piece]]


def _turned(
    tangled: Sequence[Sequence[Taken]], joined: Joined, said: Said, stain: np.ndarray, rules: Rules
) -> Iterator[_Turned]:
    """Every decision that is near, turned: which, whether it is even, by how much, and the pieces of it."""
    near = []
    for place, chance in enumerate(joined.chances):
        if chance < _UNLIKELY:
            continue
        turn = {"never": place} if place in joined.made else {"first": place}
        made = chosen(joined.found, joined.chances, rules.join, **turn)
        near.append((margin(joined, made, rules), made))
    for apart, made in sorted(near, key=lambda each: each[0]):
        if apart <= rules.doubt and set(made) != set(joined.made):
            yield "join", apart <= rules.even, apart, pieces_by(joined.cores(made), said, stain, rules)
    for one in laid_out(joined.cores(), said, rules)[2]:
        if one.near:
            yield "outline", True, np.nan, pieces_by(joined.cores(), said, stain, rules, more=one)
    for place, each in enumerate(tangled):
        if len(each) > 1:
            other = join_up(taken_first(tangled, place), said, stain, rules)
            yield "path", False, np.nan, pieces_by(other.cores(), said, stain, rules)


def _compared(pieces: Sequence[Piece], others: Sequence[Piece]) -> Alternative | None:
    """How ``others`` differ from ``pieces`` in their chromosomes; None where they do not."""
    old = [k for k, one in enumerate(pieces) if one.kind == CHROMOSOME]
    new = [one for one in others if one.kind == CHROMOSOME]
    gone = [k for k in old if not any(_same(pieces[k], one) for one in new)]
    given = [one for one in new if not any(_same(one, pieces[k]) for k in old)]
    gone = [k for k in gone if any(_shared(pieces[k], one) for one in given)]
    given = [one for one in given if any(_shared(one, pieces[k]) for k in gone)]
    if not gone or not 1 <= len(given) <= MOST_GIVEN:
        return None
    return Alternative("join", False, np.nan, tuple(gone), tuple(given), _where([pieces[k] for k in gone], given))


def _alike(one: Alternative, other: Alternative) -> bool:
    return (
        one.replaces == other.replaces
        and len(one.gives) == len(other.gives)
        and all(any(_same(each, its) for its in other.gives) for each in one.gives)
    )


def _same(one: Piece, other: Piece) -> bool:
    if abs(one.area - other.area) > _DIFFERS * one.area:
        return False
    shared = _shared(one, other)
    return shared > _SAME * (one.area + other.area - shared)


def _shared(one: Piece, other: Piece) -> int:
    """How many pixels two pieces share."""
    box = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one.box, other.box, strict=True)]
    if any(side.start >= side.stop for side in box):
        return 0
    parts = [
        each.mask[box[0].start - each.top : box[0].stop - each.top, box[1].start - each.left : box[1].stop - each.left]
        for each in (one, other)
    ]
    return int((parts[0] & parts[1]).sum())


def _where(gone: Sequence[Piece], given: Sequence[Piece]) -> tuple[float, float]:
    """The middle of where the more of both come together: there it is parted, or joined."""
    parts = sorted(gone if len(gone) > len(given) else given, key=lambda one: -one.area)[:2]
    if len(parts) < 2:
        return parts[0].middle
    top, left = (min(one.box[axis].start for one in parts) for axis in (0, 1))
    bottom, right = (max(one.box[axis].stop for one in parts) for axis in (0, 1))
    away = np.zeros((bottom - top, right - left))
    for one in parts:
        free = np.ones(away.shape, bool)
        free[one.top - top :, one.left - left :][: one.mask.shape[0], : one.mask.shape[1]] = ~one.mask
        away += ndimage.distance_transform_edt(free)
    rows, columns = np.nonzero(away <= away.min() + 1)
    return top + float(rows.mean()) + 0.5, left + float(columns.mean()) + 0.5
