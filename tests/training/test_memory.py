"""What a training takes by its shapes, against what a process that trains really takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from bandbridge.errors import UserError
from bandbridge.model.architectures import find_architecture
from bandbridge.training import memory
from bandbridge.training.memory import training_memory
from bandbridge.training.recipe import RecipeSpec, recipe_for

_TRAIN = """
import sys, tempfile
from pathlib import Path
import numpy as np, torch
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import TrainingJob, train
from bandbridge.training.recipe import RecipeSpec, recipe_for
torch.set_num_threads(1)
name, size, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
architecture = find_architecture(name)
recipe = recipe_for(RecipeSpec(epochs=1, batch_size=batch), name, pretrained=False)
model = create_model(architecture, 24, size, torch.Generator().manual_seed(0))
images = np.random.default_rng(0).integers(0, 256, (2 * batch, size, size), dtype=np.uint8)
rows, half = np.arange(len(images)), (0.5, 0.5, 0.5)
job = TrainingJob("memory", recipe, images, rows % 24, rows, rows, half, half)
with tempfile.TemporaryDirectory() as place:
    train(model, job, open_fabric("cpu", "32-true", model), Path(place) / "c.pt")
# The parent's size counts in ru_maxrss of a process that was forked from it; this is its own.
print(next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def recipe(batch: int):
    return recipe_for(RecipeSpec(epochs=1, batch_size=batch), "test_resnet", pretrained=False)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a process's largest size in /proc")
@pytest.mark.parametrize(("name", "size", "batch"), [("resnet34", 128, 64), ("tf_mobilenetv3_small_100", 64, 32)])
def test_it_is_about_what_a_process_takes(name, size, batch):
    command = [sys.executable, "-c", _TRAIN, name, str(size), str(batch)]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.6 < training_memory(find_architecture(name), 24, size, recipe(batch)) / taken < 1.7


def test_activations_grow_with_the_batch_and_weights_do_not(monkeypatch):
    """Two convolutions without bias, by hand: their inputs are what is kept for the gradients."""
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False), nn.Flatten())
    monkeypatch.setattr(memory, "build_shapes", lambda *_: layers.to("meta"))
    few, many = (training_memory(find_architecture("test_resnet"), 24, 16, recipe(batch)) for batch in (16, 48))
    image = 4 * (3 * 16 * 16 + 8 * 8 * 8)
    assert many - few == pytest.approx(1.3 * 32 * image, abs=2)
    # Where the batch is that of the evaluation, nothing but the largest of the two inputs is scaled.
    weights = 3 * 8 * 9 + 8 * 4
    rest = few - 1.3 * 16 * image - 3 * 256 * 4 * (3 * 16 * 16)
    assert rest == pytest.approx(700 * 2**20 + 7 * 4 * weights, abs=2)


class Branching(nn.Module):
    def forward(self, images):
        return images * 2 if images.sum() > 0 else images


def test_networks_that_look_at_values_are_not_told(monkeypatch):
    monkeypatch.setattr(memory, "build_shapes", lambda *_: Branching())
    assert training_memory(find_architecture("test_resnet"), 24, 32, recipe(16)) is None


def test_a_size_that_cannot_be_taken_is_refused():
    with pytest.raises(UserError, match="50 px"):
        training_memory(find_architecture("test_vit"), 24, 50, recipe(16))


def test_nothing_is_left_behind():
    grad = torch.is_grad_enabled()
    training_memory(find_architecture("test_resnet"), 24, 32, recipe(16))
    assert torch.is_grad_enabled() == grad
