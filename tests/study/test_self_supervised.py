"""The approach self-supervised in a study: what its runs are, start from, see and leave, and what is told of them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tests.networks import write_moved
from tests.study.test_spec import GOOD, mistakes

from bandbridge.api.model import load_model
from bandbridge.api.study import Study
from bandbridge.errors import UserError
from bandbridge.evaluation.pack import read_pack
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.export.folder import export_folder
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import head_keys
from bandbridge.predict.trained_on import read_trained_on
from bandbridge.report.figures.learning_curves import read_histories
from bandbridge.report.study import study_predictions
from bandbridge.study.estimate import _seconds_left
from bandbridge.study.execute import Executor, epoch_line
from bandbridge.study.given import open_base
from bandbridge.study.ledger import Ledger
from bandbridge.study.pack import pack_study
from bandbridge.study.plan import open_study
from bandbridge.study.rates import Rate
from bandbridge.study.run import distinct
from bandbridge.study.side_by_side import starting_order
from bandbridge.study.verify import verify_runs
from bandbridge.training.checkpoint import load_state
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import train

TASKS = {
    "few": {"dataset": "q4-0", "cells": 1},
    "more": {"dataset": "q4-0", "cells": 2, "labels": "shuffled"},
}
CHANGES = {
    "tasks": TASKS,
    "approaches": ["imagenet", "self-supervised"],
    "run_folds": [0],
    "recipe": {"base": "fast", "epochs": 2, "batch_size": 16},
    "unlabelled": {"epochs": 2, "steps": 3, "batch_size": 24},
}


@pytest.fixture
def study_of(study_file):
    """Return a function that opens the study of few cells, as changed."""
    return lambda **changes: open_study(study_file(**{**CHANGES, **changes}))


@pytest.fixture
def executor(tmp_path):
    """Return a function that makes an executor on random weights under the name of a tiny model."""
    write_moved(tmp_path / "weights" / "test_resnet.safetensors", classes=1000, size=160, seed=7)

    def make(study, runs: str = "runs", **options) -> Executor:
        said = {"say": lambda _: None, "show": lambda _: None, **options}
        return Executor(study, tmp_path / runs, "cpu", tmp_path / "weights", checkpoint_interval=0, **said)

    return make


def parent_of(study):
    return next(run for run in study.runs if run.approach == "unlabelled")


def test_all_numbers_of_labelled_cells_share_one_training_on_all_of_them(study_of):
    study = study_of()
    children = [run for run in study.runs if run.approach == "self-supervised"]
    assert [run.task for run in children] == ["few", "more"]
    assert len({run.parent.id for run in children}) == 1 and len(distinct(study.runs)) == 5
    parent = children[0].parent.record
    assert (parent.cells, parent.labels, parent.fold, parent.init.kind) == (None, "as-is", 0, "imagenet")
    assert parent.recipe.objective == "vicreg" and parent.recipe.name == "laboratory"
    assert (parent.recipe.epochs, parent.recipe.steps, parent.recipe.batch_size) == (2, 3, 24)
    for run in children:
        init = run.record.init
        assert (init.kind, init.run, init.checkpoint, init.head) == ("run", run.parent.id, "last", "new")
        assert run.record.cells == TASKS[run.task]["cells"] and run.record.recipe.objective == "classes"
        assert run.parent.fold == run.fold and run.intermediate == ""


def test_what_is_not_said_of_it_is_as_usual_and_passes_as_many_images_as_the_box_had(study_of):
    usual = parent_of(study_of(unlabelled={})).record.recipe
    assert usual == parent_of(study_of(unlabelled={"base": "laboratory"})).record.recipe
    box = 12 * (285 * 46 // 32) * 32
    assert abs(usual.epochs * usual.steps * usual.batch_size * usual.views / box - 1) < 0.01


def test_other_runs_keep_their_ids_and_its_own_follows_its_recipe(study_of):
    study = study_of()
    ids = {run.name: run.id for run in study.runs}
    longer = study_of(unlabelled={"epochs": 3})
    changed = {run.name for run in longer.runs if ids[run.name] != run.id}
    assert changed == {run.name for run in study.runs if run.approach in ("unlabelled", "self-supervised")}
    record = next(run for run in study.runs if run.approach == "imagenet").record.model_dump(mode="json")
    assert "objective" not in record["recipe"]


def test_mistakes_are_named_with_their_line(tmp_path):
    approaches = GOOD + "approaches: [imagenet, self-supervised]\n"
    text = mistakes(tmp_path, GOOD + "unlabelled: {epochs: 2}\n")
    assert "study.yaml:11: unlabelled: no approach trains without labels; add self-supervised" in text
    text = mistakes(tmp_path, approaches + "unlabelled:\n  label_smoothing: 0.1\n")
    assert "study.yaml:13: unlabelled.label_smoothing: there are no labels to smooth" in text
    text = mistakes(tmp_path, approaches + "unlabelled: {batch_size: 1}\n")
    assert "study.yaml:12: unlabelled.batch_size: " in text
    text = mistakes(tmp_path, approaches + "unlabelled: {epoch: 1}\n")
    assert "study.yaml:12: unknown key 'unlabelled.epoch'; did you mean 'epochs'?" in text
    assert "study.yaml:12: unlabelled: should hold keys and values" in mistakes(
        tmp_path, approaches + "unlabelled: 3\n"
    )


def test_its_images_are_those_of_every_training_cell_and_no_label_is_given_to_it(study_of, executor):
    study = study_of()
    runner = executor(study)
    jobs = {run.approach: runner.prepare(run).job for run in study.runs if run.parent is None and run.task == "few"}
    job, few = jobs["unlabelled"], jobs["imagenet"]
    store = runner.store("few")
    split = study.tasks["few"].split
    training = {split.file_names[row] for row in split.rows(0)[0]}
    assert set(store.samples["file_name"].iloc[job.training_rows]) == training
    assert len(job.held_out_rows) == 0 and not job.targets.any()
    assert len(few.training_rows) < len(job.training_rows) and set(few.training_rows) < set(job.training_rows)
    assert not set(few.held_out_rows) & set(job.training_rows) and len(few.held_out_rows)


def test_other_labels_give_the_same_parent_bit_for_bit(study_of, executor, tmp_path):
    """The set with its labels dealt out anew, in the same folds: all but the id, which names the set, is the same."""
    weights = []
    for deal in (False, True):
        table = tmp_path / "q4-0" / "metadata.csv"
        if deal:
            rows = pd.read_csv(table, dtype=str, keep_default_na=False)
            rows["label"] = rows["label"].sample(frac=1, random_state=0).to_numpy()
            rows.to_csv(table, index=False)
        study = (
            study_of(tasks={"few": {"dataset": "q4-0", "cells": 1, "split_file": "split.json"}}) if deal else study_of()
        )
        runner = executor(study, f"runs-{deal}")
        found = runner.prepare(parent_of(study))
        if not deal:
            shutil.copy(next((tmp_path / "runs-False" / ".splits").glob("few-*.json")), tmp_path / "split.json")
        job = replace(found.job, run_id="the same")
        model = create_model(find_architecture("test_resnet"), len(found.classes), 32, torch.Generator())
        model.load_state_dict(found.model.state_dict())
        _, last = train(model, job, open_fabric("cpu"), tmp_path / f"{deal}.pt")
        weights.append((study.tasks["few"].dataset.samples["label"].tolist(), last.weights))
    (labels, one), (others, other) = weights
    assert labels != others and one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_runs_leave_what_they_should_and_the_child_goes_on_with_a_new_head(study_of, executor, tmp_path):
    study, said, shown = study_of(), [], []
    runner = executor(study, say=said.append, show=shown.append)
    assert len(runner.run(study.runs).done) == 5
    ledger, parent = Ledger(tmp_path / "runs"), parent_of(study)
    folder = ledger.folder(parent)
    network = create_model(find_architecture("test_resnet"), 24, 32, torch.Generator())
    handed_on = load_file(folder / "last.safetensors")
    network.load_state_dict(handed_on, strict=True)
    assert handed_on.keys() == network.state_dict().keys(), "and no projector"
    assert not any(handed_on[name].any() for name in head_keys(network))
    assert not (folder / "predictions.parquet").exists() and not (folder / "checkpoint.pt").exists()
    assert ledger.state(parent).kind == "done"
    child = next(run for run in study.runs if run.approach == "self-supervised")
    begun = executor(study).prepare(child).model.state_dict()
    assert all(torch.equal(begun[name], handed_on[name]) for name in begun)
    after = load_file(ledger.folder(child) / "last.safetensors")
    assert all(after[name].any() for name in head_keys(network))
    assert any("unlabelled" in line and "trained without labels, loss" in line for line in said)
    lines = [line for line in shown if "/unlabelled/" in line]
    assert len(lines) == 2 and all(
        "without labels, so no accuracy" in line and "held-out" not in line for line in lines
    )
    assert all("without labels" not in line for line in shown if "/unlabelled/" not in line)
    assert verify_runs(tmp_path / "runs").problems == ()
    assert not executor(study).run(study.runs).done, "nothing is trained twice"


def test_stopped_and_gone_on_with_it_is_the_same_bit_for_bit(study_of, executor, tmp_path):
    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if "epoch 2/2" in line:
            raise Stop

    study = study_of()
    parent = parent_of(study)
    executor(study, "whole").run([parent])
    with pytest.raises(Stop):
        executor(study, "parts", show=stop).run([parent])
    assert load_state(Ledger(tmp_path / "parts").folder(parent) / "checkpoint.pt").epoch == 1
    executor(study, "parts").run([parent])
    one, other = (load_file(Ledger(tmp_path / name).folder(parent) / "last.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_reports_the_run_without_labels(study_of, executor, tmp_path):
    study = study_of()
    executor(study).run(study.runs)
    root = tmp_path / "runs"
    found = study_predictions(study, root)
    assert {run.approach for run in found} == {"imagenet", "self-supervised"} and len(found) == 4
    assert set(read_histories(study, root)["approach"]) == {"imagenet", "self-supervised"}
    pack_study(study, root, tmp_path / "pack.zip")
    facts = read_pack(tmp_path / "pack.zip").facts
    (kept,) = {run.id: run for run in facts.runs if run.approach == "unlabelled"}.values()
    assert kept.checkpoints == () and facts.complete and kept.record["recipe"]["objective"] == "vicreg"
    assert "of the 1 intermediate models, none are runs" in str(Study.read(study.path, runs=root).plan())


def test_models_say_what_they_were_trained_on_and_what_they_never_saw(study_of, executor, tmp_path):
    study = study_of()
    executor(study).run(study.runs)
    ledger, task = Ledger(tmp_path / "runs"), study.tasks["few"]
    child = next(run for run in study.runs if run.approach == "self-supervised")
    found = read_trained_on(ledger.folder(child))
    before, own = found.sources
    held_out = set(read_predictions(ledger.folder(child) / "predictions.parquet")["image"])
    assert (before.unlabelled, own.unlabelled) == (True, False) and set(before.held_out) == held_out
    assert own.cells == 1 and held_out < set(own.held_out)  # the images of one cell had their labels
    names = task.dataset.samples["file_name"].tolist()
    assert found.files_known
    seen = found.seen(task.fingerprint, names, task.dataset.content_hashes())
    assert seen.tolist() == [name not in held_out for name in names]
    out = export_folder(ledger.folder(child), tmp_path / "model")
    assert read_trained_on(out) == found
    card = (out / "README.md").read_text()
    assert (
        "without labels (VICReg) on all" in card
        and "the labels of 1 cell in all folds" in card
        and "2 epochs; none" in card
    )
    assert "licence" in card.lower() and "it began with random ones" not in card
    for opened in (load_model, open_base):
        with pytest.raises(UserError, match="was trained without labels: it knows no class"):
            opened(ledger.folder(parent_of(study)))


def test_missing_weights_are_the_same_error_as_for_others(study_of, executor, tmp_path):
    study = study_of(approaches=["self-supervised", "scratch"])
    runner = executor(study)
    shutil.rmtree(tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    with pytest.raises(UserError, match="ImageNet weights are missing"):
        runner.require_weights(study.runs)
    assert {run.approach for run in runner.available(study.runs)} == {"scratch"}


def test_its_time_counts_both_views_and_nothing_held_out(study_of, executor, tmp_path):
    study = study_of()
    parent = parent_of(study)
    seconds = _seconds_left(study, parent, Ledger(tmp_path / "runs"), Rate(10.0, 1.0, ""))
    assert seconds == pytest.approx(2 * (3 * 24 * 2) / 10 + 1)
    order = dict(
        zip([run.name for run in distinct(study.runs)], starting_order(distinct(study.runs), study), strict=True)
    )
    assert order[parent.name] == 0, "the longest chain is begun first"


def test_an_epoch_is_told_without_an_accuracy(study_of):
    study = study_of()
    recipe = parent_of(study).record.recipe
    entry = {"epoch": 1, "training_loss": 30.0, "images_per_second": 100.0}
    assert epoch_line(entry, recipe) == "epoch 1/2, loss 30.000 without labels, so no accuracy, 100 images/s"
