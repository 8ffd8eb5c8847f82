"""Images as Python holds them, where files are asked for: arrays, PIL images, lists and cells of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bandbridge.api.cut import CutCells
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.errors import UserError
from bandbridge.predict.intake import Handed, hand_over, hand_over_dataset, on_one_scale

_WHAT = (
    "Give a path, a dataset, an image (uint8 array [H, W] or [H, W, 3], or a PIL image), a list of images or paths, or "
    "a mapping from cell names to lists of images."
)


def hand_over_anything(images: Any, bit_depth: int | None = None) -> list[Handed]:
    """Return what ``images`` holds, each with a name and the cell it belongs to ("" unknown).

    bit_depth: as :func:`bandbridge.predict.intake.hand_over` has it.

    A path is read as :func:`bandbridge.predict.intake.hand_over` does. A list is of single chromosomes, named
    "image 1" and so on; a mapping is from cells to their chromosomes. Raises :class:`UserError` for anything else.
    """
    if isinstance(images, str | Path):
        if not str(images):
            raise UserError("the path of the images is empty", _WHAT)
        return hand_over(Path(images), bit_depth)
    if isinstance(images, CutCells):
        return hand_over(images.folder, bit_depth)
    if isinstance(images, ImageFolder):
        found = hand_over_dataset(images)
        return on_one_scale(found, bit_depth) if bit_depth else found
    if isinstance(images, list) and images and all(isinstance(one, Handed) for one in images):
        return images
    if isinstance(images, Mapping):
        found = [one for cell, members in images.items() for one in _cell(str(cell), members)]
    elif _is_image(images) and not _is_stack(images):
        found = [_handed("image 1", "", images)]
    elif isinstance(images, Iterable):
        found = [_one(f"image {number}", "", image) for number, image in enumerate(images, start=1)]
    else:
        raise UserError(f"{type(images).__name__} is nothing that holds images", _WHAT)
    if not found:
        raise UserError("there is no image in what was given", _WHAT)
    return on_one_scale(found, bit_depth)


def _cell(cell: str, members: Any) -> list[Handed]:
    if isinstance(members, str | Path) or (_is_image(members) and not _is_stack(members)):
        members = [members]
    if not isinstance(members, Iterable):
        raise UserError(f"cell {cell!r} is given as {type(members).__name__}", _WHAT)
    return [_one(f"{cell}/{number}", cell, image) for number, image in enumerate(members, start=1)]


def _one(name: str, cell: str, image: Any) -> Handed:
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.is_file():
            raise UserError(f"{path} is no file", "In a list, give single images; a folder is given by itself.")
        (found,) = hand_over(path)
        return Handed(str(path), cell, "", found.read)
    if not _is_image(image) or _is_stack(image):
        raise UserError(f"{name} is a {type(image).__name__}, not an image", _WHAT)
    return _handed(name, cell, image)


def _is_image(image: Any) -> bool:
    return isinstance(image, np.ndarray | Image.Image)


def _is_stack(image: Any) -> bool:
    """Whether it is several gray images in one array, [N, H, W]: a colour image has 3 or 4 values at the end."""
    return isinstance(image, np.ndarray) and (image.ndim == 4 or (image.ndim == 3 and image.shape[2] not in (3, 4)))


def _handed(name: str, cell: str, image: Any) -> Handed:
    """Through a PNG in memory: arrays are then read by the one rule that files are read by."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
            raise UserError(
                f"{name} is an array of {image.dtype} {list(image.shape)}, expected uint8 [H, W] or [H, W, 3]",
                "Scale gray values to 0..255 and convert them to uint8.",
            )
        image = Image.fromarray(image)

    def encoded() -> bytes:
        stream = io.BytesIO()
        try:
            image.save(stream, format="PNG")
        except OSError as fault:
            raise UserError(
                f"{name} is a picture of mode {image.mode}, which holds no gray values of 8 or 16 bits",
                "Scale gray values to 0..255 and convert it to mode L.",
            ) from fault
        return stream.getvalue()

    return Handed(name, cell, "", encoded)
