"""Image sizes that suit networks which pad as TensorFlow does, and those that shift all that they see.

"SAME" padding of a layer with a step of two puts one pixel more on the left and on top where its input has an odd side
than where it has an even one. ImageNet weights were learned on multiples of 32, where every side is even. At another
size each layer of an odd side looks one of its own pixels beside the place it was trained for, and these add up: with
five such steps to the number of pixels that are missing to the next multiple of 32. One pixel more than a multiple is
the worst, 31 px; one less is 1 px off.

Measured with genuine weights on 300 photographs of Imagenette, each resized (``benchmarks/image_sizes.py``):
tf_mobilenetv3_small_100 names 57.7% right at 224 px and 57.0% at 256 px. Between them, with 1 to 8 px missing it is
54.7 to 58.0%, with 9 to 16 px 50.7 to 55.0%, with 17 to 24 px 48.7 to 55.0%, with 25 to 31 px 44.7 to 51.3%. So a
quarter of the step is let pass, and more is told. On 100 of them the means of these groups fall from 60.3 to 55.6% for
tf_mobilenetv3_large_minimal_100 and from 60.9 to 58.1% for mobilenetv2_100 with this padding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from bandbridge.model.architectures import Architecture, build_shapes, pretrained_config
from bandbridge.model.complexity import KEPT

#: Pixels of the image that is sent through to see how far each layer is reduced: every step of it is even.
_PROBE = 256
#: The share of the whole step by which what a network sees may be shifted before it is told.
_TOLERATED = 0.25


def shift_at(architecture: Architecture, image_size: int) -> int:
    """Return by how many pixels SAME padding shifts what ``architecture`` sees at ``image_size``, against even sides.

    0 for networks that pad otherwise. Raises :class:`UserError` if the model cannot be built.
    """
    return sum(level for level in _levels(architecture, image_size) if math.ceil(image_size / level) % 2)


def size_note(architecture: Architecture, image_size: int) -> str:
    """Return what to tell of ``image_size``, with the nearest good one; "" where it suits ``architecture``."""
    levels, shift = _levels(architecture, image_size), shift_at(architecture, image_size)
    step = 2 * max(levels, default=1)
    if shift <= _TOLERATED * step:
        return ""
    nearest = max(step, (image_size + step // 2) // step * step)
    return (
        f"{architecture.name} pads images as TensorFlow does: at {image_size} px its layers look {shift} px beside "
        f"where its ImageNet weights learned to. The nearest good size is {nearest} (multiples of {step} are good, and "
        f"up to {int(_TOLERATED * step)} px less)."
    )


@lru_cache(maxsize=256)
def _levels(architecture: Architecture, image_size: int) -> tuple[int, ...]:
    """How far the image is reduced before each layer that shifts: of a step of two, SAME padding and an odd kernel."""
    import torch

    # None of the paper's eleven pads so, and to build them takes long.
    if architecture.pinned_name in KEPT and not architecture.options:
        return ()
    # A grid of fixed size can be built for no other.
    size = image_size if pretrained_config(architecture).fixed_input_size else _PROBE
    model = build_shapes(architecture, 2, size)
    found: set[int] = set()

    def seen(layer: Any, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        found.add(2 ** round(math.log2(size / inputs[0].shape[-1])))

    shifting = [module for module in model.modules() if _shifts(module)]
    if shifting:
        for module in shifting:
            module.register_forward_hook(seen)
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size, device="meta"))
    return tuple(sorted(found))


def _shifts(module: Any) -> bool:
    """Whether ``module`` pads by the size of its input, and not equally for odd and even sides."""
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame

    # Convolutions that standardise their weights, and conditional ones, say it in an attribute.
    same = isinstance(module, Conv2dSame | AvgPool2dSame | MaxPool2dSame)
    same = same or getattr(module, "same_pad", False) or getattr(module, "dynamic_padding", False)
    return bool(same) and _side(module.stride) == 2 and _side(module.kernel_size) % 2 == 1 < _side(module.kernel_size)


def _side(value: Any) -> int:
    return int(value[-1] if isinstance(value, tuple | list) else value)
