"""Grad-CAM by a graph of its own: equal to that of the gradients where the head has a formula, and absent elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.networks import chromosomes, moved_network

from bandbridge.explain.gradcam import grad_cam
from bandbridge.explain.layers import find_cam_layer
from bandbridge.export import evidence
from bandbridge.export.evidence import write_evidence
from bandbridge.model.architectures import find_architecture
from bandbridge.predict.runtime import open_session

#: An architecture for each kind of head that has a formula, and for each that has none.
TOLD = (
    "test_resnet",
    "test_efficientnet",
    "tf_mobilenetv3_small_100",
    "tf_mobilenetv3_large_minimal_100",
    "test_convnext",
    "mobilenetv2_100",
)
SILENT = ("test_vit",)
SILENT_SLOW = ("VGG-16", "Swin-T")


def written(name: str, path: Path, size: int = 64) -> tuple[torch.nn.Module, str, torch.Tensor, bool]:
    """A moved network, the layer that Grad-CAM reads, images, and whether its evidence was written to ``path``."""
    model = moved_network(name, size=size).eval()
    layer, images = find_cam_layer(model, find_architecture(name)), chromosomes(size)[:9]
    return model, layer, images, write_evidence(model, layer, images, 24, path)


@pytest.mark.parametrize("name", TOLD)
def test_the_written_head_is_grad_cam_of_the_gradients(name: str, tmp_path: Path) -> None:
    model, layer, images, done = written(name, tmp_path / "evidence.onnx")
    assert done
    targets = np.array([23, 0, 5, 5, 11, 2, 7, 19, 14])  # others than it was compared on, in another order
    expected = grad_cam(model, layer, images, targets).maps
    assert expected.max() > 0
    with torch.inference_mode():
        features = model.forward_features(images).numpy()
    chosen = np.eye(24, dtype=np.float32)[targets]
    session = open_session(tmp_path / "evidence.onnx", 1)
    for count in (1, 9):
        (found,) = session.run(["map"], {"features": features[:count], "chosen": chosen[:count]})
        assert np.abs(found - expected[:count]).max() < 1e-4 * expected.max()


@pytest.mark.parametrize("name", [*SILENT, *(pytest.param(name, marks=pytest.mark.slow) for name in SILENT_SLOW)])
def test_a_head_without_a_formula_has_none(name: str, tmp_path: Path) -> None:
    *_, done = written(name, tmp_path / "evidence.onnx")
    assert not done and not (tmp_path / "evidence.onnx").exists()


@pytest.mark.parametrize("name", ["test_resnet", "tf_mobilenetv3_small_100", "test_convnext"])
def test_a_formula_that_is_wrong_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evidence.evidence_head

    def off(model: torch.nn.Module) -> torch.nn.Module | None:
        head = whole(model)
        assert head is not None
        head.get_buffer("weight")[:, 3] *= 1.5
        return head

    monkeypatch.setattr(evidence, "evidence_head", off)
    *_, done = written(name, tmp_path / "evidence.onnx")
    assert not done and not (tmp_path / "evidence.onnx").exists()
