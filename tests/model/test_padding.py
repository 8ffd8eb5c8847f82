"""Which sizes TensorFlow's padding shifts: against the padding that the layers themselves compute."""

from __future__ import annotations

import pytest
import torch
from timm.layers import get_same_padding

from bandbridge.model.architectures import ARCHITECTURES, build_shapes, find_architecture
from bandbridge.model.complexity import KEPT
from bandbridge.model.padding import _levels, shift_at, size_note

SAME = ("tf_efficientnet_lite0", "tf_mobilenetv3_small_100", "mobilenetv2_100+pad_type=same")


@pytest.mark.parametrize("size", [33, 48, 100, 223, 224, 225, 250])
def test_the_shift_is_the_sum_of_what_each_layer_pads_more_on_the_left(size: int) -> None:
    """Five layers of a kernel of three or five and a step of two, each half the side of the one before, rounded up."""
    side, expected = size, 0
    for level in (1, 2, 4, 8, 16):
        for kernel in (3, 5):
            left, even = (get_same_padding(one, kernel, 2, 1) // 2 for one in (side, side + side % 2))
            assert left - even == side % 2
        expected += level * (side % 2)
        side = -(-side // 2)
    assert shift_at(find_architecture(SAME[0]), size) == expected == -size % 32


@pytest.mark.parametrize("name", SAME)
def test_it_is_found_from_the_layers_and_not_from_the_name(name: str) -> None:
    architecture = find_architecture(name)
    assert _levels(architecture, 225) == (1, 2, 4, 8, 16)
    note = size_note(architecture, 225)
    assert "at 225 px" in note and "31 px beside" in note and "nearest good size is 224 " in note


@pytest.mark.parametrize("name", ["mobilenetv2_100", "efficientnet_lite0", "ResNet-50", "test_vit"])
def test_other_padding_has_no_bad_size(name: str) -> None:
    architecture = find_architecture(name)
    assert all(size_note(architecture, size) == "" for size in (64, 65 if "vit" not in name else 80, 96))


@pytest.mark.slow
def test_other_families_with_it_are_found_too() -> None:
    """Standardised weights, pooling, mixed kernels: none is called tf_ alone."""
    for name in ("dm_nfnet_f0", "vit_small_r26_s32_224", "tf_mixnet_s"):
        assert _levels(find_architecture(name), 224) == (1, 2, 4, 8, 16)
    assert "nearest good size is 256 " in size_note(find_architecture("dm_nfnet_f0"), 257)


@pytest.mark.slow
def test_none_of_the_paper_pads_so() -> None:
    from timm.layers.conv2d_same import Conv2dSame

    for architecture in ARCHITECTURES:
        assert architecture.pinned_name in KEPT
        assert not any(isinstance(module, Conv2dSame) for module in build_shapes(architecture, 2, 224).modules())


@pytest.mark.parametrize(("size", "nearest"), [(33, 32), (48, 64), (50, 64), (225, 224), (239, 224), (241, 256)])
def test_the_nearest_good_size_is_named(size: int, nearest: int) -> None:
    note = size_note(find_architecture(SAME[1]), size)
    told = f"nearest good size is {nearest} " in note
    assert told or (-size % 32 == 0 and not note)


@pytest.mark.parametrize("size", [32, 64, 120, 216, 223, 224, 256])
def test_sizes_that_measured_as_good_are_let_pass(size: int) -> None:
    assert size_note(find_architecture(SAME[1]), size) == ""


def test_features_of_a_size_above_are_shifted_as_said() -> None:
    """A dot moves by the shift: with its left neighbours padded, the network of 225 px sees what 256 - 31 would be."""
    model = build_same_net()
    with torch.no_grad():
        image = torch.zeros(1, 1, 225, 225)
        image[..., 100, 100] = 1
        shifted = torch.zeros(1, 1, 256, 256)
        shifted[..., 131, 131] = 1  # 31 px further from the corner
        assert torch.equal(model(image).nonzero(), model(shifted).nonzero())


def build_same_net() -> torch.nn.Module:
    from timm.layers.conv2d_same import Conv2dSame

    layers = [Conv2dSame(1, 1, 3, stride=2, bias=False) for _ in range(5)]
    for layer in layers:
        torch.nn.init.ones_(layer.weight)
    return torch.nn.Sequential(*layers)
