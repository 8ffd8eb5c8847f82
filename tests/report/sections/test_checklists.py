"""The reporting checklists: every item of both is there once, and what stands beside it is what the study is."""

from __future__ import annotations

import re

import pytest
from tests.made_up import images

from bandbridge.evaluation.predictions import APPROACHES
from bandbridge.report.caution import KINDS
from bandbridge.report.content import gather
from bandbridge.report.context import APPROACH_TITLES
from bandbridge.report.sections.blocks import Wishes
from bandbridge.report.sections.checklists import recorded_facts
from bandbridge.report.study import study_environments, study_material
from bandbridge.report.tables.checklists import CLAIM, GAP, TRIPOD_AI, checklist_table, records_named
from bandbridge.study.plan import open_study

#: Of TRIPOD+AI, the items that have parts, with the last part's letter (Collins et al. 2024, the checklist).
PARTS = {3: "c", 5: "b", 6: "c", 8: "c", 9: "c", 12: "g", 18: "f", 20: "c", 23: "b", 27: "c"}
WISHES = Wishes(cases=False, attention=False)


def facts_of(made):
    material, machines = study_material(made.study, made.runs), study_environments(made.study, made.runs)
    return recorded_facts(made.study, material, machines, ())


def rows_of(content, name):
    (table,) = [table for table in content.tables if table.name == name]
    return table, {row.cells[0].text: row.cells[2].text for row in table.rows}


def test_the_numbers_are_those_of_the_checklists():
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    expected = []
    for number in range(1, 28):
        parts = "abcdefg"[: "abcdefg".index(PARTS[number]) + 1] if number in PARTS else ""
        expected += [f"{number}{part}" for part in parts] or [str(number)]
    assert [item.number for item in TRIPOD_AI] == expected and len(expected) == 52
    assert all(item.topic and item.section for item in (*CLAIM, *TRIPOD_AI))


def test_what_no_record_can_say_is_a_gap_whatever_the_study_is(made_up):
    made = made_up()
    content = gather(made.study, made.runs, WISHES)
    for name, silent in (
        ("claim-2024", ("1", "2", "3", "5", "8", "11", "13", "16", "18", "21", "34", "36", "41", "44")),
        ("tripod-ai", ("1", "2", "3a", "3c", "5b", "8b", "10", "14", "17", "18a", "18b", "18d", "19", "25", "27a")),
    ):
        table, rows = rows_of(content, name)
        assert [rows[number] for number in silent] == [GAP] * len(silent)
        gaps = [number for number, text in rows.items() if text == GAP]
        assert f"{len(gaps)} are marked as gaps" in table.sentence and table.data["gap"].sum() == len(gaps)


def test_what_the_records_say_is_what_the_study_is(made_up):
    found = facts_of(made_up(sets={"q": images(32), "g": images(4)}))
    assert found["counts"].startswith("G: 16 images, 4 cells, 4 patients; Q: 128 images, 32 cells, 32 patients.")
    assert found["level"] == "Q: whole patients" and "4 folds by patient" in found["division"]
    assert "last epoch" in found["selection"] and "torch 2" in found["software"]
    assert "Domain: random weights, then the intermediate domain" in found["initialisation"]
    assert "Q: 0 of no known cell, 0 of no known patient" in found["missing"]
    assert found["external"] == "" and found["robustness"] == "" and found["subsets"] == ""
    assert re.search(r"test_resnet \(\d", found["model"])


def test_every_approach_is_said_to_begin_somewhere(made_up):
    made = made_up(
        tasks={
            "Q": {"dataset": "q", "intermediates": ["G"], "box": "Q"},
            "G": {"dataset": "g", "target": False, "box": "G"},
        },
        approaches=list(APPROACHES),
        architectures=["tf_efficientnet_lite0"],
        preparation="by-cell",
        image_size=64,
    )
    said = facts_of(made)["initialisation"]
    assert all(f"{APPROACH_TITLES[approach]}: " in said for approach in APPROACHES)


def test_what_no_table_names_is_counted_as_missing(made_up):
    anonymous = [image._replace(cell="", patient="") for image in images(32)]
    found = facts_of(
        made_up(sets={"q": anonymous, "g": []}, split={"folds": 4, "scheme": "image"}, approaches=["scratch"])
    )
    assert found["missing"].startswith("Q: 128 of no known cell, 128 of no known patient")


def test_another_protocol_says_other_things(made_up):
    found = facts_of(made_up(protocol="paper", split={"folds": 4, "scheme": "image"}))
    assert "flatters" in found["selection"] and "as published" in found["uncertainty"]
    assert found["level"].startswith("Q: single images")


def test_nothing_finished_claims_no_results(made_up, tmp_path):
    made = made_up()
    content = gather(open_study(made.study.path), tmp_path / "none", WISHES)
    _, rows = rows_of(content, "claim-2024")
    assert {rows[number] for number in ("28", "29", "32", "37", "39", "23")} == {GAP}
    assert rows["19"] != GAP


@pytest.mark.parametrize("items", [CLAIM, TRIPOD_AI])
def test_every_record_that_an_item_names_is_one_that_some_study_has(items, made_up):
    made = made_up()
    material, machines = study_material(made.study, made.runs), study_environments(made.study, made.runs)
    known = set(recorded_facts(made.study, material, machines, (KINDS[0].caution("text.", task="Q"),)))
    assert records_named(items) <= known


def test_a_filled_item_is_not_marked(made_up):
    table = checklist_table("t", "T", "S.", CLAIM, {"metrics": "F1"})
    (row,) = [row for row in table.rows if row.cells[0].text == "28"]
    assert row.cells[2].text == "F1" and not row.cells[2].bold
    assert sum(row.cells[2].bold for row in table.rows) == 43
