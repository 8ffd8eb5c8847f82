"""Grades of drawn cells, whose level, blur, length and neighbours are known."""

from __future__ import annotations

import numpy as np
import pytest

import bandbridge.synthetic.cells as drawing
from bandbridge.dataset.ideogram import RESOLUTIONS
from bandbridge.karyogram.grade import CellGrade, grade_cell
from bandbridge.synthetic.look import Drawing


def graded(stain: str, cell: int, **knobs: float) -> CellGrade:
    return grade_cell([(one.label, one.image) for one in drawing.draw_cell(stain, 404, cell, Drawing(**knobs))])


def test_the_level_of_drawn_cells_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = []
    for place, level in enumerate(RESOLUTIONS):
        monkeypatch.setattr(drawing, "_RESOLUTION_ODDS", tuple(float(number == place) for number in range(3)))
        right += [graded(stain, 3).level == level for stain in "GQ"]
    assert sum(right) >= 5


def test_measures_follow_what_was_drawn() -> None:
    blurred = [graded("G", 0, blur=value, variation=0) for value in (0.5, 2.0)]
    assert blurred[0].sharpness > blurred[1].sharpness and blurred[0].bands > blurred[1].bands
    assert blurred[0].score > blurred[1].score
    long = [graded("G", 0, length=value, variation=0) for value in (0.7, 1.4)]
    assert long[1].length_of_1 > 1.6 * long[0].length_of_1
    crowded = [graded("G", 0, neighbours=value, overlaps=0) for value in (0.0, 0.5)]
    assert crowded[0].touching < 0.15 < 0.3 < crowded[1].touching < 0.7


def test_a_cell_that_lacks_chromosomes_is_worth_less() -> None:
    drawn = [(one.label, one.image) for one in drawing.draw_cell("G", 404, 0)]
    whole, half = grade_cell(drawn), grade_cell(drawn[:30])
    assert whole.chromosomes == len(drawn) and half.score < whole.score


def test_what_shows_nothing_has_no_grade() -> None:
    empty = grade_cell([("1", np.full((30, 20), 255, np.uint8))] * 12)
    assert empty.level == 0 and np.isnan(empty.bands) and np.isnan(empty.score)
    few = grade_cell([(one.label, one.image) for one in drawing.draw_cell("G", 404, 0)[-4:]])
    assert few.level == 0 and np.isnan(few.bands) and few.sharpness > 0
