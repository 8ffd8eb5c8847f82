"""Finished runs of another version of a set: what is said of them before anything is trained in their place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.finished import seal

from bandbridge.dataset.contents import write_contents
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study
from bandbridge.study.versions import other_versions


@pytest.fixture
def finish(study_file, tmp_path: Path):
    """Return a function that opens the study; all that it plans is then as if it were done.

    told: whether its runs say what they were made for, which those of earlier builds do not. changes: of the study.
    """

    def opened(finish: bool = True, told: bool = True, **changes) -> Study:
        study = open_study(study_file(**changes))
        for data in study.tasks.values() if finish else ():
            write_contents(data.contents, tmp_path / "runs")
        for run in study.runs if finish else ():
            folder = Ledger(tmp_path / "runs").folder(run)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "run.json").write_text(json.dumps(run.describe()))
            if told:
                (folder / "environment.json").write_text(json.dumps({"study": run.study, "data": run.data}))
            (folder / "predictions.parquet").touch()
            seal(folder)
        return study

    return opened


def said(study: Study, root: Path) -> str:
    return other_versions(study.runs, Ledger(root), study.tasks)


def on(dataset: str, name: str = "Q") -> dict:
    """The tasks of the study, one of them on another set."""
    tasks = {"Q": {"dataset": "q4-0", "intermediates": ["G"]}, "G": {"dataset": "g4-0", "intermediates": ["Q"]}}
    return {"tasks": {**tasks, name: {**tasks[name], "dataset": dataset}}}


def touch(tmp_path: Path) -> None:
    image = first_image(tmp_path)
    image.write_bytes(image.read_bytes() + b"\0")


def first_image(tmp_path: Path, stain: str = "q4-0") -> Path:
    return sorted((tmp_path / stain / "images").rglob("*.png"))[0]


def test_nothing_is_said_of_runs_that_are_done_or_that_nobody_made(finish, tmp_path):
    assert said(finish(finish=False), tmp_path / "runs") == ""
    assert said(finish(), tmp_path / "runs") == ""


def test_an_image_that_was_touched_is_named_with_how_many_runs_it_costs(finish, tmp_path):
    """Two folds from scratch and two by domain on the set itself; of the other set, two whose parents were on it."""
    finish()
    image = first_image(tmp_path)
    image.write_bytes(image.read_bytes() + b"\0")
    name = image.relative_to(tmp_path / "q4-0").as_posix()
    text = said(finish(finish=False), tmp_path / "runs")
    assert f"1 image changed ({name})" in text and "6 runs would be trained in their place" in text
    assert "6 finished runs belong to another version of this set" in text and "added" not in text


def test_images_that_were_added_or_taken_out_are_told_apart(finish, tmp_path):
    finish()
    table = tmp_path / "q4-0" / "metadata.csv"
    header, *rows = table.read_text().splitlines()
    removed = [row.split(",")[0] for row in rows[:5]]
    table.write_text("\n".join([header, *rows[5:], rows[5].replace("images/", "more/", 1)]) + "\n")
    new = tmp_path / "q4-0" / rows[5].split(",")[0].replace("images/", "more/", 1)
    new.parent.mkdir(parents=True)
    new.write_bytes(first_image(tmp_path).read_bytes())
    text = said(finish(finish=False), tmp_path / "runs")
    assert f"5 images missing ({', '.join(sorted(removed)[:3])}, ...)" in text
    assert "1 image added (more/" in text and "changed" not in text


def test_a_change_of_the_table_alone_is_said_to_be_one(finish, tmp_path):
    finish()
    table = tmp_path / "q4-0" / "metadata.csv"
    text = table.read_text()
    changed = text.replace(",7,", ",8,")
    assert changed != text
    table.write_text(changed)
    assert "the images are the same, and labels, cells" in said(finish(finish=False), tmp_path / "runs")


@pytest.mark.parametrize("kept", ["none", "damaged"])
def test_what_has_changed_is_not_known_where_the_old_contents_are_not(finish, tmp_path, kept):
    finish()
    for path in (tmp_path / "runs" / ".datasets").iterdir():
        path.unlink() if kept == "none" else path.write_text("{")
    image = first_image(tmp_path)
    image.write_bytes(image.read_bytes() + b"\0")
    text = said(finish(finish=False), tmp_path / "runs")
    assert "what has changed is not known" in text and "6 runs would be trained" in text


def test_runs_of_another_recipe_are_no_other_version(finish, study_file, tmp_path):
    finish()
    image = first_image(tmp_path)
    image.write_bytes(image.read_bytes() + b"\0")
    study = open_study(study_file(recipe={"base": "fast", "epochs": 4, "batch_size": 16}))
    assert said(study, tmp_path / "runs") == ""


@pytest.mark.parametrize("told", [True, False])
def test_other_folds_of_the_same_set_are_another_studys_runs(finish, tmp_path, told):
    """Of a child whose own set and folds are the same, the parent's are looked at."""
    finish(told=told)
    by_image = finish(finish=False, split={"folds": 2, "scheme": "image"})
    assert said(by_image, tmp_path / "runs") == ""
    tasks = {**on("q4-0")["tasks"], "G": {"dataset": "g4-0", "intermediates": ["Q"], "scheme": "image"}}
    assert said(finish(finish=False, tasks=tasks), tmp_path / "runs") == ""


