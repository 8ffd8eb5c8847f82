"""Sheets of crops, and painted chromosomes against the nearest sample found the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.karyotype import CLASSES
from bandbridge.synthetic.cells import in_crops
from bandbridge.synthetic.layout import STEP, lay_out
from bandbridge.synthetic.look import Drawing, draw_style, usual_look
from bandbridge.synthetic.paint import arrange, develop, paint


def test_crops_on_a_sheet_do_not_touch():
    rng = np.random.default_rng(0)
    height, width = rng.integers(1, 90, (2, 60))
    sheet = arrange(height, width)
    taken = np.zeros(sheet.shape, int)
    for number in range(60):
        top, left = sheet.top[number] - 1, sheet.left[number] - 1
        assert top >= 0 and left >= 0
        taken[top : top + height[number] + 1, left : left + width[number] + 1] += 1
        assert sheet.crop(taken, number).shape == (height[number], width[number])
    assert taken.max() == 1
    assert (height * width).sum() > 0.6 * taken.size


def laid_out(drawing, seed=0):
    rng = np.random.default_rng(seed)
    style = draw_style(usual_look("G"), drawing, rng)
    classes = np.arange(len(CLASSES))
    laid = lay_out(classes, "G", np.ones((24, 2, 2)), style, drawing, rng)
    return *in_crops(laid, style, drawing, rng), style, rng


@pytest.mark.parametrize("bend", [0.0, 1.0, 3.0])
def test_pixels_belong_to_the_sample_that_a_full_search_finds(bend):
    """What is covered, and the mean density: the fast search begins with blocks and follows the tangent."""
    laid, sheet, _, _ = laid_out(Drawing(bend=bend))
    density = np.zeros(sheet.shape, np.float32)
    paint(laid, sheet, np.arange(24), density)
    for number in range(24):
        crop = sheet.crop(density, number)
        y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
        count = int(np.ceil(laid.length[number] / STEP))
        axis = laid.axis[number, :count]
        squared = (x[..., None] - axis[:, 0]) ** 2 + (y[..., None] - axis[:, 1]) ** 2
        nearest, distance = squared.argmin(axis=2), np.sqrt(squared.min(axis=2))
        narrow, wide = (reach(laid.half_width[number, :count], axis=1)[nearest] for reach in (np.min, np.max))
        # Away from the outline, where a rounding decides.
        surely, never = distance < narrow - 1.5, distance > wide + 1.5
        ends = (nearest < 3) | (nearest > count - 4)
        assert (crop[surely & ~ends] > 0).mean() > 0.99
        assert (crop[never] == 0).mean() > 0.99
        dye = laid.dye[number, :count].mean(axis=1)[nearest]
        assert crop[surely & ~ends].mean() == pytest.approx(dye[surely & ~ends].mean() * 0.95, rel=0.15)


def test_chromosomes_on_each_other_add_up():
    laid, sheet, _, _ = laid_out(Drawing())
    one, both = (np.zeros(sheet.shape, np.float32) for _ in range(2))
    paint(laid, sheet, np.arange(24), one)
    for _ in range(2):
        paint(laid, sheet, np.arange(24), both)
    assert np.allclose(both, 2 * one) and one.max() > 0.3


@pytest.mark.parametrize(("stain", "ground"), [("Q", 0), ("G", 255)])
def test_more_dye_is_brighter_in_q_and_darker_in_g(stain, ground):
    _, _, style, rng = laid_out(Drawing(noise=0, grain=0, blur=0.01))
    density = np.repeat(np.linspace(0, 1, 40, dtype=np.float32)[:, None], 9, axis=1)
    gray = develop(density, stain, style, rng).astype(int)
    assert gray.dtype == int and (gray[0] == ground).all()
    steps = np.diff(gray[3:, 4])
    assert (steps >= 0).all() if stain == "Q" else (steps <= 0).all()
