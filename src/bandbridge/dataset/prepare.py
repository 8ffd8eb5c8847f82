"""From a gray image of any size to a square one: the paper's way, and ways that keep what the paper's erases."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from scipy import ndimage

from bandbridge.dataset.claims import MAX_SIDE

#: Part of every store's key; raised when the same settings would give other pixels.
PREPARATION_VERSION = 2
#: Least share of the foreground that a separate piece must have to count, so that specks do not widen the crop.
_SMALLEST_PIECE = 0.05
#: Pixels of a square that is made whole before it is shrunk: 2048 x 2048.
_AT_ONCE = 2**22


View = Literal["close-up", "to-scale"]


class Preparation(BaseModel):
    """How an image becomes a square. The defaults are the paper's: pad with black, resize each to fit.

    size: side of the result, pixels.
    padding: what fills the square beside the image, ``black`` (0) or the image's own ``background``.
    crop: ``foreground`` first cuts away the empty ground around the chromosome.
    scale: ``each`` stretches every image to fill the square (a long and a short chromosome become equally long);
        ``common`` shrinks or enlarges all images by one factor, so that length is kept; ``cell`` has one factor for
        each cell, so that length is kept beside the other chromosomes of the cell, whatever the magnification.
    extent: side in source pixels that ``common`` maps to ``size``; None measures the largest of the set.
    polarity: ``inverted`` maps gray value g to 255 - g before anything else (G-band's dark bands are Q-band's
        bright ones).
    views: ``close-up``, stretched each to fill the square; ``to-scale``, by ``scale``; ``both``. None is the close-up
        where the scale is ``each``, else to scale.
    contrast: ``cell`` shows how far each pixel of the chromosome is from its ground, over what is far in its cell; the
        ground is 0.
    upright: each chromosome is first stood along its own axis; the end that is up stays up.
    bits: how many bits the images of the training set used, of those whose files do not say it; None where there were
        none such (:mod:`bandbridge.dataset.depth`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=256, ge=16, le=4096)
    padding: Literal["black", "background"] = "black"
    crop: Literal["none", "foreground"] = "none"
    scale: Literal["each", "common", "cell"] = "each"
    extent: int | None = Field(default=None, ge=1, le=MAX_SIDE)
    polarity: Literal["as-is", "inverted"] = "as-is"
    views: Literal["close-up", "to-scale", "both"] | None = None
    contrast: Literal["as-is", "cell"] = "as-is"
    upright: bool = False
    bits: int | None = Field(default=None, ge=8, le=16)

    @model_validator(mode="after")
    def _settings_agree(self) -> Preparation:
        if self.views in ("to-scale", "both") and self.scale == "each":
            raise ValueError(f"views: {self.views} needs a scale, cell or common")
        if self.contrast == "cell" and (self.padding == "background" or self.crop == "none"):
            raise ValueError(
                "contrast: cell cuts each chromosome from its ground: it needs crop: foreground and padding: black"
            )
        if self.upright and self.contrast != "cell":
            raise ValueError("upright: true needs contrast: cell, which leaves nothing of the ground")
        return self

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier records did not have and this one does not use: their ids stay as they were."""
        value: dict[str, Any] = handler(self)
        later = {"views": None, "contrast": "as-is", "upright": False, "bits": None}
        return {key: item for key, item in value.items() if key not in later or item != later[key]}

    @property
    def shown(self) -> tuple[View, ...]:
        """The views that a prepared image has, the close-up first."""
        if self.views == "both":
            return ("close-up", "to-scale")
        return (self.views or ("close-up" if self.scale == "each" else "to-scale"),)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a prepared image: [size, size], or [2, size, size] of both views."""
        return (*((2,) if len(self.shown) == 2 else ()), self.size, self.size)

    def of_view(self, scale: Literal["each", "common"], extent: int | None = None) -> Preparation:
        """Return how a single view comes about that keeps its ground."""
        return self.model_copy(update={"views": None, "scale": scale, "extent": extent, "upright": False})

    @property
    def known_extent(self) -> int:
        """The extent of a common scale; ValueError where it was not measured yet."""
        if self.extent is None:
            raise ValueError("a common scale needs an extent; measure it over the set first")
        return self.extent

    @property
    def by_cell(self) -> bool:
        """Whether what becomes of an image depends on the others of its cell."""
        return self.scale == "cell" or self.contrast == "cell"


#: Named preparations, as settings that differ from the published one.
BASES: dict[str, dict[str, Any]] = {
    "published": {},
    "by-cell": {"crop": "foreground", "scale": "cell", "views": "both", "contrast": "cell", "upright": True},
}


