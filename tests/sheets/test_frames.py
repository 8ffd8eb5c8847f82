"""Framed sheets as they come: squeezed, blurred, with faint walls, ticks and dust; the truth is what was drawn."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage
from tests.sheets.drawn import USUAL, Drawn, Style, draw_sheet

from bandbridge.karyotype import CLASSES
from bandbridge.sheets.frames import find_frames, find_ticks, frames_of
from bandbridge.sheets.ink import NoSheet, find_ink
from bandbridge.sheets.reading import read_sheet

FRAMED = Style(stain="Q", ground=0, ink=255, frames=True, numbers="corner", seed=8)
SIDE = 416


def squeezed(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def ticked(drawn: Drawn, gray: int = 255, long: int = 12) -> np.ndarray:
    """The sheet with a mark at both sides of each frame, as some programs draw where the centromeres are to be."""
    picture = Image.fromarray(drawn.picture)
    pen = ImageDraw.Draw(picture)
    for top, left, bottom, right in find_frames(drawn.picture == 255):
        middle = (top + bottom) // 2
        pen.rectangle((left - 1, middle, left + long, middle + 3), fill=gray)
        pen.rectangle((right - long, middle, right + 1, middle + 3), fill=gray)
    return np.asarray(picture)


def wrong(drawn: Drawn, gray: np.ndarray) -> list[str]:
    """What is wrong of the reading of ``gray``, which is ``drawn`` brought to another size: by the middles of boxes."""
    reading = read_sheet(gray)
    down, across = (now / was for now, was in zip(gray.shape, drawn.gray.shape, strict=True))
    left = list(drawn.truth)
    faults = list(reading.doubts)
    for one in reading.found:
        y, x = ((one.box[place] + one.box[place + 2]) / 2 / reading.ink.zoom for place in (0, 1))
        y, x = y / down, x / across
        held = [each for each in left if each[1][0] <= y <= each[1][2] and each[1][1] <= x <= each[1][3]]
        if not held:
            faults.append(f"{one.label} where nothing is")
            continue
        left.remove(held[0])
        faults += [f"{held[0][0]} called {one.label}"] * (held[0][0] != one.label)
    return faults + [f"missed {label}" for label, _ in left]


def test_walls_that_a_small_scan_runs_together_are_walls() -> None:
    drawn = draw_sheet(FRAMED)
    small = squeezed(drawn.gray)
    soft = np.rint(ndimage.gaussian_filter(small.astype(float), 0.8)).astype(np.uint8)
    assert not wrong(drawn, small) and not wrong(drawn, soft)


def test_faint_walls_beside_bright_chromosomes_are_walls() -> None:
    drawn, bare = draw_sheet(replace(FRAMED, numbers="")), draw_sheet(replace(FRAMED, frames=False, numbers=""))
    walls = drawn.gray != bare.gray
    faint = squeezed(np.where(walls, 14, bare.gray).astype(np.uint8))
    assert not wrong(drawn, faint)


def test_a_frame_that_lost_a_wall_is_found_by_the_others() -> None:
    drawn = draw_sheet(FRAMED)
    frames = find_frames(drawn.picture == 255)
    assert len(frames) == 24
    # Of 22, the right one; between 3 and 4 one of both, and of 2 the left one.
    for place, edge in ((21, 3), (2, 3), (1, 1)):
        picture = drawn.picture.copy()
        top, _, bottom, _ = frames[place]
        picture[top:bottom, frames[place][edge] - 6 : frames[place][edge] + 6] = 0
        assert not wrong(drawn, squeezed(picture)), (place, edge)


def test_ticks_are_told_from_chromosomes_and_their_compressed_rims_are_no_pieces() -> None:
    drawn = draw_sheet(FRAMED)
    gray = squeezed(ticked(drawn))
    ink = find_ink(gray)
    frames = frames_of(ink)
    ticks = find_ticks(frames, ink)
    middle = (frames[0][0] + frames[0][2]) // 2
    assert ticks.mask[middle, frames[0][1] + 4] and ticks.mask[middle, frames[0][3] - 5]
    assert not ticks.mask[:, sum(frames[0][1::2]) // 2].any()
    assert find_ticks(frames, find_ink(squeezed(drawn.gray))).zones == ()
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=50)
    for seen in (gray, np.asarray(Image.open(file))):
        assert not wrong(drawn, seen)


def test_two_small_chromosomes_are_no_number() -> None:
    """Upright, of the height of the numbers and side by side, they look like 11."""
    for scale, size in ((0.8, 26), (0.6, 26)):  # the second's numbers reach into the middles of low frames
        drawn = draw_sheet(replace(FRAMED, scale=scale, size=size))
        assert not wrong(drawn, np.asarray(Image.fromarray(drawn.gray).resize((340, SIDE))))


def test_dust_between_frames_moves_no_label_and_is_told_of_where_it_is_large() -> None:
    drawn = draw_sheet(FRAMED)
    frames = find_frames(drawn.picture == 255)
    # The place between 15 and 16, with walls all around as programs leave it that draw rows close to one another.
    left, right = frames[14][3] + 8, frames[15][1] - 8
    top, bottom = frames[14][0] - 20, frames[14][2] + 12
    picture = drawn.picture.copy()
    picture[[top, top + 1, bottom, bottom + 1], left:right] = 255
    picture[top:bottom, [left, left + 1, right - 2, right - 1]] = 255
    y, x = (top + bottom) // 2, (left + right) // 2
    picture[y : y + 5, x : x + 5] = 90
    assert not wrong(drawn, squeezed(picture))
    picture[y - 30 : y + 30, x - 12 : x + 12] = 120
    faults = wrong(drawn, squeezed(picture))
    assert not [fault for fault in faults if " called " in fault and not fault.endswith("called ")]
    assert any("pieces of no class" in fault for fault in faults)


def test_a_bar_through_a_frame_does_not_divide_it() -> None:
    walls = np.zeros((400, 800), bool)
    for row in range(3):
        for column in range(6):
            top, left = 20 + 120 * row, 20 + 120 * column
            walls[top : top + 100, [left, left + 99]] = True
            walls[[top, top + 99], left : left + 100] = True
    whole = find_frames(walls)
    walls[70, 140:240] = True
    assert len(whole) == 18 and [box[1::2] for box in find_frames(walls)] == [box[1::2] for box in whole]


@pytest.mark.parametrize("missing", ["1", "10", "22"])
def test_a_frame_that_is_not_there_moves_no_label_of_another_row(missing: str) -> None:
    drawn = draw_sheet(replace(FRAMED, numbers=""))
    place = CLASSES.index(missing)
    picture = drawn.picture.copy()
    top, left, bottom, right = find_frames(drawn.picture == 255)[place]
    picture[top - 8 : bottom + 8, left - 8 : right + 8] = 0
    row = next(row for row in USUAL if missing in row)
    faults = wrong(drawn, squeezed(picture))
    moved = [fault for fault in faults if " called " in fault and fault.split()[0] not in row]
    assert not moved and any("no chromosome" in fault for fault in faults), faults


def test_two_x_that_touch_are_two_and_one_x_stays_one() -> None:
    drawn = draw_sheet(FRAMED)
    boxes = [box for label, box in drawn.truth if label == "X"]
    assert len(boxes) == 1, "the drawn cell is XY"
    top, left, bottom, right = boxes[0]
    y = next(box for label, box in drawn.truth if label == "Y")
    picture = drawn.picture.copy()
    picture[y[0] : y[2], y[1] : y[3]] = 0
    assert read_sheet(picture).counts["X"] == 1
    picture[top:bottom, right - 1 : 2 * right - left - 1] = picture[top:bottom, left:right]
    reading = read_sheet(picture)
    assert reading.counts["X"] == 2 and reading.doubts == ()


def test_what_hardly_stands_out_is_doubted() -> None:
    drawn = draw_sheet(FRAMED)
    picture = drawn.picture.copy()
    for label, (top, left, bottom, right) in drawn.truth:
        if label == "22":
            picture[top:bottom, left:right] = np.rint(picture[top:bottom, left:right] * 0.02)
    assert any("22" in one or "hardly stands out" in one for one in read_sheet(picture).doubts)


def test_a_sheet_upside_down_is_called_that() -> None:
    with pytest.raises(NoSheet, match="upside down"):
        read_sheet(np.ascontiguousarray(np.rot90(draw_sheet(FRAMED).gray, 2)))
