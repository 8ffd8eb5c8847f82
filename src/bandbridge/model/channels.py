"""The three input channels of a network made for colour, from the one or two views of a gray chromosome."""

from __future__ import annotations

import torch
from torch import Tensor


def as_channels(views: Tensor) -> Tensor:
    """Return ``views`` [B, V, S, S] as what broadcasts to three channels: one view, [B, 1, S, S], as it is.

    Two views become [B, 3, S, S]: the close-up in red and blue, the one to scale in green.
    """
    return views if views.shape[1] == 1 else torch.cat([views, views[:, :1]], dim=1)


def as_views(images: Tensor) -> Tensor:
    """Return ``images`` [N, S, S] as one view each, [N, 1, S, S]; images of views, [N, V, S, S], as they are."""
    return images if images.dim() == 4 else images[:, None]
