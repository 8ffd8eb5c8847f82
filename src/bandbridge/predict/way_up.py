"""Which end of a chromosome that was stood along its axis is up, settled by judging both ways.

A model whose training images all had the short arm up is surer of a chromosome that has it up too: its scores, summed
over the classes, say which way it knows. How many chromosomes of a cell are upright is learned from the cell itself: of
crops from a finished karyogram nearly all, of crops that lie in any direction about half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logsumexp

from bandbridge.dataset.by_cell import group_by_cell
from bandbridge.karyogram.upright_share import judge_together

#: The sum of scores is no likelihood, and a model is surer than right: the evidence counts for half.
_CAUTION = 2.0


def weigh_ways(upright: np.ndarray, turned: np.ndarray, cells: Sequence[str]) -> np.ndarray:
    """Return how likely each of n images has the right end up, float64 [n] in 0..1.

    upright, turned: the logits [n, K] of the images as they stand and turned by 180 degrees, calibrated. cells: of each
    image, "" unknown: then either way is as likely before it is looked at.
    """
    evidence = (logsumexp(upright, axis=1) - logsumexp(turned, axis=1)) / _CAUTION
    weights: np.ndarray = expit(evidence)
    for rows in group_by_cell(cells):
        if len(rows) > 1:
            weights[rows] = judge_together(weights[rows])
    return weights
