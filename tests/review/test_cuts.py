"""Pieces cut, joined, erased and taken through the server: masks, crops, classes, log, undo, and what is refused."""

from __future__ import annotations

import io
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.review.conftest import OWN, picture
from tests.review.metaphases import SizeAnalyst, hand_in_cut, make_folder

import bandbridge as bb
from bandbridge.metaphase.by_hand import join
from bandbridge.metaphase.pieces import Piece
from bandbridge.review.actions import Review
from bandbridge.review.database import DATABASE, Store
from bandbridge.review.field import with_fields
from bandbridge.review.intake import read_handed_in, sort_into_cells
from bandbridge.review.keeping import DamagedError
from bandbridge.review.patient_page import page_of
from bandbridge.review.worker import Worker


@pytest.fixture(scope="session")
def cut(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("cut"))


@pytest.fixture
def review(store, reader) -> Review:
    return Review(store, Worker(store, SizeAnalyst(), "the model"), reader=reader)


@pytest.fixture
def cell(store, cut) -> int:
    return hand_in_cut(store, cut.folder, SizeAnalyst())


def number_of(store, cell: int, file: str) -> int:
    stored = store.sheet(cell)
    return stored.ids[[one.file for one in stored.sheet.chromosomes].index(file)]


def shape_of(pieces: dict[int, Piece]) -> dict[int, tuple[int, int, bytes]]:
    return {number: (one.top, one.left, one.mask.tobytes()) for number, one in pieces.items()}


def standing(store, cell: int) -> list[tuple]:
    """All that is known of a cell's chromosomes as they stand, to the last digit."""
    stored = store.sheet(cell)
    rows = [
        (number, image, suggested, one.file, one.placed, one.corrected, one.pose, one.probabilities.tobytes())
        for number, image, suggested, one in zip(
            stored.ids, stored.images, stored.suggested, stored.sheet.chromosomes, strict=True
        )
    ]
    return [*rows, shape_of(store.field(cell).pieces), stored.sheet.findings]


def iou(one: Piece, other: Piece) -> float:
    both = join([one, other])
    return (one.area + other.area - both.area) / both.area


def test_the_page_is_told_of_the_metaphase_and_what_was_cut_is_never_written_to(browser, cell, cut, act):
    before = {path: path.read_bytes() for path in cut.folder.rglob("*.*")}
    shown = browser.get(f"/api/cells/{cell}").json()
    field = shown["field"]
    assert {int(number) for number in field["outlines"]} == {one["id"] for one in shown["chromosomes"]}
    left, top, right, bottom = field["box"]
    shown_picture = browser.get(field["picture"])
    with Image.open(io.BytesIO(shown_picture.content)) as image:
        np.testing.assert_array_equal(np.asarray(image), cut.gray[top:bottom, left:right])
    for number, piece in zip((one["id"] for one in shown["chromosomes"]), cut.pieces.values(), strict=True):
        points = np.concatenate([np.reshape(line, (-1, 2)) for line in field["outlines"][str(number)]])
        rows, columns = piece.box
        # Through the middles of the edge's sides: half a pixel around the mask's middles.
        assert np.abs(points.min(axis=0) - (columns.start, rows.start)).max() <= 1
        assert np.abs(points.max(axis=0) - (columns.stop, rows.stop)).max() <= 1
    act(cell, "cut", line=cut.line)
    assert before == {path: path.read_bytes() for path in cut.folder.rglob("*.*")}
    assert browser.get(f"/api/fields/{cell}/{'0' * 64}.png").status_code == 404


