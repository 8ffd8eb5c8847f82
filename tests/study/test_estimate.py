"""The time of a study: durations against a count by hand, laid out as the schedule says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.finished import seal

from bandbridge.errors import UserError
from bandbridge.model.architectures import build_shapes, find_architecture
from bandbridge.study import rates as module
from bandbridge.study.estimate import estimate
from bandbridge.study.execute import environment
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study
from bandbridge.study.run import distinct
from bandbridge.study.schedule import schedule
from bandbridge.training.device import open_fabric

MEASURED = 50.0


@pytest.fixture
def fabric():
    """As a training of the tiny network has it: bf16 where this machine gains by it."""
    return open_fabric("cpu", "auto", build_shapes(find_architecture("test_resnet"), 24, 32))


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """Let every measuring give the same; returns what was measured."""
    asked: list[str] = []
    monkeypatch.setattr(module, "measure_speed", lambda name, *_: asked.append(name) or MEASURED)
    return asked


def leave_run(folder: Path, fabric, rates: list[float], overhead: float = 2.0, done: bool = True, **changes) -> None:
    """Write what a training leaves, of epochs of 10 s each."""
    ran = {key: value for key, value in environment(fabric).items() if key in ("device", "precision", "threads")}
    facts = {"architecture": "as the study calls it", "image_size": 32, "images_per_second": rates[-1]}
    files = {
        "run.json": {},
        "config.json": {"architecture": "test_resnet"},
        "environment.json": {**ran, **changes},
        "progress.json": {**facts, "epoch": len(rates)},
    }
    if done:
        files["history.json"] = [{"images_per_second": rate, "seconds": 10.0} for rate in rates]
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    if done:
        (folder / "predictions.parquet").touch()
        seal(folder, folder.name[-12:])
    os.utime(folder / "run.json", (1000, 1000))
    if done:
        os.utime(folder / "done.json", (0, 1000 + 10 * len(rates) + overhead))


def other(root: Path, name: str) -> Path:
    """The folder of another study's run, whose id is twelve times the digit ``name``."""
    return root / "R" / "other" / "scratch" / f"fold0-{12 * name}"


