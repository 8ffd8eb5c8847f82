"""The ledger reads the run folders alone, and says what it cannot read."""

import json
import os
from dataclasses import replace

import pytest
from tests.finished import seal

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import read_json
from bandbridge.study.ledger import Ledger, RunState, TrainingSpeed
from bandbridge.study.plan import open_study


def test_a_file_in_the_place_of_the_runs_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        Ledger(tmp_path / "runs")


def leave(folder, **files):
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def test_speeds_are_those_of_whole_records(tmp_path):
    root = tmp_path / "Q" / "x" / "scratch"
    facts = {"architecture": "its name in the study", "image_size": 32, "images_per_second": 7.5}
    ran = {"device": "cpu", "precision": "32-true", "threads": 2}
    leave(root / "fold0-a", progress=facts, config={"architecture": "x"}, environment=ran)
    leave(root / "fold1-b", progress={"images_per_second": 3.0})
    leave(root / "fold2-c", progress={})
    leave(root / "fold3-d", progress={**facts, "images_per_second": 0.0}, config={"architecture": "x"})
    assert Ledger(tmp_path).speeds() == [TrainingSpeed("x", 32, 7.5, False, None, **ran)]


def test_a_finished_run_tells_its_median_epoch_and_what_came_beside_them(tmp_path):
    folder = tmp_path / "Q" / "x" / "scratch" / "fold0-a"
    epochs = [{"images_per_second": rate, "seconds": 10.0} for rate in (1.0, 6.0, 5.0)]
    facts = {"architecture": "x", "image_size": 32, "images_per_second": 5.0}
    leave(folder, progress=facts, run={}, history=epochs, done={})
    for passed, overhead in ((33.5, 3.5), (29.0, None)):  # the second goes on with what an earlier process began
        os.utime(folder / "run.json", (1000, 1000))
        os.utime(folder / "done.json", (1000, 1000 + passed))
        [speed] = Ledger(tmp_path).speeds()
        assert (speed.images_per_second, speed.finished, speed.overhead) == (5, True, overhead)


@pytest.fixture
def run(study_file):
    """A planned run of three epochs; nothing is trained."""
    return open_study(study_file(), need_data=False).runs[0]


def test_a_run_without_its_predictions_is_not_done(run, tmp_path):
    ledger = Ledger(tmp_path / "runs")
    folder = ledger.folder(run)
    folder.mkdir(parents=True)
    (folder / "predictions.parquet").touch()
    seal(folder, run.id)
    assert ledger.state(run).kind == "done"
    (folder / "predictions.parquet").unlink()
    assert ledger.state(run).kind == "pending"


def test_a_run_on_every_image_has_no_predictions_and_is_done(run, tmp_path):
    whole = replace(run, fold=None, record=run.record.model_copy(update={"fold": None}))
    ledger = Ledger(tmp_path / "runs")
    ledger.folder(whole).mkdir(parents=True)
    seal(ledger.folder(whole), whole.id)
    assert ledger.state(whole).kind == "done"


def test_a_done_file_that_is_damaged_or_another_runs_is_no_done_run(run, tmp_path):
    ledger = Ledger(tmp_path / "runs")
    folder = ledger.folder(run)
    folder.mkdir(parents=True)
    for text, message in (
        ("{}", "is damaged"),
        ("[]", "is damaged"),
        ('{"id": "0123456789ab", "epochs": 3, "best_epoch": 1}', "moved here from another folder"),
    ):
        (folder / "done.json").write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            ledger.state(run)
        assert f"delete {folder}" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        '{"epoch": "many"}',
        "[1]",
        '{"epoch": -2}',
        '{"epoch": 1e400}',
        '{"epoch": NaN}',
        '{"epoch": null}',
        '{"epoch": 2, "images_per_second": -1, "image_size": 32, "architecture": "x"}',
        '{"epoch": 2, "images_per_second": 1e400, "image_size": 32, "architecture": "x"}',
        '{"epoch": 2, "images_per_second": 5, "image_size": 32, "architecture": [1]}',
        "",
        "{",
    ],
)
def test_strange_progress_stops_nothing_and_tells_nothing(run, tmp_path, text):
    folder = Ledger(tmp_path / "runs").folder(run)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").touch()
    (folder / "progress.json").write_text(text)
    ledger = Ledger(tmp_path / "runs")
    assert ledger.state(run) == RunState("paused", 0)
    assert ledger.progress(run) == {} and ledger.speeds() == []


def test_more_epochs_than_there_are_count_as_all(run, tmp_path):
    ledger = Ledger(tmp_path / "runs")
    folder = ledger.folder(run)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").touch()
    (folder / "progress.json").write_text('{"epoch": 99}')
    assert ledger.state(run) == RunState("paused", 3)
    (folder / "failed.json").write_text('{"message": ["no", "text"]}')
    assert ledger.state(run) == RunState("failed", 3)


@pytest.mark.parametrize("text", ["[1]", '[{"images_per_second": "x", "seconds": 1}]', "{", '[{"seconds": -1}]'])
def test_a_strange_history_tells_no_speed_of_epochs(tmp_path, text):
    folder = tmp_path / "Q" / "x" / "scratch" / "fold0-a"
    facts = {"architecture": "x", "image_size": 32, "images_per_second": 5.0}
    leave(folder, progress=facts, environment={"threads": "many"}, done={})
    (folder / "history.json").write_text(text)
    assert Ledger(tmp_path).speeds() == [TrainingSpeed("x", 32, 5.0, True, None, "", "", None)]


def test_damaged_and_unreadable_are_told_apart(tmp_path):
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(UserError, match="damaged") as caught:
        read_json(tmp_path / "damaged.json")
    assert not isinstance(caught.value, EnvironmentFault)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match="is no file, but a folder"):
        read_json(tmp_path / "folder.json")
    with pytest.raises(UserError, match=r"damaged\.json is not a folder") as caught:
        read_json(tmp_path / "damaged.json" / "progress.json")
    assert not isinstance(caught.value, EnvironmentFault)
