"""The networks that other tests compare by: each of their tensors counts, and none decides alone."""

from __future__ import annotations

import pytest
import torch
from tests.networks import COUNTS_AND_PLACES, STRUCTURE, chromosomes, move_parameters, moved_network, reaching
from torch import Tensor, nn

from bandbridge.export.graph import TOLERANCE
from bandbridge.model.architectures import create_model, find_architecture

#: Of timm's tiny models, with the size of image that they are tried at.
TINY = {"test_resnet": 64, "test_vit": 64, "test_convnext": 64, "test_efficientnet": 64}
#: Of those that users train; Swin takes no smaller images that leave it more than one window.
LARGE = {
    "ResNet-34": 64,
    "MobileNetV3-L": 64,
    "ConvNeXt-Tiny": 64,
    "Swin-T": 128,
    "ViT-S/16": 64,
    "VGG-16+mlp_ratio=0.02": 64,
}
EVERY = [*TINY.items(), *(pytest.param(*one, marks=pytest.mark.slow) for one in LARGE.items())]


def fresh(name: str, size: int) -> nn.Module:
    return create_model(find_architecture(name), 24, size, torch.Generator().manual_seed(9)).eval()


def without_effect(model: nn.Module, first: dict[str, Tensor], images: Tensor) -> set[str]:
    """The names of the tensors that, alone set back to ``first``, move no logit by ten times what an export may."""
    with torch.inference_mode():
        expected, idle = model(images), set()
        least = 10 * TOLERANCE * float(expected.max() - expected.min())
        for name, tensor in reaching(model).items():
            kept = tensor.detach().clone()
            tensor.data.copy_(first[name])
            if float((model(images) - expected).abs().max()) < least:
                idle.add(name)
            tensor.data.copy_(kept)
    return idle


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_every_tensor_reaches_the_logits_which_keep_their_range(name: str, size: int) -> None:
    model, images = fresh(name, size), chromosomes(size, 2)
    first = {key: value.clone() for key, value in model.state_dict().items()}
    move_parameters(model, images=chromosomes(size, 16 if size <= 64 else 4))
    assert without_effect(model, first, images) == set()
    with torch.inference_mode():
        logits = model(images)
    spread = float(logits.max() - logits.min())
    assert 1 < spread < 50, "neither vanished nor exploded"
    assert float((logits[0] - logits[1]).abs().max()) > 0.02 * spread, "images differ"
    assert logits.softmax(1).max() < 0.999, "and no class is all"
    tried, every = reaching(model), {**dict(model.named_buffers()), **model.state_dict()}
    assert {name.rpartition(".")[2] for name in every if name not in tried} <= {*STRUCTURE, *COUNTS_AND_PLACES}


def test_in_a_fresh_network_most_norms_of_the_branches_do_nothing() -> None:
    """Why all this: nine of the sixteen kernels of the tiny ResNet, and what lies between them, could be anything."""
    model = fresh("test_resnet", 64)
    other = moved_network("test_resnet").state_dict()
    idle = without_effect(model, other, chromosomes(64, 2))
    assert len([name for name in idle if other[name].dim() > 1]) == 9


@pytest.mark.parametrize("name", TINY)
def test_only_the_seed_decides_and_nothing_else_is_touched(name: str) -> None:
    before = torch.get_rng_state()
    model = fresh(name, 64).train()
    model.get_classifier().eval()
    modes = [module.training for module in model.modules()]
    first = move_parameters(model, 3).state_dict()
    again, other = (moved_network(name, 24, 64, seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert not [key for key in reaching(model) if torch.equal(first[key], other[key])]
    assert all((first[key] > 0).all() for key in first if key.endswith("running_var"))


def test_a_buffer_that_is_not_known_is_asked_about() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    model.register_buffer("scale", torch.ones(2))
    with pytest.raises(TypeError, match="scale"):
        move_parameters(model)
