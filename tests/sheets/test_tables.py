"""Layouts, karyotypes and labels set by hand, as people write them."""

from __future__ import annotations

import pytest

from bandbridge.errors import ManyErrors, UserError
from bandbridge.karyotype import CLASSES
from bandbridge.sheets.tables import counts_of, matching, read_karyotypes, read_labels, read_layout


def test_a_layout_is_rows_of_labels(tmp_path) -> None:
    (tmp_path / "layout.csv").write_text("1,2,3,,4,5\n6;7\n".replace(";", ","))
    found = read_layout(tmp_path / "layout.csv")
    assert found.order == ("1", "2", "3", "4", "5", "6", "7") and found.rows == (5, 2)
    (tmp_path / "layout.csv").write_text("1;2;chr3\n23;24\n")
    assert read_layout(tmp_path / "layout.csv").order == ("1", "2", "3", "X", "Y")


def test_all_faults_of_a_layout_are_told_together(tmp_path) -> None:
    (tmp_path / "layout.csv").write_text("1,2,99\n2,Q\n")
    with pytest.raises(ManyErrors) as told:
        read_layout(tmp_path / "layout.csv")
    assert len(told.value.problems) == 3 and "row 2: 2 stands in row 1 already" in told.value.problems
    (tmp_path / "layout.csv").write_text("\n")
    with pytest.raises(ManyErrors, match="no labels"):
        read_layout(tmp_path / "layout.csv")


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("46,XX", {"X": 2, "Y": 0}),
        ("46,XY", {"X": 1, "Y": 1}),
        ("45,X", {"X": 1, "Y": 0}),
        ("47,XXY", {"X": 2, "Y": 1}),
        ("47,XX,+21", {"21": 3, "X": 2, "Y": 0}),
        ("48,XY,+8,+21[12]/46,XY[8]", {"8": 3, "21": 3, "X": 1, "Y": 1}),
        ("47,XX,+mar", {"X": 2, "Y": 0}),
        ("46,XY,t(9;22)(q34;q11)", {"X": 1, "Y": 1}),
        ("45,XX,-7", {"7": 1, "X": 2, "Y": 0}),
        ("46,XY,-13,+der(13)t(13;14)", {"X": 1, "Y": 1}),
    ],
)
def test_a_karyotype_is_counts(text: str, differs: dict[str, int]) -> None:
    assert counts_of(text) == dict.fromkeys(CLASSES[:22], 2) | {"X": 0, "Y": 0} | differs


@pytest.mark.parametrize("text", ["", "normal", "47,XX", "46,XX,+21", "XX"])
def test_what_is_no_karyotype_or_does_not_add_up_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        counts_of(text)


def test_karyotypes_of_sheets(tmp_path) -> None:
    (tmp_path / "k.csv").write_text('sheet,karyotype\na.png,"47,XX,+21"\nb,"46,XY"\n')
    assert read_karyotypes(tmp_path / "k.csv") == {"a.png": "47,XX,+21", "b": "46,XY"}
    (tmp_path / "k.csv").write_text('sheet,karyotype\na.png,"47,XX"\nb,?\n')
    with pytest.raises(ManyErrors) as told:
        read_karyotypes(tmp_path / "k.csv")
    assert [one.split(":")[0] for one in told.value.problems] == ["row 2", "row 3"]
    (tmp_path / "k.csv").write_text("name,karyotype\n")
    with pytest.raises(UserError, match="lacks the column sheet"):
        read_karyotypes(tmp_path / "k.csv")


def test_labels_by_hand(tmp_path) -> None:
    lines = ["sheet,piece,read_as,label", "a.png,,,", "a.png,3,2,chr7", "a.png,4,2,", "a.png,12+13,9,9", "b.png,,,OK"]
    (tmp_path / "l.csv").write_text("\n".join([*lines, "c.png,5,21,21/21", "c.png,6,1,-", "c.png,7,1,MAR"]))
    found = {sheet: dict(one.labels) for sheet, one in read_labels(tmp_path / "l.csv").items()}
    assert found == {
        "a.png": {"3": "7", "12+13": "9"},
        "b.png": {"": "ok"},
        "c.png": {"5": "21/21", "6": "-", "7": "mar"},
    }


def test_all_labels_that_are_none_are_told_together(tmp_path) -> None:
    (tmp_path / "l.csv").write_text("sheet,piece,label\na,1,99\na,x,4\na,,7\na,2,1/2/3\n")
    with pytest.raises(ManyErrors) as told:
        read_labels(tmp_path / "l.csv")
    assert len(told.value.problems) == 4


def test_a_sheet_is_meant_by_its_name_its_file_its_stem_or_its_code() -> None:
    for key in ("day 1/a.png", "a.png", "a", "cell-1"):
        assert matching({key: 1}, "day 1/a.png", "cell-1") == key
    assert matching({"b": 1}, "day 1/a.png", "cell-1") is None