def test_a_pair_cut_along_a_line_is_the_two_truths_sorted_again(browser, cell, cut, act, store):
    pair = number_of(store, cell, f"{cut.pair:02d}.png")
    shown = act(cell, "cut", line=cut.line, chromosome=pair).json()
    assert shown["done"] and len(shown["chromosomes"]) == len(cut.pieces) + 1
    pieces = store.field(cell).pieces
    new = sorted(set(pieces) - {one for one in pieces if one <= pair})
    assert len(new) == 2 and pair not in pieces and shown["chromosome"] in new
    for truth in cut.truths:
        assert max(iou(truth, pieces[number]) for number in new) > 0.8
    # As if the classifier had been given these images from the start.
    stored = store.sheet(cell)
    images = [(one.file, one.image) for one in stored.sheet.chromosomes]
    for one, other in zip(stored.sheet.chromosomes, SizeAnalyst().sheet("drawn", images).chromosomes, strict=True):
        assert (one.placed, one.pose) == (other.placed, other.pose)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_every_tool_can_be_taken_back_and_made_again_to_the_last_digit(browser, cell, cut, act, store):
    first = number_of(store, cell, "01.png")
    rows, columns = cut.missed.box
    outline = [
        *([columns.start - 2, rows.start - 2], [columns.stop + 2, rows.start - 2]),
        *([columns.stop + 2, rows.stop + 2], [columns.start - 2, rows.stop + 2]),
    ]
    steps = [standing(store, cell)]

    def done(action: str, **values: object) -> dict:
        answer = act(cell, action, **values)
        assert answer.status_code == 200, answer.json()
        steps.append(standing(store, cell))
        return answer.json()

    done("place", chromosome=first, label="7")
    done("turn", chromosome=first, angle=33, flipped="1")
    done("cut", line=cut.line)
    made = [number for number in store.field(cell).pieces if number > len(cut.pieces)]
    done("join", chromosomes=made)
    whole = store.field(cell).pieces
    (joined,) = set(whole) - {row[0] for row in steps[3] if len(row) == 8}
    assert iou(whole[joined], cut.pieces[cut.pair]) == 1
    done("erase", chromosome=number_of(store, cell, "02.png"))
    taken = done("take", outline=outline)["chromosome"]
    assert iou(store.field(cell).pieces[taken], cut.missed) > 0.7
    done("place", chromosome=taken, label="1")
    # What a person placed and turned stayed so through all that was sorted again.
    kept = store.sheet(cell).sheet.chromosomes[0]
    assert (kept.placed, kept.corrected, kept.pose.angle, kept.pose.flipped) == ("7", True, 33.0, True)
    for before in reversed(steps[:-1]):
        assert act(cell, "undo").json()["done"]
        assert standing(store, cell) == before
    assert not act(cell, "undo").json()["done"]
    for after in steps[1:]:
        assert act(cell, "redo").json()["done"]
        assert standing(store, cell) == after
    kinds = [one.kind for one in store.log() if one.reader.name]
    assert kinds == ["place", "turn", "cut", "join", "erase", "take", "place", *["undo"] * 7, *["redo"] * 7]
    store.close()
    opened = Store(store.folder)
    assert standing(opened, cell) == steps[-1]
    assert opened.undo(cell).kind == "place" and opened.undo(cell).kind == "take"
    assert standing(opened, cell) == steps[5]
    opened.close()


def test_what_was_done_to_pieces_stands_on_the_patients_page_without_a_file_that_is_gone(
    browser, cell, cut, act, store
):
    act(cell, "describe", patient="p1", stain="Q")
    pair = number_of(store, cell, f"{cut.pair:02d}.png")
    was = store.sheet(cell).sheet.chromosomes[store.sheet(cell).ids.index(pair)].placed
    act(cell, "place", chromosome=pair, label="3")
    act(cell, "cut", line=cut.line)
    act(cell, "join", chromosomes=sorted(store.field(cell).pieces)[-2:])
    act(cell, "undo")
    act(cell, "erase", chromosome=number_of(store, cell, "01.png"))
    told = [(one.file, one.what) for one in page_of(store, "p1").changes][1:]
    assert told == [
        ("a piece gone", f"placed in 3, was in {was}"),
        ("", "cut a piece into 2"),
        ("", "joined 2 pieces"),
        ("", "took back: a join"),
        ("", "erased a piece"),
    ]


def without_proposals(store, cut) -> int:
    """The cell of ``cut``, sorted, as a reader study shows it without the proposals."""
    with store.taking_in():
        cells, _ = with_fields(cut.folder, sort_into_cells(read_handed_in(cut.folder), store).cells, store)
        ((cell, _),) = store.add_cells(cells)
    store.begin_reader_study({cell: (1, "without")})
    images = [(file, store.read_image(image)) for file, image in store.images_of(cell)]
    store.save_sheet(cell, SizeAnalyst().sheet("drawn", images), "m")
    return cell


def test_a_cell_shown_without_proposals_gets_none_when_it_is_sorted_again(browser, store, cut, act):
    cell = without_proposals(store, cut)
    act(cell, "place", chromosome=store.sheet(cell).ids[0], label="5")
    act(cell, "cut", line=cut.line)
    assert {one.placed for one in store.sheet(cell).sheet.chromosomes} == {"5", ""}
    assert "" not in store.sheet(cell).suggested


