"""Which way up, against cells of which it is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from bandbridge.predict.way_up import weigh_ways


def scored(upright: np.ndarray, seed: int, gap: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of images as they stand and turned: the right way up scores ``gap`` more, give or take."""
    generator = np.random.default_rng(seed)
    known, unknown = generator.normal(0, 1, (2, len(upright), 24))
    known[np.arange(len(upright)), generator.integers(0, 24, len(upright))] += 6 + gap
    unknown[np.arange(len(upright)), generator.integers(0, 24, len(upright))] += 6 + generator.normal(
        0, 2, len(upright)
    )
    return np.where(upright[:, None], known, unknown), np.where(upright[:, None], unknown, known)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_each_cell_tells_how_many_of_it_are_upright(share: float) -> None:
    upright = np.arange(46) < share * 46
    weights = weigh_ways(*scored(upright, 1), ["c"] * 46)
    assert ((weights > 0.5) == upright).mean() > (0.7 if share == 0.5 else 0.95)
    assert weights.mean() == pytest.approx(share, abs=0.25 if share == 0.5 else 0.1)


def test_a_cell_of_one_kind_carries_its_doubtful_ones_and_a_lone_image_stands_for_itself() -> None:
    upright = np.ones(46, dtype=bool)
    first, second = scored(upright, 2)
    first[0], second[0] = second[0], first[0]  # one that looks the other way
    first[1] = second[1]  # and one that says nothing
    together, alone = weigh_ways(first, second, ["c"] * 46), weigh_ways(first, second, [""] * 46)
    evidence = (logsumexp(first, axis=1) - logsumexp(second, axis=1)) / 2
    assert alone == pytest.approx(1 / (1 + np.exp(-evidence)))
    assert alone[1] == 0.5 and together[1] > 0.9 and together[0] > alone[0]


def test_turning_every_image_turns_the_answer() -> None:
    first, second = scored(np.arange(40) % 3 > 0, 3)
    cells = ["a"] * 20 + ["b"] * 15 + [""] * 5
    assert weigh_ways(first, second, cells) == pytest.approx(1 - weigh_ways(second, first, cells), abs=1e-6)
