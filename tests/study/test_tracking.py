"""Trainings in MLflow: what its own client reads in the folder is what the histories of the runs say, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bandbridge.errors import UserError
from bandbridge.study.execute import Executor
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study
from bandbridge.study.side_by_side import Sharing, run_side_by_side
from bandbridge.study.tracking import RUN_TAG, Tracker, Tracking, open_tracking
from bandbridge.training import loop
from bandbridge.training.checkpoint import load_state
from bandbridge.training.loop import TrainingDiverged

mlflow = pytest.importorskip("mlflow", reason="needs bandbridge[mlflow]")

TWO = {"approaches": ["scratch"], "run_folds": [0]}


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch):
    """No word of the environment says where MLflow writes, or it names a server that is not there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def client(folder: Path) -> Any:
    return mlflow.MlflowClient(tracking_uri=folder.as_uri(), registry_uri=folder.as_uri())


def read(folder: Path, experiment: str = "small") -> dict[str, Any]:
    """The runs of the experiment by our ids, as MLflow reads them; no id is there twice."""
    reader = client(folder)
    found = reader.search_runs([reader.get_experiment_by_name(experiment).experiment_id], max_results=1000)
    assert len({run.data.tags[RUN_TAG] for run in found}) == len(found)
    return {run.data.tags[RUN_TAG]: run for run in found}


def history(folder: Path, run: Any) -> list[dict[str, float]]:
    """The history of a run as MLflow reads it, as history.json has it; fails where an epoch is there twice."""
    entries: dict[int, dict[str, float]] = {}
    for name in run.data.metrics:
        for one in client(folder).get_metric_history(run.info.run_id, name):
            entry = entries.setdefault(one.step, {"epoch": one.step})
            assert name not in entry, f"epoch {one.step} is there twice"
            entry[name] = one.value
    return [entries[epoch] for epoch in sorted(entries)]


def require_all(study: Study, root: Path, folder: Path, status: str = "FINISHED") -> None:
    shown = read(folder)
    assert shown.keys() == {run.id for run in study.runs}
    for run in study.runs:
        kept = json.loads((Ledger(root).folder(run) / "history.json").read_text())
        assert history(folder, shown[run.id]) == kept and len(kept) == 3
        assert shown[run.id].info.status == status and shown[run.id].info.run_name == run.name


def executor(study: Study, root: Path, tracking: Tracking | None, said: list[str] | None = None, **more) -> Executor:
    say = (said if said is not None else []).append
    return Executor(study, root, "cpu", say=say, show=lambda _: None, tracking=tracking, **more)


def test_mlflow_reads_what_the_histories_say_and_what_each_run_is(study_file, tmp_path):
    study, folder = open_study(study_file(**TWO)), tmp_path / "ml"
    executor(study, tmp_path / "runs", open_tracking(folder, "small")).run(study.runs)
    require_all(study, tmp_path / "runs", folder)
    for run in study.runs:
        said = read(folder)[run.id].data.params
        record = run.record
        assert (said["task"], said["approach"], said["fold"]) == (run.task, run.approach, str(run.fold))
        assert said["recipe.phases.0.epochs"] == "3" and said["recipe.batch_size"] == "16"
        assert float(said["recipe.phases.0.learning_rate"]) == record.recipe.phases[0].learning_rate
        assert said["dataset"] == record.dataset and said["preparation.size"] == "32"


def test_a_run_is_the_same_with_it_and_without(study_file, tmp_path):
    study = open_study(study_file(**TWO))
    executor(study, tmp_path / "with", open_tracking(tmp_path / "ml", "small")).run(study.runs)
    executor(study, tmp_path / "without", None).run(study.runs)
    for run in study.runs:
        one, other = (Ledger(tmp_path / name).folder(run) for name in ("with", "without"))
        assert one.relative_to(tmp_path / "with") == other.relative_to(tmp_path / "without")
        assert (one / "predictions.parquet").read_bytes() == (other / "predictions.parquet").read_bytes()
        assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())


