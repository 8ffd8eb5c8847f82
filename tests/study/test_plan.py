"""The plan: the paper's grid is 330 runs, parents are shared, ids follow from content alone."""

import re
import shutil
import tomllib
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bandbridge.api import study as api
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.errors import UserError
from bandbridge.model.packages import PACKAGES
from bandbridge.study.plan import open_study

STUDIES = Path(__file__).resolve().parents[2] / "studies"


def test_the_papers_grid_is_exactly_330_runs_whose_parents_are_the_other_tasks_imagenet_runs():
    study = open_study(STUDIES / "paper.yaml", need_data=False)
    assert len(study.runs) == len({run.id for run in study.runs}) == 330
    assert Counter(run.approach for run in study.runs) == {"scratch": 110, "imagenet": 110, "two-step": 110}
    own = {run.id: run for run in study.runs}
    for run in study.runs:
        if run.approach == "two-step":
            parent = own[run.parent.id]
            assert parent.task != run.task and parent.approach == "imagenet"
            assert (parent.architecture, parent.fold) == (run.architecture, run.fold)
        else:
            assert run.parent is None
    seen = set()
    for run in study.runs:
        assert run.parent is None or run.parent.id in seen
        seen.add(run.id)


def test_all_rows_adds_one_parent_for_each_architecture_and_task(study_file):
    study = open_study(study_file(intermediate_rows="all"))
    extra = [run for run in study.runs if run.fold is None]
    assert len(study.runs) == 8 + 2 and {run.task for run in extra} == {"Q", "G"}
    assert all(run.parent.fold is None for run in study.runs if run.approach == "domain")
    assert all(run.record.init.checkpoint == "last" for run in study.runs if run.approach == "domain")


def test_several_intermediates_give_runs_of_their_own(study_file, chromosome_set):
    chromosome_set("G", seed=7)
    tasks = {
        "Q": {"dataset": "q4-0", "intermediates": ["G", "H"]},
        "G": {"dataset": "g4-0", "intermediates": ["Q"]},
        "H": {"dataset": "g4-7", "target": False},
    }
    study = open_study(study_file(tasks=tasks, run_folds=[0]))
    names = [run.name for run in study.runs]
    assert "Q/test_resnet/domain-via-G/fold0" in names and "Q/test_resnet/domain-via-H/fold0" in names
    assert "G/test_resnet/domain/fold0" in names
    assert [name for name in names if name.startswith("H/")] == ["H/test_resnet/scratch/fold0"]


def test_ids_do_not_depend_on_names_or_on_the_rest_of_the_study(study_file):
    whole = {run.name: run.id for run in open_study(study_file()).runs}
    renamed = open_study(study_file(name="other", approaches=["scratch"], run_folds=[1]))
    assert all(whole[run.name] == run.id for run in renamed.runs) and len(renamed.runs) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"image_size": 48},
        {"recipe": {"base": "fast", "epochs": 4}},
        {"preparation": {"polarity": "inverted"}},
        {"split": {"folds": 2, "scheme": "cell", "seed": 9}},
    ],
)
def test_ids_change_with_whatever_changes_the_training(study_file, change):
    before = {run.id for run in open_study(study_file()).runs}
    assert not before & {run.id for run in open_study(study_file(**change)).runs}


def test_folds_of_the_strict_protocol_keep_cells_together(study_file):
    study = open_study(study_file(split={"folds": 2}))
    assert study.tasks["Q"].split.scheme in ("cell", "patient")
    assert open_study(study_file(split={"folds": 2}, protocol="paper")).tasks["Q"].split.scheme == "image"


def test_a_task_that_cannot_be_divided_is_named(study_file):
    path = study_file(split={"folds": 9, "scheme": "cell"})
    with pytest.raises(UserError, match=r"\.yaml: task [QG]: 9 folds need at least 9 cells; there are 4") as caught:
        open_study(path)
    assert caught.value.remedy == "Use 4 folds or fewer."


def test_fewer_cells_are_some_of_more_and_what_is_held_out_stays(study_file):
    """As many as asked for, whole, the same for all approaches; without the setting ids are what they were."""
    plain = open_study(study_file())
    tasks = {f"Q{n}": {"dataset": "q4-0", "intermediates": ["G"], "cells": n} for n in (1, 2)}
    study = open_study(study_file(tasks={**tasks, "G": {"dataset": "g4-0", "target": False}}))
    samples = plain.tasks["Q"].dataset.samples
    for fold in (0, 1):
        trained, held_out = plain.tasks["Q"].rows(fold, samples)
        kept = {}
        for n in (1, 2):
            rows, rest = study.tasks[f"Q{n}"].rows(fold, samples)
            kept[n] = set(samples["cell"].iloc[rows])
            assert len(kept[n]) == n and len(rows) == 46 * n and set(rows) <= set(trained)
            assert rest.tolist() == held_out.tolist()
        assert kept[1] < kept[2]
    ids = {run.id for run in plain.runs}
    assert not ids & {run.id for run in study.runs if run.task != "G"}
    assert {run.id for run in study.runs if run.task == "G"} < ids
    assert all("cells" not in run.record.model_dump() for run in plain.runs)


