"""What unlabelled chromosomes look like in numbers: the measures that real and drawn cells are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from bandbridge.dataset.by_cell import CellMeasure, measure_cell
from bandbridge.dataset.cutout import Cutout, cut_out, is_bright_ground, stand

#: Samples of a profile along the axis.
_PROFILE = 64
#: Waves along a chromosome whose power counts together.
_WAVES = ((1, 3), (3, 6), (6, 11), (11, 20))
#: What is measured of each chromosome, in the order of the columns of :func:`measure_images`.
MEASURES = (
    "length",
    "slimness",
    "width",
    "waist",
    "bend",
    "rough outline",
    "mean",
    "profile",
    *(f"waves {low} to {high - 1}" for low, high in _WAVES),
    "midline",
    "shoulder",
    "edge",
    "chromatids alike",
    "texture",
    "fine texture",
    "strength",
    "lean",
    "free above",
    "free beside",
)


def measure_images(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the measures of uint8 ``images`` [H, W] of one cell, float64 [n, measures]; NaN where there is nothing.

    length: pixels, logarithm. slimness: length over width, logarithm. width: over the cell's typical length,
    logarithm. waist: the narrowest of the middle over the usual width. bend: how far the middle line leaves a
    straight one, over the length. rough outline: change of width from row to row. mean: of the contrast ranked within
    the cell; profile: its spread along the axis; waves: the power of so many waves along the axis. midline, shoulder,
    edge: contrast there, over the mean. chromatids alike: correlation of both sides' profiles. texture: what the
    profile does not explain; fine texture: what of it changes from pixel to pixel. strength: logarithm of the strong
    contrast, gray levels. lean: degrees. free: ground above and beside, pixels, logarithm.
    """
    bright = is_bright_ground(images)
    cutouts = [cut_out(image, bright) for image in images]
    cell = measure_cell(cutouts)
    return np.array(
        [_measure(one, cell, image.shape) for one, image in zip(cutouts, images, strict=True)], dtype=float
    ).reshape(len(images), len(MEASURES))


def _measure(cutout: Cutout, cell: CellMeasure, shape: tuple[int, ...]) -> list[float]:
    area = int(cutout.mask.sum())
    if area < 20:
        return [np.nan] * len(MEASURES)
    length = cutout.length
    width = area / length
    standing = stand(replace(cutout, contrast=cell.shades[cutout.contrast]))
    mask, shown = standing.mask, standing.contrast.astype(float) / 255
    across = mask.sum(axis=1)
    rows = np.flatnonzero(across > 0)
    if len(rows) < 6:
        return [np.nan] * len(MEASURES)
    mask, shown, across = mask[rows], shown[rows], across[rows]
    columns = np.arange(mask.shape[1])
    middle = (mask * columns).sum(axis=1) / across
    inner = slice(len(rows) // 8, len(rows) - len(rows) // 8)
    usual = float(np.median(across))
    straight = np.polyval(np.polyfit(np.arange(len(rows)), middle, 1), np.arange(len(rows)))
    widths = gaussian_filter1d(across.astype(float), 0.5)
    profile = (shown * mask).sum(axis=1) / across
    # The place across the width of each pixel, -1 to 1.
    place = (columns - middle[:, None]) / (across[:, None] / 2)
    inside = mask & (np.abs(place) <= 1)
    mean = float(shown[mask].mean())
    relative = shown / np.maximum(profile, 0.05)[:, None]
    far = np.abs(place)

    def at(low: float, high: float) -> float:
        chosen = inside & (far >= low) & (far < high)
        return float(relative[chosen].mean()) if chosen.any() else np.nan

    left, right = (
        (shown * side).sum(axis=1) / np.maximum(side.sum(axis=1), 1)
        for side in (inside & (place < 0) & (far < 0.8), inside & (place >= 0) & (far < 0.8))
    )
    alike = float(np.corrcoef(left[inner], right[inner])[0, 1]) if left[inner].std() * right[inner].std() > 0 else 0.0
    core = inside & (far < 0.75)
    rest = np.where(core, shown - profile[:, None], 0.0)
    beside = core[:, 1:] & core[:, :-1]
    even = np.interp(np.linspace(0, len(rows) - 1, _PROFILE), np.arange(len(rows)), profile)
    power = np.abs(np.fft.rfft((even - even.mean()) * np.hanning(_PROFILE))) ** 2 / _PROFILE
    _, _, height, breadth = cutout.box
    return [
        np.log(length),
        np.log(length / width),
        np.log(width / cell.length),
        float(widths[inner].min()) / usual,
        float(np.sqrt(np.mean((middle - straight) ** 2))) / length,
        float(np.abs(np.diff(across[inner])).mean()) / usual,
        mean,
        float(profile[inner].std()),
        *(float(np.log(power[low:high].sum() + 1e-5)) for low, high in _WAVES),
        at(0, 0.2),
        at(0.25, 0.6),
        at(0.75, 0.95),
        alike,
        float(np.sqrt((rest**2).sum() / max(core.sum(), 1))),
        float(np.abs(np.diff(rest, axis=1))[beside].mean()) if beside.any() else np.nan,
        float(np.log(np.quantile(cutout.contrast[cutout.mask], 0.9) + 1)),
        float(cutout.tilt),
        float(np.log(1 + max(0, (shape[0] - height) / 2))),
        float(np.log(1 + max(0, (shape[1] - breadth) / 2))),
    ]


def spread_of(measures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Split the measures of cells, each [n, M]: their medians [cells, M], and what each image leaves [images, M]."""
    middles = np.array([np.nanmedian(cell, axis=0) for cell in measures])
    rest = np.concatenate([cell - middle for cell, middle in zip(measures, middles, strict=True)])
    return middles, rest
