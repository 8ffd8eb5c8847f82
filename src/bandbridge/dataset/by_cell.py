"""Images prepared by the cell that they come from: one scale and one contrast for all chromosomes of a cell.

How a laboratory frames and stretches its crops says nothing of a chromosome, and tells laboratories apart best. Here
each chromosome is cut from its ground (:mod:`bandbridge.dataset.cutout`), its contrast is ranked within its cell,
and it is shown twice: close up, stretched to the square, and to the scale of its cell, where a long chromosome is long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from bandbridge.dataset.cutout import Cutout, cut_out, is_bright_ground, stand
from bandbridge.dataset.prepare import Preparation, View, prepare_image

#: Chromosomes that a cell needs for its scale to be known: below, view 2 is left empty.
FEWEST = 10
#: Share of the square's side that stays free on each side of a close-up.
_MARGIN = 1 / 64
#: Share of the square's side that a cell's typical length takes; chromosome 1 is 2.2 times as long.
_TYPICAL = 27 / 64
#: Share of the chromosomes at either end of the order of length that does not count for the typical one.
_TRIMMED = 0.2


@dataclass(frozen=True, eq=False)
class CellMeasure:
    """What the chromosomes of a cell have in common.

    chromosomes: how many show something. length: the typical one, pixels along the axis, the mean of the middle three
    fifths. length_error: standard error of its logarithm, from the spread of the cell's own lengths; it says how far
    the scale can be trusted. shades: uint8 [256], what each gray level of contrast is shown as: the share of the cell's
    foreground that has less, so that neither exposure nor the camera's curve is seen.
    """

    chromosomes: int
    length: float
    length_error: float
    shades: np.ndarray

    @property
    def knows_scale(self) -> bool:
        """Whether there are chromosomes enough to say how long one is among its cell's."""
        return self.chromosomes >= FEWEST


def measure_cell(cutouts: Sequence[Cutout]) -> CellMeasure:
    """Return what the chromosomes of one cell have in common."""
    seen = [one for one in cutouts if not one.is_blank]
    if not seen:
        return CellMeasure(0, 1.0, float("inf"), np.zeros(256, dtype=np.uint8))
    lengths = np.sort([one.length for one in seen])
    trimmed = int(_TRIMMED * len(lengths))
    middle = lengths[trimmed : len(lengths) - trimmed]
    # The standard error of a trimmed mean, from the values drawn in to those that count (Tukey & McLaughlin 1963).
    drawn_in = np.clip(lengths, middle[0], middle[-1])
    spread = float(drawn_in.std(ddof=1)) if len(lengths) > 1 else float("inf")
    error = spread / ((1 - 2 * _TRIMMED) * np.sqrt(len(lengths)) * float(middle.mean()))
    levels = np.sum([one.levels for one in seen], axis=0)
    shades = np.clip(255 * (np.cumsum(levels) - levels / 2) / levels.sum(), 1, 255).round().astype(np.uint8)
    shades[0] = 0
    return CellMeasure(len(seen), float(middle.mean()), error, shades)


def prepare_cell(images: Sequence[np.ndarray], preparation: Preparation) -> np.ndarray:
    """Return uint8 ``images`` [H, W] of one cell as prepared images, uint8 [n, *preparation.shape].

    Of two views the first is the close-up. What would be to the scale of a cell of fewer than ten chromosomes is 0:
    that scale is not known. Raises ValueError where a common scale has no extent yet.
    """
    return _prepare(images, preparation)[0]


def _prepare(images: Sequence[np.ndarray], preparation: Preparation) -> tuple[np.ndarray, CellMeasure | None]:
    """The prepared images of one cell, and what was measured of it, None where the preparation asks for nothing."""
    if not preparation.by_cell:
        ways = _ways(preparation)
        return _stacked([_framed(image, ways, preparation.size) for image in images], preparation), None
    bright = is_bright_ground(images)
    cutouts = [cut_out(image, bright) for image in images]
    measured = measure_cell(cutouts)
    if preparation.contrast == "cell":
        return _stacked(list(_cut_views(cutouts, measured, preparation)), preparation), measured
    ways = _ways(preparation, measured)
    return _stacked([_framed(image, ways, preparation.size) for image in images], preparation), measured


def prepare_images(images: Sequence[np.ndarray], cells: Sequence[str], preparation: Preparation) -> np.ndarray:
    """Return uint8 ``images`` [H, W] prepared, uint8 [N, *preparation.shape], in their order.

    cells: the cell of each; "" is none, and such an image is prepared by itself. All of a cell must be here. Raises
    ValueError where a common scale has no extent yet.
    """
    return prepare_and_trust(images, cells, preparation)[0]


