"""Which files are a set's tables, and which file a name in one means; whole tables are read in test_imagefolder."""

from __future__ import annotations

import pytest

from bandbridge.dataset.metadata import fault_of_name, find_file, folded, is_inside, read_table, tables_among


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