def test_cells_that_are_not_there_or_not_known_are_refused(study_file):
    def asking(**task):
        return study_file(tasks={"Q": {"dataset": "q4-0", **task}}, approaches=["scratch"])

    with pytest.raises(UserError, match="cells: 3 are more than the 2 that a fold trains on"):
        open_study(asking(cells=3))
    with pytest.raises(UserError, match="needs the cell of every image"):
        open_study(asking(cells=1, scheme="image"))


def test_shuffled_labels_are_another_training_and_not_for_cells_that_are_drawn_anew(study_file):
    tasks = {
        "Q": {"dataset": "q4-0", "intermediates": ["G", "S"]},
        "G": {"dataset": "g4-0", "target": False},
        "S": {"dataset": "g4-0", "target": False, "labels": "shuffled"},
    }
    study = open_study(study_file(tasks=tasks))
    parents = {run.task: run for run in study.runs if run.task != "Q" and run.fold == 0}
    assert parents["G"].id != parents["S"].id
    assert "labels" not in parents["G"].record.model_dump() and parents["S"].record.model_dump()["labels"] == "shuffled"
    with pytest.raises(UserError, match="cannot be shuffled"):
        open_study(study_file(tasks={"D": {"dataset": "synth:G:4", "labels": "shuffled"}}, approaches=["scratch"]))


def test_a_task_may_have_a_seed_of_its_own(study_file):
    """Its trainings are others, and start from the same intermediate models as those of its twin."""
    task = {"dataset": "q4-0", "intermediates": ["G"]}
    tasks = {"Q": task, "Q-1": {**task, "seed": 1}, "Q-0": {**task, "seed": 0}}
    tasks["G"] = {"dataset": "g4-0", "target": False}
    runs = open_study(study_file(tasks=tasks)).runs
    found = {(run.task, run.approach, run.fold): run for run in runs}
    for (name, approach, fold), run in found.items():
        if name == "Q-1":
            twin = found["Q", approach, fold]
            assert run.id != twin.id and (run.parent and run.parent.id) == (twin.parent and twin.parent.id)
            assert run.record.seed == 1
        if name == "Q-0":
            assert run.id == found["Q", approach, fold].id


def test_a_task_may_have_a_recipe_of_its_own(study_file):
    own = {"base": "laboratory", "epochs": 2, "steps": 5}
    tasks = {"Q": {"dataset": "q4-0", "intermediates": ["G"], "recipe": own}, "G": {"dataset": "g4-0", "target": False}}
    recipes = {run.task: run.record.recipe for run in open_study(study_file(tasks=tasks)).runs}
    assert (recipes["Q"].name, recipes["Q"].epochs, recipes["Q"].steps) == ("laboratory", 2, 5)
    assert (recipes["G"].name, recipes["G"].epochs, recipes["G"].steps) == ("fast", 3, None)


def test_a_domain_that_is_no_target_needs_no_cells(study_file, chromosome_set):
    natural = chromosome_set("G", seed=7)
    table = pd.read_csv(natural / "metadata.csv", dtype=str)
    table.assign(cell="", patient="").to_csv(natural / "metadata.csv", index=False)
    domain = {"dataset": "g4-7", "target": False}
    tasks = {"Q": {"dataset": "q4-0", "intermediates": ["N"]}, "N": domain}
    strict = {"protocol": "strict", "split": {"folds": 2}}
    study = open_study(study_file(tasks=tasks, **strict))
    assert study.tasks["N"].split.scheme == "image"
    with pytest.raises(UserError, match="strict protocol needs the cell"):
        open_study(study_file(tasks={**tasks, "N": {"dataset": "g4-7", "intermediates": ["Q"]}}, **strict))


def test_a_child_keeps_the_head_only_where_it_is_told_to(study_file):
    heads = {run.record.init.head for run in open_study(study_file()).runs if run.parent}
    assert heads == {"keep"}
    heads = {run.record.init.head for run in open_study(study_file(head="new")).runs if run.parent}
    assert heads == {"new"}


