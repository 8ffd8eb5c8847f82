"""Grad-CAM as a graph of its own: what the last features of a network say for a class, where its head tells it.

The weight of a channel in Grad-CAM is the mean gradient of the class's logit over the places (Selvaraju et al. 2017,
Eq. 1). Where the head pools the features and then computes little, that gradient is a formula:

* a linear layer on pooled features (ResNet, ResNeXt, EfficientNet, MobileNetV2, DenseNet): its own weights, which makes
  Grad-CAM the class activation map of Zhou et al. 2016 (CVPR);
* a hidden layer in between (MobileNetV3): the chain rule through ReLU or hard swish;
* a layer norm in between (ConvNeXt): the chain rule through it.

Elsewhere (VGG's hidden layers over all places, transformers, whose Grad-CAM reads an earlier layer) there is none.
Whatever is written was compared with the Grad-CAM of PyTorch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from timm.layers.classifier import NormMlpClassifierHead
from torch import Tensor, nn
from torch.nn import functional

from bandbridge.explain.gradcam import grad_cam
from bandbridge.export.onnx_file import write_graph
from bandbridge.predict.runtime import open_session

#: Of the largest value of PyTorch's maps.
_TOLERANCE = 1e-4


class _Linear(nn.Module):
    """Maps features [N, C, h, w] and one-hot classes [N, K] to Grad-CAM maps [N, h, w]: of a linear layer."""

    weight: Tensor

    def __init__(self, last: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", last.weight.detach().clone())

    def forward(self, features: Tensor, chosen: Tensor) -> Tensor:
        """Return the positive part of the weighted sum of channels."""
        slopes = self.slopes(features.mean(dim=(2, 3)), chosen)  # of the logit by the pooled features
        weights = slopes / (features.shape[2] * features.shape[3])
        return (features * weights[:, :, None, None]).sum(dim=1).relu()

    def slopes(self, pooled: Tensor, chosen: Tensor) -> Tensor:
        """Return the gradient of the chosen logits by ``pooled`` [N, C], as that."""
        return chosen @ self.weight


class _Hidden(_Linear):
    """A 1 x 1 convolution and an activation before the linear layer."""

    first: Tensor
    bias: Tensor

    def __init__(self, hidden: nn.Conv2d, activation: nn.Module, last: nn.Linear) -> None:
        super().__init__(last)
        bias = hidden.bias if hidden.bias is not None else torch.zeros(hidden.out_channels)
        self.register_buffer("first", hidden.weight.detach().flatten(1).clone())
        self.register_buffer("bias", bias.detach().clone())
        self.hard = isinstance(activation, nn.Hardswish)

    def slopes(self, pooled: Tensor, chosen: Tensor) -> Tensor:
        before = functional.linear(pooled, self.first, self.bias)
        if self.hard:  # x relu6(x + 3) / 6
            inside = (before > -3) & (before < 3)
            slope = torch.where(inside, before / 3 + 0.5, (before >= 3).float())
        else:
            slope = (before > 0).float()
        return ((chosen @ self.weight) * slope) @ self.first


class _Normed(_Linear):
    """A layer norm before the linear layer."""

    scale: Tensor

    def __init__(self, norm: nn.LayerNorm, last: nn.Linear) -> None:
        super().__init__(last)
        self.register_buffer("scale", norm.weight.detach().clone())
        self.eps = norm.eps

    def slopes(self, pooled: Tensor, chosen: Tensor) -> Tensor:
        centred = pooled - pooled.mean(dim=1, keepdim=True)
        deviation = (centred.square().mean(dim=1, keepdim=True) + self.eps).sqrt()
        normed, slope = centred / deviation, (chosen @ self.weight) * self.scale
        return (slope - slope.mean(1, keepdim=True) - normed * (slope * normed).mean(1, keepdim=True)) / deviation


def evidence_head(model: nn.Module) -> nn.Module | None:
    """Return what maps the last features of timm's ``model`` to Grad-CAM; None where its head has no such formula.

    It is read off the model's parts and may be wrong for unknown ones; :func:`write_evidence` compares.
    """
    find = getattr(model, "get_classifier", None)
    last = find() if callable(find) else None
    if not isinstance(last, nn.Linear) or not hasattr(model, "forward_features"):
        return None
    hidden, activation, head = (getattr(model, name, None) for name in ("conv_head", "act2", "head"))
    if isinstance(hidden, nn.Conv2d) and isinstance(activation, nn.Hardswish | nn.ReLU):
        return _Hidden(hidden, activation, last) if hidden.kernel_size == (1, 1) else None
    if isinstance(head, NormMlpClassifierHead) and isinstance(head.norm, nn.LayerNorm):
        return _Normed(head.norm, last)
    return _Linear(last)


def write_evidence(model: nn.Module, layer: str, images: Tensor, classes: int, path: Path) -> bool:
    """Write the head that tells where ``model``, on the CPU, sees a class, to ``path``; False where it has none.

    layer: the one that Grad-CAM reads. images: normalised, float32 [N, 3, S, S], on which formula and file are held to
    PyTorch's Grad-CAM, a class of ``classes`` for each.
    """
    head = evidence_head(model)
    if head is None:
        return False
    targets = np.arange(len(images)) % classes
    expected = grad_cam(model, layer, images, targets).maps
    chosen = functional.one_hot(torch.from_numpy(targets), classes).float()
    with torch.no_grad():
        features = model.forward_features(images)  # type: ignore[operator]
        try:
            found = head.eval()(features, chosen).numpy()
        except (IndexError, RuntimeError):  # no maps, or of other channels than the head takes
            return False
    if not _agree(found, expected):
        return False
    write_graph(head, (features[:2], chosen[:2]), path, ["features", "chosen"], ["map"])
    written = open_session(path, threads=1).run(["map"], {"features": features.numpy(), "chosen": chosen.numpy()})[0]
    if not _agree(written, expected):
        path.unlink()
        return False
    return True


def _agree(found: np.ndarray, expected: np.ndarray) -> bool:
    most = _TOLERANCE * float(expected.max(initial=0))
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= most)
