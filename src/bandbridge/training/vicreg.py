"""Training without labels: VICReg (Bardes, Ponce and LeCun, ICLR 2022) on two random views of every image.

Of its kin it suits the small sets of this field: it contrasts no images with one another, so it needs no large batch,
and what keeps all images from looking alike is a term of its loss, where SimSiam relies on a stopped gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandbridge.model.weights import head_keys

#: Outputs of the projector. The publication has 8192 for batches of 2048; with 128 images, whose covariance has no more
#: than 127 directions, so many would be decorrelated from noise.
WIDTH = 512
#: Weights of the three terms, as published.
_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0
_STABILITY = 1e-4


class TwoViews(nn.Module):
    """A timm ``network`` without its classification layer, and behind it a projector for the time of this training.

    The classification layer gets no gradient and stays as it is. The projector begins with what ``generator`` draws.
    """

    def __init__(self, network: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        head = head_keys(network)
        for name, parameter in network.named_parameters():
            if name in head:  # frozen, for several devices wait for the gradient of every parameter that may have one
                parameter.requires_grad_(False)
        features = int(getattr(network, "head_hidden_size", network.num_features))  # type: ignore[arg-type]
        self.network: Any = network
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            self.projector = nn.Sequential(*_layer(features), *_layer(WIDTH), nn.Linear(WIDTH, WIDTH))

    def forward(self, views: Tensor) -> Tensor:
        """Return projections [B, 2, WIDTH] of two views of each image, [B, 2, 3, S, S]."""
        images = views.flatten(0, 1)
        features = self.network.forward_head(self.network.forward_features(images), pre_logits=True)
        projected: Tensor = self.projector(features.flatten(1))
        return projected.view(*views.shape[:2], -1)

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that the network wants left as large as they are."""
        stated = getattr(self.network, "no_weight_decay", set)
        return {f"network.{name}" for name in stated()}


def _layer(features: int) -> tuple[nn.Module, ...]:
    return nn.Linear(features, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True)


def vicreg_loss(projections: Tensor) -> Tensor:
    """Return the loss of float ``projections`` [B, 2, D] of two views of each of B images, two at least; a scalar.

    Algorithm 1 of the publication: 25 times the mean squared difference of the two views; 25 times how far the standard
    deviation of each output over the batch falls short of 1, on average, summed over the views; and the squared
    covariances of different outputs, summed, over D, summed over the views.
    """
    first, second = projections.unbind(1)
    centred = projections - projections.mean(dim=0)
    deviations = torch.sqrt(projections.var(dim=0) + _STABILITY)
    covariances = torch.einsum("bvi,bvj->vij", centred, centred) / (len(projections) - 1)
    between = covariances.square().sum() - covariances.diagonal(dim1=1, dim2=2).square().sum()
    return (
        _INVARIANCE * functional.mse_loss(first, second)
        + _VARIANCE * functional.relu(1 - deviations).mean(dim=1).sum()
        + _COVARIANCE * between / projections.shape[2]
    )
