"""Ensembles against the members by hand: calibrated means, mirror images, what is unlike, whose folds calibrate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from scipy.special import softmax
from tests.finished import seal, with_record

from bandbridge.dataset.by_cell import prepare_images
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import ManyErrors, UserError
from bandbridge.evaluation.predictions import read_predictions, write_predictions
from bandbridge.export.folder import export_folder
from bandbridge.predict.confidence import fit_confidence
from bandbridge.predict.ensemble import Ensemble, open_member, open_models, sibling_folds
from bandbridge.predict.graph import GraphClassifier
from bandbridge.seal import AlteredError
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture(scope="module")
def folders(small_study):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    return {run.approach: ledger.folder(run) for run in study.runs if run.task == "Q"}


@pytest.fixture(scope="module")
def images(small_study):
    dataset = open_study(small_study.path).tasks["Q"].dataset
    return [decode_gray(dataset.read_bytes(name), name) for name in dataset.samples["file_name"].iloc[:5]]


def by_hand(folder, images, temperature, turn=lambda image: image):
    """Probabilities of one member, both ways up, computed with nothing but torch and its own files."""
    up, down = (
        logits_by_hand(folder, images, lambda image, way=way: turn(way(image))) / temperature
        for way in (lambda image: image, lambda image: image[::-1, ::-1])
    )
    odds = np.exp((np.log(np.exp(up).sum(axis=1)) - np.log(np.exp(down).sum(axis=1))) / 2)[:, None]
    return (odds * softmax(up, axis=1) + softmax(down, axis=1)) / (odds + 1)


def logits_by_hand(folder, images, turn):
    (ensemble,) = [open_models([folder], device="cpu")]
    member = ensemble.members[0]
    prepared = prepare_images(images, [""] * len(images), member.preparation)
    channels = np.stack([[turn(view) for view in image] for image in prepared])[:, [0, 1, 0]]
    batch = torch.from_numpy(channels.copy()).float() / 255
    mean, std = (torch.tensor(json.loads((folder / "config.json").read_text())[name]) for name in ("mean", "std"))
    with torch.inference_mode():
        return member.model((batch - mean.view(3, 1, 1)) / std.view(3, 1, 1)).double().numpy()


def test_an_ensemble_is_the_mean_of_its_calibrated_members(folders, images):
    two = [folders["scratch"], folders["imagenet"]]
    ensemble = open_models(two, device="cpu")
    temperatures = [one.temperature for one in ensemble.confidences]
    expected = np.mean([by_hand(folder, images, t) for folder, t in zip(two, temperatures, strict=True)], axis=0)
    assert ensemble.judge(images).probabilities == pytest.approx(expected, abs=1e-6)


def test_mirror_images_are_averaged(folders, images):
    ensemble = open_models([folders["two-step"]], device="cpu")
    turns = (lambda a: a, lambda a: a[:, ::-1])
    temperature = ensemble.confidence.temperature
    expected = np.mean([by_hand(folders["two-step"], images, temperature, turn) for turn in turns], axis=0)
    assert ensemble.judge(images, flips=True).probabilities == pytest.approx(expected, abs=1e-6)


def test_the_confidence_of_a_run_is_that_of_its_own_training(folders):
    folder = folders["imagenet"]
    assert sibling_folds(folder) == [folder.resolve()]
    expected = fit_confidence([read_predictions(folder / "predictions.parquet")], "last")
    assert open_models([folder], device="cpu").confidence.model_dump_json() == expected.model_dump_json()


def test_folds_of_one_training_are_siblings_and_others_are_not(folders, tmp_path):
    home = tmp_path / "arm"
    for name in ("fold0-a", "fold1-b", "fold0-c", "fold2-d"):
        shutil.copytree(folders["imagenet"], home / name)
    for name, fold, seed in (("fold0-a", 0, 0), ("fold1-b", 1, 0), ("fold0-c", 0, 7), ("fold2-d", 2, 0)):
        facts = json.loads((home / name / "run.json").read_text())
        facts["fold"] = facts["record"]["fold"] = fold
        facts["record"]["seed"] = seed
        with_record(home / name, facts)
    (home / "fold2-d" / "done.json").unlink()
    assert [path.name for path in sibling_folds(home / "fold0-a")] == ["fold0-a", "fold1-b"]
    facts["record"]["fold"] = 3
    (home / "fold1-b" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(AlteredError, match=r"fold1-b/run\.json was altered"):
        sibling_folds(home / "fold0-a")


def test_the_most_cautious_member_decides(folders):
    ensemble = open_models([folders["scratch"], folders["imagenet"]], device="cpu")
    first, second = ensemble.confidences
    changed = Ensemble(
        ensemble.members,
        (
            first.model_copy(update={"review_below": 0.4, "thresholds": (0.5,) * 24}),
            second.model_copy(update={"review_below": 0.9, "thresholds": (0.2,) * 23 + (0.7,)}),
        ),
    )
    assert changed.review_below == 0.9
    assert changed.thresholds.tolist() == [0.5] * 23 + [0.7]


def test_an_image_is_unlike_only_where_all_who_know_say_so(folders, images):
    ensemble = open_models([folders["scratch"], folders["imagenet"]], device="cpu")
    first, second = ensemble.confidences

    def judged(*energies):
        confidences = [
            None if energy is None else one.model_copy(update={"energy_low": energy})
            for one, energy in zip((first, second), energies, strict=True)
        ]
        return replace(ensemble, confidences=tuple(confidences)).judge(images).unlike

    assert judged(1e9, 1e9).all() and not judged(1e9, -1e9).any()
    assert judged(1e9, None).all() and not judged(None, None).any()


def test_models_that_cannot_be_opened_are_named_together(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManyErrors) as refused:
        open_models([folders["scratch"], tmp_path / "empty", tmp_path / "gone"], device="cpu")
    assert "empty" in str(refused.value) and "gone" in str(refused.value)


def test_models_of_other_classes_do_not_mix(folders, tmp_path):
    other = tmp_path / "fold0-other"
    shutil.copytree(folders["scratch"], other)
    config = json.loads((other / "config.json").read_text())
    config["classes"] = config["classes"][::-1]
    (other / "config.json").write_text(json.dumps(config))
    seal(other)
    with pytest.raises(UserError, match="of the same in another order"):
        open_models([other], device="cpu")
    frame = read_predictions(other / "predictions.parquet")
    logits = [f"logit_{name}" for name in config["classes"]]
    write_predictions(other / "predictions.parquet", frame[[*frame.columns.drop(logits), *logits]])
    seal(other)
    with pytest.raises(UserError, match="knows other classes"):
        open_models([folders["scratch"], other], device="cpu")


def test_a_calibration_of_the_same_classes_in_another_order_is_refused(folders, tmp_path):
    model = export_folder(folders["scratch"], tmp_path / "model")
    value = json.loads((model / "confidence.json").read_text())
    value["classes"] = value["classes"][::-1]
    (model / "confidence.json").write_text(json.dumps(value))
    seal(model)
    with pytest.raises(UserError, match="of the same in another order") as caught:
        open_models([model], device="cpu")
    assert str(model) in str(caught.value)


@pytest.fixture
def model(folders, tmp_path):
    """A model folder with weights and graph."""
    return export_folder(folders["imagenet"], tmp_path / "model")


def at_work(monkeypatch, *, gpu: bool, runtime: bool, torch_there: bool = True) -> list[tuple[str, str]]:
    """Pretend what is there; returns what is opened, (kind, device), as it is opened."""
    opened: list[tuple[str, str]] = []
    monkeypatch.setattr("bandbridge.predict.ensemble.sees_gpu", lambda: gpu)
    monkeypatch.setattr("bandbridge.predict.ensemble.knows_gpu", lambda: runtime)
    monkeypatch.setattr("bandbridge.predict.ensemble.is_installed", lambda name: torch_there)
    monkeypatch.setattr("bandbridge.predict.ensemble.open_graph", lambda _, device: opened.append(("graph", device)))
    monkeypatch.setattr(
        "bandbridge.model.classifier.open_classifier", lambda *words: opened.append(("weights", words[2]))
    )
    return opened


@pytest.mark.parametrize(
    ("device", "gpu", "runtime", "torch_there", "expected"),
    [
        ("auto", False, False, True, ("graph", "cpu")),
        ("auto", True, True, True, ("graph", "cuda")),
        ("auto", True, False, True, ("weights", "auto")),
        ("auto", True, False, False, ("graph", "cpu")),
        ("cpu", True, True, True, ("graph", "cpu")),
        ("cuda", True, True, False, ("graph", "cuda")),
        ("cuda", True, False, True, ("weights", "cuda")),
        ("cuda", False, False, True, ("weights", "cuda")),  # which says that there is none
        ("mps", False, False, True, ("weights", "mps")),
    ],
)
def test_whoever_can_use_the_device_does(model, monkeypatch, device, gpu, runtime, torch_there, expected):
    opened = at_work(monkeypatch, gpu=gpu, runtime=runtime, torch_there=torch_there)
    open_member(model, "last", device)
    assert opened == [expected]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_gpu_that_nobody_here_can_use_is_refused(model, monkeypatch, device):
    at_work(monkeypatch, gpu=False, runtime=False, torch_there=False)
    with pytest.raises(UserError, match="cannot be run on"):
        open_member(model, "last", device)


def test_without_torch_a_run_and_an_old_folder_say_what_opens_them(folders, model, monkeypatch):
    at_work(monkeypatch, gpu=False, runtime=False, torch_there=False)
    with pytest.raises(UserError, match="is a training run"):
        open_member(folders["imagenet"], "last", "cpu")
    (model / "model.onnx").unlink()
    with pytest.raises(AlteredError, match=r"model\.onnx is missing, and SHA256SUMS names it"):
        open_member(model, "last", "cpu")
    (model / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match=f"bandbridge models complete {model}"):
        open_member(model, "last", "cpu")


def test_a_model_folder_answers_by_its_graph_as_its_weights_do(model, images):
    graph, weights = (open_models([model], device="cpu", graphs=graphs) for graphs in (True, False))
    assert isinstance(graph.members[0], GraphClassifier) and not isinstance(weights.members[0], GraphClassifier)
    for flips in (False, True):
        first, second = (one.judge(images, flips, ["c"] * len(images)) for one in (graph, weights))
        assert np.abs(first.probabilities - second.probabilities).max() < 1e-5
        for name in ("unlike", "unscaled", "empty"):
            assert np.array_equal(getattr(first, name), getattr(second, name))


def test_without_torch_what_is_no_model_is_said_to_be_none(monkeypatch, tmp_path):
    at_work(monkeypatch, gpu=False, runtime=False, torch_there=False)
    for place, said in ((tmp_path / "nope", "does not exist"), (tmp_path, "is not the folder of a run")):
        with pytest.raises(UserError, match=said):
            open_member(place, "last", "cpu")


@pytest.mark.parametrize("what", ["run", "classes", "preparation"])
def test_a_graph_of_another_model_is_refused_by_what_it_says_of_itself(model, what):
    other = {"run": "ffffffffffff", "classes": '["1", "2"]', "preparation": Preparation(size=32).model_dump_json()}
    graph = onnx.load(str(model / "model.onnx"))
    stated = {one.key: one.value for one in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**stated, what: other[what]})
    onnx.save(graph, str(model / "model.onnx"))
    (model / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match=f"is another model's: its {what} is not"):
        open_models([model], device="cpu")


def test_a_graph_without_features_tells_nothing_of_where_it_looks(model):
    graph = onnx.load(str(model / "model.onnx"))
    del graph.graph.output[[one.name for one in graph.graph.output].index("features")]
    onnx.save(graph, str(model / "model.onnx"))
    (model / "SHA256SUMS").unlink()
    (member,) = open_models([model], device="cpu").members
    assert isinstance(member, GraphClassifier) and member.evidence is None
    assert (model / "evidence.onnx").is_file() and not member.runtime.gives_features
