"""The paper's eleven architectures, each pinned to one set of ImageNet-1k weights, and any other timm model.

timm's default tags mix in ImageNet-21k or 12k for some of these architectures; the rows here name a tag that
saw ImageNet-1k alone. Where the paper leaves the variant open, its parameter counts decide: VGG-16 with
134.37 M is the one with batch normalisation.

The table needs neither torch nor timm, which are imported where a model is looked up beyond it, or built.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from bandbridge.errors import UserError
from bandbridge.filenames import slug
from bandbridge.model.options import Option, split_name

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What timm and torch raise when a model cannot be built, or cannot take an image, at the size asked for.
_BUILD_ERRORS = (AssertionError, ValueError, RuntimeError, TypeError, KeyError, IndexError, ZeroDivisionError)
#: Of models that options after the name have shaped: five and a hundred times the paper's largest.
_MAX_PARAMETERS, _MAX_MACS = 10**9, 10**12


@dataclass(frozen=True)
class Architecture:
    """One architecture and the pretrained weights that go with it.

    ``name`` is what a study file calls it; ``tag`` names the weights (None: timm lists none); ``family`` is
    "traditional", "modern" or "other" (not one of the paper's), ``year`` that of publication (None: other);
    ``cam_layer`` is the module whose output Grad-CAM reads (None: not decided); ``options`` go to
    ``timm.create_model`` and are written after the name, ``mobilenetv2_100+pad_type=same``.
    """

    name: str
    timm_name: str
    tag: str | None
    year: int | None
    family: str
    cam_layer: str | None = None
    options: tuple[tuple[str, Option], ...] = ()

    @property
    def pinned_name(self) -> str:
        """The timm name with its tag, ``resnet50.tv_in1k``."""
        return f"{self.timm_name}.{self.tag}" if self.tag else self.timm_name

    @property
    def slug(self) -> str:
        """The name as part of a path: ``ViT-S/16`` is ``vit-s-16``."""
        return slug(self.name)


def _row(name: str, pinned: str, year: int, family: str, cam_layer: str) -> Architecture:
    timm_name, tag = pinned.split(".")
    return Architecture(name, timm_name, tag, year, family, cam_layer)


#: The rows of the paper's Table 3, in its order of families. Years are those of the conference papers.
ARCHITECTURES: tuple[Architecture, ...] = (
    _row("VGG-16", "vgg16_bn.tv_in1k", 2015, "traditional", "features.42"),
    _row("VGG-19", "vgg19_bn.tv_in1k", 2015, "traditional", "features.51"),
    _row("ResNet-34", "resnet34.tv_in1k", 2016, "traditional", "layer4"),
    _row("ResNet-50", "resnet50.tv_in1k", 2016, "traditional", "layer4"),
    _row("ResNet-101", "resnet101.tv_in1k", 2016, "traditional", "layer4"),
    _row("ResNeXt-50", "resnext50_32x4d.tv_in1k", 2017, "traditional", "layer4"),
    _row("ResNeXt-101", "resnext101_32x8d.tv_in1k", 2017, "traditional", "layer4"),
    _row("ConvNeXt-Tiny", "convnext_tiny.fb_in1k", 2022, "modern", "stages.3"),
    _row("Swin-T", "swin_tiny_patch4_window7_224.ms_in1k", 2021, "modern", "layers.3.blocks.1.norm1"),
    _row("ViT-S/16", "vit_small_patch16_224.augreg_in1k", 2021, "modern", "blocks.11.norm1"),
    _row("MobileNetV3-L", "mobilenetv3_large_100.ra_in1k", 2019, "modern", "blocks.6"),
)
#: The paper's maximum of 192 M parameters; its public weights saw Instagram images and are cc-by-nc-4.0.
_RESNEXT_16D = _row("resnext101_32x16d", "resnext101_32x16d.fb_wsl_ig1b_ft_in1k", 2017, "traditional", "layer4")


def find_architecture(name: str) -> Architecture:
    """Return the architecture called ``name``.

    ``name`` is a row of the paper ("ViT-S/16", "vit s16"), a timm name ("resnet18") or a timm name with a tag
    ("resnet50.a1_in1k"), with build options after it if wanted ("mobilenetv2_100+pad_type=same"). A timm name
    without a tag takes the tag of the paper's row, else timm's default if that is ImageNet-1k alone, else the
    first tag that is, else timm's default.

    Raises :class:`UserError` with the nearest names if there is none, if the name could mean two models, or for an
    option that is not one of :data:`bandbridge.model.options.OPTIONS`.
    """
    base, options = split_name(name)
    found = _find_plain(base)
    if not options:
        return found
    suffix = "".join(f"+{key}={json.dumps(value).strip(chr(34))}" for key, value in options)
    return replace(found, name=found.name + suffix, options=options)


def _find_plain(name: str) -> Architecture:
    known = (*ARCHITECTURES, _RESNEXT_16D)
    row = next(
        (row for row in known if name.lower() == row.name.lower() or name in (row.timm_name, row.pinned_name)), None
    )
    if row is not None:
        return row
    import timm

    timm_name, _, tag = name.partition(".")
    squeezed = next((row for row in known if _squeeze(row.name) == _squeeze(name)), None)
    if timm.is_model(timm_name):
        if squeezed is not None and not tag:
            raise UserError(
                f"'{name}' may be the paper's {squeezed.name} ({squeezed.timm_name}) or timm's {timm_name}.",
                f"Write '{squeezed.name}' or '{timm_name}.{_default_tag(timm_name)}'.",
            )
        return _timm_architecture(timm_name, tag)
    if squeezed is not None:
        return squeezed
    raise _unknown(name)


def _timm_architecture(timm_name: str, tag: str) -> Architecture:
    tags = _tags(timm_name)
    if tag and tag not in tags:
        listed = ", ".join(tags) or "none"
        raise UserError(f"timm has no weights '{tag}' for {timm_name}.", f"Its tags are: {listed}.")
    name = f"{timm_name}.{tag}" if tag else timm_name
    for row in (*ARCHITECTURES, _RESNEXT_16D):
        if row.timm_name == timm_name:
            return row if tag == row.tag else replace(row, name=name, tag=tag)
    return Architecture(name, timm_name, tag or _default_tag(timm_name), None, "other")


def _tags(timm_name: str) -> list[str]:
    import timm

    names = timm.list_models(f"{timm_name}.*", pretrained=True)
    return [full.partition(".")[2] for full in names]


def _default_tag(timm_name: str) -> str | None:
    import timm

    config = timm.get_pretrained_cfg(timm_name)
    tags = _tags(timm_name)
    default = config.tag if config is not None and config.tag in tags else None
    only_1k = [tag for tag in tags if _is_imagenet_1k_only(tag)]
    return default if default in only_1k or not only_1k else only_1k[0]


def _is_imagenet_1k_only(tag: str) -> bool:
    """Whether timm's tag says ImageNet-1k and no larger set: ``ft`` marks fine-tuning from one."""
    parts = tag.split("_")
    return "in1k" in parts and "ft" not in parts and not any(re.fullmatch(r"in\d\dk", part) for part in parts)


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _unknown(name: str) -> UserError:
    import timm

    candidates = {_squeeze(row.name): row.name for row in ARCHITECTURES}
    candidates |= {_squeeze(known): known for known in timm.list_models()}
    near = difflib.get_close_matches(_squeeze(name.partition(".")[0]), candidates, n=5, cutoff=0.5)
    rows = ", ".join(row.name for row in ARCHITECTURES)
    nearest = f"The nearest names are: {', '.join(candidates[key] for key in near)}. " if near else ""
    return UserError(
        f"there is no architecture '{name}'.",
        f"{nearest}Any timm model name will do; the paper's are: {rows}.",
    )


@cache
def pretrained_config(architecture: Architecture) -> Any:
    """timm's description of the architecture's weights (``PretrainedCfg``: mean, std, licence, ...)."""
    import timm

    config = timm.get_pretrained_cfg(architecture.pinned_name)
    return config if config is not None else timm.models.PretrainedCfg()


def create_model(architecture: Architecture, classes: int, image_size: int, generator: torch.Generator) -> nn.Module:
    """Build the model with random parameters, on the CPU, for float images ``[N, 3, size, size]``.

    Every random number comes from ``generator``; torch's global generators are left as they were. Models with
    a fixed grid (ViT, Swin) are built for ``image_size``; :class:`UserError` if the model cannot take it, or if options
    after the name make it larger than any machine is asked for.
    """
    import torch

    if architecture.options:
        _refuse_giants(architecture, classes, image_size)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _build(architecture, classes, image_size)
    _check_image(model, architecture, image_size)
    return model


def _refuse_giants(architecture: Architecture, classes: int, image_size: int) -> None:
    """Refuse what options in their ranges add up to, before anything of that size is asked of the machine."""
    parameters, macs = measure(architecture, classes, image_size)
    if parameters > _MAX_PARAMETERS or macs > _MAX_MACS:
        raise UserError(
            f"{architecture.name} has {parameters / 1e9:.1f} thousand million parameters and takes {macs / 1e9:.0f} "
            "thousand million multiply-accumulates an image.",
            f"The most are {_MAX_PARAMETERS / 1e9:g} and {_MAX_MACS / 1e9:g}. Correct the options after the name.",
        )


def build_options(architecture: Architecture, image_size: int) -> dict[str, Any]:
    """Return what ``timm.create_model`` is given for images of ``image_size`` px, beside the name and the classes."""
    options: dict[str, Any] = dict(architecture.options)
    if pretrained_config(architecture).fixed_input_size:
        options.setdefault("img_size", image_size)
    return options


def _build(architecture: Architecture, classes: int, image_size: int) -> nn.Module:
    import timm

    options = build_options(architecture, image_size)
    try:
        model = timm.create_model(architecture.pinned_name, pretrained=False, num_classes=classes, **options)
    except _BUILD_ERRORS as fault:
        raise UserError(
            f"{architecture.name} cannot be built for images of {image_size} px: {fault}",
            "Choose another image size" + (" or check the options after the name." if architecture.options else "."),
        ) from fault
    _check_patches(model, architecture, image_size)
    return model


def _check_image(model: nn.Module, architecture: Architecture, image_size: int) -> None:
    """Refuse sizes at which the model can be built and cannot work, such as those that pooling brings to nothing."""
    import torch

    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, image_size, image_size))
    except _BUILD_ERRORS as fault:
        raise _cannot_take(architecture, image_size, fault) from fault
    model.train()


