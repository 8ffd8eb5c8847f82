"""Class activation maps laid over the chromosome as it was photographed, at its own resolution.

A classifier sees a prepared square; :class:`Placement` says where the source image lies in it, and the map is read at
those places. Chromosomes are small: pictures are enlarged by a whole factor, each pixel of the source a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from scipy import ndimage

from bandbridge.dataset.by_cell import close_up_factor
from bandbridge.dataset.cutout import cut_out, is_bright_ground, stand
from bandbridge.dataset.prepare import Preparation, foreground_mask
from bandbridge.errors import UserError

#: Perceptually uniform maps first; ``jet`` is what the paper uses.
COLOUR_MAPS = ("inferno", "cividis", "jet")
#: The longer side that a picture is enlarged to, pixels, as nearly as whole factors can.
DISPLAY_SIDE = 240
_OPACITY = 0.5
_HIGHEST_OPACITY = 0.85


@dataclass(frozen=True)
class Placement:
    """Where a source image lies in its prepared square, in its close-up where there are two views.

    matrix, offset: a place (row, column) of the source, in pixels from its upper left corner, lies at
    matrix @ place + offset of the square. box: rows and columns of the source that were kept, as (first row, first
    column, height, width). size: side of the square.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    offset: tuple[float, float]
    box: tuple[int, int, int, int]
    size: int

    @property
    def scale(self) -> float:
        """Prepared pixels to one source pixel, the mean of both directions."""
        return float(np.sqrt(abs(np.linalg.det(np.array(self.matrix)))))

    def on_square(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where places of the source lie on the square; arrays of one shape, pixels from the corner."""
        (a, b), (c, d) = self.matrix
        return a * rows + b * columns + self.offset[0], c * rows + d * columns + self.offset[1]

    def content(self) -> np.ndarray:
        """Return bool [size, size]: true where the square shows the source, false where it is padding."""
        (a, b), (c, d) = np.linalg.inv(np.array(self.matrix))
        rows, columns = np.meshgrid(*[np.arange(self.size) + 0.5] * 2, indexing="ij")
        rows, columns = rows - self.offset[0], columns - self.offset[1]
        row, column, height, width = self.box
        down, across = a * rows + b * columns - row, c * rows + d * columns - column
        return (down >= 0) & (down < height) & (across >= 0) & (across < width)


def place(image: np.ndarray, preparation: Preparation) -> Placement:
    """Return where uint8 ``image`` [H, W] lies in what :func:`prepare_images` makes of it.

    Raises :class:`ValueError` for a common scale without an extent, and :class:`UserError` where there is only a view
    whose scale the cell tells.
    """
    if preparation.shown == ("to-scale",) and preparation.scale == "cell":
        raise UserError(
            "a model that sees chromosomes only to the scale of their cell does not tell where it looks in one of them",
            "Train it with views: both.",
        )
    if preparation.contrast == "cell":
        return _place_cutout(image, preparation)
    height, width = image.shape
    box = (0, 0, height, width)
    if preparation.crop == "foreground":
        found = ndimage.find_objects(foreground_mask(image).astype(np.int8))
        if found:
            rows, columns = found[0]
            box = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    side = max(box[2:])
    if preparation.shown[0] == "to-scale" and preparation.scale == "common":
        side = max(side, preparation.known_extent)
    scale = preparation.size / side
    top, left = (side - box[2]) // 2 - box[0], (side - box[3]) // 2 - box[1]
    return Placement(((scale, 0.0), (0.0, scale)), (top * scale, left * scale), box, preparation.size)


def _place_cutout(image: np.ndarray, preparation: Preparation) -> Placement:
    """Of a chromosome that was cut from its ground, and may have been turned."""
    cutout = cut_out(image, is_bright_ground([image]))
    standing = stand(cutout) if preparation.upright else cutout
    row, column, height, width = cutout.box
    rows, columns = standing.contrast.shape
    scale = close_up_factor(standing, preparation.size)
    middle = standing.middle or (height / 2, width / 2)
    cosine, sine = scale * np.cos(np.radians(standing.turned)), scale * np.sin(np.radians(standing.turned))
    matrix = ((float(cosine), float(-sine)), (float(sine), float(cosine)))
    top, left = (preparation.size - scale * rows) / 2, (preparation.size - scale * columns) / 2
    centre = row + height / 2, column + width / 2
    offset = tuple(
        start + scale * within - line[0] * centre[0] - line[1] * centre[1]
        for start, within, line in zip((top, left), middle, matrix, strict=True)
    )
    return Placement(matrix, (offset[0], offset[1]), cutout.box, preparation.size)


def display_factor(image: np.ndarray, side: int = DISPLAY_SIDE) -> int:
    """Return the whole factor that brings the longer side of ``image`` [H, W] nearest to ``side`` pixels; 1 or more."""
    return max(1, round(side / max(image.shape)))


def map_on_source(values: np.ndarray, placement: Placement, shape: tuple[int, int], factor: int = 1) -> np.ndarray:
    """Return a map on the prepared square, float [size, size], as float32 [H x factor, W x factor] on its source.

    ``shape`` is (H, W) of the source. Places that a crop cut away are NaN: the classifier did not see them.
    """
    rows, columns = ((np.arange(length * factor) + 0.5) / factor for length in shape)
    first_row, first_column, height, width = placement.box
    seen = ((rows >= first_row) & (rows < first_row + height))[:, None] & (
        (columns >= first_column) & (columns < first_column + width)
    )
    down, across = placement.on_square(*np.meshgrid(rows, columns, indexing="ij"))
    read = ndimage.map_coordinates(values.astype(np.float32), (down - 0.5, across - 0.5), order=1, mode="nearest")
    return np.where(seen, read, np.float32(np.nan))


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Return uint8 gray ``image`` [H, W] as uint8 RGB [H x factor, W x factor, 3], every pixel a block."""
    blocks = np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)
    return np.repeat(blocks[:, :, None], 3, axis=2)


def overlay(
    image: np.ndarray, values: np.ndarray, placement: Placement, factor: int, colour_map: str = COLOUR_MAPS[0]
) -> np.ndarray:
    """Return ``values``, float [size, size] in 0..1, in colour over uint8 ``image`` [H, W]: uint8 RGB.

    ``jet`` is laid over the whole image half transparent, as published. In the others the colour gets denser with the
    value and 0 shows the bare image, so a map without evidence gives back the chromosome. The result is
    [H x ``factor``, W x ``factor``, 3].
    """
    seen = map_on_source(values, placement, (image.shape[0], image.shape[1]), factor)
    strength = np.clip(np.nan_to_num(seen), 0, 1)
    colour = matplotlib.colormaps[colour_map](strength)[:, :, :3] * 255
    opacity = np.full_like(strength, _OPACITY) if colour_map == "jet" else _HIGHEST_OPACITY * strength
    opacity = np.where(np.isnan(seen), 0, opacity)[:, :, None]
    mixed = (1 - opacity) * enlarge(image, factor) + opacity * colour
    return np.rint(mixed).astype(np.uint8)
