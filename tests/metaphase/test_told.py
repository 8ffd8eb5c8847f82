"""What a cut may be otherwise: its words, its masks in bits, and its record, which older ones lack."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bandbridge.metaphase.alternatives import Alternative
from bandbridge.metaphase.by_hand import piece_of
from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.record import doubts_in
from bandbridge.metaphase.told import alternatives_in, as_bits, from_bits, own_text, told, whole_text, write_masks


@pytest.mark.parametrize(
    ("names", "gives", "says"),
    [
        (["12", "13"], 1, "pieces 12 and 13 may be one chromosome"),
        (["7"], 2, "piece 7 may be two"),
        (["7"], 3, "piece 7 may be three"),
        (["7"], 1, "piece 7 may have another shape"),
        (["3", "5"], 2, "pieces 3 and 5 may be parted another way"),
        (["3", "5", "9"], 1, "pieces 3, 5 and 9 may be one chromosome"),
    ],
)
def test_the_words(names, gives, says) -> None:
    assert whole_text(names, gives, "piece") == says
    assert own_text(["13"], 1) == "may be one with 13" and own_text([], 2) == "may be two"
    assert own_text(["3", "4"], 2) == "may be parted another way from 3 and 4"


def square(top: int, left: int, side: int = 9):
    where = np.zeros((60, 60), bool)
    where[top : top + side, left : left + side] = True
    return piece_of(where)


def test_pieces_that_lie_on_each_other_are_the_same_again_from_their_bits() -> None:
    given = [square(10, 20), square(14, 24), square(30, 12, 3)]
    again = from_bits(as_bits(given), 10, 12)
    assert [(one.top, one.left, one.area) for one in again] == [(one.top, one.left, one.area) for one in given]
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(again, given, strict=True))


def test_the_record_tells_of_what_lies_in_one_cell_and_is_read_again(tmp_path) -> None:
    pieces = tuple(square(10, 5 + 10 * k) for k in range(5))
    others = (
        Alternative("join", True, 0.25, (3, 1), (square(10, 15, 12),), (12.0, 30.0)),
        Alternative("join", False, 0.75, (1, 2), (square(10, 15, 12),), (12.0, 30.0)),
        Alternative("path", False, float("nan"), (4,), (square(2, 2), square(20, 2)), (1.0, 2.0)),
    )
    seen = SimpleNamespace(bright=True)
    cut = Cut((60, 60), pieces, ((0, 1, 3), (2, 4)), seen, None, otherwise=others)  # type: ignore[arg-type]
    rows = told(cut, ["a", "a-2"])
    assert [(row["cell"], row["pieces"], row["says"]) for row in rows] == [
        ("a", [3, 2], "pieces 3 and 2 may be one chromosome"),
        ("a-2", [2], "piece 2 may be two"),
    ]
    assert (rows[0]["x"], rows[0]["y"], rows[0]["margin"], rows[1]["margin"]) == (30.0, 12.0, 0.25, None)
    place = tmp_path / "fields" / "a"
    place.mkdir(parents=True)
    write_masks(cut, place)
    names = sorted(path.name for path in (place / "alternatives").iterdir())
    assert names == ["01.png", "02.png"] and [row["masks"] for row in rows] == [f"alternatives/{one}" for one in names]
    record = {"kind": "bandbridge cut", "found": {"cells": {"a": 3}, "alternatives": rows}}
    (place / "cut.json").write_text(json.dumps(record))
    assert alternatives_in(place, "a") == rows[:1] and alternatives_in(place, "a-2") == rows[1:]
    del record["found"]["alternatives"]
    (place / "cut.json").write_text(json.dumps(record))
    assert alternatives_in(place, "a") == [] and doubts_in(tmp_path) == {}
    record["found"]["pieces"] = [
        {"cell": "a", "mask": 2, "doubt": "may be one with 3"},
        {"cell": "a", "mask": 1, "doubt": ""},
        {"cell": "a", "mask": 3},
    ]
    (place / "cut.json").write_text(json.dumps(record))
    assert doubts_in(tmp_path) == {("a", 2): "may be one with 3"}
