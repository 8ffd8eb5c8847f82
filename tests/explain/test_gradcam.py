"""Grad-CAM against pytorch-grad-cam, against closed forms, and what it must leave untouched."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from tests.networks import move_parameters, moved_network
from torch import Tensor, nn

from bandbridge.errors import UserError
from bandbridge.explain.gradcam import grad_cam, has_evidence
from bandbridge.explain.layers import find_cam_layer
from bandbridge.explain.maps import normalise, upsample
from bandbridge.model.architectures import ARCHITECTURES, Architecture, find_architecture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(architecture: Architecture, size: int, classes: int = 24) -> nn.Module:
    return moved_network(architecture.name, classes, size, 3).eval()


def reference_maps(model: nn.Module, layer: str, images: Tensor, target: int, reshape) -> tuple[np.ndarray, np.ndarray]:
    """Raw maps [B, h, w] and the published kind [B, H, W] of pytorch-grad-cam."""
    library = pytest.importorskip("pytorch_grad_cam", reason="needs the development dependency grad-cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    raw = []

    class Recording(library.GradCAM):
        def get_cam_image(self, *arguments, **options):
            raw.append(super().get_cam_image(*arguments, **options))
            return raw[-1]

    with Recording(model, [model.get_submodule(layer)], reshape_transform=reshape) as cam:
        published = cam(images, [ClassifierOutputTarget(target)] * len(images))
    model.zero_grad(set_to_none=True)
    return np.maximum(raw[0], 0), published


def as_published(maps: np.ndarray, size: int) -> np.ndarray:
    """That library stretches once more after enlarging."""
    return normalise(upsample(normalise(maps), size, size))


def vit_tokens(side: int):
    return lambda tokens: tokens[:, 1:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)


def swin_places(places: Tensor) -> Tensor:
    return places.permute(0, 3, 1, 2)


def reshape_for(name: str, size: int):
    return {"ViT-S/16": vit_tokens(size // 16), "Swin-T": swin_places}.get(name)


@pytest.mark.slow
@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.slug)
def test_maps_equal_pytorch_grad_cam(row: Architecture) -> None:
    """Moved weights at 96 and 128 px. The map is asked for a class that has one; it is compared to its maximum."""
    fixed = row.name in ("ViT-S/16", "Swin-T")
    if row.name in ("VGG-16", "VGG-19"):  # with a head a fiftieth as wide: what is explained lies before it
        row = find_architecture(f"{row.name}+mlp_ratio=0.02")
    model = build(row, 96)
    for size in (96, 128):
        if fixed and size != 96:
            model = build(row, size)
        image = torch.randn(1, 3, size, size, generator=seeded(size))
        layer = find_cam_layer(model, row)
        evidence = next(
            found for target in range(24) if has_evidence((found := grad_cam(model, layer, image, [target])).maps)[0]
        )
        side = size // (16 if row.timm_name.startswith(("vgg", "vit")) else 32)
        assert evidence.maps.shape == (1, side, side) and evidence.maps.dtype == np.float32
        raw, published = reference_maps(model, layer, image, int(evidence.targets[0]), reshape_for(row.name, size))
        np.testing.assert_allclose(evidence.maps / raw.max(), raw / raw.max(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(as_published(evidence.maps, size), published, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv2_100"])
def test_maps_of_small_models_equal_pytorch_grad_cam_in_a_batch_of_unequal_sides(name: str) -> None:
    """A ViT is built for its sides; the others take any."""
    height, width = 96, 160
    sides = {"img_size": (height, width)} if name == "test_vit" else {}
    model = move_parameters(timm.create_model(name, num_classes=6, **sides).eval(), 5)
    images = torch.randn(3, 3, height, width, generator=seeded(1))
    layer = find_cam_layer(model, find_architecture(name))
    reshape = (lambda t: t[:, 1:].reshape(len(t), 6, 10, -1).permute(0, 3, 1, 2)) if name == "test_vit" else None
    seen = False
    for target in range(6):
        maps = grad_cam(model, layer, images, [target] * 3).maps
        raw, _ = reference_maps(model, layer, images, target, reshape)
        np.testing.assert_allclose(maps, raw, rtol=0, atol=1e-4 * max(raw.max(), 1e-9))
        seen |= bool(has_evidence(maps).any())
    assert seen


class Plain(nn.Module):
    """Convolution, norm, activation, mean over places, classes: everything about it can be written down."""

    def __init__(self, inplace: bool = False, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(inplace))
        self.unused = nn.Conv2d(3, 5, 3)
        self.head = nn.Linear(5, classes)

    def forward(self, images: Tensor) -> Tensor:
        self.unused(images)
        return self.head(self.features(images).mean(dim=(2, 3)))


def plain(inplace: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Plain(inplace)
        nn.init.normal_(model.features[1].weight)
        nn.init.normal_(model.features[1].bias)
    return model.eval()


IMAGES = torch.randn(4, 3, 13, 9, generator=seeded(2))
TARGETS = np.array([0, 3, 1, 2])


def test_after_the_mean_over_places_the_weights_are_those_of_the_classifier() -> None:
    """Zhou et al. 2016: there Grad-CAM is CAM, divided by the number of places."""
    model = plain()
    found = grad_cam(model, "features", IMAGES, TARGETS)
    with torch.no_grad():
        activation, logits = model.features(IMAGES), model(IMAGES)
        weights = model.head.weight[torch.from_numpy(TARGETS)] / (6 * 4)
        expected = torch.einsum("bc,bchw->bhw", weights, activation).relu()
    np.testing.assert_allclose(found.maps, expected.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found.logits, logits.numpy())
    np.testing.assert_array_equal(found.scores, logits.numpy()[np.arange(4), TARGETS])


@pytest.mark.parametrize("layer", ["features.0", "features.1", "features.2"])
def test_activations_that_overwrite_their_input_change_nothing(layer: str) -> None:
    found = grad_cam(plain(inplace=True), layer, IMAGES, TARGETS).maps
    model = plain(inplace=False)
    position = int(layer[-1]) + 1
    activation = model.features[:position](IMAGES).detach().requires_grad_()
    logits = model.head(model.features[position:](activation).mean(dim=(2, 3)))
    (gradient,) = torch.autograd.grad(logits[torch.arange(4), torch.from_numpy(TARGETS)].sum(), activation)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    expected = (weights * activation).sum(1).relu().detach().numpy()
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_batch_is_its_images_one_by_one() -> None:
    model = build(find_architecture("test_resnet"), 64)
    images = torch.randn(5, 3, 64, 64, generator=seeded(4))
    targets = np.arange(5)
    together = grad_cam(model, "layer4", images, targets).maps
    alone = [grad_cam(model, "layer4", images[i : i + 1], targets[i : i + 1]).maps[0] for i in range(5)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-6 * together.max())


def state(model: nn.Module) -> list[object]:
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()]
    modes = [module.training for module in model.modules()]
    parameters = [(p.requires_grad, p.grad, p.detach().clone()) for p in model.parameters()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    return [hooks, modes, parameters, buffers, torch.is_grad_enabled()]


@pytest.mark.parametrize("target", [1, 99])
def test_the_model_is_left_as_it_was_also_after_an_error(target: int) -> None:
    model = plain().train()
    model.features[1].eval()
    model.head.weight.requires_grad_(False)
    before = state(model)
    try:
        grad_cam(model, "features", IMAGES, [target] * 4)
    except ValueError as fault:
        assert target == 99 and "0..3" in str(fault)
    after = state(model)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_callers_may_have_gradients_switched_off(switched_off) -> None:
    model = plain(inplace=True).requires_grad_(False)
    expected = grad_cam(model, "features.1", IMAGES, TARGETS).maps
    with switched_off():
        found = grad_cam(model, "features.1", IMAGES * 1, TARGETS).maps
        assert not torch.is_grad_enabled() and torch.is_inference_mode_enabled() == (
            switched_off is torch.inference_mode
        )
    np.testing.assert_array_equal(found, expected)


def test_a_class_that_nothing_speaks_for_has_an_empty_map() -> None:
    model = plain()
    with torch.no_grad():
        model.head.weight[2] = -1
    maps = grad_cam(model, "features", IMAGES, [2] * 4).maps
    assert not has_evidence(maps).any()
    assert (normalise(maps) == 0).all()


def test_normalising_stretches_each_map_by_itself() -> None:
    maps = np.array([[[1.0, 3.0], [2.0, 5.0]], [[0.0, 0.02], [0.0, 0.01]], [[4.0, 4.0], [4.0, 4.0]]], np.float32)
    expected = np.array([[[0, 0.5], [0.25, 1]], [[0, 1], [0, 0.5]], [[1, 1], [1, 1]]], np.float32)
    kept = maps.copy()
    np.testing.assert_allclose(normalise(maps), expected, rtol=1e-6)
    np.testing.assert_array_equal(maps, kept)


def test_enlarging_is_bilinear_between_the_middles_of_places() -> None:
    row = upsample(np.array([[[0.0, 1.0]]], np.float32), 2, 8)[0, 1]
    np.testing.assert_allclose(row, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])


class Twice(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + super().forward(images)


class Tuples(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("model", "layer", "problem"),
    [
        (Plain(), "unused", "does not lead to the logits"),
        (Plain(), "absent", "no layer 'absent'"),
        (Plain(), "head", "no grid of places"),
        (Twice(), "features", "passes 2 times"),
        (nn.Sequential(Tuples(), Plain()), "0", "puts out tuple"),
    ],
    ids=["unused", "absent", "head", "twice", "tuple"],
)
def test_layers_that_cannot_be_read_name_the_option(model: nn.Module, layer: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        grad_cam(model, layer, IMAGES, TARGETS)
    assert "--layer" in caught.value.remedy
    assert not any(module._forward_hooks for module in model.modules())


def test_every_image_needs_its_class() -> None:
    with pytest.raises(ValueError, match="4 images"):
        grad_cam(plain(), "features", IMAGES, [1, 2])
