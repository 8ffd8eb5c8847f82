"""Crops of a sheet found again on the field that they came from: where they lie is known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bandbridge.metaphase.again import Again, _Search, find_again
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.masks import layers
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import Spread, draw_spread

CROWD = Crowd(share=0.2, crossing=0.15, touching=0.3, bend=2, nuclei=1, debris=5)


def crops_of(spread: Spread, zoom: float) -> list[np.ndarray]:
    """Every chromosome of a spread alone on its ground, turned anyhow, every other mirrored, and enlarged."""
    rng, ground, found = np.random.default_rng(7), int(np.median(spread.gray[spread.first == 0])), []
    for number, mask in enumerate(spread.masks()):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        alone = np.pad(np.where(mask[box], spread.gray[box], ground).astype(np.uint8), 6, constant_values=ground)
        picture = Image.fromarray(np.ascontiguousarray(alone[:, :: 1 - 2 * (number % 2)]))
        turned = picture.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC, expand=True, fillcolor=ground)
        size = (round(turned.width * zoom), round(turned.height * zoom))
        found.append(np.pad(np.asarray(turned.resize(size)), 4, constant_values=ground))
    return found


@pytest.mark.parametrize(("stain", "number", "zoom"), [("G", 2, 1.3), ("Q", 4, 0.9)])
def test_nearly_all_are_found_and_where_they_were(stain, number, zoom) -> None:
    spread = draw_spread(stain, 31, number, CROWD)
    found = find_again(crops_of(spread, zoom), spread.gray, cut_field(spread.gray))
    truth, right = spread.masks(), 0
    for one in found:
        mask = np.zeros(spread.gray.shape, bool)
        mask[one.top : one.top + one.mask.shape[0], one.left : one.left + one.mask.shape[1]] = one.mask
        right += (mask & truth[one.crop]).sum() >= 0.5 * (mask | truth[one.crop]).sum()
    assert len({one.crop for one in found}) == len(found) >= 26
    assert right >= 0.9 * len(found)


def test_crops_of_another_cell_are_not_found() -> None:
    spread, other = draw_spread("G", 31, 2, CROWD), draw_spread("G", 32, 0, CROWD)
    assert len(find_again(crops_of(other, 1.0), spread.gray, cut_field(spread.gray))) == 0
    assert find_again([], spread.gray, cut_field(spread.gray)) == []


def test_the_search_is_that_of_a_loop_over_all_places() -> None:
    rng = np.random.default_rng(1)
    field, template = rng.random((30, 33)), rng.random((11, 9))
    mask = np.zeros((11, 9), bool)
    mask[3:-3, 3:-3] = True
    near = np.zeros_like(mask)
    near[1:-1, 2:-2] = near[2:-2, 1:-1] = True  # two steps to the four neighbours
    near[1, [2, -3]] = near[2, [1, -2]] = near[-2, [2, -3]] = near[-3, [1, -2]] = False
    near[2, [2, -3]] = near[-3, [2, -3]] = True
    best = max(
        (float(np.corrcoef(field[r : r + 11, c : c + 9][near], template[near])[0, 1]), r, c)
        for r in range(20)
        for c in range(25)
    )
    likeness, box, _ = _Search.of(field, np.zeros(field.shape, bool)).best(template, mask)
    assert (box[0].start, box[1].start) == best[1:] and likeness == pytest.approx(best[0], abs=1e-6)
    owned = np.zeros(field.shape, bool)
    owned[box] = True
    assert _Search.of(field, owned).best(template, mask)[1] != box


def test_both_layers_hold_what_lies_on_another() -> None:
    square = np.ones((4, 4), bool)
    first, second = layers((10, 10), [Again(0, 1, False, 1, 1, square), Again(1, 1, False, 3, 3, square)])
    assert (first == 1).sum() == 16 and (first == 2).sum() == 12 and (second == 2).sum() == 4
