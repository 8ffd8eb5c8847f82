"""The time of a study: schedules against another scheduler and all possible ones, durations against a count by hand."""

from __future__ import annotations

import json
import os
import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bandbridge.errors import UserError
from bandbridge.model.architectures import build_shapes, find_architecture
from bandbridge.study import estimate as module
from bandbridge.study.estimate import critical_path, enough_devices, estimate, schedule
from bandbridge.study.execute import environment
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study
from bandbridge.study.run import distinct
from bandbridge.training.device import open_fabric
from bandbridge.training.recipe import RecipeSpec, recipe_for

MEASURED = 50.0


def random_graph(seed: int, runs: int) -> tuple[list[int], list[int | None]]:
    """Whole seconds, and parents that come before their children."""
    draw = np.random.default_rng(seed)
    parents = [int(draw.integers(run)) if run and draw.random() < 0.6 else None for run in range(runs)]
    return draw.integers(1, 8, runs).tolist(), parents


def tick_by_tick(durations: list[int], parents: list[int | None], devices: int) -> list[tuple[int, int]]:
    """The same rule, second after second: a queue that runs join when they become ready, and a list of busy devices."""
    queue = [run for run, parent in enumerate(parents) if parent is None]
    busy: list[list[int]] = []  # run, seconds left
    times: dict[int, tuple[int, int]] = {}
    clock = 0
    while queue or busy:
        while queue and len(busy) < devices:
            run = queue.pop(0)
            busy.append([run, durations[run]])
            times[run] = (clock, clock + durations[run])
        clock += 1
        for slot in busy:
            slot[1] -= 1
        over = {run for run, left in busy if left == 0}
        busy = [slot for slot in busy if slot[1] > 0]
        queue += [run for run, parent in enumerate(parents) if parent in over]
    return [times[run] for run in range(len(durations))]


def least_makespan(durations: list[int], parents: list[int | None], devices: int) -> int:
    """Brute force: in every order of starting, each run on the device that is free first.

    The runs of a best schedule, in the order in which they start there, start no later this way.
    """
    best = sum(durations)
    for order in permutations(range(len(durations))):
        free, finish = [0] * devices, {}
        for run in order:
            parent = parents[run]
            if parent is not None and parent not in finish:
                break
            device = free.index(min(free))
            finish[run] = free[device] = max(free[device], finish.get(parent, 0)) + durations[run]
        else:
            best = min(best, max(free))
    return best


def longest_chain(durations: list[int], parents: list[int | None]) -> int:
    def until(run: int | None) -> int:
        return 0 if run is None else durations[run] + until(parents[run])

    return max(map(until, range(len(durations))))


@pytest.mark.parametrize(
    ("devices", "start", "makespan"),
    [(2, (0, 15, 0, 13, 4, 18, 6, 9, 9, 18), 21), (3, (0, 11, 0, 7, 0, 10, 4, 5, 6, 12), 14)],
)
def test_runs_are_taken_in_the_order_in_which_ray_was_seen_to_take_them(devices, start, makespan):
    # Tasks a0 a1 b0 b1 c0 c1 d0 e0 f0 f1, submitted in this order; those that end in 1 wait for their namesakes. Ray
    # 2.60.0 began them as a0 b0 c0 d0 e0 f0 b1 a1 c1 f1 on two cores, and with b1 c1 a1 f1 at the end on three.
    durations, parents = [6, 3, 4, 5, 5, 3, 3, 6, 4, 2], [None, 0, None, 2, None, 4, None, None, None, 8]
    found = schedule(durations, parents, devices)
    assert found.start == start and found.makespan == makespan


@pytest.mark.parametrize("devices", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("seed", range(20))
def test_schedule_is_the_one_of_a_clock(seed, devices):
    durations, parents = random_graph(seed, 30)
    found = schedule(durations, parents, devices)
    assert list(zip(found.start, found.finish, strict=True)) == tick_by_tick(durations, parents, devices)
    if devices == 1:
        assert found.makespan == sum(durations)


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_makespan_lies_between_the_bounds_and_grahams(seed, devices):
    durations, parents = random_graph(100 + seed, 6)
    best, found = least_makespan(durations, parents, devices), schedule(durations, parents, devices).makespan
    assert critical_path(durations, parents) == longest_chain(durations, parents)
    assert max(sum(durations) / devices, longest_chain(durations, parents)) <= best <= found
    assert found <= (2 - 1 / devices) * best


@pytest.mark.parametrize("packed", [1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_one_device_fewer_than_enough_is_too_few(seed, packed):
    durations, parents = random_graph(200 + seed, 25)
    goal = 1.05 * longest_chain(durations, parents)
    near = [n for n in range(1, 26) if schedule(durations, parents, n * packed).makespan <= goal]
    assert enough_devices(durations, parents, packed) == near[0]


def test_nothing_and_no_time_at_all():
    assert schedule([], [], 3).makespan == critical_path([], []) == 0
    assert enough_devices([], []) == enough_devices([0.0, 0.0], [None, 0]) == 1
    assert schedule([0.0, 0.0, 2.0], [None, 0, 1], 1).finish == (0, 0, 2)


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
        files["done.json"] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    os.utime(folder / "run.json", (1000, 1000))
    if done:
        os.utime(folder / "done.json", (0, 1000 + 10 * len(rates) + overhead))


def other(root: Path, name: str) -> Path:
    """The folder of another study's run."""
    return root / "R" / "other" / "scratch" / f"fold0-{name}"


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
    assert result.chain == pytest.approx(longest_chain(result.seconds, parents))
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


def test_a_speed_is_that_of_the_training_loop_on_whole_batches(fabric, monkeypatch):
    recipe = recipe_for(RecipeSpec(batch_size=24), "test_resnet", pretrained=False)
    seen = []

    def pretended(model, job, fabric, checkpoint, report, **_):
        seen.append(
            (job.batch_size, job.steps_per_epoch, job.images.shape, len(job.held_out_rows), checkpoint.exists())
        )
        for rate in (5.0, 50.0, 60.0, 200.0):
            monkeypatch.setattr(module, "_LEAST_S", 0.0 if rate == 200 else 1e9)
            report({"images_per_second": rate})
        raise AssertionError("goes on when it has been long enough")

    monkeypatch.setattr(module, "train", pretended)
    assert module.measure_speed("test_resnet", 32, fabric, recipe) == 60  # the median without the first step
    assert seen == [(24, 1, (24, 32, 32), 0, False)]


def test_a_measured_speed_is_positive_and_leaves_no_file(fabric, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LEAST_S", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recipe = recipe_for(RecipeSpec(batch_size=8, growth={"start": 0.5, "end": 1.0}), "test_resnet", pretrained=False)
    assert module.measure_speed("test_resnet", 32, fabric, recipe) > 0
    assert not list(tmp_path.iterdir())
