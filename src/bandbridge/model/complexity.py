"""Size and compute of architectures: the paper's Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bandbridge.model.architectures import ARCHITECTURES, Architecture, find_architecture, measure

#: The convention of :func:`complexity_table`, to be printed with it.
CAPTION = (
    "Parameters with {classes} classes (M, millions); compute of one image of {image_size} x {image_size} px "
    "(GFLOPs, here as in most published tables billions of multiply-accumulates of convolutions and matrix "
    "products)."
)


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
    return [Complexity(each, *measure(each, classes, image_size)) for each in architectures]
