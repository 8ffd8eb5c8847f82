"""``bandbridge fine-tune`` from end to end: runs, exported and tuned models; what is refused, and when."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import timm

from bandbridge.api.fine_tune import fine_tune
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.errors import UserError
from bandbridge.export.folder import export_folder
from bandbridge.predict.ensemble import open_models
from bandbridge.predict.trained_on import read_trained_on
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture(scope="module")
def run(small_study):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    return next(ledger.folder(run) for run in study.runs if run.approach == "two-step")


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    return export_folder(run, tmp_path_factory.mktemp("models") / "mine")


@pytest.fixture(scope="module")
def drawn(drawn_set):
    return drawn_set("Q", 4, 8)


@pytest.fixture(scope="module")
def corrections(drawn, tmp_path_factory):
    """A few chromosomes of each of four cells, of two patients."""
    return few(drawn, tmp_path_factory.mktemp("site") / "corrections", lambda row: row["label"] in ("1", "2", "9", "X"))


def few(drawn, folder, keep, change=lambda row: row):
    folder.mkdir()
    with (drawn / "metadata.csv").open(newline="") as file:
        rows = [change(dict(row)) for row in csv.DictReader(file) if keep(row)]
    for row in rows:
        (folder / row["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn / row["file_name"], folder / row["file_name"])
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def tune(bandbridge, tmp_path):
    def call(model, dataset, out="new", **options):
        wishes = {"epochs": 1, "folds": 2, "runs": tmp_path / "runs", "device": "cpu"} | options
        flags = [text for name, value in wishes.items() for text in (f"--{name.replace('_', '-')}", value)]
        return bandbridge("fine-tune", model, dataset, "--out", tmp_path / out, *flags)

    return call


def test_a_run_is_tuned_and_the_tuned_model_again(tune, bandbridge, run, corrections, drawn, tmp_path):
    result = tune(run, corrections)
    assert result.code == 0 and "Traceback" not in result.err
    first, second = result.out.splitlines()
    images = len(open_dataset(corrections).samples)
    assert first == f"tuned on {images} images of 4 cells: {tmp_path / 'new'}"
    assert second.startswith(f"right by itself, {images} images of 4 cells: ") and "after" in second
    assert timm.create_model(f"local-dir:{tmp_path / 'new'}", pretrained=True).num_classes == 24
    assert open_models([tmp_path / "new"], device="cpu").confidence.images == images
    assert bandbridge("predict", tmp_path / "new", corrections, "--out", tmp_path / "p", "--device", "cpu").code == 0
    # Of the same cells again nothing can be measured: no fold is trained.
    result = tune(tmp_path / "new", corrections, "newer")
    assert result.code == 0 and "trained on images of every one of these cells" in result.out
    assert "1 run, 0 of them done" in result.err
    before, after = read_trained_on(tmp_path / "new"), read_trained_on(tmp_path / "newer")
    assert after.files_known and after.sources[:-1] == before.sources and after.digests == before.digests
    facts = json.loads((tmp_path / "newer" / "config.json").read_text())["bandbridge"]
    assert len(facts["tuned_on"]) == 2 and facts["tuned_on"][1]["base"].startswith("sha256:")


def test_the_same_command_goes_on_and_trains_nothing_again(tune, model, corrections, tmp_path, monkeypatch):
    result = tune(model, corrections, max_time="0s")
    assert result.code == 0 and "stopped at the time limit; the same command goes on" in result.out
    assert not (tmp_path / "new").exists()
    assert tune(model, corrections).code == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("bandbridge.study.execute.train", forbidden)
    result = tune(model, corrections)
    assert result.code == 0 and "3 runs, 3 of them done" in result.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == files


@pytest.fixture
def untrained(monkeypatch):
    """Fails the test where anything is trained, or even prepared."""

    def forbidden(*_, **__):
        raise AssertionError("began to work")

    monkeypatch.setattr("bandbridge.study.execute.Executor.run", forbidden)


def test_places_that_would_lose_something_are_refused_before_anything_is_trained(
    tune, model, corrections, tmp_path, untrained
):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    result = tune(model, corrections, model)
    assert result.code == 2 and "is the model that is to be tuned" in result.err
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.doc").write_text("mine")
    result = tune(model, corrections, "thesis")
    assert result.code == 2 and "is not empty" in result.err
    assert "is in the place of a folder" in tune(model, corrections, "thesis/chapter.doc").err
    assert (tmp_path / "thesis" / "chapter.doc").read_text() == "mine" and not (tmp_path / "runs").exists()


def test_labels_that_cannot_be_are_named_together(tune, model, drawn, tmp_path, untrained):
    def strange(row):
        return row | {"label": {"1": "marker", "2": "?"}.get(row["label"], row["label"])}

    result = tune(model, few(drawn, tmp_path / "strange", lambda row: row["label"] in ("1", "2", "X"), strange))
    assert result.code == 2 and "'?' (" in result.err and "'marker' (" in result.err
    unlabelled = few(drawn, tmp_path / "bare", lambda row: row["label"] == "X", lambda row: row | {"label": ""})
    result = tune(model, unlabelled)
    assert result.code == 2 and "has no label" in result.err and "Traceback" not in result.err


def test_what_is_no_model_or_no_dataset_is_said_to_be_none(tune, model, corrections, tmp_path, untrained):
    for arguments in ((tmp_path, corrections), (tmp_path / "absent", corrections), (model, tmp_path / "absent")):
        result = tune(*arguments)
        assert result.code == 2 and "Traceback" not in result.err


def test_a_model_of_an_earlier_build_is_tuned_and_doubted(tune, model, corrections, tmp_path):
    old = shutil.copytree(model, tmp_path / "old")
    (old / "training.json").unlink()
    result = tune(old, corrections)
    assert result.code == 0 and "does not say which images it was trained on" in result.out
    known = read_trained_on(tmp_path / "new")
    assert not known.files_known and [source.held_out for source in known.sources] == [None, ()]
    assert known.digests == {digest[:16] for digest in open_dataset(corrections).content_hashes()}
    assert ", as far as that is known" in (tmp_path / "new" / "README.md").read_text()


def test_python_takes_one_model_and_a_dataset_in_hand(run, model, corrections, tmp_path):
    class Several:
        folders = (run, model)

    class One:
        folders = (model,)

    with pytest.raises(UserError, match="2 models cannot be tuned as one"):
        fine_tune(Several(), corrections, tmp_path / "new")
    with pytest.raises(UserError, match="int is no model"):
        fine_tune(3, corrections, tmp_path / "new")
    dataset = open_dataset(corrections)
    found = fine_tune(One(), dataset, tmp_path / "new", epochs=1, folds=2, runs=tmp_path / "runs", device="cpu")
    assert found.folder == tmp_path / "new" and (found.cells, found.scored_cells) == (4, 4) and found.notes == ()
    assert 0 <= found.before <= 1 and 0 <= found.after <= 1


def test_a_training_that_fails_is_an_error_with_its_remedy(tune, model, corrections, tmp_path, monkeypatch):
    from bandbridge.training.loop import TrainingDiverged

    def diverge(*_, **__):
        raise TrainingDiverged("training diverged in epoch 1: the loss is nan", "Lower the learning rate.")

    monkeypatch.setattr("bandbridge.study.execute.train", diverge)
    result = tune(model, corrections)
    assert result.code == 1 and "diverged" in result.err and "Lower the learning rate." in result.err
    assert not (tmp_path / "new").exists()
