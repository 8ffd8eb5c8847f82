"""A model judged through another library's network: the pixels are those of the training, the rest is the model's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bandbridge.api.model import load_model
from bandbridge.errors import UserError
from bandbridge.model.classifier import open_classifier
from bandbridge.predict.through import through_network


@pytest.mark.parametrize("name", ["box:G", "models/mine"])
def test_the_pixels_are_those_that_the_network_was_trained_on(example_home, monkeypatch, name):
    monkeypatch.chdir(example_home)
    member = load_model(name).ensemble.members[0]
    prepared = np.random.default_rng(0).integers(0, 256, (5, *member.preparation.shape), dtype=np.uint8)
    found = through_network(member, lambda pixels: pixels).pixels(prepared)
    expected = open_classifier(member.folder, device="cpu").normalised(prepared).expand(-1, 3, -1, -1)
    assert found.dtype == np.float32 and found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, expected.numpy())


def test_the_same_network_gives_the_same_table(example_home, monkeypatch):
    monkeypatch.chdir(example_home)
    model, network = load_model("models/mine"), open_classifier(example_home / "models" / "mine", device="cpu").model

    def logits(pixels):
        with torch.inference_mode():
            return network(torch.from_numpy(pixels)).numpy()

    expected, found = model.predict("new-cells").table(), model.through(logits).predict("new-cells").table()
    texts = ["file", "cell", "class", "by_itself", "flag"]
    assert found[texts].equals(expected[texts])
    np.testing.assert_allclose(found["by_itself_probability"], expected["by_itself_probability"], atol=1e-5)


def test_another_network_gives_other_answers(example_home, monkeypatch):
    monkeypatch.chdir(example_home)

    def second(pixels):
        return np.eye(24)[np.ones(len(pixels), dtype=int)] * 50

    found = load_model("models/mine").through(second).predict("new-cells", cells=False).table()
    assert set(found["by_itself"]) == {"2"}


def test_what_is_no_logits_is_said(example_home, monkeypatch):
    monkeypatch.chdir(example_home)
    model = load_model("models/mine")
    with pytest.raises(UserError, match=r"gave an array of \[\d+, 23\] for \d+ images and 24 classes"):
        model.through(lambda pixels: np.zeros((len(pixels), 23))).predict("new-cells")
    with pytest.raises(UserError, match="several models"):
        load_model(["models/mine", "models/mine"]).through(len)
