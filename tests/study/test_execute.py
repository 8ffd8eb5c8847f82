"""Runs end to end on tiny models: products, reuse, resume, failures, and fifty kinds of sudden death."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.finished import seal
from tests.networks import beginning_moved, write_moved

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.evaluation.predictions import logits_of, read_predictions
from bandbridge.holding import claimed
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.study.execute import Executor, dealt_out
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study
from bandbridge.training import loop

#: How often the study of the kill test is killed; raise it for a long trial.
KILLS = int(os.environ.get("BANDBRIDGE_TEST_KILLS", "6"))

#: A recipe for what does not depend on how long is trained.
SHORT = {"base": "fast", "epochs": 1, "batch_size": 16}


def silent(_: str) -> None:
    pass


def executor(path: Path, root: Path, **options) -> Executor:
    return Executor(open_study(path), root, "cpu", say=silent, show=silent, checkpoint_interval=0, **options)


def execute(path: Path, root: Path, **options):
    runner = executor(path, root, **options)
    return runner.run(runner.study.runs)


@pytest.fixture
def imagenet_folder(tmp_path) -> Path:
    """A weights folder with random weights under the name of a tiny model."""
    write_moved(tmp_path / "weights" / "test_resnet.safetensors", classes=1000, size=160, seed=7)
    return tmp_path / "weights"


def test_shuffled_labels_are_those_of_the_training_images_in_another_order():
    targets, rows = np.arange(40) % 7, np.arange(0, 40, 2)
    dealt = dealt_out(targets, rows, seed=0)
    assert sorted(dealt[rows]) == sorted(targets[rows]) and (dealt[rows] != targets[rows]).any()
    assert (dealt[1::2] == targets[1::2]).all() and (targets == np.arange(40) % 7).all()
    assert (dealt == dealt_out(targets, rows, seed=0)).all() and (dealt != dealt_out(targets, rows, seed=1)).any()


def test_shuffled_labels_are_what_is_trained_on_and_true_ones_what_is_held_out(study_file, tmp_path):
    changes = {"approaches": ["scratch"], "run_folds": [0], "recipe": SHORT}
    jobs = []
    for labels in ("as-is", "shuffled"):
        runner = executor(study_file(tasks={"Q": {"dataset": "q4-0", "labels": labels}}, **changes), tmp_path / "runs")
        jobs.append(runner.prepare(runner.study.runs[0]).job)
    plain, shuffled = jobs
    moved = plain.targets != shuffled.targets
    assert moved[plain.training_rows].mean() > 0.8 and not moved[plain.held_out_rows].any()


def test_four_approaches_leave_whole_products(study_file, imagenet_folder, tmp_path):
    path = study_file(approaches=["scratch", "imagenet", "two-step", "domain"], run_folds=[0], recipe=SHORT)
    root = tmp_path / "runs"
    outcome = execute(path, root, weights_dir=imagenet_folder)
    study, ledger = open_study(path), Ledger(root)
    assert len(outcome.done) == 8 and not outcome.failed
    for run in study.runs:
        folder = ledger.folder(run)
        names = {entry.name for entry in folder.iterdir()}
        assert {"best.safetensors", "last.safetensors", "predictions.parquet", "done.json", "history.json"} <= names
        assert "checkpoint.pt" not in names
        told = json.loads((folder / "environment.json").read_text())
        assert (told["study"], told["data"]) == ("small", f"{run.task.lower()}4-0")
        # It goes with an exported model: no path of a laboratory stands in it.
        assert "4-0" not in (folder / "run.json").read_text()
        frame = read_predictions(folder / "predictions.parquet")
        split = study.tasks[run.task].split
        held_out = {split.file_names[row] for row in split.rows(run.fold)[1]}
        assert set(frame["image"]) == held_out and len(frame) == 2 * len(held_out)
        history = json.loads((folder / "history.json").read_text())
        truth, logits, _ = logits_of(frame, "last")
        assert (logits.argmax(1) == truth).mean() == pytest.approx(history[-1]["held_out_accuracy"], abs=1e-12)


def test_the_kept_weights_give_the_kept_predictions(study_file, tmp_path):
    """An independent path: load the weights with timm, prepare the images, compare the logits."""
    from bandbridge.dataset.store import open_store

    path, root = study_file(approaches=["scratch"], run_folds=[0]), tmp_path / "runs"
    with beginning_moved():
        execute(path, root)
    study = open_study(path)
    run = study.runs[0]
    folder = Ledger(root).folder(run)
    model = create_model(find_architecture("test_resnet"), 24, 32, torch.Generator())
    model.load_state_dict(load_file(folder / "last.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    stores = [open_store(entry) for entry in (root / ".stores").iterdir()]
    store = next(entry for entry in stores if entry.fingerprint == study.tasks[run.task].fingerprint)
    rows = study.tasks[run.task].split.rows(0)[1]
    assert store.images.shape[1:] == (2, 32, 32), "close-up and to scale"
    images = torch.from_numpy(store.images[rows][:, [0, 1, 0]]).float() / 255
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = model.eval()((images - mean) / std).numpy()
    _, logits, _ = logits_of(read_predictions(folder / "predictions.parquet"), "last")
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_child_starts_from_its_parents_weights(study_file, imagenet_folder, tmp_path):
    """With a learning rate of almost nothing a child's weights stay its parent's; batch statistics do move."""
    recipe = {"base": "fast", "epochs": 1, "learning_rate": 1e-9}
    path = study_file(approaches=["imagenet", "two-step"], run_folds=[0], recipe=recipe)
    execute(path, tmp_path / "runs", weights_dir=imagenet_folder)
    ledger = Ledger(tmp_path / "runs")
    origin = load_file(imagenet_folder / "test_resnet.safetensors")
    for run in open_study(path).runs:
        weights = load_file(ledger.folder(run) / "last.safetensors")
        parent = load_file(ledger.folder(run.parent) / "last.safetensors") if run.parent else origin
        names = [name for name in weights if "running" not in name and "num_batches" not in name]
        if run.parent is None:
            assert weights["fc.weight"].abs().max() < 1e-6
            names = [name for name in names if not name.startswith("fc.")]
        assert all(torch.allclose(weights[name], parent[name], atol=1e-8) for name in names)


def test_nothing_is_trained_twice_in_this_study_or_another(study_file, tmp_path, monkeypatch):
    path, root = study_file(recipe=SHORT), tmp_path / "runs"
    assert len(execute(path, root).done) == 8

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("bandbridge.study.execute.train", forbidden)
    assert execute(path, root).done == []
    tasks = {
        "Quinacrine": {"dataset": "q4-0", "intermediates": ["Giemsa"]},
        "Giemsa": {"dataset": "g4-0", "intermediates": ["Quinacrine"]},
    }
    assert execute(study_file(name="again", tasks=tasks, recipe=SHORT), root).done == []


def test_a_time_limit_stops_and_the_same_call_goes_on(study_file, tmp_path):
    path, root = study_file(run_folds=[0], recipe=SHORT), tmp_path / "runs"
    outcome = execute(path, root, deadline=time.monotonic() - 1)
    assert outcome.out_of_time and not outcome.done and outcome.epochs == 0
    assert len(execute(path, root).done) == 4


def test_a_run_that_fails_does_not_stop_the_others(study_file, tmp_path, monkeypatch):
    path, root = study_file(run_folds=[0], recipe=SHORT), tmp_path / "runs"
    original = loop.TrainingDiverged("training diverged in epoch 1: the loss is nan", "Lower the learning rate.")
    real = loop.train
    calls = []

    def first_fails(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise original
        return real(*arguments, **options)

    monkeypatch.setattr("bandbridge.study.execute.train", first_fails)
    outcome = execute(path, root)
    assert list(outcome.failed) == ["Q/test_resnet/scratch/fold0"]
    assert outcome.waiting == ["G/test_resnet/domain/fold0"] and len(outcome.done) == 2
    study = open_study(path)
    assert "diverged" in Ledger(root).state(study.runs[0]).message
    assert len(execute(path, root).done) == 2


def test_a_full_disk_stops_with_its_remedy_and_keeps_what_is_done(study_file, tmp_path, monkeypatch):
    import errno

    path, root = study_file(run_folds=[0], recipe=SHORT), tmp_path / "runs"
    import safetensors.torch

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(EnvironmentFault, match="cannot write") as caught:
            execute(path, root)
    assert "disk is full" in caught.value.remedy
    assert not list(root.rglob("*.tmp")) and not list(root.rglob("done.json"))
    assert len(execute(path, root).done) == 4


def test_a_damaged_checkpoint_is_named_and_the_other_runs_go_on(study_file, tmp_path):
    path, root = study_file(run_folds=[0], approaches=["scratch"], recipe=SHORT), tmp_path / "runs"
    study = open_study(path)
    folder = study.runs[0].folder(root)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"PK damaged")
    outcome = execute(path, root)
    assert list(outcome.failed) == [study.runs[0].name] and len(outcome.done) == 1
    state = Ledger(root).state(study.runs[0])
    assert "checkpoint.pt is damaged" in state.message and "Delete it" in state.remedy


#: A config.json that is JSON and yet none.
ODD = b'{"mean": [0.5, 0.5, 0.5], "std": 3}'


def test_a_damaged_parent_says_what_to_delete_and_is_then_made_again(study_file, tmp_path):
    path, root = study_file(run_folds=[0], recipe=SHORT), tmp_path / "runs"
    assert len(execute(path, root).done) == 4
    child = next(run for run in open_study(path).runs if run.parent)
    parent = child.parent.folder(root)
    shutil.rmtree(child.folder(root))
    for name, content in (
        ("last.safetensors", b"x"),
        ("config.json", b"{}"),
        ("config.json", b""),
        ("config.json", ODD),
    ):
        whole = (parent / name).read_bytes()
        (parent / name).write_bytes(content)
        outcome = execute(path, root)
        assert list(outcome.failed) == [child.name] and f"delete {parent}:" in outcome.failed[child.name].remedy
        assert "was altered" in outcome.failed[child.name].message
        (parent / name).write_bytes(whole)
    shutil.rmtree(parent)
    assert len(execute(path, root).done) == 2


def test_what_a_killed_process_left_half_written_is_removed(study_file, tmp_path):
    path, root = study_file(run_folds=[0], approaches=["scratch"], recipe=SHORT), tmp_path / "runs"
    folder = open_study(path).runs[0].folder(root)
    folder.mkdir(parents=True)
    (folder / ".checkpoint.pt.4711.tmp").write_bytes(b"half")
    execute(path, root)
    assert not list(root.rglob("*.tmp"))


def test_two_tasks_of_one_dataset_share_their_trainings(study_file, tmp_path, chromosome_set):
    chromosome_set("G", seed=1)
    tasks = {
        "Q": {"dataset": "q4-0", "intermediates": ["G"]},
        "Q2": {"dataset": "q4-0", "intermediates": ["H"]},
        "G": {"dataset": "g4-0", "target": False},
        "H": {"dataset": "g4-1", "target": False},
    }
    path, root = study_file(tasks=tasks, run_folds=[0], recipe=SHORT), tmp_path / "runs"
    runs = open_study(path).runs
    assert {run.name for run in runs if run.approach == "scratch"} == {
        f"{task}/test_resnet/scratch/fold0" for task in tasks
    }
    assert len(execute(path, root).done) == 5 and len(list(root.rglob("done.json"))) == 5
    assert all(Ledger(root).state(run).kind == "done" for run in runs)


def test_missing_weights_are_an_error_or_left_out_on_request(study_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    path = study_file(approaches=["scratch", "imagenet", "two-step", "domain"], run_folds=[0])
    runner = executor(path, tmp_path / "runs", weights_dir=tmp_path / "empty")
    with pytest.raises(UserError, match="test_resnet") as caught:
        runner.require_weights(runner.study.runs)
    assert "--skip-unavailable" in caught.value.remedy and caught.value.exit_code == 1
    lines: list[str] = []
    runner.say = lines.append
    kept = runner.available(runner.study.runs)
    assert {run.approach for run in kept} == {"scratch", "domain"} and len(lines) == 1
    runner.weights_dir = tmp_path / "mistyped"
    with pytest.raises(UserError, match="mistyped does not exist"):
        runner.available(runner.study.runs)


def test_a_claimed_folder_is_left_to_its_owner(study_file, tmp_path):
    path, root = study_file(run_folds=[0], approaches=["scratch"], recipe=SHORT), tmp_path / "runs"
    first = open_study(path).runs[0]
    with claimed(first.folder(root)) as claim:
        assert claim is not None
        outcome = execute(path, root)
    assert outcome.elsewhere == [first.name] and len(outcome.done) == 1


def test_a_run_that_was_taken_over_is_left_before_anything_is_kept(study_file, tmp_path, monkeypatch):
    """Its process was silent for so long that another one holds the run."""
    monkeypatch.setattr("bandbridge.holding._try_to_lock", lambda file: None)
    path, root = study_file(run_folds=[0], approaches=["scratch"], recipe=SHORT), tmp_path / "runs"
    runner = executor(path, root)
    first, second = runner.study.runs
    folder, report = first.folder(root), runner.train_on

    def taken_over(fabric, run, training, report_):
        if run is first:
            (folder / ".claim").write_text("another's")
        return report(fabric, run, training, report_)

    monkeypatch.setattr(runner, "train_on", taken_over)
    outcome = runner.run(runner.study.runs)
    assert outcome.elsewhere == [first.name] and outcome.done == [second.name] and outcome.epochs == 1
    assert not (folder / "done.json").exists() and not (folder / "last.safetensors").exists()
    assert (folder / ".claim").read_text() == "another's"


def test_a_run_that_another_process_finished_meanwhile_is_not_counted(study_file, tmp_path, monkeypatch):
    path, root = study_file(run_folds=[0], approaches=["scratch"], recipe=SHORT), tmp_path / "runs"

    @contextmanager
    def claimed_late(folder):
        with claimed(folder) as claim:
            (folder / "predictions.parquet").touch()
            seal(folder, folder.name[-12:])
            yield claim

    monkeypatch.setattr("bandbridge.study.execute.claimed", claimed_late)
    outcome = execute(path, root)
    assert outcome.done == [] and outcome.epochs == 0


def _run_until(path: Path, root: Path, kind: str, count: int) -> None:
    """Run the study in this process and die by SIGKILL at the given update step or file write ("end": never)."""
    torch.set_num_threads(1)
    taken = 0

    def dying(original):
        def counted(*arguments):
            nonlocal taken
            taken += 1
            if taken == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return counted

    if kind == "step":
        loop._Session._step = dying(loop._Session._step)  # type: ignore[method-assign]
    elif kind == "write":
        # The temporary file is whole then, and not yet renamed.
        os.fsync = dying(os.fsync)
    execute(path, root)


def _predictions(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("predictions.parquet")}


@pytest.mark.slow
def test_killed_at_random_the_predictions_are_byte_identical(study_file, tmp_path):
    """Half of the kills come at a random update step, half in the middle of a random write."""
    path = study_file(recipe={"base": "fast", "epochs": 2 + KILLS // 6, "batch_size": 16})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bandbridge.study.execute"])

    def exit_code(root: Path, kind: str, count: int = 0) -> int | None:
        child = context.Process(target=_run_until, args=(path, root, kind, count))
        child.start()
        child.join()
        return child.exitcode

    assert exit_code(tmp_path / "whole", "end") == 0
    chance = random.Random(0)
    for kill in range(KILLS):
        kind, most = ("step", 9) if kill % 2 == 0 else ("write", 8)
        assert exit_code(tmp_path / "killed", kind, chance.randint(1, most)) == -signal.SIGKILL
    assert exit_code(tmp_path / "killed", "end") == 0
    expected, found = _predictions(tmp_path / "whole"), _predictions(tmp_path / "killed")
    assert len(expected) == 8 and found == expected
    assert not list((tmp_path / "killed").rglob("checkpoint.pt"))
