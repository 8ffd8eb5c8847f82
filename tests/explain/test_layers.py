"""Which layer Grad-CAM reads in each family, and how tokens and places become a grid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from bandbridge.errors import UserError
from bandbridge.explain.layers import channels_first, find_cam_layer, find_module
from bandbridge.model.architectures import ARCHITECTURES, build_shapes, find_architecture

LAYERS = {
    "test_resnet": "layer4",
    "resnet18": "layer4",
    "test_vit": "blocks.5.norm1",
    "deit_tiny_patch16_224": "blocks.11.norm1",
    "deit_tiny_distilled_patch16_224": "blocks.11.norm1",
    "eva02_tiny_patch14_224": "blocks.11.norm1",
    "swinv2_tiny_window8_256": "layers.3.blocks.1.norm1",
    "test_convnext": "stages.3",
    "test_efficientnet": "bn2",
    "mobilenetv2_100": "bn2",
    "efficientnet_b0": "bn2",
    "tf_mobilenetv3_large_minimal_100": "blocks.6",
    "regnety_002": "s4",
    "vgg11": "features.19",
    "densenet121": "features.norm5",
    "test_byobnet": "final_conv",
}


def shapes(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=5)


@pytest.mark.parametrize(("name", "layer"), LAYERS.items())
def test_other_timm_models_are_read_at_their_last_features(name: str, layer: str) -> None:
    model = shapes(name)
    assert find_cam_layer(model, find_architecture(name)) == layer


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.slug)
def test_the_rule_agrees_with_the_layers_that_the_rows_name(row) -> None:
    model = build_shapes(row, 24, 256)
    assert find_cam_layer(model, row) == row.cam_layer == find_cam_layer(model, replace(row, cam_layer=None))


def test_a_layer_that_is_named_wins_and_must_exist() -> None:
    model = shapes("test_resnet")
    architecture = find_architecture("test_resnet")
    assert find_cam_layer(model, architecture, "layer3") == "layer3"
    with pytest.raises(UserError, match="no layer 'layer9'") as caught:
        find_cam_layer(model, architecture, "layer9")
    assert "--layer" in caught.value.remedy and "layer4" in caught.value.remedy


def test_a_name_like_no_other_is_answered_with_names_all_the_same() -> None:
    model = timm.create_model("test_resnet")
    with pytest.raises(UserError) as refused:
        find_module(model, "qqqqq")
    named = refused.value.remedy.removesuffix(".").rpartition("such as ")[2].split(", ")
    assert len(named) == 5 and set(named) <= set(dict(model.named_modules()))


def test_an_unknown_model_asks_for_a_layer() -> None:
    with pytest.raises(UserError, match="not known which layer") as caught:
        find_cam_layer(nn.Sequential(nn.Conv2d(3, 4, 3)), find_architecture("test_resnet"))
    assert "--layer" in caught.value.remedy


@pytest.mark.parametrize(("size", "side"), [(224, 14), (256, 16)])
def test_tokens_fill_the_grid_row_by_row_without_the_class_token(size: int, side: int) -> None:
    model = timm.create_model("test_vit", num_classes=2, img_size=size)
    places = torch.arange(side * side).float()
    tokens = torch.cat([torch.tensor([-1.0]), places]).view(1, -1, 1)
    grid = channels_first(tokens, model, "blocks.5.norm1", (size, size))
    assert torch.equal(grid[0, 0], places.view(side, side))


def test_grids_need_not_be_square_nor_of_the_size_the_model_was_built_for() -> None:
    model = timm.create_model("test_vit", num_classes=2, img_size=(96, 160))
    tokens = torch.arange(61.0).view(1, -1, 1)
    grid = channels_first(tokens, model, "blocks.5.norm1", (96, 160))
    assert grid.shape == (1, 1, 6, 10) and grid[0, 0, 1, 0] == 11
    flexible = timm.create_model("test_vit", num_classes=2, dynamic_img_size=True)
    assert channels_first(tokens, flexible, "blocks.5.norm1", (160, 96)).shape == (1, 1, 10, 6)


def test_two_extra_tokens_are_dropped_where_the_model_has_two() -> None:
    model = shapes("deit_tiny_distilled_patch16_224")
    tokens = torch.arange(198.0).view(1, -1, 1)
    assert channels_first(tokens, model, "blocks.11.norm1", (224, 224))[0, 0, 0, 0] == 2


@pytest.mark.parametrize(("size", "side"), [(224, 7), (256, 8)])
def test_swin_puts_channels_last(size: int, side: int) -> None:
    with torch.device("meta"):
        model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=2, img_size=size)
    output = torch.zeros(2, side, side, 768)
    assert channels_first(output, model, "layers.3.blocks.1.norm1", (size, size)).shape == (2, 768, side, side)


def test_layers_inside_a_block_know_where_their_channels_are() -> None:
    model = shapes("test_convnext")
    norm, convolution = "stages.3.blocks.0.norm", "stages.3.blocks.0.conv_dw"
    assert channels_first(torch.zeros(1, 5, 6, 64), model, norm, (224, 224)).shape == (1, 64, 5, 6)
    assert channels_first(torch.zeros(1, 64, 5, 6), model, convolution, (224, 224)).shape == (1, 64, 5, 6)


@pytest.mark.parametrize("shape", [(1, 384), (1, 16, 256)])
def test_an_output_without_a_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="no grid of places") as caught:
        channels_first(torch.zeros(shape), shapes("levit_128s"), "stages.2", (224, 224))
    assert "--layer" in caught.value.remedy
