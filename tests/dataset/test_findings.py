"""Findings of a data set in words."""

import pytest

from bandbridge.dataset.findings import counted


@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [
        (1, "pair", "1 pair"),
        (1204, "pair", "1,204 pairs"),
        (0, "class", "0 classes"),
        (2, "box", "2 boxes"),
        (1, "pair of cells", "1 pair of cells"),
        (3, "pair of cells", "3 pairs of cells"),
        (5, "finished fold", "5 finished folds"),
        (2, "finished box of images", "2 finished boxes of images"),
    ],
)
def test_what_is_counted_is_in_the_plural(number, unit, said):
    assert counted(number, unit) == said
