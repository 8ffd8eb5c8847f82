"""Drawn fields for the tests of cutting, made once."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import Spread, draw_spread

CLEAN = Crowd(share=0.16, crossing=0.0, touching=0.0, bend=1.0, nuclei=0.0, debris=0.0)


@pytest.fixture(scope="session")
def clean_g() -> Spread:
    """A sparse G-band metaphase."""
    return draw_spread("G", 11, 1, CLEAN)


@pytest.fixture(scope="session")
def clean_q() -> Spread:
    """A sparse Q-band metaphase."""
    return draw_spread("Q", 11, 1, CLEAN)


@pytest.fixture(scope="session")
def nuclei_alone() -> np.ndarray:
    """A field of round nuclei, uint8 [300, 400]."""
    rows, columns = np.mgrid[:300, :400]
    field = np.full((300, 400), 12.0)
    for row, column in ((80, 90), (200, 150), (120, 300)):
        field += 150 / (1 + np.exp((np.hypot(rows - row, columns - column) - 38) / 2))
    noise = np.random.default_rng(2).normal(0, 2, field.shape)
    return np.clip(field + noise, 0, 255).astype(np.uint8)
