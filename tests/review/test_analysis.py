"""The plain analyst against the classifier it stands on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bandbridge.dataset.prepare import prepare_image
from bandbridge.errors import UserError
from bandbridge.explain.classifier import open_classifier
from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import save_model
from bandbridge.review.analysis import open_analyst


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with random weights."""
    folder = tmp_path_factory.mktemp("run") / "fold0-0123456789ab"
    model = create_model(find_architecture("test_resnet"), 24, 64, torch.Generator().manual_seed(1))
    save_model(model.state_dict(), folder / "best.safetensors", {})
    config = {
        "architecture": "test_resnet",
        "classes": CLASSES,
        "preparation": {"size": 64},
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    (folder / "config.json").write_text(json.dumps(config))
    facts = {"id": "0123456789ab", "task": "Q", "architecture": "test_resnet", "approach": "scratch", "fold": 0}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def images() -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(f"{number}.png", rng.integers(0, 256, (30 + number, 12)).astype(np.uint8)) for number in range(3)]


def test_each_chromosome_is_placed_where_the_classifier_says(run):
    analyst, called = open_analyst(run, "cpu")
    sheet = analyst.sheet("c", images())
    classifier = open_classifier(run, device="cpu")
    expected = classifier.probabilities(
        np.stack([prepare_image(image, classifier.preparation) for _, image in images()])
    )
    for one, row in zip(sheet.chromosomes, expected, strict=True):
        np.testing.assert_array_equal(one.probabilities, row)
        assert one.placed == one.predicted == CLASSES[row.argmax()] and bool(one.reasons) == (row.max() < 0.8)
    assert called == "Q · test_resnet · scratch (fold0-0123456789ab)" and analyst.classes == CLASSES


def test_the_map_lies_over_the_image_and_differs_between_classes(run):
    analyst, _ = open_analyst(run, "cpu")
    _, image = images()[0]
    first, second = (analyst.cam(image, label) for label in ("1", "Y"))
    factor = round(240 / 30)
    assert first.shape == second.shape == (30 * factor, 12 * factor, 3) and first.dtype == np.uint8
    assert (first != second).any()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="not the folder of a run"):
        open_analyst(tmp_path, "cpu")