def described(preparation: Preparation) -> str:
    """Return what a study file says after ``preparation:`` to have this one, its size aside."""
    default = Preparation(size=preparation.size, bits=preparation.bits)
    for base, settings in BASES.items():
        if preparation == default.model_copy(update=settings):
            return base
    base = "by-cell" if preparation.by_cell else "published"
    stands = default.model_copy(update=BASES[base])
    changed = [
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
        for name in Preparation.model_fields
        if (value := getattr(preparation, name)) != getattr(stands, name) and value is not None
    ]
    return f"{{{', '.join([f'base: {base}', *changed])}}}"


def background_level(image: np.ndarray) -> int:
    """Return the gray value of the ground: the median of the pixels on the border of uint8 ``image`` [H, W]."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return int(np.median(border))


def foreground_mask(image: np.ndarray) -> np.ndarray:
    """Return bool [H, W], true where uint8 ``image`` [H, W] differs from its ground by more than Otsu's threshold.

    The ground is :func:`background_level`; pieces smaller than 5% of the foreground are left out. An image of one
    gray value gives an all-false mask.
    """
    contrast = np.abs(image.astype(np.int16) - background_level(image)).astype(np.uint8)
    mask = contrast > _otsu_threshold(contrast) // 2
    if not contrast.any():
        return np.zeros_like(mask)
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    kept = areas >= _SMALLEST_PIECE * areas.sum()
    kept[0] = False
    return kept[pieces]


def _otsu_threshold(values: np.ndarray) -> int:
    """Gray value that best separates two classes by between-class variance (Otsu 1979)."""
    histogram = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    weight = np.cumsum(histogram)
    moment = np.cumsum(histogram * np.arange(256))
    total, mean = weight[-1], moment[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean * weight - total * moment) ** 2 / (weight * (total - weight))
    return int(np.nanargmax(np.where(np.isfinite(between), between, 0.0)))


def crop_to_foreground(image: np.ndarray) -> np.ndarray:
    """Return the part of uint8 ``image`` [H, W] that bounds its foreground; the whole image if it has none."""
    found = ndimage.find_objects(foreground_mask(image).astype(np.int8))
    return image[found[0]] if found else image


def trim(image: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Apply the steps that come before scaling: polarity, then crop. uint8 [H, W] to uint8 [H', W']."""
    if preparation.polarity == "inverted":
        image = 255 - image
    if preparation.crop == "foreground":
        image = crop_to_foreground(image)
    return image


def prepare_image(image: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return uint8 [size, size] from uint8 ``image`` [H, W].

    The image is centred on a square of its longer side (``scale: each``) or of ``extent`` source pixels
    (``scale: common``; an image longer than that is shrunk to fit), then resized by bilinear interpolation
    (Pillow's, which averages over the source area when it shrinks). Raises ValueError when ``scale`` is ``common``
    and ``extent`` is not set.
    """
    image = trim(image, preparation)
    side = max(image.shape)
    if preparation.scale == "common":
        side = max(side, preparation.known_extent)
    fill = background_level(image) if preparation.padding == "background" else 0
    size = preparation.size
    if side * side > _AT_ONCE and side != size:
        return _shrunk_by_bands(image, side, fill, size)
    square = _in_the_middle(image, (side, side), fill)
    return square if side == size else _resized(square, size, size)


def _shrunk_by_bands(image: np.ndarray, side: int, fill: int, size: int) -> np.ndarray:
    """Return what resizing the square of ``side`` gives, value by value, without ever making it.

    Pillow resizes rows first and columns then, each by itself: a few rows are padded and resized at a time, and what
    they leave is padded to all rows. So a thin line takes no square of its length.
    """
    height, band = len(image), max(1, _AT_ONCE // side)
    rows = np.empty((height, size), dtype=np.uint8)
    for top in range(0, height, band):
        part = image[top : top + band]
        rows[top : top + band] = _resized(_in_the_middle(part, (len(part), side), fill), size, len(part))
    return _resized(_in_the_middle(rows, (side, size), fill), size, size)


def _in_the_middle(image: np.ndarray, shape: tuple[int, int], fill: int) -> np.ndarray:
    framed = np.full(shape, fill, dtype=np.uint8)
    top, left = ((outer - inner) // 2 for outer, inner in zip(shape, image.shape, strict=True))
    framed[top : top + image.shape[0], left : left + image.shape[1]] = image
    return framed


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
