"""Another laboratory as a protocol: datasets that are joined, and one source left out at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bandbridge.errors import ManyErrors
from bandbridge.study.plan import open_study


def written(folder: Path, **changes: object) -> Path:
    study = {
        "name": "two",
        "protocol": "strict",
        "tasks": {
            "own": {"dataset": ["a", "b"], "scheme": "cell"},
            "other": {"dataset": ["a", "b"], "scheme": "source"},
        },
        "architectures": ["test_resnet"],
        "approaches": ["scratch"],
        "split": {"folds": 2},
        "image_size": 32,
    }
    path = folder / "two.yaml"
    path.write_text(yaml.safe_dump({**study, **changes}))
    return path


@pytest.fixture
def home(chromosome_set, tmp_path):
    for name, stain in (("a", "Q"), ("b", "G")):
        (tmp_path / name).symlink_to(chromosome_set(stain, 4))
    return tmp_path


def test_one_study_measures_the_own_laboratory_and_another(home):
    study = open_study(written(home))
    own, other = study.tasks["own"], study.tasks["other"]
    assert own.fingerprint == other.fingerprint and len(own.dataset.samples) == 8 * 46
    sources = own.dataset.samples["source"].to_numpy()
    for fold in (0, 1):
        assert len(set(sources[own.split.rows(fold)[0]])) == 2
        assert len(set(sources[other.split.rows(fold)[0]])) == 1
    assert len({run.id for run in study.runs}) == 4


def test_an_absent_part_is_named(home):
    tasks = {"own": {"dataset": ["a", "nowhere.zip", "nor-here"]}}
    with pytest.raises(ManyErrors) as refused:
        open_study(written(home, tasks=tasks))
    assert len(refused.value.problems) == 2 and all("task own" in line for line in refused.value.problems)
    provisional = open_study(written(home, tasks=tasks), need_data=False)
    assert provisional.missing_data == ["a + nowhere.zip + nor-here"]


@pytest.mark.parametrize(("dataset", "said"), [([], "a list of paths"), (["a", "a"], "twice"), (3, "a list of paths")])
def test_a_dataset_that_makes_no_sense_is_said_with_its_line(home, dataset, said):
    with pytest.raises(ManyErrors) as refused:
        open_study(written(home, tasks={"own": {"dataset": dataset}}))
    assert any(said in line and "two.yaml:" in line for line in refused.value.problems), refused.value.problems
