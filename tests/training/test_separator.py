"""What the separator learns: its targets by hand, patches that stay true, and a training that goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bandbridge.errors import UserError
from bandbridge.export.separator import write_graph
from bandbridge.metaphase.lifted import BINS, SEPARATOR, from_bytes, separate, to_bytes
from bandbridge.synthetic.spread import NOWHERE
from bandbridge.training import separator
from bandbridge.training.separator import (
    Example,
    Separator,
    begin_from,
    draw_example,
    loss_of,
    patch_of,
    targets_of,
    train,
)


def test_targets_are_those_of_the_directions_that_pass() -> None:
    axes = torch.full((1, 2, 1, 4), NOWHERE, dtype=torch.uint8)
    axes[0, :, 0, 1] = torch.tensor([15, 90])
    axes[0, 0, 0, 2] = 172  # half way, nearly, from the last bin to the first
    layers = torch.tensor([[[0, 2, 1, 1]]], dtype=torch.uint8)
    told = targets_of(layers, axes)[0, :, 0].numpy()
    assert told[0].tolist() == [0, 1, 1, 1] and told[1].tolist() == [0, 1, 0, 0]
    assert np.flatnonzero(told[2:, 1]).tolist() == [1, 6]
    assert np.flatnonzero(told[2:, 2] > 0.9).tolist() == [0, BINS - 1]
    assert not told[2:, [0, 3]].any()


def test_turned_patches_keep_the_direction_of_the_axis() -> None:
    """A bar at 30 degrees stays a bar in the direction that its patch is told, whichever way it is turned."""
    rows, columns = np.mgrid[:160, :160] - 80
    across = -columns * np.sin(np.radians(30)) + rows * np.cos(np.radians(30))
    bar = abs(across) < 4
    example = Example(
        to_bytes(bar.astype(np.float32)),
        bar.astype(np.uint8),
        np.stack([np.where(bar, 30, NOWHERE), np.full(bar.shape, NOWHERE)]).astype(np.uint8),
    )
    seen = set()
    for seed in range(20):
        _, layers, axes = patch_of(example, np.random.default_rng(seed))
        y, x = np.nonzero(layers)
        (told,) = np.unique(axes[0][layers > 0])
        values, vectors = np.linalg.eigh(np.cov(np.stack([x, y])))
        measured = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180
        assert values[1] > values[0] and abs(measured - told) < 3
        seen.add(int(told))
    assert seen == {30, 60, 120, 150}


def test_contrast_survives_as_bytes() -> None:
    contrast = np.linspace(-0.4, 3.4, 50, dtype=np.float32)
    assert np.abs(from_bytes(to_bytes(contrast)) - contrast).max() < 1 / 64


def test_a_stopped_training_goes_on_and_its_graph_says_what_the_network_says(tmp_path, monkeypatch) -> None:
    example = draw_example(0, 1)
    assert example is not None
    np.savez_compressed(
        tmp_path / "spread-00001.npz", contrast=example.contrast, layers=example.layers, axes=example.axes
    )
    monkeypatch.setattr(separator, "BATCH", 1)
    monkeypatch.setattr(separator, "_KEPT", 2)
    before = torch.get_rng_state()
    train(tmp_path, minutes=5, steps=2)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are touched"
    network = train(tmp_path, minutes=5, steps=3)
    assert torch.load(tmp_path / "training.pt", weights_only=True)["step"] == 2
    write_graph(network, tmp_path / "separator.onnx")
    contrast = np.random.default_rng(0).uniform(0, 1, (64, 96)).astype(np.float32)
    said = separate(contrast, tmp_path / "separator.onnx")
    with torch.inference_mode():
        told = torch.sigmoid(network(torch.from_numpy(contrast)[None, None]))[0].numpy()
    assert np.abs(np.concatenate([said.there[None], said.two[None], said.core]) - told).max() < 0.02


def test_a_training_begins_from_a_graph_and_says_what_it_says(tmp_path, monkeypatch) -> None:
    example = draw_example(0, 1)
    assert example is not None
    network = Separator()
    begin_from(network, SEPARATOR, [example])
    contrast = from_bytes(example.contrast)[:192, :256]
    said = separate(contrast)
    with torch.inference_mode():
        told = torch.sigmoid(network.eval()(torch.from_numpy(contrast)[None, None]))[0].numpy()
    assert np.abs(np.concatenate([said.there[None], said.two[None], said.core]) - told).max() < 1e-4
    # Normalised by what a batch holds, as in training, it loses hardly more; a network that begins anew loses far more.
    rng = np.random.default_rng(0)
    drawn = zip(*(patch_of(example, rng) for _ in range(8)), strict=True)
    patches, layers, axes = (torch.from_numpy(np.stack(each)) for each in drawn)
    losses = []
    for each in (network.eval(), network.train(), Separator().train()):
        with torch.no_grad():
            losses.append(float(loss_of(each(patches.unsqueeze(1)), targets_of(layers, axes))))
    assert losses[1] < 1.3 * losses[0] and losses[2] > 4 * losses[0]
    np.savez_compressed(
        tmp_path / "spread-00001.npz", contrast=example.contrast, layers=example.layers, axes=example.axes
    )
    monkeypatch.setattr(separator, "BATCH", 1)
    begun = train(tmp_path, minutes=5, steps=1, begin=SEPARATOR)
    before, after = (each.state_dict()["head.weight"] for each in (network, begun))
    assert 0 < (before - after).abs().max() < 0.01


def test_the_graph_of_another_network_and_a_folder_without_examples_are_refused(tmp_path) -> None:
    class Other(Separator):
        def __init__(self) -> None:
            super().__init__((8, 8, 8, 8))

    example = draw_example(0, 1)
    assert example is not None
    write_graph(Other(), tmp_path / "other.onnx")
    with pytest.raises(UserError, match="is no separator of this kind"):
        begin_from(Separator(), tmp_path / "other.onnx", [example])
    with pytest.raises(UserError, match="nothing to learn from"):
        begin_from(Separator(), SEPARATOR, [])
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"broken\.onnx"):
        begin_from(Separator(), tmp_path / "broken.onnx", [example])


def test_the_network_takes_any_size_that_divides() -> None:
    assert Separator()(torch.zeros(1, 1, 32, 48)).shape == (1, 2 + BINS, 32, 48)
    with pytest.raises(RuntimeError):
        Separator()(torch.zeros(1, 1, 33, 48))
