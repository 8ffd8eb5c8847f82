"""A sheet is told from a metaphase: by how chromosomes stand, and each is refused where the other is wanted."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.sheets.drawn import Style, draw_sheet

import bandbridge as bb
from bandbridge.errors import ManyErrors
from bandbridge.sheets.arranged import how_arranged, is_arranged
from bandbridge.sheets.importing import import_karyograms
from bandbridge.sheets.upright import FEWEST_LONG, upright_share
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread


def bar(degrees: float) -> np.ndarray:
    """A bar of 30 x 8 pixels, so many degrees from the vertical."""
    rows, columns = np.mgrid[-20:21, -20:21]
    turn = np.radians(degrees)
    along = rows * np.cos(turn) + columns * np.sin(turn)
    across = -rows * np.sin(turn) + columns * np.cos(turn)
    return (abs(along) <= 15) & (abs(across) <= 4)


def test_the_share_is_that_of_bars_near_the_vertical() -> None:
    assert upright_share([bar(k) for k in range(-18, 19, 3)]) == 1
    assert upright_share([bar(k) for k in range(5, 180, 10)]) == pytest.approx(4 / 18)
    dirt = [np.ones((2, 9), bool)] * 40
    assert upright_share([bar(0)] * FEWEST_LONG + dirt) == 1, "what is small does not count"
    assert np.isnan(upright_share([bar(0)] * (FEWEST_LONG - 1)))


@pytest.fixture(scope="module")
def metaphase() -> np.ndarray:
    return draw_spread("G", 11, 1, Crowd(share=0.16, crossing=0.0, touching=0.0, nuclei=0.0, debris=0.0)).gray


@pytest.mark.parametrize("style", [Style(), Style(stain="Q", ground=0, ink=255, frames=True, numbers="corner")])
def test_a_sheet_is_arranged(style) -> None:
    assert is_arranged(draw_sheet(style).gray)


def test_a_metaphase_is_not_and_as_a_sheet_is_refused_with_what_to_do(metaphase, tmp_path) -> None:
    assert not is_arranged(metaphase) and how_arranged(metaphase) == ""
    (tmp_path / "in").mkdir()
    Image.fromarray(metaphase).save(tmp_path / "in" / "field.png")
    with pytest.raises(ManyErrors) as told:
        import_karyograms(tmp_path / "in", tmp_path / "set")
    (line,) = told.value.problems
    assert line.startswith("field.png: a metaphase: ") and "bandbridge cut METAPHASES DEST" in line


@pytest.mark.parametrize(
    ("style", "turns"), [(Style(), 1), (Style(stain="Q", ground=0, ink=255, frames=True, numbers="corner"), 3)]
)
def test_a_sheet_that_lies_on_its_side_is_told(style, turns, tmp_path) -> None:
    lying = np.rot90(draw_sheet(style).gray, turns)
    assert how_arranged(lying) == "lying" and not is_arranged(lying)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.ascontiguousarray(lying)).save(tmp_path / "in" / "lying.png")
    with pytest.raises(ManyErrors) as told:
        import_karyograms(tmp_path / "in", tmp_path / "set")
    (line,) = told.value.problems
    assert line.startswith("lying.png: a sheet that lies on its side: turn the picture by a quarter")
    ((name, why),) = bb.cut(tmp_path / "in", tmp_path / "out").refused
    assert name == "lying.png" and "an arranged karyogram, no metaphase; it lies on its side" in why


def test_a_sheet_is_not_cut(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(draw_sheet(Style()).picture).save(tmp_path / "in" / "sheet.png")
    done = bb.cut(tmp_path / "in", tmp_path / "out")
    assert not done.cells and not (tmp_path / "out" / "images").exists()
    ((name, why),) = done.refused
    assert name == "sheet.png" and "an arranged karyogram" in why and "bandbridge data import karyogram" in why
