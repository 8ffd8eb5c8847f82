"""How much memory a training takes on a CPU, from the shapes of its network alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bandbridge.model.architectures import Architecture, build_shapes
from bandbridge.training.recipe import Recipe

#: A process with the libraries, a store opened, before its model is made.
_PROCESS = 700 * 2**20
#: Weights, gradients, two moments of the optimiser, the average, and the copies of the best and the last epoch.
_COPIES = 7
#: What is kept for the gradients, over which the gradients themselves and oneDNN's own layouts come.
_OVER = 1.3
_EVALUATION_BATCH = 256
#: Without gradients: a layer's input, its output, and a copy in another layout.
_AT_ONCE = 3


def training_memory(architecture: Architecture, classes: int, image_size: int, recipe: Recipe) -> int | None:
    """Return bytes, roughly, that a process takes which trains ``architecture`` alone on a CPU in full precision.

    None for networks whose shapes cannot be followed without values. Raises :class:`UserError` where the architecture
    cannot take ``image_size``.
    """
    model = build_shapes(architecture, classes, image_size).train()
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other comes to lie at the same place
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = model(torch.zeros(recipe.batch_size * recipe.views, 3, image_size, image_size, device="meta"))
    except (RuntimeError, NotImplementedError, TypeError):
        return None
    sizes = [storage.nbytes() for storage in kept.values()]
    del result
    parameters = sum(parameter.numel() for parameter in model.parameters())
    evaluation = _AT_ONCE * max(sizes, default=0) * _EVALUATION_BATCH / (recipe.batch_size * recipe.views)
    # Freed memory is kept (bandbridge.model.device), in pieces that the other of the two rarely finds of its size.
    return int(_PROCESS + 4 * _COPIES * parameters + _OVER * sum(sizes) + evaluation)
