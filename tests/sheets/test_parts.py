"""The steps of reading a sheet one by one, each against an answer found in another way."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.sheets.drawn import Style, _font, draw_sheet, overlap

from bandbridge.karyotype import CLASSES
from bandbridge.sheets.crops import cut_crop
from bandbridge.sheets.frames import find_frames
from bandbridge.sheets.groups import _divide, in_rows
from bandbridge.sheets.ink import find_ink
from bandbridge.sheets.naming import align, contradicts, is_witness, name_numbers
from bandbridge.sheets.numbers import Number, find_print, read
from bandbridge.sheets.pieces import Piece, cut_in_two, find_pieces, gap_between, join
from bandbridge.sheets.reading import read_sheet


def written(text: str, font: str, size: int = 40) -> np.ndarray:
    canvas = Image.new("L", (200, 100))
    ImageDraw.Draw(canvas).text((20, 20), text, fill=255, font=_font(font, size))
    values = np.asarray(canvas)
    rows, columns = np.flatnonzero(values.max(axis=1)), np.flatnonzero(values.max(axis=0))
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)


@pytest.mark.parametrize("font", ["DejaVuSansMono", "DejaVuSerif-Bold", "cmtt10"])
def test_labels_in_fonts_that_are_no_templates_read_as_themselves(font: str) -> None:
    read_as = {label: read(written(label, font)) for label in CLASSES}
    best = {label: max(scores, key=scores.__getitem__) for label, scores in read_as.items()}
    assert sum(best[label] == label for label in CLASSES) >= 21, best
    assert all(scores[label] > 0.5 for label, scores in read_as.items())


def rising(items: int, labels: int) -> list[tuple[int | None, ...]]:
    """Every way to give some of ``items`` rising labels."""
    ways = []
    for many in range(min(items, labels) + 1):
        for places, chosen in product(combinations(range(items), many), combinations(range(labels), many)):
            way: list[int | None] = [None] * items
            for place, label in zip(places, chosen, strict=True):
                way[place] = label
            ways.append(tuple(way))
    return ways


def worth(gain: np.ndarray, way: tuple[int | None, ...], follow: float) -> float:
    named = [(place, label) for place, label in enumerate(way) if label is not None]
    total = sum(gain[place, label] for place, label in named)
    before = [-1] + [label for _, label in named]
    # The first label follows nothing unless it is the first of all.
    return total + follow * sum(label == last + 1 for last, (_, label) in zip(before, named, strict=False))


@pytest.mark.parametrize("seed", range(12))
def test_aligning_finds_the_best_of_all_ways(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, labels = int(rng.integers(1, 5)), int(rng.integers(1, 6))
    gain = rng.normal(0, 1, (items, labels))
    found = tuple(align(gain, follow=0.3))
    best = max(worth(gain, way, 0.3) for way in rising(items, labels))
    assert worth(gain, found, 0.3) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(6))
def test_dividing_finds_the_cheapest_of_all_divisions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, parts = int(rng.integers(0, 7)), int(rng.integers(1, 4))
    costs = rng.random((parts, items + 1, items + 1))

    def total(bounds: list[int]) -> float:
        return sum(costs[part, bounds[part], bounds[part + 1]] for part in range(parts))

    cuts = [[0, *inner, items] for inner in product(range(items + 1), repeat=parts - 1) if sorted(inner) == list(inner)]
    found = _divide(items, parts, lambda part, first, last: float(costs[part, first, last]), most=max(items, 1))
    assert total(found) == pytest.approx(min(map(total, cuts)))


def number(x: int, y: int, **scores: float) -> Number:
    return Number((y, x, y + 20, x + 20), dict.fromkeys((*CLASSES, "M", "mar", "XY"), 0.1) | scores)


def test_order_settles_what_a_number_alone_leaves_open() -> None:
    numbers = [number(0, 0, **{"1": 0.9}), number(100, 0, **{"2": 0.8}), number(200, 0, **{"8": 0.82, "3": 0.8})]
    numbers += [number(300, 0, **{"4": 0.9})]
    named = name_numbers(numbers)
    assert [label for _, label in named.numbers] == ["1", "2", "3", "4"] and named.usual
    assert named.witnesses == 4  # the third reads nearly as well as 3
    assert is_witness(numbers[0], "1") and not is_witness(numbers[0], "2") and not is_witness(None, "1")


def test_numbers_that_clearly_stand_otherwise_are_believed_and_told() -> None:
    labels = ["22", "21", "20", "19", "5", "4", "3", "2"]
    named = name_numbers([number(100 * place, 0, **{label: 0.9}) for place, label in enumerate(labels)])
    assert [label for _, label in named.numbers] == labels and not named.usual


def test_half_a_number_contradicts_nothing() -> None:
    assert contradicts(number(0, 0, **{"7": 0.9}), "4")
    assert not contradicts(number(0, 0, **{"2": 0.9}), "12") and not contradicts(None, "4")


def test_rows_are_what_shares_its_middle_height() -> None:
    boxes = [(100, 50, 140, 60), (0, 40, 90, 50), (10, 0, 80, 10), (105, 0, 120, 10)]
    assert in_rows(boxes) == [[2, 1], [3, 0]] and in_rows([]) == []


def test_frames_are_boxes_all_around_and_many() -> None:
    lines = np.zeros((400, 700), bool)
    for row, column in product(range(3), range(6)):
        top, left = 20 + 120 * row, 20 + 110 * column
        for edge in (np.s_[top, left : left + 100], np.s_[top + 99, left : left + 100]):
            lines[edge] = True
        for edge in (np.s_[top : top + 100, left], np.s_[top : top + 100, left + 99]):
            lines[edge] = True
    found = find_frames(lines)
    assert len(found) == 18 and all(abs(box[2] - box[0] - 95) <= 3 for box in found)
    assert [box[1] for box in found[:6]] == sorted(box[1] for box in found[:6])
    lines[20:60, 20] = False  # a side is made good by those above and below
    assert len(find_frames(lines)) == 18
    lines[20, 20:110] = False  # one that is open above, too, is none
    assert len(find_frames(lines)) == 17


def two(gap: int, overlap: int = 0) -> np.ndarray:
    """Two upright bodies side by side, joined over ``overlap`` rows where they are nearest."""
    picture = np.full((500, 800), 255, np.uint8)
    picture[100:220, 300:330] = 60
    picture[110:225, 330 + gap : 360 + gap] = 60
    picture[150 : 150 + overlap, 330 : 330 + gap] = 60
    for place in range(12):  # the rest of a sheet
        picture[300:400, 30 + 60 * place : 60 + 60 * place] = 60
    return picture


def test_touching_bodies_are_cut_where_they_touch() -> None:
    ink = find_ink(two(4, overlap=30))
    pieces = find_pieces(ink, np.zeros_like(ink.mask))
    largest = max(pieces.pieces, key=lambda piece: piece.area)
    assert len(pieces.pieces) == 13
    halves = cut_in_two(largest, ink)
    assert halves is not None
    (first, second), through = halves
    seam = (330 + 2) * ink.zoom
    assert first.box[3] <= seam + 8 and second.box[1] >= seam - 8 and 0 < through < 0.45
    assert first.area == pytest.approx(120 * 30 * ink.zoom**2, rel=0.1)


def test_one_body_is_not_cut_along_full_ink() -> None:
    ink = find_ink(two(60))
    pieces = find_pieces(ink, np.zeros_like(ink.mask))
    assert len(pieces.pieces) == 14
    assert all(cut_in_two(piece, ink) is None for piece in pieces.pieces)


def test_joining_keeps_every_pixel() -> None:
    one = Piece((0, 0, 10, 5), np.ones((10, 5), bool))
    other = Piece((14, 2, 20, 9), np.ones((6, 7), bool))
    both = join(one, other)
    assert both.box == (0, 0, 20, 9) and both.mask.sum() == 50 + 42 and both.joined
    assert gap_between(one, other) == 4 and gap_between(one, one) == 0


def test_lines_are_found_and_what_they_cross_stays_whole() -> None:
    picture = two(60)
    picture[160:162, 100:700] = 0  # through both bodies
    ink = find_ink(picture)
    z = ink.zoom
    assert ink.lines[round(161 * z), round(200 * z)] and not ink.mask[round(161 * z), round(200 * z)]
    assert len(find_pieces(ink, np.zeros_like(ink.mask)).pieces) == 14
    assert ink.mask[round(161 * z), round(315 * z)], "the body keeps its pixels under the line"


def test_text_is_print_and_chromosomes_are_not() -> None:
    drawn = draw_sheet(Style(caption="Jane Person 46,XX"))
    ink = find_ink(drawn.gray)
    found = find_print(ink)
    taken = found.ink(found.numbers)
    z = ink.zoom
    assert taken[: round(30 * z)].any(), "the caption"
    covered = [
        taken[round(top * z) : round(bottom * z), round(left * z) : round(right * z)].mean()
        for _, (top, left, bottom, right) in drawn.truth
    ]
    assert max(covered) < 0.02


def test_crops_show_their_chromosome_alone_on_the_ground() -> None:
    drawn = draw_sheet(Style(caption="Jane Person", underline=True))
    reading = read_sheet(drawn.gray)
    assert len(reading.found) == 46
    for one in reading.found:
        crop = cut_crop(drawn.gray, one, reading)
        box = [side / reading.ink.zoom for side in one.box]
        _, (top, left, bottom, right) = max(drawn.truth, key=lambda each: overlap(each[1], box))
        inside = drawn.gray[top:bottom, left:right]
        assert (crop[:3] == reading.ink.ground).all() and (crop[:, -3:] == reading.ink.ground).all()
        dark, expected = (int((255 - part.astype(int)).sum()) for part in (crop, inside))
        assert dark == pytest.approx(expected, rel=0.15), one.label
