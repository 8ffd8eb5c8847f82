"""What is counted and what is still open, after a person has moved chromosomes."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding
from bandbridge.karyotype import AUTOSOMES, CLASSES
from bandbridge.review.session import GROUPS, is_open, recount, rows_of, with_twins_flagged


def sheet_with(copies: dict[str, int], findings: tuple[CountFinding, ...] = ()) -> CellSheet:
    row = np.full(24, 1 / 24)
    chromosomes = [
        Chromosome(f"{label}-{number}", np.zeros((2, 2), np.uint8), label or "1", label, row)
        for label, count in copies.items()
        for number in range(count)
    ]
    return CellSheet("c", CLASSES, tuple(chromosomes), findings)


NORMAL = dict.fromkeys(AUTOSOMES, 2)


@pytest.mark.parametrize(
    ("changed", "texts"),
    [
        ({"X": 2}, []),
        ({"X": 1, "Y": 1}, []),
        ({"X": 1}, ["1 of chromosome X, 2 expected"]),
        ({"X": 3}, ["3 of chromosome X, 2 expected"]),
        ({"X": 2, "Y": 1}, ["2 of chromosome X, 1 expected"]),
        ({"X": 1, "Y": 2}, ["2 of chromosome Y, 1 expected"]),
        ({"X": 2, "21": 3, "18": 1, "": 2}, ["1 of chromosome 18, 2 expected", "3 of chromosome 21, 2 expected"]),
    ],
)
def test_counts_that_differ_from_a_normal_cell_are_named(changed, texts):
    assert [one.text for one in recount(sheet_with({**NORMAL, **changed})).findings] == texts


def test_the_evidence_stays_with_a_finding_that_still_stands():
    sheet = sheet_with({**NORMAL, "X": 2, "21": 3}, (CountFinding("21", 3, 2, 4.5), CountFinding("5", 1, 2, 1.0)))
    (kept,) = recount(sheet).findings
    assert kept == CountFinding("21", 3, 2, 4.5)
    assert recount(sheet.move("21-2", "")).findings == ()
    extra, made = recount(sheet.move("1-0", "21")).findings
    assert (extra.label, extra.copies) == ("1", 1) and (made.label, made.copies) == ("21", 4)
    assert math.isnan(extra.log_odds) and math.isnan(made.log_odds)


def test_what_was_overruled_stays_named_while_the_count_is_the_expected_one():
    possible = CountFinding("21", 3, 2, -1.5)
    sheet = sheet_with({**NORMAL, "X": 2}, (possible,))
    assert recount(sheet).findings == (possible,)
    assert recount(sheet).findings[0].text == "possibly 3 of chromosome 21, sorted as 2"
    fewer, made = recount(sheet.move("1-0", "21")).findings
    assert (fewer.label, made.text) == ("1", "3 of chromosome 21, 2 expected") and math.isnan(made.log_odds)


@pytest.mark.parametrize(
    ("copies", "finding"),
    [({"X": 1}, CountFinding("Y", 0, 1, 3.0)), ({"X": 2, "Y": 1}, CountFinding("Y", 1, 0, 2.0))],
)
def test_an_analysts_finding_says_what_the_cell_is_compared_with(copies, finding):
    assert recount(sheet_with({**NORMAL, **copies}, (finding,))).findings == (finding,)


def test_other_classes_have_no_expected_counts():
    row = np.ones(2) / 2
    sheet = CellSheet("c", ("a", "b"), (Chromosome("f", np.zeros((2, 2), np.uint8), "a", "a", row),))
    assert recount(sheet).findings == ()


def test_one_is_open_until_a_person_has_placed_it():
    row = np.full(24, 1 / 24)
    flagged = Chromosome("f", np.zeros((2, 2), np.uint8), "1", "1", row, reasons=("unsure",))
    sheet = CellSheet("c", CLASSES, (flagged,))
    assert is_open(flagged) and not is_open(sheet.move("f", "1").chromosomes[0])
    assert not is_open(sheet_with({"1": 1}).chromosomes[0])


def test_a_picture_given_twice_is_flagged_with_its_twin():
    sheet = with_twins_flagged(sheet_with({"1": 3}), {"1-0": "h", "1-1": "g", "1-2": "h"})
    assert [one.reasons for one in sheet.chromosomes] == [
        ("the same picture as 1-2",),
        (),
        ("the same picture as 1-0",),
    ]


def test_every_class_stands_once_on_the_sheet():
    shown = [label for row in rows_of(CLASSES) for group in row for label in group["labels"]]
    assert Counter(shown) == Counter(CLASSES) == Counter(label for _, labels in GROUPS for label in labels)
    other = tuple(f"k{number}" for number in range(19))
    assert [label for row in rows_of(other) for group in row for label in group["labels"]] == list(other)
