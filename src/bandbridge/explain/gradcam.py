"""Grad-CAM: which places of an image speak for a class (Selvaraju et al. 2017, ICCV, Eqs. 1 and 2).

A map is kept as it comes, in the unit of the logit: maps stretched to [0, 1] one by one, as they are published, cannot
be compared between images or models. :mod:`bandbridge.explain.maps` makes those for the eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bandbridge.errors import UserError
from bandbridge.explain.layers import channels_first, find_module
from bandbridge.model.classifier import evaluating

#: What is said of a map that is zero everywhere.
NO_EVIDENCE = "no positive evidence"


@dataclass(frozen=True, eq=False)
class ClassEvidence:
    """What speaks for one class in each of B images.

    maps: float32 [B, h, w] at the layer's own resolution, 0 or more, never normalised. logits: float32 [B, C].
    targets: int64 [B], the class that each map is about.
    """

    maps: np.ndarray
    logits: np.ndarray
    targets: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """The logit of each target class, float32 [B]: the class evidence itself."""
        return np.take_along_axis(self.logits, self.targets[:, None], axis=1)[:, 0]


def grad_cam(model: nn.Module, layer: str, images: Tensor, targets: np.ndarray | Sequence[int]) -> ClassEvidence:
    """Return the Grad-CAM maps of normalised float32 ``images`` [B, 3, H, W] for classes ``targets``, integers [B].

    The weight of a channel is the mean over places of the target logit's gradient with respect to it (Eq. 1); the map
    is the positive part of the weighted sum of channels (Eq. 2), read from the output of the module ``layer``. The
    model is run in evaluation mode and left as it was: modes, gradients and hooks. It does not matter whether the
    caller has gradients switched off. Raises :class:`UserError` naming ``--layer`` for a layer that cannot be read, and
    :class:`ValueError` for targets that are not one class for each image.
    """
    targets = np.asarray(targets, dtype=np.int64)
    if targets.shape != (len(images),):
        raise ValueError(f"{len(images)} images need as many target classes, not {list(targets.shape)}")
    # Nothing before the layer needs a gradient: recording starts where the layer's output is caught.
    with evaluating(model), torch.inference_mode(False), torch.no_grad(), _caught(model, layer) as caught:
        logits = model(images).float()
        if len(caught) != 1:
            raise UserError(f"the model passes {len(caught)} times through layer {layer}.", _OTHER_LAYER)
        if targets.min(initial=0) < 0 or targets.max(initial=0) >= logits.shape[1]:
            raise ValueError(f"target classes must be in 0..{logits.shape[1] - 1}")
        chosen = torch.from_numpy(targets).to(logits.device)
        scores = logits.gather(1, chosen[:, None]).sum()
        gradient = torch.autograd.grad(scores, caught, allow_unused=True)[0] if scores.requires_grad else None
        if gradient is None:
            raise UserError(f"layer {layer} does not lead to the logits.", _OTHER_LAYER)
    size = (images.shape[-2], images.shape[-1])
    activation, gradient = (
        channels_first(value.detach().float(), model, layer, size) for value in (caught[0], gradient)
    )
    weights = gradient.mean(dim=(2, 3))
    maps = torch.einsum("bc,bchw->bhw", weights, activation).relu()
    return ClassEvidence(maps.cpu().numpy(), logits.detach().cpu().numpy(), targets)


_OTHER_LAYER = "Name another with --layer."


@contextmanager
def _caught(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Catch what ``layer`` puts out as a leaf that gathers the gradient; the model goes on with a copy.

    The copy is what a following in-place activation overwrites (VGG, ResNet), not what was caught.
    """
    caught: list[Tensor] = []

    def catch(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise UserError(f"layer {layer} puts out {type(output).__name__}, not one tensor.", _OTHER_LAYER)
        leaf = output.detach().clone().requires_grad_()
        caught.append(leaf)
        torch.set_grad_enabled(True)
        return leaf.clone()

    handle = find_module(model, layer).register_forward_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


def has_evidence(maps: np.ndarray) -> np.ndarray:
    """Return bool [B]: whether a raw map, float [B, h, w], is positive anywhere. If not: :data:`NO_EVIDENCE`."""
    return maps.max(axis=(1, 2)) > 0
