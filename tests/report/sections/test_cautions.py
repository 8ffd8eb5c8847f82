"""Leakage counted by brute force; every caution appears when it should and only then."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from bandbridge.dataset.splits import Split, make_split
from bandbridge.report.scores import fold_scores
from bandbridge.report.sections.cautions import find_cautions, repeated_files, shared_groups
from bandbridge.report.study import study_predictions, table_context
from bandbridge.study.plan import open_study


def samples_of(cells: list[str]) -> pd.DataFrame:
    names = [f"{index}.png" for index in range(len(cells))]
    return pd.DataFrame({"file_name": names, "label": "1", "cell": cells, "patient": ""})


def test_shared_groups_against_a_double_loop():
    rng = np.random.default_rng(3)
    cells = [f"c{number}" if number else "" for number in rng.integers(0, 9, 60)]
    samples = samples_of(cells)
    split = Split("image", 3, 0, tuple(samples["file_name"]), rng.integers(0, 3, 60))
    expected = sum(
        any(cells[other] == cells[one] and split.assignment[other] != split.assignment[one] for other in range(60))
        for one in range(60)
        if cells[one]
    )
    assert shared_groups(split, samples, "cell") == (expected, sum(cell != "" for cell in cells))
    assert shared_groups(split, samples, "patient") == (0, 0)


def test_shared_groups_do_not_depend_on_the_order_of_the_samples():
    samples = samples_of(["a", "a", "b", "b", "c", "c"])
    split = Split("image", 2, 0, tuple(samples["file_name"]), np.array([0, 1, 0, 0, 1, 1]))
    assert shared_groups(split, samples.iloc[::-1], "cell") == (2, 6)


def test_repeated_files_are_those_with_a_twin_in_another_fold():
    assert repeated_files(["x", "y", "x", "z", "z"], np.array([0, 0, 1, 1, 1])) == 2


@pytest.fixture
def study_of(small_study, tmp_path):
    """Return a function that opens the small study after ``change`` of its file, with the scores of its runs."""

    def opened(**changes):
        value = yaml.safe_load(small_study.path.read_text()) | changes
        path = small_study.path.with_name(f"changed-{tmp_path.name}.yaml")
        path.write_text(yaml.safe_dump(value))
        study = open_study(path)
        scores = fold_scores(study_predictions(study, small_study.runs))
        return study, scores, table_context(study)

    return opened


def titles(study, scores, context, environments=()):
    return [caution.title for caution in find_cautions(study, scores, context, environments)]


def test_folds_by_cell_still_share_patients(study_of):
    assert titles(*study_of()) == [
        "Q: training and held-out images share patients",
        "Few folds",
        "Q: only the laboratories trained on were measured",
    ]


def test_folds_by_cell_share_no_cell():
    samples = samples_of([f"c{index // 5}" for index in range(40)])
    assert shared_groups(make_split(samples, "cell", 4, 0), samples, "cell") == (0, 40)


def test_folds_of_images_share_every_cell(study_of):
    study, scores, context = study_of(protocol="paper", split={"folds": 2, "scheme": "image"})
    (leak,) = [one for one in find_cautions(study, scores, context, ()) if "share" in one.title]
    data = study.tasks["Q"].dataset.samples
    split = make_split(data, "image", 2, 0)
    folds = pd.Series(split.assignment, index=list(split.file_names))
    patients = data.set_index("file_name")["patient"]
    alone = sum(len(set(folds[patients.index[patients == patients[name]]])) == 1 for name in patients.index)
    assert leak.gravity == "serious"
    assert f"{100 * (1 - alone / len(patients)):.0f}% of the held-out images come from a patient" in leak.text


def test_missing_runs_are_listed(study_of):
    study, scores, context = study_of(run_folds=[0, 1])
    first = find_cautions(study, scores, context, ())[0]
    assert first.title == "The study is not finished" and first.gravity == "serious"
    assert "3 of 6 runs are missing" in first.text
    assert any("two-step" in line.lower() and "fold 1" in line for line in first.details)


def test_target_images_in_the_intermediate_domain_are_found(study_of):
    study, scores, context = study_of(
        tasks={"Q": {"dataset": "q", "intermediates": ["G"]}, "G": {"dataset": "q", "target": False}}
    )
    (found,) = [one for one in find_cautions(study, scores, context, ()) if "intermediate" in one.title]
    assert found.text.startswith(f"{len(study.tasks['Q'].dataset.samples)} files of q")


def test_runs_of_two_machines_are_told_apart(study_of):
    environments = [{"device": "cpu"}, {"device": "cpu"}, {"device": "cuda"}]
    study, scores, context = study_of()
    (machines,) = [one for one in find_cautions(study, scores, context, environments) if "machines" in one.title]
    assert machines.details == ("device: cpu (2 runs), cuda (1 runs)",)
    assert not [title for title in titles(study, scores, context, environments[:2]) if "machines" in title]