def test_a_run_that_goes_on_has_no_epoch_twice(study_file, tmp_path, monkeypatch):
    """Killed after the second epoch with the first in its checkpoint, so that the second is trained again."""
    study, root, folder = open_study(study_file(**TWO)), tmp_path / "runs", tmp_path / "ml"
    run, tracking = study.runs[0], open_tracking(folder, "small")
    shown, kept = Tracker.show, loop.save_state

    def killed_after_two(self, run, history=(), status="RUNNING"):
        shown(self, run, history := list(history), status)
        if history and history[0]["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "show", killed_after_two)
        patch.setattr(loop, "save_state", lambda state, path: kept(state, path) if state.epoch == 1 else None)
        with pytest.raises(KeyboardInterrupt):
            executor(study, root, tracking, checkpoint_interval=0).run([run])
    assert load_state(Ledger(root).folder(run) / "checkpoint.pt").epoch == 1
    assert [entry["epoch"] for entry in history(folder, read(folder)[run.id])] == [1, 2]
    assert read(folder)[run.id].info.status == "RUNNING"
    executor(study, root, tracking).run([run])
    found, own = history(folder, read(folder)[run.id]), Ledger(root).folder(run) / "history.json"
    assert [entry["epoch"] for entry in found] == [1, 2, 3]
    for ours, theirs in zip(json.loads(own.read_text()), found, strict=True):
        for name in ("training_loss", "held_out_accuracy", "held_out_loss", "learning_rate"):
            assert ours[name] == theirs[name]


def test_time_that_runs_out_and_a_run_that_fails_are_told_apart(study_file, tmp_path, monkeypatch):
    study, root, folder = open_study(study_file(**TWO)), tmp_path / "runs", tmp_path / "ml"
    tracking, (first, second) = open_tracking(folder, "small"), study.runs
    with monkeypatch.context() as patch:
        patch.setattr("bandbridge.study.execute.train", timed_out)
        assert executor(study, root, tracking).run([first]).out_of_time
    assert read(folder)[first.id].info.status == "SCHEDULED"

    def diverged(*_, **__):
        raise TrainingDiverged("the loss is nan", "Lower the rate.")

    with monkeypatch.context() as patch:
        patch.setattr("bandbridge.study.execute.train", diverged)
        assert executor(study, root, tracking).run([second]).failed
    assert read(folder)[second.id].info.status == "FAILED"
    executor(study, root, tracking).run(study.runs)
    require_all(study, root, folder)


def timed_out(*_, **__):
    return None, None


def test_runs_side_by_side_are_all_there(study_file, tmp_path):
    study, root, folder = open_study(study_file(run_folds=[0])), tmp_path / "runs", tmp_path / "ml"
    runner = executor(study, root, open_tracking(folder, "small"))
    assert len(run_side_by_side(runner, study.runs, Sharing(2, 1)).done) == 4
    require_all(study, root, folder)


@pytest.mark.parametrize(
    "step",
    [
        *("log_batch", "get_metric_history"),
        *(pytest.param(step, marks=pytest.mark.slow) for step in ("create_run", "search_runs", "set_terminated")),
    ],
)
def test_what_fails_in_mlflow_is_said_once_and_loses_no_training(study_file, tmp_path, monkeypatch, step):
    study, root, folder = open_study(study_file(**TWO)), tmp_path / "runs", tmp_path / "ml"
    tracking, said = open_tracking(folder, "small"), []
    if step == "get_metric_history":  # looked up in a run that is there already
        with monkeypatch.context() as patch:
            patch.setattr("bandbridge.study.execute.train", timed_out)
            executor(study, root, tracking).run(study.runs)
        Tracker(tracking, print).show(study.runs[0], [{"epoch": 1, "training_loss": 1.0}])

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, step, broken)
        outcome = executor(study, root, tracking, said).run(study.runs)
    assert len(outcome.done) == 2 and not outcome.failed
    (line,) = [line for line in said if "MLflow" in line]
    assert "No space left" in line and "goes on without it" in line
    if step != "get_metric_history":  # there one value was made up
        Tracker(tracking, print).show_finished(study.runs, Ledger(root))
        require_all(study, root, folder)


def test_the_command_shows_what_was_finished_before_and_nothing_twice(study_file, tmp_path, bandbridge):
    path, runs, folder = study_file(**TWO), tmp_path / "runs", tmp_path / "ml"
    command = ("study", "run", path, "--runs", runs, "--device", "cpu", "--jobs", 1)
    assert bandbridge(*command).code == 0
    for _ in range(2):
        assert bandbridge(*command, "--mlflow", folder).code == 0
        require_all(open_study(path), runs, folder)
    # Another study that holds the same runs has them in an experiment of its own.
    other = study_file(**TWO, name="again")
    assert bandbridge("study", "run", other, "--runs", runs, "--device", "cpu", "--mlflow", folder).code == 0
    assert read(folder, "again").keys() == read(folder).keys()


@pytest.mark.parametrize("address", ["http://127.0.0.1:5000", "https://host/x", "databricks://x", "file:///tmp/x"])
def test_an_address_is_refused_before_anything_is_done(study_file, tmp_path, bandbridge, address):
    path, runs = study_file(**TWO), tmp_path / "runs"
    refused = bandbridge("study", "run", path, "--runs", runs, "--mlflow", address)
    assert refused.code == 2 and f"{address} is an address" in refused.err and "Name a folder" in refused.err
    assert not list(runs.rglob("*.json"))
    with pytest.raises(UserError, match="is an address"):
        open_tracking(Path(address), "small")


def test_a_folder_of_other_things_and_a_file_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    with pytest.raises(UserError, match="holds other things than MLflow's"):
        open_tracking(tmp_path / "mine", "small")
    with pytest.raises(UserError, match="is in the place of a folder"):
        open_tracking(tmp_path / "mine" / "thesis.txt", "small")
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "new" / "below"):
        assert open_tracking(place, "small") == open_tracking(place, "small")
        assert client(place).get_experiment_by_name("small") is not None


def test_an_experiment_that_was_deleted_there_is_named(tmp_path):
    tracking = open_tracking(tmp_path / "ml", "small")
    reader = client(tracking.folder)
    reader.delete_experiment(reader.get_experiment_by_name("small").experiment_id)
    with pytest.raises(UserError, match="its experiment 'small' was deleted there"):
        open_tracking(tmp_path / "ml", "small")


_ALONE = """
import socket, sys
from pathlib import Path

def refuse(*arguments, **_):
    raise OSError("no network here")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
if sys.argv[1:]:
    from bandbridge.study.tracking import open_tracking
    open_tracking(sys.argv[1], "small")
import mlflow.telemetry
print(mlflow.telemetry.get_telemetry_client(), any(Path.home().iterdir()))
"""


@pytest.mark.parametrize("ours", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_mlflow_tells_its_maker_nothing(tmp_path, ours):
    """In a process that is no test to it: in those it is silent. Imported by itself, it gives this home a number."""
    (tmp_path / "home").mkdir()
    about = ("PYTEST", "CI", "GITHUB", "MLFLOW", "DO_NOT_TRACK")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(about)}
    plain |= {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}
    plain["PYTHONPATH"] = os.pathsep.join(sys.path)
    line = [sys.executable, "-c", _ALONE, *[str(tmp_path / "ml")] * ours]
    done = subprocess.run(line, env=plain, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    if ours:
        assert done.stdout == "None False\n" and not done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "ml"], "no mlruns where it was called from"
    else:
        assert done.stdout.endswith(" True\n")