def test_the_other_way_of_a_doubtful_cut_is_offered_taken_taken_back_and_gone(browser, cell, cut, act, store):
    pair, first, second = (number_of(store, cell, f"{number:02d}.png") for number in (cut.pair, 1, 2))

    def offered() -> list[dict]:
        return browser.get(f"/api/cells/{cell}").json()["field"]["others"]

    assert [(one["chromosomes"], one["even"]) for one in offered()] == [([pair], True), ([first, second], False)]
    assert [one["text"] for one in offered()] == [
        f"{cut.pair:02d}.png may be two",
        "01.png and 02.png may be one chromosome",
    ]
    before = standing(store, cell)
    two, one = (each["other"] for each in offered())
    shown = act(cell, "other", other=two).json()
    assert shown["done"] and shown["chromosome"] not in (pair, first, second)
    pieces = store.field(cell).pieces
    new = sorted(pieces)[-2:]
    assert pair not in pieces and [max(iou(truth, pieces[k]) for k in new) for truth in cut.truths] == [1, 1]
    assert [each["chromosomes"] for each in shown["field"]["others"]] == [[first, second]]
    assert act(cell, "other", other=two).status_code == 404 == act(cell, "other", other=99).status_code
    assert act(cell, "other", other=True).status_code == 404
    # Where one of its pieces was changed by hand, the other way is no more.
    act(cell, "erase", chromosome=first)
    assert offered() == []
    assert act(cell, "undo").json()["done"] and len(offered()) == 1
    assert act(cell, "undo").json()["done"] and standing(store, cell) == before and len(offered()) == 2
    assert act(cell, "redo").json()["done"] and len(offered()) == 1
    act(cell, "other", other=one)
    assert iou(store.field(cell).pieces[max(store.field(cell).pieces)], join([cut.pieces[1], cut.pieces[2]])) == 1
    assert offered() == [] and [event.kind for event in store.history(cell)] == ["other", "erase", "other"]
    assert store.log()[-1].content["from"] == [first, second]
    store.close()
    Store(store.folder).close()  # as its log says


def test_a_cell_without_proposals_is_offered_no_other_way(browser, store, cut):
    cell = without_proposals(store, cut)
    assert len(store.field(cell).others) == 2
    assert browser.get(f"/api/cells/{cell}").json()["field"]["others"] == []


