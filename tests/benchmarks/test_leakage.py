"""What the leakage benchmark would say of images that are told apart by their cell alone, and of such that are not."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np

LEAKAGE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "leakage.py")))


def test_the_nearest_neighbour_knows_a_cell_again_and_a_new_one_not():
    rng = np.random.default_rng(0)
    cells, each, classes = 40, 10, 4
    cell = np.repeat(np.arange(cells), each)
    labels = rng.integers(classes, size=cells)[cell].astype(str)  # a cell has one label and says nothing of others
    values = (rng.normal(size=(cells, 16))[cell] + 0.01 * rng.normal(size=(len(cell), 16))).astype(np.float32)
    by_image = LEAKAGE.macro_f1(values, labels, np.arange(len(cell)) % LEAKAGE.FOLDS)
    by_cell = LEAKAGE.macro_f1(values, labels, cell % LEAKAGE.FOLDS)
    assert by_image["nearest"] == 100 and by_cell["nearest"] < 50
    assert by_image["linear"] > by_cell["linear"] + 10


def test_classes_that_differ_are_told_apart_whatever_the_folds():
    rng = np.random.default_rng(1)
    labels = np.tile(np.array(["a", "b", "c"]), 50)
    values = (10 * np.eye(3)[np.arange(150) % 3] + rng.normal(size=(150, 3))).astype(np.float32)
    assert LEAKAGE.macro_f1(values, labels, np.arange(150) % LEAKAGE.FOLDS) == {"linear": 100.0, "nearest": 100.0}
