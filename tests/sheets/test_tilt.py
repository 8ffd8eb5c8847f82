"""Sheets askew: the angle is that by which a drawn sheet was turned, and what is read is what stands on it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.sheets.drawn import Style, boxes_right, draw_sheet

from bandbridge.sheets.importing import import_karyograms
from bandbridge.sheets.reading import read_sheet
from bandbridge.sheets.tilt import straightened
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

FRAMED = Style(stain="Q", ground=0, ink=255, frames=True, numbers="corner")
STYLES = {"numbers": Style(), "small": Style(size=11, ground=236), "lines": Style(underline=True), "frames": FRAMED}


def turned(gray: np.ndarray, degrees: float, ground: int) -> np.ndarray:
    way = Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(gray).rotate(degrees, way, expand=True, fillcolor=ground))


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("degrees", [-9.0, -1.3, 0.6, 4.0])
def test_a_sheet_is_turned_back_by_as_much_as_it_was_turned(style, degrees) -> None:
    drawn = draw_sheet(style)
    straight = straightened(turned(drawn.gray, degrees, style.ground))
    assert straight.turned == pytest.approx(-degrees, abs=0.11) and straight.colour is None
    # What stood about the middle of the sheet stands about the middle of what it was turned into and back.
    down, over = ((new - old) / 2 for new, old in zip(straight.gray.shape, drawn.gray.shape, strict=True))
    reading = read_sheet(straight.gray)
    zoom = reading.ink.zoom
    boxes = [[side / zoom for side in one.box] for one in reading.found]
    found = [
        (one.label, (top - down, left - over, bottom - down, right - over))
        for one, (top, left, bottom, right) in zip(reading.found, boxes, strict=True)
    ]
    assert not boxes_right(drawn, found) and len(reading.doubts) == len(read_sheet(drawn.gray).doubts)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_straight_sheet_and_what_is_none_stay_as_they_are(style) -> None:
    gray = draw_sheet(style).gray
    assert straightened(gray).gray is gray
    slightly = turned(gray, 0.2, style.ground)
    assert straightened(slightly).gray is slightly
    apart = Crowd(share=0.16, crossing=0.0, touching=0.0, nuclei=0.0, debris=0.0)
    for other in (draw_spread("G", 11, 1, apart).gray, draw_spread("Q", 3, 2).gray, np.full((300, 400), 200, np.uint8)):
        assert straightened(other).gray is other


def test_colour_is_turned_with_it() -> None:
    gray = turned(draw_sheet(Style()).gray, 3.0, 255)
    straight = straightened(gray, gray)
    assert straight.colour is not None and straight.colour.shape == straight.gray.shape
    inner = np.s_[150:-150, 150:-150]
    assert (straight.colour[inner] == straight.gray[inner]).all()


def test_an_import_tells_what_it_turned_and_numbers_stay_out_of_the_crops(tmp_path) -> None:
    drawn = draw_sheet(Style())
    (tmp_path / "in").mkdir()
    Image.fromarray(turned(drawn.gray, -2.0, 255)).save(tmp_path / "in" / "askew.png")
    Image.fromarray(drawn.gray).save(tmp_path / "in" / "straight.png")
    done = import_karyograms(tmp_path / "in", tmp_path / "set")
    assert done.imported == ["askew.png", "straight.png"]
    assert [record.turned for record in done.records] == [2.0, 0.0]
    told = pd.read_csv(done.review / "sheets.csv").set_index("sheet")["turned"]
    assert told.to_dict() == {"askew.png": 2.0, "straight.png": 0.0}
    assert (done.review / "overview.html").read_text().count("turned straight by 2.0 degrees") == 1
    # Ink of the same crop turned and not: a number would add a third and more.
    rows = pd.read_csv(tmp_path / "set" / "metadata.csv", dtype=str)
    ink = {name: int((np.asarray(Image.open(tmp_path / "set" / name)) < 215).sum()) for name in rows["file_name"]}
    for name in rows["file_name"]:
        if "/askew/" in name:
            assert ink[name] == pytest.approx(ink[name.replace("/askew/", "/straight/")], rel=0.2)
    records = [json.loads(path.read_text()) for path in sorted((done.review / "done").glob("*.json"))]
    assert [record["turned"] for record in records] == [2.0, 0.0]
