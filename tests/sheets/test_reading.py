"""Drawn sheets in many styles, whose truth is known: everything right without a doubt, or doubted."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.sheets.drawn import TALL, USUAL, WIDE, Drawn, Style, boxes_right, draw_sheet

from bandbridge.karyotype import CLASSES
from bandbridge.sheets.ink import NoSheet
from bandbridge.sheets.judging import DOUBTFUL, FAIR, SURE, Expected, Found, Reading, _tilt_doubts
from bandbridge.sheets.reading import read_sheet
from bandbridge.sheets.tables import counts_of

XY_TOGETHER = (*USUAL[:3], ("19", "20", "", "21", "22", "", "XY"))
STYLES = {
    "numbers": (Style(), "numbers"),
    "no numbers": (Style(numbers=""), "gaps"),
    "underlines": (Style(underline=True, font="DejaVuSans"), "numbers"),
    "frames": (Style(frames=True, numbers="corner", seed=8), "frames"),
    "frames without numbers": (Style(frames=True, numbers=""), "frames"),
    "red numbers": (Style(tint=(220, 20, 20)), "numbers"),
    "numbers above": (Style(numbers="above", seed=8), "numbers"),
    "bright on black, in frames": (
        Style(stain="Q", ground=0, ink=255, frames=True, numbers="corner", seed=8),
        "frames",
    ),
    "bright on grey": (Style(stain="Q", ground=30, ink=220, seed=8), "numbers"),
    "dark on grey": (Style(ground=190, ink=20), "numbers"),
    "three rows": (Style(rows=WIDE), "numbers"),
    "six rows": (Style(rows=TALL), "numbers"),
    "six rows without numbers": (Style(rows=TALL, numbers=""), "gaps"),
    "a name and a date": (Style(caption="Name: A. Person  born 01.02.1970  46,XY"), "numbers"),
    "tiny": (Style(scale=0.45, size=10, pair=4), "numbers"),
    "huge": (Style(scale=2.2, size=40, pair=16), "numbers"),
    "touching homologues": (Style(pair=-3), "numbers"),
    "X and Y under one label": (Style(rows=XY_TOGETHER, together="XY"), "numbers"),
    "two X under that label": (Style(rows=XY_TOGETHER, together="XY", seed=8), "numbers"),
    "serifs": (Style(font="STIXGeneral", size=20), "numbers"),
}


def wrong(drawn: Drawn, reading: Reading) -> list[str]:
    zoom = reading.ink.zoom
    return boxes_right(
        drawn, [(one.label, tuple(side / zoom for side in one.box)) for one in reading.found if one.label]
    )


@pytest.mark.parametrize("name", STYLES)
def test_a_sheet_of_any_style_is_read_without_a_doubt(name: str) -> None:
    style, by = STYLES[name]
    drawn = draw_sheet(style)
    reading = read_sheet(drawn.gray, drawn.colour)
    assert not wrong(drawn, reading) and reading.doubts == () and reading.by == by
    assert Counter(one.label for one in reading.found if one.label) == Counter(label for label, _ in drawn.truth)


def test_how_sure_a_label_is_follows_what_speaks_for_it() -> None:
    sures = {
        name: Counter(one.sure for one in read_sheet(draw_sheet(STYLES[name][0]).gray).found)
        for name in ("numbers", "no numbers", "touching homologues")
    }
    assert sures["numbers"] == {SURE: 46} and sures["no numbers"] == {FAIR: 46}
    assert sures["touching homologues"][FAIR] > 30  # which were cut


@pytest.mark.parametrize(
    ("style", "doubt"),
    [
        (Style(extra=("21",)), "47 chromosomes: 3 of 21"),
        (Style(missing=("20",)), "no chromosome 20"),
        (Style(extra=("4",), numbers=""), "of 4"),
    ],
)
def test_what_does_not_add_up_is_doubted(style: Style, doubt: str) -> None:
    drawn = draw_sheet(style)
    reading = read_sheet(drawn.gray, drawn.colour)
    assert any(doubt in one for one in reading.doubts), reading.doubts


def test_a_karyotype_that_is_told_makes_47_add_up_and_46_not() -> None:
    drawn = draw_sheet(Style(extra=("21",)))
    sex = "XY" if any(label == "Y" for label, _ in drawn.truth) else "XX"
    right, normal = f"47,{sex},+21", f"46,{sex}"
    assert read_sheet(drawn.gray, None, Expected(counts=counts_of(right), karyotype=right)).doubts == ()
    doubts = read_sheet(drawn.gray, None, Expected(counts=counts_of(normal), karyotype=normal)).doubts
    assert doubts == (f"not as {normal}: 3 of 21, expected 2",)


def test_another_order_is_read_by_a_layout_and_doubted_without_one() -> None:
    rows = (USUAL[3], USUAL[2], USUAL[1], USUAL[0])
    drawn = draw_sheet(Style(rows=rows, numbers=""))
    order = tuple(label for row in rows for label in row if label)
    told = read_sheet(drawn.gray, None, Expected(order, tuple(sum(map(bool, row)) for row in rows)))
    assert not wrong(drawn, told) and told.doubts == ()
    with contextlib.suppress(NoSheet):  # which is a clear answer, too
        assert read_sheet(drawn.gray).doubts


def test_numbers_that_contradict_the_sizes_are_doubted() -> None:
    rows = ((*USUAL[0][:5], "22"), USUAL[1], USUAL[2], ("19", "20", "", "21", "5", "X", "Y"))
    drawn = draw_sheet(Style(rows=tuple(tuple(row) for row in rows)))
    reading = read_sheet(drawn.gray)
    assert any("the number reads" in doubt or "doubtful" in doubt for doubt in reading.doubts), reading.doubts


def test_lost_numbers_hand_no_chromosomes_to_their_neighbours() -> None:
    """Of small scans numbers are lost, or read as others: then the order and the gaps tell, and what is left of the
    numbers is no piece."""
    drawn = draw_sheet(Style(size=22))
    blank = draw_sheet(Style(numbers=""))
    picture = drawn.picture.copy()
    # The numbers 4, 6 and 8 are away, those of 18 and 19 are blots.
    columns = {label: (box[1] + box[3]) // 2 for label, box in drawn.truth}
    floors = {label: box[2] for label, box in drawn.truth}
    for label in ("4", "6", "8", "18", "19"):
        spot = np.s_[floors[label] + 6 : floors[label] + 40, columns[label] - 40 : columns[label] + 40]
        picture[spot] = blank.picture[spot]
        if label in ("18", "19"):
            picture[floors[label] + 12 : floors[label] + 30, columns[label] - 12 : columns[label] + 12] = 60
    reading = read_sheet(picture)
    assert not wrong(drawn, reading) and sum(reading.counts.values()) == 46


def scattered(seed: int) -> np.ndarray:
    """The chromosomes of a cell strewn over a field, as on a metaphase."""
    drawn = draw_sheet(Style(numbers=""))
    rng = np.random.default_rng(seed)
    field = np.full((1100, 1400), 255, np.uint8)
    for number, place in enumerate(rng.permutation(len(drawn.truth))):
        top, left, bottom, right = drawn.truth[place][1]
        y, x = 20 + 150 * (number // 8) + rng.integers(0, 20), 20 + 165 * (number % 8) + rng.integers(0, 40)
        field[y : y + bottom - top, x : x + right - left] = drawn.gray[top:bottom, left:right]
    return field


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (np.full((400, 500), 255, np.uint8), "blank"),
        (np.random.default_rng(1).integers(0, 256, (300, 400)).astype(np.uint8), "noise|no karyogram"),
        (scattered(3), "no order of their sizes"),
        (np.where(np.indices((400, 500))[1] % 100 < 50, 0, 255).astype(np.uint8), "no"),
    ],
    ids=["blank", "noise", "a metaphase", "stripes"],
)
def test_a_picture_that_is_no_sheet_is_called_that(picture: np.ndarray, why: str) -> None:
    with pytest.raises(NoSheet, match=why):
        read_sheet(picture)


def test_a_sheet_turned_negative_is_read_alike() -> None:
    drawn = draw_sheet(Style())
    one, other = read_sheet(drawn.gray), read_sheet(255 - drawn.gray)
    assert one.ink.bright and not other.ink.bright
    assert [(each.label, each.box) for each in one.found] == [(each.label, each.box) for each in other.found]


def test_every_class_has_its_pair() -> None:
    reading = read_sheet(draw_sheet(replace(Style(), seed=8)).gray)
    assert sum(reading.counts.values()) == 46 and all(reading.counts[label] == 2 for label in CLASSES[:22])
    assert not [one for one in reading.found if one.sure == DOUBTFUL]


@pytest.mark.parametrize("numbers", ["below", "above"])
@pytest.mark.parametrize("size", [11, 13, 18])
def test_a_sheet_askew_is_not_imported_with_its_numbers_in_the_crops(numbers, size):
    """What a crop shows of its number would tell a classifier its class."""
    gray = draw_sheet(Style(numbers=numbers, size=size)).gray
    assert not read_sheet(gray).doubts
    for degrees in (2.5, -3.0):
        askew = Image.fromarray(gray).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
        with contextlib.suppress(NoSheet):  # refused, and so not imported either
            assert read_sheet(np.asarray(askew)).doubts


@pytest.mark.parametrize(("many", "at", "told"), [(10, 12, True), (10, 0, True), (9, 12, False), (46, 4, False)])
def test_parts_over_or_under_many_chromosomes_may_be_numbers(many, at, told):
    mask = np.zeros((15, 8), bool)
    mask[3:10, 2:6] = True
    with_part = mask.copy()
    with_part[at : at + 2, 7 if at == 4 else 3] = True
    found = [Found(k, "1", (0, 0, 15, 8), with_part if k < many else mask, SURE, "") for k in range(46)]
    assert bool(_tilt_doubts(found)) == told
