"""A model folder: loads in timm with the same logits, explains and predicts like its run, says what it is."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from bandbridge.dataset.decode import decode_gray
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.export.card import model_card
from bandbridge.export.folder import complete_folder, export_folder
from bandbridge.export.graph import write_onnx
from bandbridge.export.worth import Worth
from bandbridge.model.classifier import open_classifier
from bandbridge.predict.ensemble import open_models
from bandbridge.predict.graph import GraphClassifier
from bandbridge.predict.trained_on import TrainedOn
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture(scope="module")
def run(small_study):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    return next(ledger.folder(run) for run in study.runs if run.approach == "two-step")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_folder(run, tmp_path_factory.mktemp("models") / "q")


def test_timm_loads_it_with_the_same_logits(run, exported):
    model = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    classifier = open_classifier(run, "last", "cpu")
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(model(images), classifier.model(images))
    data = timm.data.resolve_model_data_config(model)
    assert list(data["mean"]) == classifier.mean.flatten().tolist() and tuple(data["input_size"]) == (3, 64, 64)
    assert model.pretrained_cfg["label_names"] == list(classifier.classes)


def test_it_answers_like_its_run(run, exported):
    images = [np.random.default_rng(seed).integers(0, 255, (50, 30)).astype(np.uint8) for seed in range(4)]
    ours, theirs = (open_models([folder], device="cpu") for folder in (run, exported))
    weights = open_models([exported], device="cpu", graphs=False)
    assert np.array_equal(ours.judge(images).probabilities, weights.judge(images).probabilities)
    assert isinstance(theirs.members[0], GraphClassifier)
    assert np.allclose(ours.judge(images).probabilities, theirs.judge(images).probabilities, rtol=0, atol=1e-5)
    assert ours.confidence.model_dump_json() == theirs.confidence.model_dump_json()
    assert theirs.members[0].facts["id"] == json.loads((run / "run.json").read_text())["id"]


def test_the_card_says_what_was_measured(run, exported):
    card = (exported / "README.md").read_text(encoding="utf-8")
    facts = json.loads((run / "run.json").read_text())
    confidence = open_models([run], device="cpu").confidence
    assert card.startswith("---\nlibrary_name: timm\n") and "Not a medical device" in card
    for text in (facts["id"], facts["record"]["dataset"], "two-step", f"accuracy {100 * confidence.accuracy:.1f}%"):
        assert text in card
    assert not re.search(r"\{\{|\{%|None|nan", card)
    assert str(run.parents[4]) not in card


def test_nothing_in_it_is_a_pickle_or_names_a_path(run, exported):
    assert {path.name for path in exported.iterdir()} == {
        *("README.md", "SHA256SUMS", "config.json", "confidence.json", "model.safetensors", "training.json"),
        *("model.onnx", "evidence.onnx"),
    }
    for name in ("config.json", "confidence.json", "training.json", "model.onnx", "evidence.onnx"):
        content = (exported / name).read_bytes()
        assert str(run.parents[4]).encode() not in content and b"site-packages" not in content


def test_exporting_again_replaces_it_and_foreign_folders_are_left_alone(run, exported, tmp_path):
    before = (exported / "model.safetensors").read_bytes()
    assert export_folder(run, exported).joinpath("model.safetensors").read_bytes() == before
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        export_folder(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_an_exported_model_is_no_run(exported, tmp_path):
    with pytest.raises(UserError, match="exported model already"):
        export_folder(exported, tmp_path / "again")


def test_a_model_folder_without_weights_is_said_to_be_so(exported, tmp_path):
    (tmp_path / "config.json").write_text((exported / "config.json").read_text())
    with pytest.raises(UserError, match="holds no model"):
        open_models([tmp_path], device="cpu")


def test_with_its_images_a_model_knows_other_stains(small_study, run, tmp_path):
    dataset = open_study(small_study.path).tasks["Q"].dataset
    ensemble = open_models([export_folder(run, tmp_path / "model", images=dataset)], device="cpu")
    own = [decode_gray(dataset.read_bytes(name), name) for name in dataset.samples["file_name"].iloc[:40]]
    cell = ["one"] * 40
    assert ensemble.judge(own, cells=cell).unlike.mean() < 0.1
    assert ensemble.judge([255 - image for image in own], cells=cell).unlike.mean() < 0.1, "the same chromosomes"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 40), dtype=np.uint8)
    assert ensemble.judge(list(noise), cells=cell).unlike.mean() > 0.9


def test_images_of_another_dataset_are_refused(small_study, run, tmp_path):
    other = open_study(small_study.path).tasks["G"].dataset
    with pytest.raises(UserError, match="not the dataset"):
        export_folder(run, tmp_path / "model", images=other)
    assert not (tmp_path / "model").exists()


def test_timm_loads_it_from_the_hub(run, exported, tmp_path, monkeypatch):
    """The hub's cache as it lies on the disk after a download; nothing is fetched."""
    from huggingface_hub import constants

    snapshot = tmp_path / "models--lab--q" / "snapshots" / ("0" * 40)
    shutil.copytree(exported, snapshot)
    (tmp_path / "models--lab--q" / "refs").mkdir()
    (tmp_path / "models--lab--q" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = timm.create_model("hf_hub:lab/q", pretrained=True, cache_dir=str(tmp_path)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.equal(model(images), open_classifier(run, "last", "cpu").model(images))


def test_a_full_disk_leaves_the_earlier_model_and_nothing_beside_it(run, tmp_path, file_size_limit):
    model = export_folder(run, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    with file_size_limit(2**16), pytest.raises(EnvironmentFault, match="cannot write the model into"):
        export_folder(run, model)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_names_of_classes_are_no_markup_in_the_card(run) -> None:
    """They are other people's, and the card is shown as a page."""
    classifier = open_classifier(run, "last", "cpu")
    odd = ("<img src=x onerror=y>", *classifier.classes[1:-1], "[a](http://b)`c`\x1b")
    card = model_card(replace(classifier, classes=odd), Worth((), TrainedOn((), frozenset(), True)))
    assert "classes (\\<img src=x onerror=y> to \\[a](http://b)'c'\\\\u001b)" in card


def stripped(exported: Path, place: Path) -> Path:
    """A copy of a model folder as earlier builds wrote it."""
    shutil.copytree(exported, place)
    for name in ("model.onnx", "evidence.onnx"):
        (place / name).unlink()
    sums = (place / "SHA256SUMS").read_text().splitlines(keepends=True)
    (place / "SHA256SUMS").write_text("".join(line for line in sums if ".onnx" not in line))
    return place


@pytest.mark.parametrize("sealed", [True, False])
def test_a_folder_of_an_earlier_build_is_completed(exported, tmp_path, sealed):
    folder = stripped(exported, tmp_path / "old")
    if not sealed:
        (folder / "SHA256SUMS").unlink()
    before = (folder / "model.safetensors").read_bytes()
    assert complete_folder(folder) and not complete_folder(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {path.name for path in exported.iterdir()}
    images = [np.random.default_rng(seed).integers(0, 255, (50, 30)).astype(np.uint8) for seed in range(4)]
    ours, theirs = (open_models([place], device="cpu") for place in (exported, folder))
    assert np.array_equal(ours.judge(images).probabilities, theirs.judge(images).probabilities)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(UserError, match="was altered"):
        open_models([folder], device="cpu")


def test_a_completion_that_was_killed_before_its_hashes_is_made_again(exported, tmp_path, monkeypatch):
    folder = stripped(exported, tmp_path / "old")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bandbridge.export.folder.write_sums", killed)
        with pytest.raises(KeyboardInterrupt):
            complete_folder(folder)
    assert (folder / "model.onnx").is_file()
    assert complete_folder(folder)
    open_models([folder], device="cpu")


def test_what_is_no_model_folder_is_not_completed(run, tmp_path):
    for place in (run, tmp_path):
        with pytest.raises(UserError, match="is no model folder"):
            complete_folder(place)


def test_a_graph_that_is_not_the_network_is_not_written(run, tmp_path, monkeypatch):
    def other(source, path):
        model = copy.deepcopy(source.model)
        with torch.no_grad():
            next(model.parameters()).mul_(1.01)
        write_onnx(replace(source, model=model), path)

    monkeypatch.setattr("bandbridge.export.graph.write_onnx", other)
    with pytest.raises(EnvironmentFault, match="does not compute what PyTorch computes"):
        export_folder(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()