@pytest.mark.parametrize("told", [True, False])
def test_runs_of_a_task_of_that_name_on_another_set_are_no_other_version(finish, tmp_path, told):
    finish(told=told)
    study = finish(finish=False, name="second", **on("g4-0"))
    assert said(study, tmp_path / "runs") == ""
    assert said(finish(finish=False, **on("g4-0")), tmp_path / "runs") == ""


def test_a_set_with_files_of_the_same_names_is_another_where_its_own_name_is(finish, chromosome_set, tmp_path):
    """Cells that a program cut are called alike in every laboratory."""
    finish()
    other = chromosome_set("Q", 4, 5)
    mine = {path.relative_to(tmp_path / "q4-0") for path in (tmp_path / "q4-0").rglob("*.png")}
    assert other.name != "q4-0" and mine & {path.relative_to(other) for path in other.rglob("*.png")}
    assert said(finish(finish=False, **on(other.name)), tmp_path / "runs") == ""


def test_another_study_on_an_earlier_version_of_the_set_is_not_meant_where_runs_say_whose_they_are(finish, tmp_path):
    finish()
    touch(tmp_path)
    assert "6 finished runs" in said(finish(finish=False), tmp_path / "runs")
    assert said(finish(finish=False, name="second"), tmp_path / "runs") == ""


def test_runs_of_an_earlier_build_are_told_of_by_what_their_set_holds(finish, tmp_path):
    finish(told=False)
    touch(tmp_path)
    assert "1 image changed" in said(finish(finish=False, name="second"), tmp_path / "runs")


@pytest.mark.parametrize("told", [True, False])
def test_a_set_that_was_renamed_and_one_that_was_packed_anew_are_told_of(finish, tmp_path, told):
    finish(told=told)
    touch(tmp_path)
    (tmp_path / "q4-0").rename(tmp_path / "mine")
    text = said(finish(finish=False, **on("mine")), tmp_path / "runs")
    assert "1 image changed" in text and "6 finished runs" in text
    (tmp_path / "mine").rename(tmp_path / "q4-0")
    table = tmp_path / "q4-0" / "metadata.csv"
    table.write_text(table.read_text().replace("images/", "pictures/"))
    (tmp_path / "q4-0" / "images").rename(tmp_path / "q4-0" / "pictures")
    text = said(finish(finish=False), tmp_path / "runs")
    assert "it names its files otherwise: 183 of its 184 images are images of before" in text


def test_a_set_of_the_same_name_is_its_other_version_whatever_it_holds(finish, tmp_path):
    finish()
    shutil.rmtree(tmp_path / "q4-0")
    shutil.copytree(tmp_path / "g4-0", tmp_path / "q4-0")
    assert "it names its files otherwise: 0 of its 184 images" in said(finish(finish=False), tmp_path / "runs")
