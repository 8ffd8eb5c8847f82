"""Class names, their order and their spellings."""

import pytest

from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES, expected_copies, order_classes, parse_label


def test_there_are_24_classes_in_karyotype_order():
    assert len(CLASSES) == 24 and CLASSES[1] == "2" and CLASSES[9] == "10" and CLASSES[-2:] == ("X", "Y")


@pytest.mark.parametrize("number", range(1, 25))
def test_what_a_spreadsheet_makes_of_a_number(number):
    for text in (
        f"{number}.0",
        f"{number}.00",
        f"{number},0",
        f"{number}.",
        f"'{number}",
        f"0{number}.0",
        f"chr. {number}",
    ):
        assert parse_label(text) == CLASSES[number - 1], text


@pytest.mark.parametrize(
    ("text", "label"),
    [("1", "1"), ("07", "7"), (" x ", "X"), ("chr21", "21"), ("clase24", "Y"), ("23", "X"), ("Chromosome_9", "9")],
)
def test_spellings(text, label):
    assert parse_label(text) == label


@pytest.mark.parametrize(
    "text", ["", "0", "25", "Z", "1a", "x2", "123", "1.5", "0.0", "10.01", "25.0", "X.0", "1.0.0", ".", "'"]
)
def test_what_is_no_label_is_refused(text):
    with pytest.raises(UserError, match="not a human chromosome"):
        parse_label(text)


def test_a_cell_has_46_chromosomes_with_either_sex():
    for x_count in (1, 2):
        assert sum(expected_copies(label, x_count) for label in CLASSES) == 46


def test_human_labels_give_all_classes_others_their_own_by_value():
    assert order_classes(["2", "10", "X"]) == CLASSES
    assert order_classes(["n02", "30", "4", "n01"]) == ("4", "30", "n01", "n02")


def test_digits_that_are_no_numbers_are_names() -> None:
    assert order_classes(["b", "\u00b2", "10", "9", "9" * 5000])[:2] == ("9", "10")
