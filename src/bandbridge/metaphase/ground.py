"""The ground of a field of view taken away: polarity, uneven light, and how wide its chromosomes are.

What remains is contrast: 0 on the ground, about 1 where chromatin is strongly stained. In bright field it is optical
density and in fluorescence intensity, since those add where chromosomes lie on each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from bandbridge.errors import UserError

#: Pixels of the longer side that the ground is looked for at.
_SMALL = 360
#: Share of that side over which the ground is smooth, and rounds of looking for it.
_SMOOTH, _ROUNDS = 1 / 14, 4
#: Ground that is noisy differs from itself: contrast below this many times its spread is ground.
_NOISE = 3.0
#: Contrast that counts as strong: this quantile of the foreground.
_STRONG = 0.9
#: Gray levels, of the whole range, that a field has at least to show anything.
_LEAST_RANGE = 0.012
#: A piece that is this many times as thick as what most of the outline belongs to is a nucleus.
_THICK = 2.2
_LARGEST_CONTRAST = 4.0
#: Part of the threshold above which a pale part of a chromosome is still one.
_GAPS = 0.6
#: Pieces that lie alone and are long: at least this share of their hull, so many times as long as wide, so many pixels,
#: and so many of them. By outline they seem narrower than by thickness, their ends being round: so many times.
_HULL, _LONG, _PIXELS, _ALONE, _ROUND = 0.78, 1.7, 40, 10, 1.15


@dataclass(frozen=True, eq=False)
class Levelled:
    """A field without its ground.

    contrast: float32 [H, W], 0 ground, about 1 strongly stained chromatin. bright: whether what is stained is brighter
    than the ground. threshold: contrast above which it is no ground, by Otsu. width: of a chromosome, pixels, 0 where
    nothing is there. unit: gray level, or optical density, of contrast 1. floor: spread of the ground, in contrast.
    """

    contrast: np.ndarray
    bright: bool
    threshold: float
    width: float
    unit: float
    floor: float


class BlankField(UserError):
    """A field in which nothing differs from the ground."""


def level(gray: np.ndarray, bright: bool | None = None) -> Levelled:
    """Take the ground of ``gray`` [H, W] away, of any numeric type.

    bright: whether what is stained is brighter than the ground; None: found from the field. Raises :class:`BlankField`
    where nothing differs from the ground.
    """
    gray = gray.astype(np.float32, copy=False)
    small = shrunk(gray, max(1, round(max(gray.shape) / _SMALL)))
    full = _full_scale(gray)
    low, high = np.quantile(small, [0.0005, 0.9995])
    if high - low < _LEAST_RANGE * full:
        raise BlankField("nothing is on it: one gray value all over", "Is it the right channel of the right file?")
    coarse = _median_ground(small)
    if bright is None:
        bright = _is_bright(small, coarse)
    offset = np.float32(0.02 * full)
    small_signal, ground = _ground(small, coarse, bright, offset)
    signal = _signal(gray, _enlarged(ground, gray.shape), bright, offset)
    noise = _noise_of(small_signal)
    threshold, unit, width = _measure(signal, noise)
    if not unit > 0:
        raise BlankField("nothing on it stands out from the ground", "Is it in focus, and the right channel?")
    contrast = np.clip(signal / np.float32(unit), -1, _LARGEST_CONTRAST)
    if width:
        # Where the line between two chromatids is as pale as the ground, thickness is that of one of them.
        width = max(width, outlined_width(contrast, threshold / unit))
    return Levelled(contrast, bright, threshold / unit, width, unit, noise / unit)


def outlined_width(contrast: np.ndarray, threshold: float) -> float:
    """Return how wide the long pieces that lie alone are by their outlines, pixels; 0 where there are fewer than ten.

    contrast: float32 [H, W]. What is inside a piece does not count: a chromosome whose chromatids are seen apart is as
    wide as both.
    """
    pieces, _ = ndimage.label(ndimage.binary_fill_holes(contrast > 0.8 * threshold))
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = np.pad(pieces[box] == number, 1)
        area = int(piece.sum())
        rim = np.stack(np.nonzero(piece & ~ndimage.binary_erosion(piece)), axis=1).astype(float)
        at_border = any(side.start == 0 or side.stop == size for side, size in zip(box, contrast.shape, strict=True))
        if area < _PIXELS or at_border or np.ptp(rim, axis=0).min() < 2 or _on_one_line(rim):
            continue
        hull = ConvexHull(rim)
        length = float(pdist(rim[hull.vertices]).max()) + 1
        # Through the middles of the pixels: half a pixel is missing all around.
        if area > _HULL * (hull.volume + hull.area / 2 + 1) and length**2 > _LONG * area:
            found.append(area / length)
    return _ROUND * float(np.median(found)) if len(found) >= _ALONE else 0.0


def _on_one_line(points: np.ndarray) -> bool:
    return bool(np.linalg.matrix_rank(points - points[0]) < 2)


def shrunk(image: np.ndarray, by: int) -> np.ndarray:
    """Return ``image`` [H, W] with each ``by`` x ``by`` pixels as one, float32; what is left at the edge is dropped."""
    if by == 1:
        return image.astype(np.float32, copy=False)
    rows, columns = max(1, image.shape[0] // by), max(1, image.shape[1] // by)
    part = image[: rows * by, : columns * by]
    if part.shape[0] < by or part.shape[1] < by:
        return image.astype(np.float32, copy=False)
    found: np.ndarray = part.reshape(rows, by, columns, by).mean(axis=(1, 3), dtype=np.float32)
    return found


def _full_scale(gray: np.ndarray) -> float:
    largest = float(gray.max())
    return 255.0 if largest <= 255 else float(2 ** np.ceil(np.log2(largest + 1)) - 1)


def _median_ground(small: np.ndarray) -> np.ndarray:
    """A first guess of the ground: the median over a wide window, on fewer pixels still."""
    tiny = shrunk(small, 4)
    window = max(9, max(tiny.shape) // 3)
    smooth = ndimage.median_filter(tiny, size=min(window, 2 * min(tiny.shape) - 1), mode="nearest")
    # Where chromosomes or nuclei fill the window, it is no ground; the whole field's median holds it near.
    return _enlarged(0.5 * smooth + np.float32(0.5 * np.median(tiny)), small.shape)


def _enlarged(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape == shape:
        return image
    rows = np.clip((np.arange(shape[0]) + 0.5) * image.shape[0] / shape[0] - 0.5, 0, image.shape[0] - 1)
    columns = np.clip((np.arange(shape[1]) + 0.5) * image.shape[1] / shape[1] - 0.5, 0, image.shape[1] - 1)
    top, left = rows.astype(int), columns.astype(int)
    down, over = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)
    below, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    lines = image[:, left] * (1 - over) + image[:, right] * over
    found: np.ndarray = (lines[top] * (1 - down) + lines[below] * down).astype(np.float32)
    return found


def _is_bright(small: np.ndarray, ground: np.ndarray) -> bool:
    """Whether what stands out is brighter: the larger third moment about the ground, its noise left out."""
    away = small - ground
    spread = 1.5 * float(np.median(np.abs(away)))
    out = np.abs(away) > 3 * spread
    return float((np.sign(away[out]) * np.abs(away[out]) ** 1.5).sum()) > 0


def _signal(gray: np.ndarray, ground: np.ndarray, bright: bool, offset: np.float32) -> np.ndarray:
    if bright:
        return gray - ground
    found: np.ndarray = np.log((ground + offset) / (np.maximum(gray, 0) + offset))
    return found


def _noise_of(signal: np.ndarray) -> float:
    """Spread of the ground in ``signal``: of what lies below its middle, twice, as chromosomes are above."""
    below = signal[signal <= 0]
    return 1.4826 * float(np.median(-below)) if below.size > 20 else 0.0


def _ground(small: np.ndarray, ground: np.ndarray, bright: bool, offset: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """The signal and the ground of ``small``: smooth through all that is no foreground, again and again."""
    reach = _SMOOTH * max(small.shape)
    for _ in range(_ROUNDS):
        signal = _signal(small, ground, bright, offset)
        noise = max(_noise_of(signal), 1e-3 if not bright else float(offset) / 20)
        # Only what is above the ground is left out: dirt on the other side is rare.
        out = ndimage.binary_dilation(signal > _NOISE * noise, iterations=2)
        if out.mean() > 0.97:
            break
        kept = (~out).astype(np.float32)
        weight = ndimage.gaussian_filter(kept, reach, truncate=2.5)
        wide = float((small * kept).sum() / max(kept.sum(), 1))
        smooth = ndimage.gaussian_filter(small * kept, reach, truncate=2.5)
        # Far from any ground the mean of all of it counts.
        ground = (smooth + 1e-3 * wide) / (weight + 1e-3)
    return _signal(small, ground, bright, offset), ground.astype(np.float32)


def otsu(values: np.ndarray) -> float:
    """Return Otsu's threshold of ``values``, 256 bins."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    low = np.cumsum(counts * middles) / np.maximum(below, 1)
    high = (np.cumsum((counts * middles)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (low[:-1] - high[1:]) ** 2
    return float(middles[:-1][np.argmax(between)])


def _measure(signal: np.ndarray, noise: float) -> tuple[float, float, float]:
    """Otsu's threshold, the strong signal and the width of chromosomes, nuclei left out of all three.

    The width is that which most of the outline belongs to: nuclei are large, but few pixels of it are theirs.
    """
    most = float(np.quantile(signal, 0.9995))
    clipped = np.clip(signal, 0, most)
    kept = np.ones(signal.shape, bool)
    threshold = unit = width = 0.0
    for _ in range(3):
        values = clipped[kept]
        threshold = max(otsu(values), 2 * noise)
        mask = (clipped > threshold) & kept
        if not mask.any():
            return 0.0, 0.0, 0.0
        unit = float(np.quantile(clipped[mask], _STRONG))
        # Pale bands and the line between chromatids are no ground: a lower threshold, and small gaps closed.
        mask = ndimage.binary_fill_holes(ndimage.binary_closing((clipped > _GAPS * threshold) & kept))
        mask &= kept
        thickness = ndimage.distance_transform_edt(mask)
        ridge = (thickness >= ndimage.maximum_filter(thickness, 3)) & mask & (thickness > 1)
        if not ridge.any():
            return threshold, unit, 0.0
        width = 2 * float(np.median(thickness[ridge & (thickness > 0.5 * np.median(thickness[ridge]))]))
        pieces, count = ndimage.label(mask)
        thickest = ndimage.maximum(thickness, pieces, np.arange(count + 1))
        nuclei = np.asarray(thickest) > _THICK * width / 2
        nuclei[0] = False
        if not nuclei.any():
            break
        around = ndimage.binary_dilation(nuclei[pieces], iterations=max(2, round(width / 3)))
        kept &= ~around
    return threshold, unit, width
