"""Networks in which every tensor counts: fresh ones hide what a way of computing them leaves out.

timm's ResNets begin with the last norm of each residual block at zero, ConvNeXt's layer scale at 1e-6, every bias at 0
and batch statistics at 0 and 1: in a fresh ResNet-34, most weights do not reach the logits, and a graph without them
would pass for equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import save_model
from bandbridge.synthetic.cells import draw_cell
from bandbridge.synthetic.look import Drawing

#: Floating buffers that are part of how a network is built and stay as they are, by the end of their name.
STRUCTURE = {
    "attn_mask": "0 or -100 as places of shifted windows are neighbours or not (Swin): it follows from the sides",
}
#: Whole-number buffers, which no value near theirs could stand for.
COUNTS_AND_PLACES = {
    "num_batches_tracked": "read by nothing while the momentum is fixed",
    "relative_position_index": "which entry of the table belongs to two places (Swin): it follows from the window",
}


def move_parameters(model: nn.Module, seed: int = 0, images: Tensor | None = None) -> nn.Module:
    """Move every parameter and every running statistic of ``model`` off its first value, in place; returns it.

    What it becomes depends on the names, the shapes and ``seed`` alone, not on what it was. Norms come out around 1,
    layer scales between 0.2 and 1, biases, tables and tokens around 0. Running statistics are those of ``images``,
    float [N, 3, S, S] (None: chromosomes of 64 px), and a fifth or so beside them, as those of a training are; so
    activations keep their range through any depth. Modes are left as they were, and so are torch's own generators.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner = model.get_submodule(name.rpartition(".")[0])
            parameter.copy_(_value(name, owner, parameter, generator))
        _move_statistics(model, chromosomes(64) if images is None else images, generator)
    return model


def moved_network(name: str, classes: int = 24, size: int = 64, seed: int = 1) -> nn.Module:
    """Return the architecture ``name`` for images of ``size`` px, as it is built for a run and then moved."""
    model = create_model(find_architecture(name), classes, size, torch.Generator())
    return move_parameters(model, seed, chromosomes(size, 16 if size <= 64 else 4))


def write_moved(path: Path, name: str = "test_resnet", classes: int = 24, size: int = 64, seed: int = 1) -> None:
    """Write the state of a moved network as a run and an export write theirs."""
    save_model(moved_network(name, classes, size, seed).state_dict(), path, {})


@contextmanager
def beginning_moved() -> Iterator[None]:
    """Let the runs that this process trains begin with moved networks.

    Some steps of training do not do it: after an epoch or three of a tiny ResNet, most of its norms change the logits
    by less than 1e-4, and some not at all.
    """
    from bandbridge.study import execute

    def moved(architecture, classes, image_size, generator):
        model = create_model(architecture, classes, image_size, generator)
        return move_parameters(model, int(torch.randint(2**31, (), generator=generator)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "create_model", moved)
        yield


def reaching(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of ``model``, by name, of which a changed value is to change its outputs."""
    tensors = dict(model.state_dict(keep_vars=True))
    return {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in COUNTS_AND_PLACES}


def _value(name: str, owner: nn.Module, old: Tensor, generator: torch.Generator) -> Tensor:
    last = name.rpartition(".")[2]
    normal, even = (draw(old.shape, generator=generator) for draw in (torch.randn, torch.rand))
    if last in ("gamma", "gain"):  # of a layer scale
        return 0.2 + 0.8 * even
    if last.endswith("bias"):
        return 0.3 * normal
    if last == "weight" and old.dim() == 1:  # of a norm
        return 0.5 + even
    if isinstance(owner, nn.Conv2d | nn.Linear):
        gain = 2**0.5 if isinstance(owner, nn.Conv2d) else 1.0
        return gain * normal / old[0].numel() ** 0.5
    return normal if last.endswith("table") else 0.5 * normal  # biases of attention; positions, tokens


def _move_statistics(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    others = [name for name, buffer in model.named_buffers() if buffer.is_floating_point()]
    others = [name for name in others if name.rpartition(".")[2] not in {*STRUCTURE, "running_mean", "running_var"}]
    if others:
        raise TypeError(f"how to move the buffers {others}?")
    if not norms:
        return
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()  # dropout draws from the global generator
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        mean, variance = norm.running_mean, norm.running_var
        variance.clamp_(min=0.05 * float(variance.mean()))  # of a last map of 1 x 1, few values decide
        mean.add_(0.2 * variance.sqrt() * torch.randn(mean.shape, generator=generator))
        variance.mul_(0.7 + 0.7 * torch.rand(variance.shape, generator=generator))
    for module, mode in modes.items():
        module.training = mode


@cache
def chromosomes(side: int, count: int = 16) -> Tensor:
    """Return float [count, 3, side, side], normalised, of the chromosomes of a drawn cell."""
    tidy = Drawing(variation=0.4, neighbours=0, overlaps=0, cut=0)
    drawn = draw_cell("G", 0, 3, tidy)[:: 46 // count][:count]
    images = np.stack([prepare_image(one.image, Preparation(size=side)) for one in drawn])
    return ((torch.from_numpy(images)[:, None].float() / 255 - 0.45) / 0.22).expand(-1, 3, -1, -1)
