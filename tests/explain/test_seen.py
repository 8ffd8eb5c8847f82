"""A classifier read back from a run, and what turning the image does for where its maps lie."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass
from tests.finished import seal, unseal
from torch import Tensor, nn
from torch.nn import functional

from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import logits_of, read_predictions
from bandbridge.explain.maps import normalise, upsample
from bandbridge.explain.seen import SeeingClassifier as Classifier
from bandbridge.explain.seen import open_seeing as open_classifier
from bandbridge.model.architectures import find_architecture
from bandbridge.seal import AlteredError


def finished(small_study, approach: str = "two-step") -> Path:
    return next((small_study.runs / "Q").glob(f"*/{approach}/*/done.json")).parent


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_model_read_back_gives_the_logits_that_the_run_wrote(small_study, checkpoint: str) -> None:
    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.read_prepared import read_prepared

    folder = finished(small_study)
    classifier = open_classifier(folder, checkpoint, "cpu")
    frame = read_predictions(folder / "predictions.parquet")
    names = frame.loc[frame["checkpoint"] == checkpoint, "image"].tolist()
    dataset = open_dataset(small_study.path.parent / "q")
    images = read_prepared(dataset, names, classifier.preparation)
    _, logits, classes = logits_of(frame, checkpoint)
    evidence = classifier.evidence(images, logits.argmax(1))
    assert classes == classifier.classes and len(names) > 32 and classifier.held_out() == set(names)
    np.testing.assert_allclose(evidence.logits, logits, rtol=0, atol=1e-4)
    powers = np.exp(logits.astype(float))
    np.testing.assert_allclose(
        classifier.probabilities(images), powers / powers.sum(1, keepdims=True), rtol=0, atol=1e-4
    )


class Averaging(nn.Module):
    """Three convolutions that halve the image and average; the only class is the brightness of the whole."""

    def __init__(self, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.padding = padding
        self.features = nn.Identity()
        self.kernel = nn.Parameter(torch.full((1, 1, 3, 3), 1 / 9))

    def forward(self, images: Tensor) -> Tensor:
        values = images[:, :1]
        for _ in range(3):
            values = functional.conv2d(functional.pad(values, self.padding), self.kernel, stride=2)
        return self.features(values).mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize(("padding", "offset"), [((1, 1, 1, 1), 3.5), ((0, 1, 0, 1), -3.5)])
def test_turning_the_image_brings_a_map_to_where_the_evidence_is(
    padding: tuple[int, int, int, int], offset: float
) -> None:
    """Place i of the map sees around pixel 8 i with PyTorch's padding and 8 i + 7 with TensorFlow's; it is painted
    around 8 i + 3.5."""
    place = (29.5, 37.5)
    image = np.zeros((1, 64, 64), dtype=np.uint8)
    image[0, 22:38, 30:46] = 255  # two places of the grid to a side, so that its shift to the grid does not matter
    model = Averaging(padding).eval()
    flat = torch.zeros(1, 1, 1, 1)
    bright, some = ("bright",), find_architecture("test_resnet")
    classifier = Classifier(Path(), "best", {}, model, some, bright, Preparation(size=64), flat, flat + 1, "features")
    targets = np.zeros(1, dtype=np.int64)
    published, maximum = classifier.shown_maps(image, targets, centred=False)
    centred, same = classifier.shown_maps(image, targets, centred=True)
    np.testing.assert_allclose(np.subtract(center_of_mass(published[0]), place), [offset] * 2, atol=0.6)
    np.testing.assert_allclose(center_of_mass(centred[0]), place, atol=0.3)  # of places 8 pixels wide
    raw = classifier.evidence(image, targets).maps
    np.testing.assert_allclose(published, upsample(normalise(raw), 64, 64))
    assert maximum == same == raw.max()


@pytest.fixture
def folder(small_study, tmp_path) -> Path:
    """A copy of a run, to be damaged, as of an earlier build: with hashes, nothing of it would be read."""
    copy = tmp_path / "run"
    copy.mkdir()
    for path in finished(small_study).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    unseal(copy)
    return copy


def test_damage_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint 'first'"):
        open_classifier(folder, "first", "cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "mean"}))
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        open_classifier(folder, "best", "cpu")
    timm_config = {"architecture": "resnet18", "num_classes": 24, "pretrained_cfg": {"mean": [0.5] * 3}}
    (folder / "config.json").write_text(json.dumps(timm_config))
    with pytest.raises(UserError, match="as timm writes it"):
        open_classifier(folder, "best", "cpu")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "best.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"best\.safetensors is damaged"):
        open_classifier(folder, "best", "cpu")
    (folder / "predictions.parquet").unlink()
    assert open_classifier(folder, "last", "cpu").held_out() == frozenset()


@pytest.mark.parametrize("name", ["config.json", "run.json", "best.safetensors", "predictions.parquet"])
def test_of_a_run_with_hashes_no_altered_file_is_used(folder: Path, name: str) -> None:
    seal(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AlteredError, match=rf"{name} was altered") as caught:
        open_classifier(folder, "best", "cpu").held_out()
    assert f"delete {folder}" in caught.value.remedy


def test_a_graph_is_refused_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    for place in (tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(UserError, match=r"model\.onnx is an exported graph"):
            open_classifier(place)
