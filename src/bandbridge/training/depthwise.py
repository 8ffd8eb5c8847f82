"""Depthwise convolutions of maps smaller than their kernel, whose weight gradient CPUs without AVX-512 compute slowly.

oneDNN then falls back to its reference code: a 5x5 kernel on 240 maps of 4x4 pixels takes thirty times as long as the
gradient of the inputs. Such maps are the last third of a MobileNet on images of 64 or 128 pixels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: Of a kernel: with two threads, the 49 small sums of ConvNeXt's 7x7 kernels cost a tenth of its step.
_MOST_TAPS = 25


def speed_up_small_maps(model: nn.Module) -> None:
    """Let the depthwise convolutions of ``model`` sum their weight gradient tap by tap where maps are small.

    Weights, names and outputs stay as they are; gradients differ by rounding. Kernels of more than 25 taps are left
    alone, and so is everything on CPUs with AVX-512, where it was not measured.
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and _gains(module):
            module.__class__ = _SmallMapConv2d


def _gains(module: nn.Conv2d) -> bool:
    return (
        1 < module.groups == module.in_channels == module.out_channels
        and 1 < math.prod(module.kernel_size) <= _MOST_TAPS
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


class _SmallMapConv2d(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        small = input.shape[-1] < self.kernel_size[-1] or input.shape[-2] < self.kernel_size[-2]
        if small and torch.is_grad_enabled() and input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
            convolved: Tensor = _Depthwise.apply(input, weight, bias, self.stride, self.padding)
            return convolved
        return super()._conv_forward(input, weight, bias)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding, ctx.bias = stride, padding, None if bias is None else list(bias.shape)
        return functional.conv2d(images, weight, bias, stride, padding, 1, images.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        wanted, weight_wanted, bias_wanted = ctx.needs_input_grad[:3]
        of_images, _, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            images,
            weight,
            ctx.bias,
            ctx.stride,
            ctx.padding,
            (1, 1),
            False,
            (0, 0),
            images.shape[1],
            (wanted, False, bias_wanted),
        )
        of_weight = weight_gradient(images, gradient, weight, ctx.stride, ctx.padding) if weight_wanted else None
        return of_images, of_weight, of_bias, None, None


def weight_gradient(
    images: Tensor, gradient: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of a depthwise ``weight`` [C, 1, K, L], for inputs [B, C, H, W] and outputs' gradient."""
    height, width = gradient.shape[-2:]
    padded = functional.pad(images, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1)
    gradient = gradient.permute(0, 2, 3, 1)
    taps = [
        (
            padded[:, top : top + stride[0] * (height - 1) + 1 : stride[0]][
                :, :, left : left + stride[1] * (width - 1) + 1 : stride[1]
            ]
            * gradient
        ).sum((0, 1, 2))
        for top in range(weight.shape[2])
        for left in range(weight.shape[3])
    ]
    return torch.stack(taps, 1).view_as(weight)
