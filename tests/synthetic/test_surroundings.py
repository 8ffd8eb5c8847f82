"""What a drawn metaphase has beside its chromosomes, and how it is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread
from bandbridge.synthetic.surroundings import hazy


@pytest.mark.parametrize("reach", [4.0, 12.0, 30.0])
def test_haze_is_the_light_spread_as_a_gaussian_spreads_it(reach) -> None:
    rng = np.random.default_rng(0)
    total = np.zeros((233, 310), np.float32)
    for top, left in zip(rng.integers(60, 160, 25), rng.integers(60, 230, 25), strict=True):
        total[top : top + 9, left : left + 25] += 1
    spread = gaussian_filter(total.astype(float), reach)
    made = hazy(total, 0.4, reach)
    assert made.shape == total.shape and made.dtype == np.float32
    assert np.abs(made - (0.6 * total + 0.4 * spread)).max() < 0.04 * spread.max()


def test_no_haze_leaves_the_light_as_it_is() -> None:
    total = np.eye(40, dtype=np.float32)
    assert hazy(total, 0.0, 5.0) is total


def test_between_chromosomes_in_haze_it_is_not_dark() -> None:
    """The same cell: the ground near chromosomes gains on them, and the truth stays what it was."""
    crowd = Crowd(share=0.4, nuclei=0.0, debris=0.0)
    clear, haze = (draw_spread("Q", 4, 1, replace(crowd, haze=by)) for by in (0.0, 0.45))
    assert (clear.first == haze.first).all()
    near = (gaussian_filter((clear.first > 0).astype(float), 6) > 0.4) & (clear.first == 0)
    far = gaussian_filter((clear.first > 0).astype(float), 6) < 1e-3

    def share(spread):
        gray = spread.gray.astype(float) - np.median(spread.gray[far])
        return np.median(gray[near]) / np.median(gray[clear.first > 0])

    assert share(haze) > share(clear) + 0.1


def test_bright_field_has_no_haze_of_fluorescence() -> None:
    crowd = Crowd(share=0.4)
    assert (draw_spread("G", 4, 1, crowd).gray == draw_spread("G", 4, 1, replace(crowd, haze=0.4)).gray).all()
