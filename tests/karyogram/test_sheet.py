"""A cell's sheet: where chromosomes are, in what order, and what a person's move changes."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding

CLASSES = ("1", "2", "X")


def chromosome(file: str, placed: str, *probabilities: float) -> Chromosome:
    predicted = CLASSES[int(np.argmax(probabilities))]
    return Chromosome(file, np.zeros((4, 3), np.uint8), predicted, placed, np.array(probabilities))


@pytest.fixture
def sheet() -> CellSheet:
    return CellSheet(
        "c1",
        CLASSES,
        (
            chromosome("a", "1", 0.6, 0.3, 0.1),
            chromosome("b", "1", 0.9, 0.1, 0.0),
            chromosome("c", "", 0.2, 0.7, 0.1),
        ),
    )


def test_the_most_certain_comes_first_in_its_class(sheet):
    assert [one.file for one in sheet.of("1")] == ["b", "a"]
    assert sheet.of("X") == ()


def test_one_without_a_place_is_as_probable_as_its_prediction(sheet):
    (one,) = sheet.of("")
    assert sheet.probability(one) == 0.7


def test_a_move_is_a_persons_and_changes_nothing_else(sheet):
    moved = sheet.move("c", "X")
    assert [one.file for one in moved.of("X")] == ["c"] and moved.of("X")[0].corrected
    assert moved.probability(moved.of("X")[0]) == 0.1
    assert moved.of("1") == sheet.of("1") and sheet.of("X") == ()


def test_a_move_to_nowhere_keeps_what_was_predicted(sheet):
    moved = sheet.move("a", "")
    assert {one.file for one in moved.of("")} == {"a", "c"}
    assert next(one for one in moved.of("") if one.file == "a").predicted == "1"


def test_moves_that_make_no_sense_are_refused(sheet):
    with pytest.raises(ValueError, match="no class '3'"):
        sheet.move("a", "3")
    with pytest.raises(KeyError, match="z"):
        sheet.move("z", "1")


def test_a_finding_in_words():
    assert CountFinding("21", 3, 2, 4.2).text == "3 of chromosome 21, 2 expected"
    assert CountFinding("21", 3, 2, -1.5).text == "possibly 3 of chromosome 21, sorted as 2"
