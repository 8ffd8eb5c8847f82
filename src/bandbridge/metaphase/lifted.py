"""What the separator says of a field, in the space of place and direction."""

from __future__ import annotations

import numpy as np

#: Directions of half a turn that the core of a chromosome is told in.
BINS = 12
#: Pixels that a chromosome is wide where the separator looks at it.
WIDTH = 10.0
_STEPS, _LOWEST = 64.0, -0.5


def to_bytes(contrast: np.ndarray) -> np.ndarray:
    """Return contrast, -0.5 to 3.48, as uint8: what an example is kept as."""
    return np.rint(np.clip((contrast - _LOWEST) * _STEPS, 0, 255)).astype(np.uint8)


def from_bytes(kept: np.ndarray) -> np.ndarray:
    """Return the contrast, float32, that :func:`to_bytes` made ``kept`` of."""
    return kept.astype(np.float32) / np.float32(_STEPS) + np.float32(_LOWEST)
