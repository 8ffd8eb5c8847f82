"""Who may sign a patient's cells, in which order, and until when a signature holds."""

from __future__ import annotations

import pytest
from tests.review.conftest import NamedAnalyst, picture

from bandbridge.errors import UserError
from bandbridge.review.log import Reader
from bandbridge.review.schema import Incoming

ANNA, BEN, ANNA_AGAIN = Reader("Anna", "first"), Reader("Ben", "second"), Reader(" anna", "second")


@pytest.fixture
def cells(store):
    """Two cells of patient p7, one accepted and one counted only, and one of p8, still open; their ids."""
    found = []
    for number, patient in enumerate(("p7", "p7", "p8")):
        images = [(f"{label}a.png", picture(10 * number + seed)) for seed, label in enumerate(("1", "X"))]
        held = tuple((name, store.put_image(pixels)) for name, pixels in images)
        cell, _ = store.add_cell(Incoming(f"c{number}", held, patient))
        store.save_sheet(cell, NamedAnalyst().sheet(f"c{number}", images), "m")
        found.append(cell)
    store.change(found[0], "accept", (1,), by=ANNA)
    store.change(found[1], "count", (1,), by=ANNA)
    return found


def told(store, patient="p7"):
    return [(one.reader, one.role, one.stands) for one in store.signatures(patient)]


def test_the_first_reader_signs_then_the_second_and_the_log_has_it(store, cells):
    store.sign("p7", ANNA)
    store.sign("p7", BEN)
    assert told(store) == [("Anna", "first", True), ("Ben", "second", True)] and told(store, "p8") == []
    last = store.log()[-1]
    assert (last.kind, last.reader, last.content["patient"]) == ("sign", BEN, "p7")
    assert store.signatures("p7")[-1].hash == store.head() == last.hash


@pytest.mark.parametrize(
    ("signed", "patient", "by", "said"),
    [
        ([], "p7", Reader(), "it is not known who signs"),
        ([], "p9", ANNA, "there is no cell of patient p9"),
        ([], "", ANNA, "the cell has no patient"),
        ([], "p8", ANNA, "not accepted and not counted only: c2"),
        ([], "p7", BEN, "no first reader has signed p7"),
        ([ANNA], "p7", ANNA, "Anna has signed p7 as it stands"),
        ([ANNA], "p7", ANNA_AGAIN, "has signed p7 as the first reader"),
    ],
)
def test_who_may_not_sign_is_told_why_and_nothing_is_kept(store, cells, signed, patient, by, said):
    for one in signed:
        store.sign("p7", one)
    before = len(store.log())
    with pytest.raises(UserError, match=said) as refused:
        store.sign(patient, by)
    assert refused.value.remedy and len(store.log()) == before


def test_a_signature_holds_until_anything_of_the_patient_changes_and_again_when_it_is_taken_back(store, cells):
    store.sign("p7", ANNA)
    other = store.sheet(cells[2]).ids[0]
    store.change(cells[2], "place", ("2", 1), other, by=ANNA)
    assert told(store) == [("Anna", "first", True)], "another patient's cell"
    store.change(cells[0], "accept", (0,), by=BEN)
    assert told(store) == [("Anna", "first", False)]
    store.undo(cells[0], by=BEN)
    assert told(store) == [("Anna", "first", True)]
    number = store.sheet(cells[1]).ids[0]
    store.change(cells[1], "turn", (5.0, 0, 1.0), number, by=BEN)
    with pytest.raises(UserError, match="no first reader has signed p7 as it stands"):
        store.sign("p7", BEN)
    store.sign("p7", ANNA)
    assert told(store) == [("Anna", "first", False), ("Anna", "first", True)]
    store.describe(cells[2], "p7", "", by=ANNA)
    assert [one.stands for one in store.signatures("p7")] == [False, False], "a cell more"
