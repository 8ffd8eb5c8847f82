"""Architectures: pinned rows, names, building from a generator, counts against torchvision and by hand."""

from __future__ import annotations

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from bandbridge.errors import UserError
from bandbridge.model.architectures import (
    ARCHITECTURES,
    build_shapes,
    count_macs,
    count_parameters,
    create_model,
    find_architecture,
)
from bandbridge.model.complexity import complexity_table

#: The same architectures in another library.
TORCHVISION = {
    "VGG-16": torchvision.models.vgg16_bn,
    "VGG-19": torchvision.models.vgg19_bn,
    "ResNet-34": torchvision.models.resnet34,
    "ResNet-50": torchvision.models.resnet50,
    "ResNet-101": torchvision.models.resnet101,
    "ResNeXt-50": torchvision.models.resnext50_32x4d,
    "ResNeXt-101": torchvision.models.resnext101_32x8d,
    "ConvNeXt-Tiny": torchvision.models.convnext_tiny,
    "Swin-T": torchvision.models.swin_t,
    "MobileNetV3-L": torchvision.models.mobilenet_v3_large,
}
SMALL = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_macs(model: nn.Module, image_size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers, from the shapes that pass through them."""
    total = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        per_output = weight[0].numel()  # in / groups * kernel area, or in features
        total += per_output * output[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, image_size, image_size, device="meta"))
    return total


def test_there_are_eleven_rows_in_two_families() -> None:
    assert len(ARCHITECTURES) == len({row.name for row in ARCHITECTURES}) == 11
    assert sum(row.family == "modern" for row in ARCHITECTURES) == 4
    assert {row.year for row in ARCHITECTURES} >= {2015, 2022}
    assert all(2015 <= (row.year or 0) <= 2022 for row in ARCHITECTURES)


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_pinned_weights_exist_and_saw_imagenet_1k_alone(row) -> None:  # type: ignore[no-untyped-def]
    assert timm.list_pretrained(row.pinned_name) == [row.pinned_name]
    config = timm.get_pretrained_cfg(row.pinned_name, allow_unregistered=False)
    assert config.num_classes == 1000
    assert re.fullmatch(r"(tv|fb|ms|augreg|ra)_in1k", row.tag)
    assert "nc" not in config.license.split("-")


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_equal_torchvision(name: str) -> None:
    with torch.device("meta"):
        other = TORCHVISION[name](num_classes=24)
    expected = sum(parameter.numel() for parameter in other.parameters())
    assert count_parameters(build_shapes(find_architecture(name), 24, 224)) == expected


def test_parameters_of_the_paper() -> None:
    table = {row.architecture.name: row.parameters for row in complexity_table(["VGG-16", "resnext101_32x16d"])}
    assert round(table["VGG-16"] / 1e6, 2) == 134.37
    assert round(table["resnext101_32x16d"] / 1e6) == 192


def test_vit_counts_equal_a_hand_count() -> None:
    tokens, width, classes, depth = 14 * 14 + 1, 384, 24, 12
    block_macs = tokens * width * (3 * width + width + 2 * 4 * width) + 2 * tokens * tokens * width
    macs = 14 * 14 * 16 * 16 * 3 * width + depth * block_macs + width * classes
    block = 4 * width + (3 * width * width + 3 * width) + (width * width + width) + 8 * width * width + 5 * width
    parameters = 3 * 256 * width + width + width + tokens * width + depth * block + 2 * width
    parameters += width * classes + classes
    row = complexity_table(["ViT-S/16"])[0]
    assert (row.macs, row.parameters) == (macs, parameters)


@pytest.mark.parametrize("name", ["VGG-16", "ResNeXt-50", "MobileNetV3-L"])
def test_macs_equal_the_sum_over_torchvision_layers(name: str) -> None:
    with torch.device("meta"):
        other = TORCHVISION[name](num_classes=24)
    assert count_macs(find_architecture(name), 24, 224) == layer_macs(other, 224)


def test_macs_of_a_small_convolutional_network_by_hand() -> None:
    architecture = find_architecture("test_resnet")
    model = build_shapes(architecture, 7, 32)
    assert count_macs(architecture, 7, 32) == layer_macs(model, 32)
    # The stem alone: a 3 x 3 convolution of stride 2.
    stem = model.get_submodule("conv1")
    first = next(module for module in stem.modules() if isinstance(module, nn.Conv2d))
    assert layer_macs(nn.Sequential(first), 32) == 16 * 16 * 9 * 3 * first.out_channels


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ViT-S/16", "ViT-S/16"),
        ("vit s16", "ViT-S/16"),
        ("swin_t", "Swin-T"),
        ("RESNET-50", "ResNet-50"),
        ("resnet50", "ResNet-50"),
        ("resnet50.tv_in1k", "ResNet-50"),
        ("VGG-16", "VGG-16"),
        ("vgg16_bn", "VGG-16"),
        ("mobilenetv3_large_100", "MobileNetV3-L"),
        ("resnext101_32x8d", "ResNeXt-101"),
    ],
)
def test_a_row_is_found_by_its_name_or_timm_name(written: str, name: str) -> None:
    assert find_architecture(written).name == name


def test_other_tags_and_other_models() -> None:
    other_tag = find_architecture("resnet50.a1_in1k")
    assert (other_tag.tag, other_tag.family, other_tag.name) == ("a1_in1k", "traditional", "resnet50.a1_in1k")
    assert find_architecture("resnext101_32x16d").tag == "fb_wsl_ig1b_ft_in1k"
    assert find_architecture("test_vit").family == "other"
    # timm's default for this one is fine-tuned from ImageNet-21k.
    assert timm.get_pretrained_cfg("vit_base_patch16_224").tag == "augreg2_in21k_ft_in1k"
    assert find_architecture("vit_base_patch16_224").tag == "augreg_in1k"


def test_a_name_with_two_meanings_is_refused() -> None:
    with pytest.raises(UserError, match=r"vgg16_bn(.|\n)*vgg16\.tv_in1k"):
        find_architecture("vgg16")
    assert find_architecture("vgg16.tv_in1k").timm_name == "vgg16"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("resnet5O", "resnet50"),
        ("resnet50.tv_in2k", "tv2_in1k"),
        ("test_vit+img_size", "option=value"),
        ("", "VGG-16"),
    ],
)
def test_unknown_names_are_answered_with_what_there_is(written: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        find_architecture(written)


@pytest.mark.parametrize("text", ["false", "False", "true", "True"])
def test_a_yes_or_no_is_read_as_written_by_hand_and_by_a_run(text: str) -> None:
    # A run's record writes Python's words, which a model must be built from again.
    assert find_architecture(f"test_vit+class_token={text}").options == (("class_token", text.lower() == "true"),)


def test_options_after_the_name_reach_the_model() -> None:
    plain = create_model(find_architecture("mobilenetv2_100"), 3, 32, seeded())
    same = find_architecture("mobilenetv2_100+pad_type=same")
    assert same.name == same.slug == "mobilenetv2_100+pad_type=same"
    assert find_architecture(same.name) == same
    assert type(plain.conv_stem) is nn.Conv2d
    assert type(create_model(same, 3, 32, seeded()).conv_stem).__name__ == "Conv2dSame"
    assert find_architecture("test_vit+qkv_bias=false+depth=2").options == (("depth", 2), ("qkv_bias", False))
    with pytest.raises(UserError, match="window_size"):
        create_model(find_architecture("test_resnet+window_size=4"), 3, 32, seeded())


def test_slugs_are_distinct_path_parts() -> None:
    slugs = [row.slug for row in ARCHITECTURES]
    assert len(set(slugs)) == 11
    assert find_architecture("ViT-S/16").slug == "vit-s-16"
    assert all(re.fullmatch(r"[a-z0-9-]+", slug) for slug in slugs)


@pytest.mark.parametrize(("name", "image_size"), [*((name, 32) for name in SMALL), ("test_vit", 64)])
def test_small_models_train_at_small_sizes(name: str, image_size: int) -> None:
    model = create_model(find_architecture(name), 24, image_size, seeded()).train()
    assert model(torch.zeros(2, 3, image_size, image_size)).shape == (2, 24)


@pytest.mark.parametrize(
    ("name", "image_size"), [*((row.name, 256) for row in ARCHITECTURES), ("Swin-T", 128), ("ViT-S/16", 128)]
)
def test_every_row_takes_the_sizes_of_the_studies(name: str, image_size: int) -> None:
    architecture = find_architecture(name)
    model = build_shapes(architecture, 24, image_size)
    assert architecture.cam_layer in dict(model.named_modules())
    with torch.no_grad():
        output = model(torch.zeros(2, 3, image_size, image_size, device="meta"))
    assert output.shape == (2, 24)


@pytest.mark.parametrize("name", SMALL)
def test_parameters_come_from_the_generator_alone(name: str) -> None:
    architecture = find_architecture(name)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = create_model(architecture, 24, 32, seeded(1)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = create_model(architecture, 24, 32, seeded(1)).state_dict()
    other = create_model(architecture, 24, 32, seeded(2)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_one_generator_gives_two_models_two_starts() -> None:
    generator = seeded()
    architecture = find_architecture("test_resnet")
    first, second = (create_model(architecture, 3, 32, generator).state_dict() for _ in range(2))
    assert not torch.equal(first["fc.weight"], second["fc.weight"])


def test_sizes_that_the_patches_do_not_fill_are_refused() -> None:
    with pytest.raises(UserError, match="96 or 112"):
        create_model(find_architecture("test_vit"), 3, 100, seeded())


def test_a_model_that_cannot_take_the_images_is_refused_before_it_is_trained() -> None:
    """It can be built: only an image shows that its stem leaves nothing of one so small."""
    with pytest.raises(UserError, match=r"cannot take images of 2 px") as caught:
        create_model(find_architecture("test_efficientnet+pad_type=valid"), 24, 2, torch.Generator())
    assert "options after the name" in caught.value.remedy
    assert create_model(find_architecture("test_resnet"), 24, 32, torch.Generator()).training
