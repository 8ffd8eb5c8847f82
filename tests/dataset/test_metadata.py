"""Which files are a set's tables, and which file a name in one means; whole tables are read in test_imagefolder."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bandbridge.dataset.metadata import fault_of_name, find_file, folded, is_inside, read_table, tables_among
from bandbridge.errors import ManyErrors, UserError


@pytest.mark.parametrize(
    ("names", "tables"),
    [
        (["metadata.jsonl", "metadata.csv", "train/metadata.csv"], ["metadata.csv"]),
        (["train/metadata.csv", "test/metadata.parquet", "1/a.png"], ["test/metadata.parquet", "train/metadata.csv"]),
        (
            ["Training-2/metadata.csv", "my_valid/metadata.jsonl"],
            ["Training-2/metadata.csv", "my_valid/metadata.jsonl"],
        ),
        (["data/val/metadata.csv", "data/val/metadata.jsonl"], ["data/val/metadata.csv"]),
        (["latest/metadata.csv", "valence/metadata.csv", "q/metadata.csv"], []),
        (["a/b/train/metadata.csv", "train/c/metadata.csv", "train/a.csv"], []),
        ([], []),
    ],
)
def test_the_tables_of_a_set(names: list[str], tables: list[str]) -> None:
    assert tables_among(names) == tables


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "no file is named"),
        ("/a.png", "a path of one computer"),
        ("\\\\server\\a.png", "a path of one computer"),
        ("c:\\a.png", "a path of one computer"),
        ("a/../../b.png", "leads out"),
        (".", "leads out"),
        ("a\0.png", "leads out"),
        ("a\\b.png", ""),
        ("./a.png", ""),
        ("..a.png", ""),
    ],
)
def test_what_is_wrong_with_a_name(name: str, words: str) -> None:
    fault = fault_of_name(name)
    assert (words in fault) if words else fault == ""
    assert is_inside(name) == (fault == "" and "\\" not in name)


def test_the_nearest_name_is_only_looked_for_where_the_name_itself_is_not_there() -> None:
    held = {"a/B.png", "a/b.PNG", "c/\u0130.png"}
    by_fold: dict[str, list[str]] = {}
    for name in held:
        by_fold.setdefault(folded(name), []).append(name)
    assert find_file("a/B.png", held.__contains__, dict) == ("a/B.png", "")
    assert find_file(".\\a\\B.png", held.__contains__, dict) == ("a/B.png", "")
    assert find_file("C/\u0130.PNG", held.__contains__, lambda: by_fold) == ("c/\u0130.png", "")
    name, fault = find_file("A/b.png", held.__contains__, lambda: by_fold)
    assert name == "A/b.png" and "a/B.png and a/b.PNG are called nearly so" in fault
    assert find_file("z.png", held.__contains__, lambda: by_fold) == ("z.png", "z.png is not there")


def test_rows_say_where_they_stand() -> None:
    table = b'\n,\nfile_name,label,note\na.png,1,"two\nlines"\n,,\nb.png,2,\n'
    rows = read_table("metadata.csv", table, "set")
    assert [(row.place, row.texts["file_name"]) for row in rows] == [("row 4", "a.png"), ("row 6", "b.png")]
    (row,) = read_table("data/test/metadata.csv", b"file_name,label\nx\\a.png,1\n", "set")
    assert (row.place, row.texts["file_name"]) == ("data/test/metadata.csv, row 2", "data/test/x/a.png")


@pytest.mark.parametrize("header", ["file_name,label,Cell,PATIENT", "File_Name,LABEL,Cell,Patient"])
def test_columns_in_other_letters_are_the_columns_that_are_meant(header: str) -> None:
    (row,) = read_table("metadata.csv", f"{header}\na.png,1,c1,p1\n".encode(), "set")
    assert [row.texts[name] for name in ("file_name", "label", "cell", "patient")] == ["a.png", "1", "c1", "p1"]


def test_a_column_as_it_should_be_goes_before_one_in_other_letters() -> None:
    (row,) = read_table("metadata.csv", b"file_name,label,cell,Cell\na.png,1,c1,c2\n", "set")
    assert row.texts["cell"] == "c1"


@pytest.mark.parametrize("column", ["patients", "patient_id", "Patient ID", "PatientNo", "pateint", "cell_id", "Cells"])
def test_a_column_called_nearly_as_one_that_divides_is_not_passed_over(column: str) -> None:
    """Passed over, one patient's cells would be trained on and tested on."""
    meant = "cell" if "ell" in column else "patient"
    with pytest.raises(UserError, match=rf"'{column}' \({meant}\?\)"):
        read_table("metadata.csv", f"file_name,label,{column}\na.png,1,x\n".encode(), "set")
    both = f"file_name,label,{column},{meant}\na.png,1,x,y\n".encode()
    assert read_table("metadata.csv", both, "set")[0].texts[meant] == "y"


@pytest.mark.parametrize("column", ["comment", "camera", "age", "called", "path", "Patient", "centre"])
def test_other_columns_are_let_be(column: str) -> None:
    assert read_table("metadata.csv", f"file_name,label,{column}\na.png,1,x\n".encode(), "set")


@pytest.mark.parametrize("sign", ["\x1b", "\r", "\n", "\u202e", "\x9b"])
def test_texts_with_control_signs_are_refused_and_shown(sign: str) -> None:
    with pytest.raises(ManyErrors, match=r"row 2: cell '(a\\\\u[0-9a-f]{4}|a\\n)b'"):
        read_table("metadata.csv", f'file_name,label,cell\na.png,1,"a{sign}b"\n'.encode(), "set")
    assert "control signs" in fault_of_name(f"a{sign}b.png")


def test_a_table_that_unfolds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is repeated stands once in a parquet file; rows without end stand in few bytes of a zip."""
    monkeypatch.setattr("bandbridge.dataset.metadata._MOST_TEXT", 10_000)
    stream = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["a" * 1000] * 50, "label": ["1"] * 50}), stream)
    assert len(stream.getvalue()) < 5000
    with pytest.raises(UserError, match="larger than the table of any set"):
        read_table("metadata.parquet", stream.getvalue(), "set")
    monkeypatch.setattr("bandbridge.dataset.metadata._MOST_ROWS", 20)
    for name, line in (("metadata.csv", "\n"), ("metadata.jsonl", "{}\n")):
        with pytest.raises(UserError, match="larger than the table of any set"):
            read_table(name, ("file_name,label\n" + line * 40).encode(), "set")
    with pytest.raises(UserError, match="larger than the table of any set"):
        read_table("metadata.csv", ("," * 2000).encode(), "set")


def test_a_line_nested_without_end_is_named() -> None:
    with pytest.raises(ManyErrors, match="line 1: it is nested too deeply"):
        read_table("metadata.jsonl", ("[" * 100_000).encode(), "set")