def passes(study, run, epochs: int) -> float:
    """Image passes by counting: whole batches of 16 to train on, a third for each image held out."""
    split = study.tasks[run.task].split
    held_out = sum(1 for fold in split.assignment if fold == run.fold)
    return epochs * ((len(split.assignment) - held_out) // 16 * 16 + held_out / 3)


def test_durations_are_passes_over_the_median_speed_and_an_overhead(study_file, tmp_path, fabric, measured):
    study, root = open_study(study_file()), tmp_path / "runs"
    leave_run(other(root, "a"), fabric, [10.0, 80.0, 90.0], overhead=1.0)
    leave_run(other(root, "b"), fabric, [100.0, 100.0], overhead=5.0)
    leave_run(other(root, "c"), fabric, [130.0, 120.0, 110.0], overhead=2.0)
    leave_run(other(root, "d"), fabric, [999.0], done=False)
    result = estimate(study, study.runs, Ledger(root), "cpu", devices=2)
    rate = result.rates["test_resnet"]
    assert (rate.images_per_second, rate.overhead, rate.source) == (100, 2, "from 3 finished runs") and not measured
    assert result.runs == study.runs and len(result.runs) == 8
    assert result.seconds == pytest.approx([passes(study, run, 3) / 100 + 2 for run in study.runs])
    parents = [None if run.parent is None else study.runs.index(run.parent) for run in study.runs]
    assert parents.count(None) == 4 and result.schedule == schedule(result.seconds, parents, 2)
    assert result.makespan == max(result.schedule.finish)
    pairs = zip(result.seconds, parents, strict=True)
    assert result.chain == pytest.approx(max(each + (0 if p is None else result.seconds[p]) for each, p in pairs))
    assert result.work == pytest.approx(sum(result.seconds))
    assert estimate(study, study.runs, Ledger(root), "cpu").makespan == pytest.approx(result.work)


@pytest.mark.parametrize("change", [{"device": "cuda Some GPU"}, {"precision": "64-true"}, {"threads": 99}])
def test_speeds_of_another_setting_are_not_taken(study_file, tmp_path, fabric, measured, change):
    study, root = open_study(study_file()), tmp_path / "runs"
    leave_run(other(root, "a"), fabric, [10.0], **change)
    rate = estimate(study, study.runs, Ledger(root), "cpu").rates["test_resnet"]
    assert (rate.images_per_second, rate.overhead, rate.source) == (MEASURED, 0, "measured now")
    assert measured == ["test_resnet"]
    leave_run(other(root, "b"), fabric, [70.0], done=False)
    rate = estimate(study, study.runs, Ledger(root), "cpu").rates["test_resnet"]
    assert (rate.images_per_second, rate.source) == (70, "from 1 unfinished run")


def test_a_resumed_run_tells_no_overhead(study_file, tmp_path, fabric, measured):
    study, root = open_study(study_file()), tmp_path / "runs"
    leave_run(other(root, "a"), fabric, [20.0, 20.0], overhead=-10.0)
    rate = estimate(study, study.runs, Ledger(root), "cpu").rates["test_resnet"]
    assert (rate.images_per_second, rate.overhead) == (20, 0)


def test_a_paused_run_needs_its_last_epochs_and_a_done_parent_holds_nobody_up(study_file, tmp_path, fabric, measured):
    study, root = open_study(study_file(run_folds=[0])), tmp_path / "runs"
    parent, child = next((run.parent, run) for run in study.runs if run.parent)
    leave_run(child.folder(root), fabric, [40.0, 60.0], done=False)
    (child.folder(root) / "checkpoint.pt").touch()
    leave_run(parent.folder(root), fabric, [100.0], overhead=0.0)
    ledger = Ledger(root)
    pending = [run for run in study.runs if ledger.state(run).kind != "done"]
    result = estimate(study, pending, ledger, "cpu", devices=8)
    place = result.runs.index(child)
    assert result.seconds[place] == pytest.approx(passes(study, child, 1) / 100)
    assert result.schedule.start[place] == 0 and parent not in result.runs


def test_a_training_in_two_places_is_counted_once(study_file, tmp_path, fabric, measured):
    tasks = {name: {"dataset": "q4-0", "intermediates": [to]} for name, to in (("Q", "G"), ("G", "Q"))}
    study = open_study(study_file(tasks=tasks))
    result = estimate(study, study.runs, Ledger(tmp_path / "runs"), "cpu", devices=50)
    # Scratch and domain of either fold, and the child of a shared parent waits for the one training there is.
    assert len(study.runs) == 8 and len(result.runs) == len(distinct(study.runs)) == 4
    waits = {run.name: start for run, start in zip(result.runs, result.schedule.start, strict=True)}
    assert sorted(start > 0 for start in waits.values()) == [False, False, True, True]
    assert result.makespan == result.chain and result.enough <= 2


def test_runs_on_one_device_gain_nothing_by_it(study_file, tmp_path, fabric, measured):
    study, ledger = open_study(study_file()), Ledger(tmp_path / "runs")
    alone = estimate(study, study.runs, ledger, "cpu", devices=1)
    packed = estimate(study, study.runs, ledger, "cpu", devices=1, runs_per_device=4)
    assert packed.seconds == pytest.approx([4 * each for each in alone.seconds])
    assert packed.work == alone.work and packed.makespan >= alone.makespan - 1e-9
    # Four roots, then their four children, all alike in pairs: a device never has an idle place.
    assert packed.chain == pytest.approx(4 * alone.chain)


def test_absent_datasets_count_as_the_largest_present_one(study_file, tmp_path, fabric, measured):
    tasks = {"Q": {"dataset": "q4-0", "intermediates": ["G"]}, "G": {"dataset": "absent", "intermediates": ["Q"]}}
    study = open_study(study_file(tasks=tasks, approaches=["scratch"], run_folds=[0]), need_data=False)
    result = estimate(study, study.runs, Ledger(tmp_path / "runs"), "cpu")
    images = len(study.tasks["Q"].dataset.samples)
    half = images // 2
    expected = 3 * ((images - half) // 16 * 16 + half / 3) / MEASURED
    assert [run.task for run in result.runs] == ["Q", "G"] and result.seconds[1] == pytest.approx(expected)
    tasks["Q"]["dataset"] = "nowhere"
    study = open_study(study_file(tasks=tasks, approaches=["scratch"], run_folds=[0]), need_data=False)
    result = estimate(study, study.runs, Ledger(tmp_path / "runs"), "cpu")
    assert result.seconds == pytest.approx([3 * (2496 + 2500 / 3) / MEASURED] * 2)


def test_an_architecture_that_cannot_take_the_size_is_named_with_it(study_file, tmp_path):
    study = open_study(study_file(architectures=["test_vit"], image_size=50))
    with pytest.raises(UserError, match=r"test_vit at 50 px: "):
        estimate(study, study.runs, Ledger(tmp_path / "runs"), "cpu")
