"""Whose cells they are: tables good and bad, and what is asked for where nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bandbridge.errors import ManyErrors, UserError
from bandbridge.patient.whose import read_patients, require_patients


def test_a_table_is_read_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    place = tmp_path / "patients.csv"
    place.write_bytes("\ufeffPatient,Cell,note\r\nP1,cell 1,\r\n'=P2,cell 2,x\r\n".encode())
    assert read_patients(place) == {"cell 1": "P1", "cell 2": "=P2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cell|patient\na|P\n", "has the columns cell|patient"),
        ("cell,patient\na,P\na,Q\n,R\nb,\n", "line 3: cell a is of Q here and of P above"),
    ],
)
def test_a_bad_table_is_named_with_every_line(tmp_path: Path, text: str, said: str) -> None:
    place = tmp_path / "patients.csv"
    place.write_text(text)
    with pytest.raises(UserError) as caught:
        read_patients(place)
    assert said in caught.value.message and str(place) in caught.value.message and "two columns" in caught.value.remedy
    if isinstance(caught.value, ManyErrors):
        assert caught.value.problems[1:] == ["line 4: no cell"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00cell", b""])
def test_what_is_no_table(tmp_path: Path, content: bytes | None) -> None:
    place = tmp_path / "patients.csv"
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(UserError, match=r"patients\.csv"):
        read_patients(place)


def test_cells_that_are_not_there_and_cells_of_nobody() -> None:
    assert require_patients(["a", "b"], {"a": "P"}, "t.csv") == {"a": "P"}
    with pytest.raises(UserError, match=r"t\.csv names cells that are not there: c"):
        require_patients(["a", "b"], {"a": "P", "c": "P"}, "t.csv")
    with pytest.raises(UserError, match="nothing says which cells are of one patient") as caught:
        require_patients(["a", "b"], {})
    assert "--patient-table" in caught.value.remedy


def test_a_table_as_other_spreadsheets_write_it(tmp_path: Path) -> None:
    place = tmp_path / "patients.csv"
    place.write_text("\ufeffcell;patient\nc1;Mu\u0308ller,  Anna\nc2;\n")
    assert read_patients(place) == {"c1": "M\u00fcller, Anna"}
    place.write_bytes("cell,patient\nc1,M\u00fcller\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_patients(place)
