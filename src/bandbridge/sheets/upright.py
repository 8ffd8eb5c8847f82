"""How chromosomes stand: upright on a sheet that was arranged, in all directions on a metaphase."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: From this share of upright pieces on a picture was arranged; below the other it was not.
ARRANGED, LYING = 0.55, 0.45
#: Fewest long pieces that tell; a piece is long if it is so many times as long as wide, by its second moments.
FEWEST_LONG, _LONG = 12, 1.7
#: So near the vertical, radians, a piece is upright.
_UPRIGHT = np.radians(20)
#: Pieces smaller than this part of a large one do not count: numbers, dirt.
_SMALL = 0.25


def upright_share(masks: Iterable[np.ndarray]) -> float:
    """Return which share of the long pieces stands upright, 0 to 1, of ``masks``, bool [h, w] each.

    In all directions alike that is 0.22. NaN where fewer than :data:`FEWEST_LONG` are long.
    """
    told = np.array([_told(mask) for mask in masks]).reshape(-1, 3)
    if len(told) < FEWEST_LONG:
        return float("nan")
    area, longer, aside = told.T
    order = np.sort(area)[::-1]
    large = order[
        np.searchsorted(np.cumsum(order), area.sum() / 2)
    ]  # half of the ink is in pieces of this size and more
    counted = (area > _SMALL * large) & (longer > _LONG)
    return float((aside[counted] < _UPRIGHT).mean()) if counted.sum() >= FEWEST_LONG else float("nan")


def _told(mask: np.ndarray) -> tuple[float, float, float]:
    """Area of a piece, how many times as long as wide it is, and the angle of its axis with the vertical, radians."""
    rows, columns = np.nonzero(mask)
    if len(rows) < 3:
        return float(len(rows)), 1.0, 0.0
    spread = np.cov(np.stack([rows, columns])) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(spread)
    return (
        float(len(rows)),
        float(np.sqrt(values[1] / values[0])),
        float(np.arccos(np.clip(abs(vectors[0, 1]), 0, 1))),
    )
