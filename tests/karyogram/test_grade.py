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
    long = [graded("G", 0, length=value, variation=0) for value in (0.7, 1.4)]
    assert long[1].length_of_1 > 1.6 * long[0].length_of_1
    crowded = [graded("G", 0, neighbours=value, overlaps=0) for value in (0.0, 0.5)]
    assert crowded[0].touching < 0.1 < 0.25 < crowded[1].touching < 0.7
    assert crowded[0].score > crowded[1].score


def test_cells_are_ranked_by_how_their_bands_follow_the_ideogram() -> None:
    """The oracle is the drawing: classes exchanged at random, or bands gone, and the profiles are unlike the tables."""
    drawn = [(one.label, one.image) for one in drawing.draw_cell("G", 404, 0, Drawing(variation=0))]
    labels = list(np.random.default_rng(0).permutation([label for label, _ in drawn]))
    mixed = [(label, image) for label, (_, image) in zip(labels, drawn, strict=True)]
    own, other = grade_cell(drawn), grade_cell(mixed)
    assert 1 > own.banding > 0.6 > other.banding + 0.1
    flat = [(label, np.where(image < 200, 90, 255).astype(np.uint8)) for label, image in drawn]
    assert own.score > grade_cell(flat).score


def test_a_tight_crop_is_not_cut_off() -> None:
    """Crops as tight as they can be meet every border; a fifth cut off each is told, either end."""
    whole, cut = [], []
    for label, image in ((one.label, one.image) for one in drawing.draw_cell("G", 404, 0, Drawing(neighbours=0))):
        rows, columns = np.nonzero(np.abs(image.astype(int) - 255) > 25)
        tight = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        upright = tight if tight.shape[0] >= tight.shape[1] else tight.T
        whole.append((label, upright))
        cut.append((label, upright[len(upright) // 5 :]))
    assert grade_cell(whole).touching < 0.2 < 0.7 < grade_cell(cut).touching
    assert grade_cell([(label, image[::-1]) for label, image in cut]).touching > 0.7


def test_a_cell_that_lacks_chromosomes_is_worth_less() -> None:
    drawn = [(one.label, one.image) for one in drawing.draw_cell("G", 404, 0)]
    whole, half = grade_cell(drawn), grade_cell(drawn[:30])
    assert whole.chromosomes == len(drawn) and half.score < whole.score


def test_what_shows_nothing_has_no_grade() -> None:
    empty = grade_cell([("1", np.full((30, 20), 255, np.uint8))] * 12)
    assert empty.level == 0 and np.isnan(empty.bands) and np.isnan(empty.score)
    few = grade_cell([(one.label, one.image) for one in drawing.draw_cell("G", 404, 0)[-4:]])
    assert few.level == 0 and np.isnan(few.bands) and few.sharpness > 0
