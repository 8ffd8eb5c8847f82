"""How many chromosomes of a cell are upright, learned from the cell itself."""

from __future__ import annotations

import numpy as np

_ROUNDS = 50


def judge_together(alone: np.ndarray) -> np.ndarray:
    """Return how likely each chromosome of a cell is upright, given how likely each is by itself, float64 [n] in 0..1.

    Crops of one cell mostly lie alike. The share that is upright, estimated from the cell by expectation-maximisation
    (Dempster, Laird & Rubin 1977) with one upright and one inverted added, is the prior of each.
    """
    share, together = 0.5, alone
    for _ in range(_ROUNDS):
        together = alone * share / (alone * share + (1 - alone) * (1 - share))
        share = (together.sum() + 1) / (len(alone) + 2)
    return together
