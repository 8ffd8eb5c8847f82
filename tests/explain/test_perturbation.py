"""Deletion and insertion against curves that can be written down."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.dataset.prepare import Preparation
from bandbridge.explain.attention import find_regions
from bandbridge.explain.perturbation import deletion_insertion, perturb

STEPS = 8


def image() -> np.ndarray:
    """16 x 16; the left half is content."""
    values = np.random.default_rng(0).permutation(256).reshape(16, 16)
    return np.minimum(values + 1, 255).astype(np.uint8)


CONTENT = np.zeros((16, 16), dtype=bool)
CONTENT[:, :8] = True


def test_pixels_go_in_the_order_of_the_map_and_padding_stays() -> None:
    picture = image()
    evidence = np.random.default_rng(1).permutation(256).reshape(16, 16).astype(float)
    deleted, inserted = perturb(picture, evidence, CONTENT, 7, STEPS, np.random.default_rng(0))
    assert deleted.shape == inserted.shape == (STEPS + 1, 16, 16)
    order = sorted(np.argwhere(CONTENT).tolist(), key=lambda place: -evidence[tuple(place)])
    for step in range(STEPS + 1):
        down, up = picture.copy(), np.where(CONTENT, 7, picture)
        for y, x in order[: step * 128 // STEPS]:
            down[y, x], up[y, x] = 7, picture[y, x]
        np.testing.assert_array_equal(deleted[step], down)
        np.testing.assert_array_equal(inserted[step], up)
    np.testing.assert_array_equal(deleted[0], inserted[-1])


def test_ties_go_in_an_order_that_the_seed_decides() -> None:
    flat = np.ones((16, 16))
    first, again, other = (
        perturb(image(), flat, CONTENT, 0, STEPS, np.random.default_rng(seed))[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # Not from the top down, as pixels lie in memory.
    assert 0.3 < np.mean(first[STEPS // 2][:8, :8] == 0) < 0.7


def brightness(images: np.ndarray) -> np.ndarray:
    """A classifier whose probability of class 1 is the share of the pixels of the left half that are lit."""
    lit = (images[:, :, :8] > 0).mean(axis=(1, 2))
    return np.stack([1 - lit, lit], axis=1)


def test_areas_of_a_classifier_that_counts_lit_pixels() -> None:
    """A quarter of the content is lit. The best map deletes it in the first quarter, the worst in the last."""
    picture = np.zeros((16, 16), dtype=np.uint8)
    picture[:4, :8] = 200
    regions = find_regions(picture, Preparation(size=16))
    regions = type(regions)(regions.placement, CONTENT, CONTENT, CONTENT, None, 0)
    best, worst = (picture > 0).astype(float) + 0.1, (picture == 0).astype(float) + 0.1
    empty = np.zeros((16, 16))
    found = deletion_insertion(
        brightness, np.stack([picture] * 3), np.stack([best, worst, empty]), np.ones(3, int), [regions] * 3, 4, 0
    )
    # Curves in quarters: 1/4, 0, 0, 0, 0 down and 0, 1/4, 1/4, 1/4, 1/4 up for the best.
    expected = [[1 / 32, 7 / 32], [7 / 32, 1 / 32], [np.nan, np.nan]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_target_chooses_the_probability() -> None:
    picture = np.full((16, 16), 9, dtype=np.uint8)
    regions = find_regions(picture, Preparation(size=16))
    regions = type(regions)(regions.placement, CONTENT, CONTENT, CONTENT, None, 0)
    both = deletion_insertion(
        brightness, np.stack([picture] * 2), np.ones((2, 16, 16)), np.array([0, 1]), [regions] * 2, 4, 0
    )
    assert both[0] == pytest.approx(1 - both[1])
