"""Fine-tuning as runs: identity, folds, classes, resume, and the parent that lies outside the ledger."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.finished import unseal
from tests.networks import write_moved

from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import logits_of, read_predictions
from bandbridge.files import write_json
from bandbridge.karyotype import CLASSES
from bandbridge.study.execute import Executor
from bandbridge.study.fine_tune import Settings, Tuning, plan_tuning, tuning_recipe, tuning_split
from bandbridge.study.given import open_base
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study
from bandbridge.study.run import Init, RunRecord
from bandbridge.synthetic.sets import write_synthetic_set
from bandbridge.training.recipe import Augmentation, RecipeSpec, recipe_for

PREPARATION = Preparation(size=32, scale="common", extent=90)
#: Enough of a cell to train on in no time.
FEW = ("1", "2", "X", "Y")


def make_model(folder: Path, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """Write a model folder as an export does, with random weights."""
    write_moved(folder / "model.safetensors", classes=len(classes), size=32, seed=seed)
    facts = {
        "architecture": "test_resnet",
        "classes": list(classes),
        "preparation": PREPARATION.model_dump(),
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
    }
    write_json(folder / "config.json", {"num_classes": len(classes), "bandbridge": facts})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def site(drawn_set, tmp_path_factory) -> ImageFolder:
    """Four cells of two patients, a few chromosomes of each."""
    dataset = open_dataset(shutil.copytree(drawn_set("G", 4, 3), tmp_path_factory.mktemp("site") / "cells"))
    return rows(dataset, dataset.samples["label"].isin(FEW))


def rows(dataset: ImageFolder, chosen) -> ImageFolder:
    return replace(dataset, samples=dataset.samples.loc[chosen].reset_index(drop=True))


def by_cell(dataset: ImageFolder) -> ImageFolder:
    return replace(dataset, samples=dataset.samples.assign(patient=""))


def executor(tuning: Tuning, root: Path, **options) -> Executor:
    quiet = {"say": lambda _: None, "show": lambda _: None}
    return Executor(tuning, root, "cpu", checkpoint_interval=0, **{**quiet, **options})


def products(runner: Executor, tuning: Tuning) -> dict[str, bytes]:
    """The bytes of all weights and predictions; of the weights without their header, whose order is of chance."""
    found = {}
    for run in tuning.runs:
        for path in runner.ledger.folder(run).iterdir():
            if path.name == "predictions.parquet":
                found[f"{run.name}/{path.name}"] = path.read_bytes()
            elif path.suffix == ".safetensors":
                data = path.read_bytes()
                found[f"{run.name}/{path.name}"] = data[8 + int.from_bytes(data[:8], "little") :]
    return found


def test_runs_are_named_by_what_shapes_them_and_not_by_where_it_lies(model, site, tmp_path):
    base, settings = open_base(model), Settings(epochs=2, folds=2)
    ids = [run.id for run in plan_tuning(base, site, settings).runs]
    assert len(set(ids)) == 3
    moved = make_model(tmp_path / "elsewhere")
    copied = replace(open_dataset(write_synthetic_set(tmp_path / "renamed", "G", 4, 3)), samples=site.samples)
    assert [run.id for run in plan_tuning(open_base(moved), copied, settings).runs] == ids
    for changed in (Settings(epochs=3, folds=2), Settings(epochs=2, folds=2, seed=1)):
        assert not set(ids) & {run.id for run in plan_tuning(base, site, changed).runs}
    other = open_base(make_model(tmp_path / "other", seed=1))
    assert other.given.identity != base.given.identity
    assert not set(ids) & {run.id for run in plan_tuning(other, site, settings).runs}


def test_the_record_of_a_tuning_has_kept_its_id():
    """A build that changes it trains again what users have trained already."""
    record = RunRecord(
        dataset="d" * 64,
        preparation=PREPARATION,
        split="",
        fold=None,
        architecture="test_resnet",
        init=Init(kind="run", run="sha256:0123456789abcdef", head="keep"),
        recipe=tuning_recipe("test_resnet", 8, None),
        precision="auto",
        seed=0,
    )
    assert record.id == "53d8cff76c6b"


def test_the_base_is_kept_as_it_is_prepared_and_trained(model, site):
    tuning = plan_tuning(open_base(model), site, Settings(folds=2))
    assert [run.fold for run in tuning.runs] == [0, 1, None] and tuning.whole.fold is None
    for run in tuning.runs:
        record = run.record
        assert record.preparation == PREPARATION and record.architecture == "test_resnet"
        assert record.init == Init(kind="run", run=tuning.base.given.identity, head="keep")
        assert run.name.startswith(f"cells/test_resnet/fine-tuned-from-{tuning.base.given.short}/")
        assert run.describe()["parent"] == tuning.base.given.identity


def test_the_recipe_is_gentler_than_that_of_a_training_and_keeps_statistics():
    fast = recipe_for(RecipeSpec(), "resnet18", pretrained=True)
    gentle = tuning_recipe("resnet18", None, None)
    assert gentle.phases[0].learning_rate == fast.phases[0].learning_rate / 4
    assert gentle.epochs == 16 and gentle.keep_statistics and gentle.clip_norm == fast.clip_norm


def test_batch_norm_keeps_its_statistics_and_the_weights_move(model, site, tmp_path):
    tuning = plan_tuning(open_base(model), site, Settings(epochs=1, folds=2))
    runner = executor(tuning, tmp_path)
    runner.run([tuning.whole])
    before = load_file(model / "model.safetensors")
    after = load_file(runner.ledger.folder(tuning.whole) / "last.safetensors")
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if "running_" in name or "num_batches" in name} <= same
    assert not {name for name, value in before.items() if value.ndim > 1} & same, "kernels and head"


def test_the_augmentation_is_that_of_the_model(model, site, tmp_path):
    base = open_base(model)
    assert plan_tuning(base, site, Settings()).whole.record.recipe.augmentation == Augmentation()
    upright = Augmentation(flip_vertical=0.1)
    assert (
        plan_tuning(replace(base, augmentation=upright), site, Settings()).whole.record.recipe.augmentation == upright
    )
    odd = make_model(tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    config["bandbridge"]["run"] = {"record": {"recipe": {"augmentation": {"flip_vertical": 7}}}}
    write_json(odd / "config.json", config)
    with pytest.raises(UserError, match="record of the model"):
        open_base(odd)


def test_folds_are_of_patients_then_cells_and_of_nothing_where_there_is_one(site):
    samples = site.samples
    split = tuning_split(samples, Settings())
    assert (split.scheme, split.folds) == ("patient", 2)
    split = tuning_split(samples.assign(patient=""), Settings())
    assert (split.scheme, split.folds) == ("cell", 4)
    assert tuning_split(samples.assign(patient=""), Settings(folds=3)).folds == 3
    some = samples["patient"].where(samples.index > 0, "")
    assert tuning_split(samples.assign(patient=some), Settings()).scheme == "cell"
    assert tuning_split(samples.assign(patient="one"), Settings()) is None
    assert tuning_split(samples.assign(patient="", cell=""), Settings()) is None
    assert tuning_split(samples.iloc[:2].assign(patient=["a", "b"]), Settings()) is None


def test_no_training_sees_a_cell_that_it_is_measured_on(model, site, tmp_path):
    tuning = plan_tuning(open_base(model), by_cell(site), Settings(epochs=1, folds=3))
    runner = executor(tuning, tmp_path)
    assert len(runner.run(tuning.runs).done) == 4
    predicted = []
    for run in tuning.folds:
        training = runner.prepare(run)
        cells = training.store.samples["cell"].to_numpy()
        frame = read_predictions(runner.ledger.folder(run) / "predictions.parquet")
        assert not set(cells[training.job.training_rows]) & set(frame["cell"])
        predicted += frame.loc[frame["checkpoint"] == "last", "image"].tolist()
    assert sorted(predicted) == sorted(site.samples["file_name"])
    assert len(runner.prepare(tuning.whole).job.training_rows) == len(site.samples)
    assert not (runner.ledger.folder(tuning.whole) / "predictions.parquet").exists()


def test_a_model_keeps_its_classes_where_the_cells_lack_some(site, tmp_path):
    """Also classes that are no chromosomes, whose order would follow the labels that are there."""
    names = {"1": "a", "2": "c", "X": "d"}
    women = rows(site, site.samples["label"] != "Y")
    lettered = replace(women, samples=women.samples.replace({"label": names}))
    for dataset, classes in ((women, CLASSES), (lettered, ("a", "b", "c", "d"))):
        base = open_base(make_model(tmp_path / f"model{len(classes)}", classes))
        tuning = plan_tuning(base, dataset, Settings(epochs=1, folds=2))
        runner = executor(tuning, tmp_path / f"runs{len(classes)}")
        assert len(runner.run(tuning.runs).done) == 3
        for run in tuning.folds:
            targets = runner.prepare(run).job.targets
            assert [classes[index] for index in targets] == dataset.samples["label"].tolist()
            truth, logits, found = logits_of(
                read_predictions(runner.ledger.folder(run) / "predictions.parquet"), "last"
            )
            assert found == classes and logits.shape == (len(truth), len(classes))
        config = json.loads((runner.ledger.folder(tuning.whole) / "config.json").read_text())
        assert tuple(config["classes"]) == classes


def test_every_strange_label_is_named_in_one_error(model, site):
    samples = site.samples.copy()
    samples.loc[samples.index[:3], "label"] = ["marker", "der(9)", "marker"]
    with pytest.raises(UserError) as caught:
        plan_tuning(open_base(model), replace(site, samples=samples), Settings())
    assert "'der(9)' (1 image), 'marker' (2 images)" in caught.value.message


def test_a_cell_whose_patient_is_written_in_two_ways_is_not_divided(model, site):
    samples = site.samples.copy()
    samples.loc[samples.index[0], "patient"] = samples["patient"].iloc[0].upper()
    assert samples["patient"].nunique() == site.samples["patient"].nunique() + 1
    with pytest.raises(UserError, match="cells of more than one patient"):
        plan_tuning(open_base(model), replace(site, samples=samples), Settings())


@pytest.mark.parametrize("wish", [{"epochs": 0}, {"folds": 1}, {"seed": -1}, {"seed": 2**32}])
def test_wishes_that_cannot_be_are_refused(wish):
    with pytest.raises(UserError):
        Settings(**wish)


def test_a_single_image_is_refused_and_a_single_cell_is_not(model, site):
    with pytest.raises(UserError, match="a single image"):
        plan_tuning(open_base(model), rows(site, site.samples.index == 0), Settings())
    one = rows(site, site.samples["cell"] == site.samples["cell"].iloc[0])
    assert plan_tuning(open_base(model), one, Settings()).folds == ()


def test_it_starts_from_the_models_weights_and_normalisation(model, site, tmp_path):
    tuning = plan_tuning(open_base(model), site, Settings(epochs=1, folds=2))
    training = executor(tuning, tmp_path).prepare(tuning.whole)
    for name, value in load_file(model / "model.safetensors").items():
        assert torch.equal(training.model.state_dict()[name], value)
    assert training.job.mean == (0.4, 0.5, 0.6) and training.job.std == (0.2, 0.25, 0.3)


def test_stopped_anywhere_it_goes_on_to_the_same_bytes_and_trains_nothing_twice(model, site, tmp_path, monkeypatch):
    tuning = plan_tuning(open_base(model), site, Settings(epochs=3, folds=2))
    whole = executor(tuning, tmp_path / "whole")
    assert len(whole.run(tuning.runs).done) == 3

    def stop_at(count: int):
        seen = []

        def show(_: str) -> None:
            seen.append(1)
            if len(seen) == count:
                raise KeyboardInterrupt

        return show

    # In the second epoch of the first fold, in the first of the next, and in the last of the last.
    for count in (2, 3, 6):
        with pytest.raises(KeyboardInterrupt):
            executor(tuning, tmp_path / "stopped", show=stop_at(count)).run(tuning.runs)
    stopped = executor(tuning, tmp_path / "stopped")
    outcome = stopped.run(tuning.runs)
    assert outcome.epochs == 1 and len(outcome.done) == 1
    assert products(stopped, tuning) == products(whole, tuning) and len(products(whole, tuning)) == 8

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("bandbridge.study.execute.train", forbidden)
    outcome = executor(tuning, tmp_path / "whole").run(tuning.runs)
    assert outcome.done == [] and not outcome.failed


def test_the_order_of_the_rows_divides_nothing_otherwise(model, site, tmp_path):
    """A store that was made of the rows in another order holds the images in that order."""
    tuning = plan_tuning(open_base(model), site, Settings(epochs=1, folds=2))
    executor(tuning, tmp_path).store(tuning.whole.task)
    turned = replace(site, samples=site.samples.iloc[::-1].reset_index(drop=True))
    again = plan_tuning(open_base(model), turned, Settings(epochs=1, folds=2))
    assert [run.id for run in again.runs] == [run.id for run in tuning.runs]
    for run in tuning.folds:
        first, second = (executor(one, tmp_path).prepare(run) for one in (tuning, again))
        assert np.array_equal(first.job.held_out_rows, second.job.held_out_rows)


def test_a_run_is_a_base_by_its_id(small_study, tmp_path):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    run = next(run for run in study.runs if run.approach == "two-step")
    base = open_base(ledger.folder(run))
    assert base.given.identity == run.id and base.given.weights.name == "last.safetensors"
    assert base.augmentation == run.record.recipe.augmentation
    tuning = plan_tuning(base, study.tasks["G"].dataset, Settings(epochs=1))
    assert tuning.whole.record.init == Init(kind="run", run=run.id, checkpoint="last", head="keep")


def test_bases_that_are_none_say_so(model, tmp_path, small_study):
    with pytest.raises(UserError, match="holds no config"):
        open_base(tmp_path)
    half = make_model(tmp_path / "half")
    (half / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors") as caught:
        open_base(half)
    assert caught.value.remedy == "Export the model again."


@pytest.mark.parametrize("run", [None, "odd", {"record": 3}, {"record": {"recipe": None}}])
def test_a_record_that_says_nothing_of_the_augmentation_is_no_mistake(tmp_path, run):
    model = make_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["bandbridge"]["run"] = run
    write_json(model / "config.json", config)
    assert open_base(model).augmentation is None


def test_a_run_without_an_id_that_could_be_one_is_damaged(small_study, tmp_path):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    folder = shutil.copytree(ledger.folder(study.runs[0]), tmp_path / "run")
    write_json(folder / "run.json", {"id": "../..", "record": {}})
    with pytest.raises(UserError, match=r"run\.json was altered"):
        open_base(folder)
    unseal(folder)
    with pytest.raises(UserError, match=r"the id of its record is not \.\./\.\."):
        open_base(folder)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match="does not say which run it is"):
        open_base(folder)


def test_weights_that_are_damaged_fail_their_runs_with_a_remedy(site, tmp_path):
    model = make_model(tmp_path / "model")
    os.truncate(model / "model.safetensors", 1000)
    tuning = plan_tuning(open_base(model), site, Settings(epochs=1, folds=2))
    outcome = executor(tuning, tmp_path / "runs").run(tuning.runs)
    assert len(outcome.failed) == 3
    assert {error.remedy for error in outcome.failed.values()} == {"Export that model again, or name another."}


def test_only_folds_that_hold_something_out_of_interest_are_kept(model, site):
    tuning = plan_tuning(open_base(model), by_cell(site), Settings(folds=4))
    cell = site.samples["cell"].iloc[0]
    wanted = set(site.samples.loc[site.samples["cell"] == cell, "file_name"])
    (fold,) = tuning.holding_out(wanted).folds
    held_out = tuning.data.split.rows(fold.fold)[1]
    assert wanted == {tuning.data.split.file_names[row] for row in held_out}
    assert tuning.holding_out(frozenset()).runs == (tuning.whole,)
