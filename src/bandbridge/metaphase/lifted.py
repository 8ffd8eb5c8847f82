"""What the separator says of a field: where chromosomes are, where two lie on each other, and which way each runs.

The network looks at a field in which a chromosome is :data:`WIDTH` pixels wide. It comes with the package, and was
trained on drawn spreads alone (:mod:`bandbridge.training.separator`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bandbridge.errors import UserError
from bandbridge.extras import need
from bandbridge.machine import usable_cores

#: The separator of the package.
SEPARATOR = Path(str(files("bandbridge.metaphase").joinpath("separator.onnx")))
#: Directions of half a turn that the core of a chromosome is told in.
BINS = 12
#: Pixels that a chromosome is wide where the separator looks at it.
WIDTH = 10.0
#: The network's sides divide by this. Tiles, and how far their rims are left out, pixels.
_DIVIDES, _TILE, _RIM = 16, 512, 48
_STEPS, _LOWEST = 64.0, -0.5


@dataclass(frozen=True, eq=False)
class Said:
    """Probabilities, float32: there [H, W], that a chromosome is there; two [H, W], that two are; core [BINS, H, W],
    that the core of one passes in each direction, k half turns / BINS from x towards y.
    """

    there: np.ndarray
    two: np.ndarray
    core: np.ndarray


def to_bytes(contrast: np.ndarray) -> np.ndarray:
    """Return contrast, -0.5 to 3.48, as uint8: what an example is kept as."""
    return np.rint(np.clip((contrast - _LOWEST) * _STEPS, 0, 255)).astype(np.uint8)


def from_bytes(kept: np.ndarray) -> np.ndarray:
    """Return the contrast, float32, that :func:`to_bytes` made ``kept`` of."""
    return kept.astype(np.float32) / np.float32(_STEPS) + np.float32(_LOWEST)


def resized(image: np.ndarray, shape: tuple[int, int], *, smooth: bool = True) -> np.ndarray:
    """Return float32 ``image`` [H, W] at another shape; what gets smaller is averaged."""
    if image.shape == shape:
        return image
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image.astype(np.float32, copy=False)).resize(shape[::-1], how))


def separate(contrast: np.ndarray, graph: Path | None = None) -> Said:
    """Say of ``contrast`` float32 [H, W], chromosomes :data:`WIDTH` wide, what is there.

    graph: another separator's ONNX file. Tiles of a large field where nothing is are not looked at.
    """
    session = _session(str(graph) if graph else "")
    height, width = contrast.shape
    found = np.zeros((2 + BINS, height, width), np.float32)
    step = _TILE - 2 * _RIM
    for top in range(0, height, step):
        for left in range(0, width, step):
            inner = contrast[top : top + step, left : left + step]
            if float(inner.max(initial=0)) < 0.15:
                continue
            tile, down, over = _tile(contrast, top, left)
            said = session.run(["said"], {"contrast": tile[None, None]})[0][0]
            rows, columns = inner.shape
            found[:, top : top + rows, left : left + columns] = said[:, down : down + rows, over : over + columns]
    return Said(found[0], found[1], found[2:])


def separate_mirrored(contrast: np.ndarray, graph: Path | None = None, straight: Said | None = None) -> Said:
    """Say as :func:`separate` does, the mean over ``contrast`` and its three mirror images: the doubtful less surely.

    A mirror turns a direction k into -k. straight: what is said of ``contrast`` as it is, where that is known.
    """
    straight = straight or separate(contrast, graph)
    sums = [straight.there, straight.two, straight.core]
    back = -np.arange(BINS) % BINS
    for flip in (np.s_[:, ::-1], np.s_[::-1, :], np.s_[::-1, ::-1]):
        said = separate(np.ascontiguousarray(contrast[flip]), graph)
        core = said.core if flip[0].step == flip[1].step else said.core[back]
        mirrored = (said.there[flip], said.two[flip], core[:, flip[0], flip[1]])
        sums = [one + other for one, other in zip(sums, mirrored, strict=True)]
    return Said(*(total / np.float32(4) for total in sums))


def _tile(contrast: np.ndarray, top: int, left: int) -> tuple[np.ndarray, int, int]:
    """The tile whose inside begins at (top, left), with its rim, its sides divisible; where its inside begins in it."""
    part = contrast[max(0, top - _RIM) : top + _TILE - _RIM, max(0, left - _RIM) : left + _TILE - _RIM]
    down, over = top - max(0, top - _RIM), left - max(0, left - _RIM)
    more = [-size % _DIVIDES for size in part.shape]
    return np.pad(part, ((0, more[0]), (0, more[1]))).astype(np.float32), down, over


@cache
def _session(graph: str) -> Any:
    place = Path(graph) if graph else SEPARATOR
    if not place.is_file():
        raise UserError(f"{place} does not exist", "Install bandbridge again." if not graph else "Name its file.")
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    return runtime.InferenceSession(str(place), options, providers=["CPUExecutionProvider"])
