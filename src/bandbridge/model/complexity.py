"""Size and compute of architectures: the paper's Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from bandbridge.model.architectures import (
    ARCHITECTURES,
    Architecture,
    count_macs,
    find_architecture,
    measure,
    pretrained_config,
)

#: The convention of :func:`complexity_table`, to be printed with it.
CAPTION = (
    "Parameters with {classes} classes (M, millions); compute of one image of {image_size} x {image_size} px "
    "(GFLOPs, here as in most published tables billions of multiply-accumulates of convolutions and matrix "
    "products)."
)


#: Classes and image size of :data:`KEPT`.
CLASSES, IMAGE_SIZE = 24, 224
#: The paper's eleven, by pinned name: parameters, multiply-accumulates and the licence of the weights, as
#: :func:`measure` and timm give them. Kept, because to build eleven networks takes longer than to read about them.
KEPT: dict[str, tuple[int, int, str]] = {
    "vgg16_bn.tv_in1k": (134_367_320, 15_466_266_624, "bsd-3-clause"),
    "vgg19_bn.tv_in1k": (139_679_576, 19_628_064_768, "bsd-3-clause"),
    "resnet34.tv_in1k": (21_296_984, 3_663_261_696, "bsd-3-clause"),
    "resnet50.tv_in1k": (23_557_208, 4_087_185_408, "bsd-3-clause"),
    "resnet101.tv_in1k": (42_549_336, 7_799_406_592, "bsd-3-clause"),
    "resnext50_32x4d.tv_in1k": (23_029_080, 4_228_481_024, "bsd-3-clause"),
    "resnext101_32x8d.tv_in1k": (86_791_512, 16_412_016_640, "bsd-3-clause"),
    "convnext_tiny.fb_in1k": (27_838_584, 4_454_781_696, "apache-2.0"),
    "swin_tiny_patch4_window7_224.ms_in1k": (27_537_810, 4_489_817_088, "mit"),
    "vit_small_patch16_224.augreg_in1k": (21_674_904, 4_598_507_520, "apache-2.0"),
    "mobilenetv3_large_100.ra_in1k": (4_232_776, 215_340_480, "apache-2.0"),
}


@dataclass(frozen=True)
class Complexity:
    """An architecture, its trainable parameters, and the multiply-accumulates of one image."""

    architecture: Architecture
    parameters: int
    macs: int


def complexity_table(names: Sequence[str] = (), classes: int = 24, image_size: int = 224) -> list[Complexity]:
    """Count every architecture in ``names`` (the paper's eleven if empty), in order, without values.

    Raises :class:`UserError` for an unknown name, or an architecture that cannot take ``image_size``.
    """
    architectures = [find_architecture(name) for name in names] or ARCHITECTURES
    return [Complexity(each, *_count(each, classes, image_size)) for each in architectures]


def _count(architecture: Architecture, classes: int, image_size: int) -> tuple[int, int]:
    kept = KEPT.get(architecture.pinned_name)
    if kept is None or architecture.options or (classes, image_size) != (CLASSES, IMAGE_SIZE):
        return measure(architecture, classes, image_size)
    return kept[:2]


@lru_cache(maxsize=256)
def macs_at(architecture: Architecture, image_size: int) -> int:
    """Return the multiply-accumulates of one image, roughly: of the eleven, those at 224 px by the number of pixels.

    Raises :class:`UserError` where an architecture other than these cannot take ``image_size``.
    """
    kept = KEPT.get(architecture.pinned_name)
    if kept is None or architecture.options:
        return count_macs(architecture, image_size=image_size)
    return int(kept[1] * (image_size / IMAGE_SIZE) ** 2)


def weights_licence(architecture: Architecture) -> str | None:
    """Return the licence of the architecture's ImageNet weights, as timm has it; None where it names none."""
    kept = KEPT.get(architecture.pinned_name)
    return kept[2] if kept is not None else pretrained_config(architecture).license
