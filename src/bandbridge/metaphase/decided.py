"""What was decided between what the separator says and the pieces: how tangles were taken apart and what was joined.

A decision can be turned, and all that follows from it is then made anew: what is looked at stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandbridge.metaphase.cores import Outline, Rules, Taken, as_one, grow, merged, outlines, tangles
from bandbridge.metaphase.joins import chosen, likelihoods, strung
from bandbridge.metaphase.lifted import Said
from bandbridge.metaphase.meetings import Core, Meeting, meetings
from bandbridge.metaphase.pieces import Piece, by_stain, pieces_of

#: What no network says is certain, for odds.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Joined:
    """The cores of tangles, where they meet, how likely each meeting is, float [n], and which of them are joins."""

    parts: list[Core]
    found: list[Meeting]
    chances: np.ndarray
    made: list[int]

    def cores(self, made: Sequence[int] | None = None) -> list[Core]:
        """Return the cores, joined at the places ``made``; None: as decided."""
        return strung(self.parts, self.found, self.made if made is None else list(made))


def taken_first(tangled: Sequence[Sequence[Taken]], turned: int | None = None) -> list[Taken]:
    """Return the best way to take each of ``tangled`` apart, of that at the place ``turned`` the second."""
    return [each[place == turned] for place, each in enumerate(tangled)]


def join_up(taken: Sequence[Taken], said: Said, stain: np.ndarray | None, rules: Rules) -> Joined:
    """Decide which cores of ``taken`` are of one chromosome.

    stain: as :func:`bandbridge.metaphase.meetings.meetings` has it.
    """
    parts = merged(taken, said, rules)
    found = meetings(parts, said, stain) if rules.join < 1 else []
    chances = likelihoods(found)
    return Joined(parts, found, chances, chosen(found, chances, rules.join))


def decide(said: Said, stain: np.ndarray | None, rules: Rules) -> tuple[list[list[Taken]], Joined]:
    """Return the ways to take each tangle apart, and what comes of the best of each."""
    tangled = tangles(said, rules)
    return tangled, join_up(taken_first(tangled), said, stain, rules)


def laid_out(cores: list[Core], said: Said, rules: Rules) -> tuple[np.ndarray, np.ndarray, list[Outline]]:
    """Return the two layers of pixels of ``cores``, as :func:`bandbridge.metaphase.cores.grow` does, and what hangs
    together in them and has several cores; nothing of it is one piece yet.
    """
    first, second = grow(cores, said, rules)
    return first, second, outlines(first, rules)


def pieces_by(
    cores: list[Core], said: Said, stain: np.ndarray, rules: Rules, more: Outline | None = None
) -> list[Piece]:
    """Return the pieces that ``cores`` give. more: an outline that is one piece, too."""
    first, second, several = laid_out(cores, said, rules)
    one = [each for each in several if each.ribbon] + ([] if more is None else [more])
    first, second = as_one(first, second, one)
    return by_stain(pieces_of(first, second, said, [core.strength for core in cores]), stain)


def margin(joined: Joined, made: Sequence[int], rules: Rules) -> float:
    """Return by how many nats the joins that were made are likelier than ``made``: sums of log odds, beyond the rule's.

    Less than 0 where a likelier join stood against two that are likelier together.
    """
    odds = _log_odds(joined.chances) - float(_log_odds(np.array(rules.join)))
    return float(odds[joined.made].sum() - odds[list(made)].sum())


def _log_odds(chance: np.ndarray) -> np.ndarray:
    kept = np.clip(chance, _LEAST, 1 - _LEAST)
    found: np.ndarray = np.log(kept / (1 - kept))
    return found