def test_a_click_takes_what_was_missed_and_a_second_one_nothing(browser, cell, cut, act, store):
    row, column = np.argwhere(cut.missed.mask)[cut.missed.area // 2]
    at = [cut.missed.left + int(column) + 0.5, cut.missed.top + int(row) + 0.5]
    taken = act(cell, "take", at=at).json()["chromosome"]
    assert iou(store.field(cell).pieces[taken], cut.missed) > 0.7
    again = act(cell, "take", at=at)
    assert again.status_code == 400 and "nothing is missed there" in again.json()["message"]


def test_crops_are_made_again_as_cut_makes_them(store, tmp_path, clean_field):
    """Erased and taken apart again: a piece joined with nothing new has the very crop that cut wrote."""
    from bandbridge.review.cuts import _made

    made = bb.cut(clean_field, tmp_path / "cells")
    cell = hand_in_cut(store, made.folder, SizeAnalyst())
    field = store.field(cell)
    for (_, image), piece in list(zip(store.images_of(cell), field.pieces.values(), strict=True))[::5]:
        assert _made(store, field, cell, [piece])[0].image == image


@pytest.fixture
def clean_field(tmp_path):
    from bandbridge.synthetic.crowd import Crowd
    from bandbridge.synthetic.spread import draw_spread

    spread = draw_spread("Q", 11, 1, Crowd(share=0.16, crossing=0, touching=0, bend=1, nuclei=0, debris=0))
    (tmp_path / "fields").mkdir()
    Image.fromarray(spread.gray).save(tmp_path / "fields" / "drawn.png")
    return tmp_path / "fields"


WRONG = {
    "no line": ("cut", {}, 400),
    "a line of one point": ("cut", {"line": [[50, 50]]}, 400),
    "far too many points": ("cut", {"line": [[50, 50]] * 401}, 400),
    "points of three": ("cut", {"line": [[50, 50, 1], [60, 60, 1]]}, 400),
    "no numbers": ("cut", {"line": [["5", 50], [60, 60]]}, 400),
    "truth for numbers": ("cut", {"line": [[True, 50], [60, 60]]}, 400),
    "outside": ("cut", {"line": [[-5000, 50], [60, 60]]}, 400),
    "a number of many digits": ("cut", {"line": [[10**40, 50], [60, 60]]}, 400),
    "one to join": ("join", {"chromosomes": [1]}, 400),
    "one twice": ("join", {"chromosomes": [1, 1]}, 400),
    "joined with what is not there": ("join", {"chromosomes": [1, 9999]}, 404),
    "no list": ("join", {"chromosomes": "12"}, 400),
    "erased that is not there": ("erase", {"chromosome": 9999}, 404),
    "erased by name": ("erase", {"chromosome": "../01.png"}, 404),
    "taken nowhere": ("take", {}, 400),
    "taken from two points": ("take", {"outline": [[50, 50], [60, 60]]}, 400),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_makes_no_sense_is_refused_and_changes_nothing(browser, cell, act, store, what):
    action, values, status = WRONG[what]
    before, pictures = standing(store, cell), sorted((store.folder / "images").iterdir())
    answer = act(cell, action, **values)
    assert answer.status_code == status and answer.json()["message"]
    assert standing(store, cell) == before and store.history(cell) == []
    assert sorted((store.folder / "images").iterdir()) == pictures


def test_numbers_that_are_none_a_line_beside_a_stale_page_and_an_accepted_cell_are_refused(browser, cell, cut, act):
    body = '{"version": 0, "reader": "Anna", "line": [[NaN, 5], [Infinity, 7]]}'
    answer = browser.post(f"/api/cells/{cell}/cut", content=body, headers=OWN)
    assert answer.status_code == 400
    left, top, *_ = browser.get(f"/api/cells/{cell}").json()["field"]["box"]
    beside = act(cell, "cut", line=[[left, top], [left + 1, top + 1]])
    assert beside.status_code == 400 and "crosses no chromosome" in beside.json()["message"]
    assert act(cell, "erase", version=7, chromosome=1).status_code == 409
    act(cell, "accept", accepted=True)
    assert act(cell, "cut", line=cut.line).status_code == 409


def test_a_cell_that_was_not_cut_from_a_metaphase_has_none(browser, store, act):
    from bandbridge.review.schema import Incoming

    images = [("1a.png", picture(1))]
    cell, _ = store.add_cell(Incoming("c", tuple((file, store.put_image(image)) for file, image in images)))
    store.save_sheet(cell, SizeAnalyst().sheet("c", images), "m")
    assert browser.get(f"/api/cells/{cell}").json()["field"] is None
    refused = act(cell, "erase", chromosome=1)
    assert refused.status_code == 409 and "was not cut from a metaphase" in refused.json()["message"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("UPDATE masks SET x = x + 1 WHERE chromosome = 3", "where a chromosome lies"),
        ("DELETE FROM masks WHERE chromosome = 3", "where a chromosome lies"),
        ("UPDATE fields SET width = 11", "the metaphase of a cell"),
        ("UPDATE alternatives SET told = '[]'", "what a cut may be otherwise"),
        ("UPDATE chromosomes SET gone = 0 WHERE id = 1", "01.png does not stand as its log says"),
    ],
)
def test_a_mask_that_was_altered_behind_the_log_is_noticed(cell, store, act, script, said):
    assert act(cell, "erase", chromosome=1).status_code == 200
    store.close()
    with closing(sqlite3.connect(store.folder / DATABASE)) as database:
        database.executescript(script)
        database.commit()
    with pytest.raises(DamagedError, match=said):
        Store(store.folder)


def test_a_cell_of_an_earlier_review_gets_its_metaphase_when_it_is_handed_in_again(store, cut):
    found = sort_into_cells(read_handed_in(cut.folder), store)
    ((cell, new),) = store.add_cells(found.cells)
    assert new and store.field(cell) is None
    cells, _ = with_fields(cut.folder, found.cells, store)
    assert store.add_cells(cells) == [(cell, False)] == store.add_cells(cells)
    assert len(store.field(cell).pieces) == len(cut.pieces)
    store.close()
    Store(store.folder).close()  # as its log says


def test_a_review_of_before_doubtful_cuts_is_brought_up_and_gets_them_when_handed_in_again(store, cut):
    found = sort_into_cells(read_handed_in(cut.folder), store).cells
    cells, _ = with_fields(cut.folder, found, store)
    assert cells[0].field is not None
    ((cell, _),) = store.add_cells([replace(cells[0], field=replace(cells[0].field, others=()))])
    store.close()
    with closing(sqlite3.connect(store.folder / DATABASE)) as database:
        database.executescript("DROP TABLE alternatives; PRAGMA user_version = 4")
    opened = Store(store.folder)
    assert len(opened.field(cell).pieces) == len(cut.pieces) and not opened.field(cell).others
    assert opened.add_cells(cells) == [(cell, False)] == opened.add_cells(cells)
    assert len(opened.field(cell).others) == 2
    opened.close()
    Store(store.folder).close()  # as its log says


def test_a_metaphase_that_cannot_be_read_is_named_and_the_cell_is_there(store, cut, tmp_path):
    folder = shutil.copytree(cut.folder, tmp_path / "copy")
    (folder / "fields" / "drawn" / "mask.png").write_bytes(b"\x89PNG")
    found = sort_into_cells(read_handed_in(folder), store)
    (cell,), (problem,) = with_fields(folder, found.cells, store)
    assert cell.field is None and problem.startswith("drawn: its metaphase is not shown: mask.png")
    shutil.copy(cut.folder / "fields" / "drawn" / "mask.png", folder / "fields" / "drawn" / "mask.png")
    Image.fromarray(np.zeros((9, 5), np.uint8)).save(folder / "images" / "drawn" / "extra.png")
    found = sort_into_cells(read_handed_in(folder), store)
    assert with_fields(folder, found.cells, store)[0][0].field is None
