"""The picture of a sheet that somebody is to check: faint chromosomes are seen on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.sheets.drawn import Style, draw_sheet

from bandbridge.sheets.overview import draw_overview
from bandbridge.sheets.reading import read_sheet


@pytest.fixture(scope="module")
def sheet():
    gray = draw_sheet(Style(stain="Q", ground=0, ink=230)).gray
    return gray, read_sheet(gray)


def contrast(picture, gray, reading) -> float:
    """The 90th percentile of how far the chromosomes are from the ground, gray levels."""
    shown = np.asarray(picture.convert("L"), dtype=float)
    share = shown.shape[1] / gray.shape[1] / reading.ink.zoom
    boxes = [[round(side * share) for side in one.box] for one in reading.found]
    inside = [shown[top + 4 : bottom - 4, left + 4 : right - 4].ravel() for top, left, bottom, right in boxes]
    return float(np.percentile(np.abs(np.concatenate(inside) - np.median(shown)), 90))


def test_a_faint_sheet_is_shown_with_more_contrast(sheet) -> None:
    gray, reading = sheet
    plain = contrast(draw_overview(gray, reading), gray, reading)
    faint = (gray * 0.15).astype(np.uint8)
    assert contrast(draw_overview(faint, reading), faint, reading) > 3 * 0.15 * plain


def test_the_same_on_a_bright_ground(sheet) -> None:
    gray, reading = sheet
    faint = (255 - gray * 0.15).astype(np.uint8)
    assert contrast(draw_overview(faint, reading), faint, reading) > 60


def test_a_clear_sheet_is_shown_as_it_is(sheet) -> None:
    gray, reading = sheet
    clear = np.clip(gray.astype(float) * 255 / np.percentile(gray, 99.9), 0, 255).astype(np.uint8)
    empty = replace(reading, found=())
    with_boxes, without = (np.asarray(draw_overview(clear, one)) for one in (reading, empty))
    assert (with_boxes[:8] == without[:8]).all() and np.mean(np.all(with_boxes == without, axis=2)) > 0.8
