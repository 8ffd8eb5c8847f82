"""Depthwise convolutions of small maps, against torch's own gradient."""

import copy

import pytest
import torch
from torch import nn

from bandbridge.training.depthwise import speed_up_small_maps, weight_gradient


@pytest.fixture
def any_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def gradients(layer, images):
    images = images.clone().requires_grad_()
    output = layer(images)
    (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum().backward()
    return output.detach(), images.grad, *(parameter.grad for parameter in layer.parameters())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "side"), [(5, 1, 4), (5, 2, 4), (5, 1, 2), (3, 1, 2), (5, 2, 3), (3, 1, 8)]
)
def test_outputs_and_gradients_are_those_of_torch(any_cpu, kernel, stride, side, bias):
    plain = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=bias)
    fast = copy.deepcopy(plain)
    speed_up_small_maps(fast)
    assert type(fast) is not nn.Conv2d and isinstance(fast, nn.Conv2d)
    images = torch.randn(3, 6, side, side).contiguous(memory_format=torch.channels_last)
    expected = gradients(plain.double(), images.double())
    for ours, theirs in zip(gradients(fast, images), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_uneven_kernels_strides_and_paddings():
    images = torch.randn(2, 4, 5, 9, dtype=torch.float64)
    weight = torch.randn(4, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    output = nn.functional.conv2d(images, weight, None, (2, 1), (1, 2), groups=4)
    gradient = torch.randn_like(output)
    output.backward(gradient)
    torch.testing.assert_close(weight_gradient(images, gradient, weight, (2, 1), (1, 2)), weight.grad)


def test_small_maps_alone_go_another_way(any_cpu):
    layer = nn.Conv2d(4, 4, 5, padding=2, groups=4)
    speed_up_small_maps(layer)
    assert type(layer(torch.randn(1, 4, 4, 4)).grad_fn).__name__ == "_DepthwiseBackward"
    assert type(layer(torch.randn(1, 4, 5, 5)).grad_fn).__name__ == "ConvolutionBackward0"
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 4, 4, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 4, 1, groups=4),
        nn.Conv2d(4, 4, 7, padding=3, groups=4),
    ],
    ids=["multiplier", "dense", "pointwise", "too many taps"],
)
def test_other_convolutions_stay(any_cpu, layer):
    speed_up_small_maps(layer)
    assert type(layer) is nn.Conv2d


def test_nothing_is_changed_where_it_was_not_measured(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    layer = nn.Conv2d(4, 4, 5, padding=2, groups=4)
    speed_up_small_maps(layer)
    assert type(layer) is nn.Conv2d


def test_names_and_copies_are_kept(any_cpu):
    model = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, groups=4))
    names = list(model.state_dict())
    speed_up_small_maps(model)
    again = copy.deepcopy(model)
    assert list(again.state_dict()) == names
    torch.testing.assert_close(again(torch.ones(1, 4, 4, 4)), model(torch.ones(1, 4, 4, 4)))
