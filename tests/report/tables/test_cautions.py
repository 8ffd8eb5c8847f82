"""Cautions beside the tables: on top of their page, under those that they bear upon, as files for programs."""

from __future__ import annotations

import csv
import io
import json
import re

import pandas as pd
import pytest
from tests.made_up import MACHINE, images

from bandbridge.report.caution import CHOSEN_EPOCH, FEW_FOLDS, MIXED_MACHINES, UNKNOWN_CELLS
from bandbridge.report.rendering import Table, to_csv, to_markdown
from bandbridge.report.study import study_cautions, study_tables
from bandbridge.report.tables.cautions import (
    bearing_upon,
    caution_records,
    cautions_markdown,
    noted,
    write_cautions,
)

HOSTILE = '<img src=x onerror="alert(1)">|**q**\n`[x](javascript:1)`'
FOUND = [
    UNKNOWN_CELLS.caution(f"metadata.csv of {HOSTILE} names no cells.", task="Q"),
    FEW_FOLDS.caution("2 of 5 folds are trained."),
    MIXED_MACHINES.caution("Under different conditions.", (f"device: cpu (2 runs), {HOSTILE} (1 runs)", "torch: a, b")),
]


def table(name: str) -> Table:
    return Table(name, "T", "S", (), (), pd.DataFrame(), notes=("First.",))


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("table2", ("See cautions BB005, BB009, BB010.",)),
        ("folds", ("See cautions BB005, BB010.",)),
        ("machines", ("See caution BB010.",)),
        ("table3", ()),
    ],
)
def test_a_table_names_what_bears_upon_it_once_and_in_order(name, note):
    assert noted(table(name), [*reversed(FOUND), *FOUND]).notes == ("First.", *note)


def test_cautions_about_some_tables_keep_their_order():
    assert bearing_upon([table("table3"), table("laboratory-cells")], FOUND) == FOUND[:1]
    assert bearing_upon([table("folds")], FOUND[::-1]) == [FOUND[2], FOUND[0]]
    assert bearing_upon([], FOUND) == []


def test_each_is_one_line_of_markdown_whatever_a_dataset_is_called():
    text = cautions_markdown(FOUND)
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert [line[:20] for line in lines] == ["- **BB005 serious: Q", "- **BB009 note: Few ", "- **BB010 note: Runs"]
    assert "\\<img" in text and not re.search(r"(?<!\\)[<\[|`]", text)
    assert cautions_markdown([]) == ""


def test_files_are_for_readers_and_for_programs(tmp_path):
    paths = write_cautions(tmp_path, FOUND)
    assert [path.name for path in paths] == ["cautions.md", "cautions.csv", "cautions.json"]
    page = paths[0].read_text(encoding="utf-8")
    assert page.count("\n## BB") == 3 and "- torch: a, b" in page and not re.search(r"(?<!\\)[<\[|`]", page)
    rows = list(csv.DictReader(io.StringIO(paths[1].read_text(encoding="utf-8"))))
    assert [row["code"] for row in rows] == ["BB005", "BB009", "BB010"] and HOSTILE in rows[0]["text"]
    assert rows[2]["details"].splitlines()[-1] == "torch: a, b"
    records = json.loads(paths[2].read_text(encoding="utf-8"))
    assert records == caution_records(FOUND) and records[2]["details"] == list(FOUND[2].details)
    assert list(records[0]) == list(rows[0]) == ["code", "gravity", "title", "text", "details", "page"]


def test_without_cautions_the_files_say_so_and_none_of_an_earlier_study_stays(tmp_path):
    write_cautions(tmp_path, FOUND)
    markdown, table, data = write_cautions(tmp_path, [])
    assert "None of BB001 to BB0" in markdown.read_text()
    assert table.read_text() == "code,gravity,title,text,details,page\n" and json.loads(data.read_text()) == []


@pytest.fixture
def leaking(made_up):
    """A study by the published protocol on two machines, of a set with a name that no one should give it."""
    name = HOSTILE.replace("/", "")
    return made_up(
        {"q": [], name: images(24, cells_each=2)},
        machines=[MACHINE, MACHINE | {"device": "cuda"}],
        protocol="paper",
        tasks={"Q": {"dataset": name, "intermediates": ["G"]}, "G": {"dataset": "g", "target": False}},
    )


def test_tables_of_a_study_carry_its_cautions(leaking, tmp_path):
    made = study_tables(leaking.study, leaking.runs, tmp_path / "out")
    assert list(made.cautions) == study_cautions(leaking.study, leaking.runs)
    assert [caution.code for caution in made.cautions] == ["BB003", "BB008", "BB010", "BB014"]
    text = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert text == made.markdown and text.startswith("# made-up (protocol: paper)\n")
    assert text.index("BB003") < text.index("BB008") < text.index("BB010") < text.index("## Table 2")
    assert "<img" not in text.replace("\\<img", "")
    by_name = {table.name: table for table in made.tables}
    assert by_name["differences"].notes[-1] == "See cautions BB003, BB008, BB010, BB014."
    assert by_name["table4"].notes == by_name["table4"].notes[:0]
    assert "- See cautions BB003, BB008, BB010, BB014." in (tmp_path / "out" / "folds.md").read_text(encoding="utf-8")
    assert "See cautions BB003, BB008, BB010, BB014." in (tmp_path / "out" / "table2.tex").read_text(encoding="utf-8")
    for table in made.tables:
        saved = (tmp_path / "out" / f"{table.name}.csv").read_text(encoding="utf-8")
        assert saved == to_csv(table) and "BB0" not in saved
    records = json.loads((tmp_path / "out" / "cautions.json").read_text(encoding="utf-8"))
    assert records == caution_records(made.cautions)


def test_without_a_folder_nothing_is_written_and_the_text_is_the_same(leaking, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    made = study_tables(leaking.study, leaking.runs)
    assert sorted(tmp_path.rglob("*")) == before
    assert made.figures and all(to_markdown(table) in made.markdown for table in made.tables)
    assert study_tables(leaking.study, leaking.runs, tmp_path / "out").markdown == made.markdown


def test_tables_of_a_study_without_cautions_are_as_they_were(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr("bandbridge.report.sections.cautions._own_laboratory", lambda study: ())
    clean = made_up()
    made = study_tables(clean.study, clean.runs, tmp_path / "out")
    assert made.cautions == () and "BB0" not in made.markdown and "Before you believe it" not in made.markdown
    assert CHOSEN_EPOCH.title not in made.markdown
    assert json.loads((tmp_path / "out" / "cautions.json").read_text()) == []
