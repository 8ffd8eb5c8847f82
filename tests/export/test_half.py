"""Models stored in half precision: half of the bytes, the same classes, and refused where it costs."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

from bandbridge.errors import EnvironmentFault
from bandbridge.export import half
from bandbridge.export.folder import export_folder
from bandbridge.export.graph import drawn_images
from bandbridge.model.classifier import open_classifier
from bandbridge.predict.ensemble import open_models
from bandbridge.predict.runtime import open_runtime
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture(scope="module")
def run(small_study):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    return next(ledger.folder(run) for run in study.runs if run.approach == "two-step")


@pytest.fixture(scope="module")
def folders(run, tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return export_folder(run, place / "whole"), export_folder(run, place / "half", half=True)


def test_large_weights_are_sixteen_bits_and_both_files_half_as_large(folders):
    whole, halved = folders
    for name in ("model.safetensors", "model.onnx"):
        assert (halved / name).stat().st_size < 0.62 * (whole / name).stat().st_size
        assert (halved / name).stat().st_mode == (halved / "config.json").stat().st_mode, "for whom the umask says"
    with (
        safe_open(str(whole / "model.safetensors"), "pt") as one,
        safe_open(str(halved / "model.safetensors"), "pt") as other,
    ):
        assert one.metadata() == other.metadata() and set(one.keys()) == set(other.keys())
        for key in one.keys():  # noqa: SIM118 - no mapping
            before, after = one.get_tensor(key), other.get_tensor(key)
            large = before.dtype == torch.float32 and before.numel() >= 1024
            assert after.dtype == (torch.float16 if large else before.dtype)
            assert torch.equal(after, before.half() if large else before)


def test_weights_and_graph_answer_as_before_to_a_few_thousandths(run, folders):
    """The oracle is the run itself; PyTorch, timm and ONNX Runtime each read the halved files."""
    _, halved = folders
    classifier = open_classifier(run, "last", "cpu")
    images = drawn_images(classifier.preparation)
    expected = classifier.logits(images)
    allowed = half.HALF_TOLERANCE * np.ptp(expected)
    graph = open_runtime(halved / "model.onnx", 1)(images)[0]
    assert graph.dtype == np.float32 and 0 < np.abs(graph - expected).max() < allowed
    weights = open_models([halved], device="cpu", graphs=False).members[0].logits(images)
    assert 0 < np.abs(weights - expected).max() < allowed
    model = timm.create_model(f"local-dir:{halved}", pretrained=True).eval()
    with torch.inference_mode():
        by_timm = model(classifier.normalised(images)).numpy()
    assert np.allclose(by_timm, weights, atol=1e-5)


def test_a_model_that_needs_its_precision_keeps_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(half, "HALF_TOLERANCE", 1e-9)
    with pytest.raises(EnvironmentFault, match="in half precision the logits move by") as caught:
        export_folder(run, tmp_path / "half", half=True)
    assert "--half" in caught.value.remedy
    assert not (tmp_path / "half").exists() or not any((tmp_path / "half").iterdir())
