"""Which layer of a model Grad-CAM reads, and how what it puts out becomes channels on a grid of places.

The paper's rows name their layer (:attr:`Architecture.cam_layer`). For other timm models it follows from the model:
the last features before pooling, as timm lists them; in transformers the first norm of the last block, because the
patches of the last block's own output no longer reach a classifier that reads the class token.
"""

from __future__ import annotations

import difflib
from typing import Any

import timm.layers
from torch import Tensor, nn

from bandbridge.errors import UserError
from bandbridge.model.architectures import Architecture

_POOLING = (nn.MaxPool2d, nn.AvgPool2d)
_CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, timm.layers.LayerNorm2d)


def find_cam_layer(model: nn.Module, architecture: Architecture, layer: str | None = None) -> str:
    """Return the name of the module of ``model`` whose output Grad-CAM reads; ``layer`` overrules the default.

    Raises :class:`UserError` naming ``--layer`` when ``layer`` is not a module of the model, or when no default is
    known for the architecture.
    """
    name = layer or architecture.cam_layer or _last_features(model)
    if name is None:
        candidates = ", ".join(child for child, _ in model.named_children())
        raise UserError(
            f"it is not known which layer of {architecture.name} Grad-CAM should read.",
            f"Name one with --layer: the last with a grid of places. The model consists of {candidates}.",
        )
    find_module(model, name)
    return name


def find_module(model: nn.Module, name: str) -> nn.Module:
    """Return the module ``name`` of ``model``; :class:`UserError` with the nearest names if there is none."""
    modules = dict(model.named_modules())
    if not name or name not in modules:
        near = difflib.get_close_matches(name, modules, n=5, cutoff=0.3) or [one for one in modules if one][:5]
        raise UserError(f"the model has no layer {name!r}.", f"Names for --layer are such as {', '.join(near)}.")
    return modules[name]


def _last_features(model: nn.Module) -> str | None:
    listed: Any = getattr(model, "feature_info", None)
    name = str(listed[-1].get("module")) if listed else ""
    modules = dict(model.named_modules())
    if not name or name not in modules:
        return None
    module = modules[name]
    if name.startswith("blocks.") and {"conv_head", "bn2"} <= modules.keys():
        return "bn2"  # EfficientNet and MobileNetV2 have one more convolution before they pool
    if isinstance(module, _POOLING):
        return _sibling_before(name, modules)
    blocks = getattr(module, "blocks", None)
    if _output_format(model) == "NHWC" and blocks is not None and hasattr(blocks[-1], "norm1"):
        return f"{name}.blocks.{len(blocks) - 1}.norm1"
    if name.startswith("blocks.") and hasattr(module, "norm1"):
        return f"{name}.norm1"
    return name


def _sibling_before(name: str, modules: dict[str, nn.Module]) -> str:
    parent, _, child = name.rpartition(".")
    siblings = [key for key, _ in modules[parent].named_children()]
    return f"{parent}.{siblings[siblings.index(child) - 1]}".removeprefix(".")


def channels_first(output: Tensor, model: nn.Module, layer: str, image_size: tuple[int, int]) -> Tensor:
    """Return [B, C, h, w] from the ``output`` of ``layer``: maps [B, C, h, w] or [B, h, w, C], or tokens [B, T, C].

    Tokens that stand for no patch (class, distillation, registers) come first and are dropped; the rest fill the grid
    row by row. ``image_size`` is (height, width) in pixels. Raises :class:`UserError` naming ``--layer`` for an output
    without a grid.
    """
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if _is_channels_last(model, find_module(model, layer)) else output
    grid = _patch_grid(model, image_size)
    prefix = int(getattr(model, "num_prefix_tokens", 0) or 0)
    if output.ndim == 3 and grid is not None and output.shape[1] == prefix + grid[0] * grid[1]:
        return output[:, prefix:].transpose(1, 2).unflatten(2, grid)
    raise UserError(
        f"the output of layer {layer}, of shape {list(output.shape)}, has no grid of places to show.",
        "Name another with --layer: a convolutional stage, or a norm inside a transformer's block.",
    )


def _patch_grid(model: nn.Module, image_size: tuple[int, int]) -> tuple[int, int] | None:
    for name in ("patch_embed", "stem"):
        embedding: Any = getattr(model, name, None)
        if getattr(embedding, "grid_size", None) is None:
            continue
        # A model that takes images of any size keeps the grid of the size it was built for.
        dynamic = getattr(embedding, "dynamic_feat_size", None)
        rows, columns = dynamic(image_size) if dynamic is not None else embedding.grid_size
        return int(rows), int(columns)
    return None


def _is_channels_last(model: nn.Module, module: nn.Module) -> bool:
    if isinstance(module, _CHANNELS_FIRST):
        return False
    return isinstance(module, nn.LayerNorm | nn.Linear) or _output_format(model) == "NHWC"


def _output_format(model: nn.Module) -> str:
    return str(getattr(model, "output_fmt", "NCHW")).rpartition(".")[2]