def _cannot_take(architecture: Architecture, image_size: int, fault: Exception) -> UserError:
    remedy = "Choose another image size" + (" or check the options after the name." if architecture.options else ".")
    return UserError(f"{architecture.name} cannot take images of {image_size} px: {fault}", remedy)


def _check_patches(model: nn.Module, architecture: Architecture, image_size: int) -> None:
    """Refuse sizes that the patch grid does not divide: the last rows and columns would be dropped unseen."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) else patch
    if isinstance(side, int) and image_size % side:
        lower = image_size // side * side
        near = f"{lower} or {lower + side}" if lower else f"{side}"
        raise UserError(
            f"{architecture.name} cuts images into patches of {side} px, which do not fill {image_size} px.",
            f"Choose a multiple of {side}, such as {near}.",
        )


def count_parameters(model: nn.Module) -> int:
    """The number of trainable values in ``model``."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(architecture: Architecture, classes: int = 24, image_size: int = 224) -> int:
    """Multiply-accumulates of one image; see :func:`measure`."""
    return measure(architecture, classes, image_size)[1]


def measure(architecture: Architecture, classes: int, image_size: int) -> tuple[int, int]:
    """Trainable parameters, and multiply-accumulates of one image, without holding any values.

    Counted are convolutions and matrix products, those of attention included; normalisation, activations and
    additions are left out, as is usual in published tables, which call this number "FLOPs".
    Raises :class:`UserError` if the architecture cannot take ``image_size``.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = build_shapes(architecture, classes, image_size)
    parameters = count_parameters(model)
    # The counter follows gradients where there are any, which some models do not survive on the meta device.
    model.requires_grad_(False)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            # Written out, attention is two matrix products that the counter knows on every device.
            module.fused_attn = False  # type: ignore[assignment]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model(torch.zeros(1, 3, image_size, image_size, device="meta"))
    except _BUILD_ERRORS as fault:
        raise _cannot_take(architecture, image_size, fault) from fault
    return parameters, counter.get_total_flops() // 2


def build_shapes(architecture: Architecture, classes: int, image_size: int) -> nn.Module:
    """The model in evaluation mode with shapes but no values (torch's meta device)."""
    import torch

    with torch.device("meta"):
        return _build(architecture, classes, image_size).eval()
