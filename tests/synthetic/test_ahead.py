"""Cells drawn ahead: the same for the same epoch, whoever asks, and never one twice."""

from __future__ import annotations

import numpy as np

from bandbridge.dataset.by_cell import prepare_images
from bandbridge.dataset.prepare import BASES, Preparation
from bandbridge.synthetic.ahead import DrawnAhead
from bandbridge.synthetic.cells import draw_cell

PREPARATION = Preparation(size=32, **BASES["by-cell"])


def ahead():
    return DrawnAhead("G", 3, [0, 2, 5], 6, PREPARATION, processes=1)


def test_an_epoch_is_what_its_cells_are_prepared_one_by_one():
    drawn = ahead()
    images, labels = drawn.epoch(1, last=True)
    drawn.close()
    expected = [draw_cell("G", 3, cell) for cell in (12, 14, 17)]
    assert labels == [one.label for cell in expected for one in cell]
    for place, cell in enumerate(expected):
        alone = prepare_images([one.image for one in cell], ["c"] * 46, PREPARATION)
        assert np.array_equal(images[46 * place : 46 * (place + 1)], alone)


def test_epochs_differ_and_do_not_depend_on_those_before():
    first, second = ahead(), ahead()
    one, two = first.epoch(0)[0], first.epoch(1)[0]
    resumed = second.epoch(1, last=True)[0]
    first.close(), second.close()
    assert not np.array_equal(one, two) and np.array_equal(two, resumed)