def prepare_and_trust(
    images: Sequence[np.ndarray], cells: Sequence[str], preparation: Preparation
) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`prepare_images` does, and how far the scale of each image's cell can be trusted, float64 [N].

    That is the standard error of its logarithm (:attr:`CellMeasure.length_error`); NaN where no such scale is asked for
    or none is known.
    """
    prepared = np.empty((len(images), *preparation.shape), dtype=np.uint8)
    errors = np.full(len(images), np.nan)
    for rows in group_by_cell(cells):
        prepared[rows], measured = _prepare([images[row] for row in rows], preparation)
        if measured is not None and measured.knows_scale and preparation.scale == "cell":
            errors[rows] = measured.length_error
    return prepared, errors


def prepare_beside(image: np.ndarray, mates: Sequence[np.ndarray], preparation: Preparation) -> np.ndarray:
    """Return uint8 ``image`` [H, W] prepared, uint8 [*preparation.shape], as one of a cell with ``mates``."""
    together = [image, *mates] if preparation.by_cell else [image]
    prepared: np.ndarray = prepare_cell(together, preparation)[0]
    return prepared


def lacks_scale(prepared: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return which of uint8 ``prepared`` [N, *preparation.shape] show nothing to the scale of their cell, bool [N].

    None where the preparation has no such view.
    """
    return _is_empty(prepared, preparation, "to-scale", asked=preparation.scale == "cell")


def shows_nothing(prepared: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return of which uint8 ``prepared`` [N, *preparation.shape] no chromosome was cut out, bool [N].

    None where chromosomes keep their ground.
    """
    return _is_empty(prepared, preparation, "close-up", asked=preparation.contrast == "cell")


def _is_empty(prepared: np.ndarray, preparation: Preparation, view: View, *, asked: bool) -> np.ndarray:
    if not asked or view not in preparation.shown:
        return np.zeros(len(prepared), dtype=bool)
    views = prepared.reshape(len(prepared), len(preparation.shown), -1)
    return views[:, preparation.shown.index(view)].max(axis=1) == 0


def group_by_cell(cells: Sequence[str]) -> list[list[int]]:
    """Return the positions of each cell's images, cells in the order of their first; those without a cell alone."""
    groups: dict[object, list[int]] = {}
    for position, cell in enumerate(cells):
        groups.setdefault(cell or position, []).append(position)
    return list(groups.values())


def _stacked(views: Sequence[Sequence[np.ndarray]], preparation: Preparation) -> np.ndarray:
    return np.array(views, dtype=np.uint8).reshape(len(views), *preparation.shape)


def _cut_views(
    cutouts: Sequence[Cutout], measured: CellMeasure, preparation: Preparation
) -> Iterator[list[np.ndarray]]:
    """The views of each chromosome, cut from its ground, with the contrast of its cell."""
    for cutout in cutouts:
        # Ranked before it is turned: interpolation makes levels that the cell does not have.
        ranked = replace(cutout, contrast=measured.shades[cutout.contrast])
        standing = stand(ranked, cutout.tilt) if preparation.upright else ranked
        picture = Image.fromarray(standing.contrast)
        yield [
            _centred(picture, _factor(view, standing, measured, preparation), preparation) for view in preparation.shown
        ]


def _factor(view: View, cutout: Cutout, measured: CellMeasure, preparation: Preparation) -> float:
    """Prepared pixels to one of the source; 0 where the scale is not known."""
    longer, size = max(cutout.contrast.shape), preparation.size
    if view == "close-up":
        return close_up_factor(cutout, size)
    if preparation.scale == "cell":
        return min(size * _TYPICAL / measured.length, size / longer) if measured.knows_scale else 0.0
    return min(size / preparation.known_extent, size / longer)


def close_up_factor(cutout: Cutout, size: int) -> float:
    """Return how many pixels of a close-up of ``size`` pixels a side one of the cutout becomes."""
    return size * (1 - 2 * _MARGIN) / max(cutout.contrast.shape)


def _centred(picture: Image.Image, factor: float, preparation: Preparation) -> np.ndarray:
    """``picture`` enlarged by ``factor`` in the middle of a black square."""
    size = preparation.size
    square = np.zeros((size, size), dtype=np.uint8)
    if factor > 0:
        width, height = (min(size, max(1, round(side * factor))) for side in picture.size)
        top, left = (size - height) // 2, (size - width) // 2
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        square[top : top + height, left : left + width] = np.asarray(resized)
    return square


def _ways(preparation: Preparation, measured: CellMeasure | None = None) -> list[Preparation | None]:
    """How an image with its ground becomes each view, in the published way; None for a scale that is not known."""
    ways: list[Preparation | None] = []
    for view in preparation.shown:
        if view == "close-up":
            ways.append(preparation.of_view("each"))
        elif preparation.scale == "common" or measured is None:
            ways.append(preparation.of_view("common", preparation.known_extent))
        elif measured.knows_scale:
            ways.append(preparation.of_view("common", max(1, round(measured.length / _TYPICAL))))
        else:
            ways.append(None)
    return ways


def _framed(image: np.ndarray, ways: Sequence[Preparation | None], size: int) -> list[np.ndarray]:
    return [np.zeros((size, size), np.uint8) if way is None else prepare_image(image, way) for way in ways]
