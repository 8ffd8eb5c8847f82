"""Augmentation of a whole batch on its device, every image by its own draw from an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bandbridge.training.bank import to_float
from bandbridge.training.recipe import Augmentation

#: Numbers drawn for an image of one view, as it always was, and of two.
_DRAWS = (4, 10)
#: How much smaller a chromosome is to the scale of its cell than close up: one of the typical length.
_SMALLER = 2.3
#: Image size at which Augmentation.blur_sigma is stated, pixels.
_REFERENCE_SIZE = 256


def augment(
    images: Tensor, augmentation: Augmentation, generator: torch.Generator, first: int = 0, batch: int | None = None
) -> Tensor:
    """Change uint8 ``images`` [B, V, S, S] of V views at random, all views of an image alike; returns float32 in 0..1.

    Draws come from ``generator``, on the device of the images. Their number depends on B and V alone, so that the
    stream is the same whatever the settings. Of images that are part of a ``batch`` of so many, those from ``first``
    on, each gets the draws that it would get in the whole batch. Bytes are flipped before they are widened: a quarter
    of the memory to move.
    """
    whole = len(images) if batch is None else batch
    kinds = _DRAWS[images.shape[1] - 1]
    draws = torch.rand((kinds, whole), generator=generator, device=images.device)[:, first : first + len(images)]
    images = flip(images, draws[0] < augmentation.flip_horizontal, dimension=3)
    images = flip(images, draws[1] < augmentation.flip_vertical, dimension=2)
    images = to_float(images)
    if kinds > _DRAWS[0]:
        images[:, 1] *= (draws[4] >= augmentation.without_scale).view(-1, 1, 1)
        images = reshape(images, augmentation, 2 * draws[5:9] - 1)
        if augmentation.tone:
            bow = (augmentation.tone * (2 * draws[9] - 1)).view(-1, 1, 1, 1)
            images = torch.addcmul(images, images, bow * (1 - images))
    low, high = (bound * images.shape[-1] / _REFERENCE_SIZE for bound in augmentation.blur_sigma)
    if augmentation.blur == 0 or high == 0:
        return images
    sigma = torch.where(draws[2] < augmentation.blur, low + (high - low) * draws[3], 0.0)
    if kinds == _DRAWS[0] or images.device.type != "cpu":
        return gaussian_blur(images, sigma, largest_sigma=high)
    # Wide kernels are costly on a CPU; a GPU would wait to hear how many images there are.
    chosen = torch.nonzero(sigma).flatten()
    if len(chosen):
        images[chosen] = gaussian_blur(images[chosen], sigma[chosen], largest_sigma=high)
    return images


def reshape(images: Tensor, augmentation: Augmentation, draws: Tensor) -> Tensor:
    """Widen, turn, bend and, in the view to scale alone, enlarge each of float ``images`` [B, 2, S, S].

    ``draws`` [4, B] in -1..1 say how much of each. What comes in from outside is 0.
    """
    if augmentation.aspect == augmentation.rotation == augmentation.cell_scale == augmentation.bend == 0:
        return images
    wider = torch.exp(augmentation.aspect * draws[0])
    angle = math.radians(augmentation.rotation) * draws[1]
    larger = torch.stack([torch.ones_like(wider), torch.exp(augmentation.cell_scale * draws[2])], dim=1)
    times = torch.tensor([1.0, _SMALLER], device=images.device)
    aside = (augmentation.bend * draws[3])[:, None] * times
    # The place that each place of the result is read from, -1 to 1: it is turned back, then made narrower and smaller.
    cosine, sine = torch.cos(angle), torch.sin(angle)
    lines = torch.stack([cosine / wider, -sine / wider, sine, cosine], dim=1)[:, None] / larger[..., None]
    a, b, c, d = lines.flatten(0, 1)[:, :, None, None].unbind(1)
    side = images.shape[-1]
    middles = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    across, down = middles[None, None], middles[None, :, None]
    column, row = a * across + b * down, c * across + d * down
    # The ends go aside by a parabola, the middle half as far to the other side; so does a smaller image, in proportion.
    column += aside.view(-1, 1, 1) * (row**2 - (1 / (3 * times**2)).repeat(len(images)).view(-1, 1, 1))
    places = torch.stack([column, row], dim=-1)
    flat = images.reshape(-1, 1, side, side)
    return functional.grid_sample(flat, places, align_corners=False).view(images.shape)


def shrink(images: Tensor, side: int) -> Tensor:
    """Return float ``images`` [B, V, S, S] at ``side`` pixels, no more than S, by bilinear antialiased resampling."""
    if side == images.shape[-1]:
        return images
    return functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def flip(images: Tensor, chosen: Tensor, dimension: int) -> Tensor:
    """Return ``images`` [B, ...] with those of bool ``chosen`` [B] reversed along ``dimension``."""
    shape = (-1,) + (1,) * (images.dim() - 1)
    return torch.where(chosen.view(shape), images.flip(dimension), images)


def gaussian_blur(images: Tensor, sigma: Tensor, largest_sigma: float) -> Tensor:
    """Blur each of ``images`` [B, V, H, W] with its own ``sigma`` [B] (pixels; 0 leaves it as it is).

    A separable kernel, cut at three times ``largest_sigma`` and normalised; the border is repeated.
    """
    radius = max(1, math.ceil(3 * largest_sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    # A sigma of 0 becomes a kernel that is 1 in the middle and 0 elsewhere.
    kernel = torch.exp(-0.5 * (offsets / sigma.float().clamp_min(1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(images.dtype)
    kernel = kernel.repeat_interleave(images.shape[1], dim=0)
    count, height = len(kernel), images.shape[2]
    padded = functional.pad(images, (radius,) * 4, mode="replicate").view(1, count, height + 2 * radius, -1)
    rows = functional.conv2d(padded, kernel.view(count, 1, 1, -1), groups=count)
    columns = functional.conv2d(rows, kernel.view(count, 1, -1, 1), groups=count)
    return columns.view(images.shape)