def test_absent_datasets_are_named_together(study_file):
    tasks = {"Q": {"dataset": "lost", "intermediates": ["G"]}, "G": {"dataset": "gone", "intermediates": ["Q"]}}
    path = study_file(tasks=tasks)
    with pytest.raises(UserError) as caught:
        open_study(path)
    assert "lost" in str(caught.value) and "gone" in str(caught.value) and "BANDBRIDGE_DATA" in str(caught.value)
    assert open_study(path, need_data=False).missing_data == ["lost", "gone"]


def test_unknown_and_repeated_architectures_are_named(study_file):
    with pytest.raises(UserError) as caught:
        open_study(study_file(architectures=["resnt50", "test_resnet", "vitt"]))
    assert "resnt50" in str(caught.value) and "vitt" in str(caught.value)
    with pytest.raises(UserError, match="'ResNet-50' and 'resnet50' are the same model"):
        open_study(study_file(architectures=["ResNet-50", "resnet50"]))


def test_a_data_folder_that_is_not_there_is_refused_where_data_are_needed(study_file, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        open_study(study_file(), tmp_path / "lost")
    assert not open_study(study_file(), tmp_path / "lost", need_data=False).missing_data


def test_names_that_no_file_can_have_are_absent_datasets(study_file):
    tasks = {"Q": {"dataset": "~no-such-user/q"}, "G": {"dataset": "g" * 300}}
    with pytest.raises(UserError) as caught:
        open_study(study_file(tasks=tasks, approaches=["scratch"]))
    assert "~no-such-user/q (task Q)" in str(caught.value) and "ggg (task G)" in str(caught.value)


def test_an_exported_split_gives_the_same_runs(study_file, tmp_path):
    from bandbridge.dataset.splits import write_split

    study = open_study(study_file())
    for task in study.tasks.values():
        write_split(task.split, tmp_path / f"{task.name}.json")
    tasks = {
        "Q": {"dataset": "q4-0", "intermediates": ["G"], "split_file": "Q.json"},
        "G": {"dataset": "g4-0", "intermediates": ["Q"], "split_file": "G.json"},
    }
    assert [run.id for run in open_study(study_file(tasks=tasks)).runs] == [run.id for run in study.runs]


def test_the_demonstration_has_four_approaches_whose_weights_a_package_of_the_extra_holds():
    study = open_study(STUDIES / "demo.yaml", need_data=False)
    assert Counter((run.task, run.approach) for run in study.runs) == {
        **{("G", approach): 1 for approach in ("scratch", "imagenet", "two-step", "domain")},
        **{("Q", approach): 1 for approach in ("scratch", "imagenet")},
    }
    extras = tomllib.loads((STUDIES.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = [re.match(r"[\w-]+", requirement)[0] for requirement in extras["weights"]]
    assert all(PACKAGES[found.pinned_name].distribution in brought for found in study.architectures.values())


def test_the_plan_tells_classes_that_a_fold_never_trains(study_file, tmp_path):
    path = study_file()
    source = api.Study.read(path)._planned.tasks["Q"].dataset.path
    assert "hold out" not in api.Study.read(path).plan().summary
    folder = shutil.copytree(source, tmp_path / "one-sided")
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    only = table["cell"] == table["cell"].iloc[0]
    table.loc[~only & (table["label"] == "22"), "label"] = "21"
    table.to_csv(folder / "metadata.csv", index=False)
    tasks = yaml.safe_load(path.read_text())["tasks"]
    tasks["Q"]["dataset"] = str(folder)
    told = api.Study.read(study_file(tasks=tasks)).plan().summary
    assert re.search(r"^Q: class(es)? .*\b22\b.*: all images of (it|each) fall into one fold", told, re.MULTILINE)


def test_a_fold_that_leaves_one_image_to_train_on_is_refused_before_anything_is_trained(tmp_path, drawn_set):
    drawn = open_dataset(drawn_set("G", 1, 0))
    folder = tmp_path / "two"
    rows = drawn.samples.iloc[[0, 30]]
    for name in rows["file_name"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(drawn.read_bytes(name))
    rows[["file_name", "label"]].to_csv(folder / "metadata.csv", index=False)
    study = {"name": "s", "protocol": "paper", "tasks": {"q": {"dataset": "two"}}, "architectures": ["test_resnet"]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**study, "approaches": ["scratch"], "split": {"folds": 2}}))
    with pytest.raises(UserError, match="leaves 1 image to train on, and two are the fewest"):
        open_study(tmp_path / "s.yaml")
