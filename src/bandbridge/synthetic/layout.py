"""The chromosomes of a cell laid out side by side: dye and width along bent axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from bandbridge.dataset.ideogram import Resolution, Stain, chromosome_length
from bandbridge.karyotype import CLASSES
from bandbridge.synthetic.bands import band_table
from bandbridge.synthetic.look import Drawing, Style

#: Pixels between two samples of an axis.
STEP = 0.5
_ROUNDING = 2.0  # pixels that rounded ends and the objective's blur add to every chromosome
_RELATIVE = np.array([chromosome_length(label) for label in CLASSES]) / chromosome_length("1")
#: Dye that the palest chromatin still takes.
_LEAST = np.float32(0.02)
#: SD that GC content is smoothed with along the chromosome, in lengths of chromosome 1.
_RICH_REACH = 0.022
#: How far into a chromosome its end is paler, in lengths of chromosome 1.
_END_REACH = 0.04
#: Middle of the dye's range, which more contrast turns about.
_PIVOT = 0.45


@dataclass(frozen=True)
class Laid:
    """Chromosomes laid out: K samples every half pixel along each of n axes, float32.

    length: [n], pixels; samples beyond it repeat the end. axis: [n, K, 2], (x, y) of the samples; direction: the unit
    tangent. half_width: [n, K, 2], pixels, of the left and the right side. dye: [n, K, 2], of the left and the right
    chromatid, about 0 to 1. slit: [n, K], how far the midline pales.
    """

    length: np.ndarray
    axis: np.ndarray
    direction: np.ndarray
    half_width: np.ndarray
    dye: np.ndarray
    slit: np.ndarray

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest (x, y) of each outline, [n, 2] both."""
        across = self.direction[..., ::-1] * np.array([-1, 1], np.float32)
        sides = [self.axis + sign * self.half_width[..., k : k + 1] * across for k, sign in ((0, 1), (1, -1))]
        return (
            np.minimum(sides[0], sides[1]).min(axis=1),
            np.maximum(sides[0], sides[1]).max(axis=1),
        )

    def moved(self, shift: np.ndarray) -> Laid:
        """Return these chromosomes with ``shift`` [n, 2], (x, y) in pixels, added to their axes."""
        return replace(self, axis=self.axis + shift[:, None, :].astype(np.float32))

    def only(self, rows: slice) -> Laid:
        """Return the chromosomes ``rows``."""
        return Laid(*(getattr(self, field.name)[rows] for field in fields(self)))

    def beside(self, others: Laid) -> Laid:
        """Return these and the ``others``, which have as many samples."""
        return Laid(*(np.concatenate([getattr(each, field.name) for each in (self, others)]) for field in fields(self)))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Return float32 noise of unit variance [n, K], smooth along the second axis with ``sigma`` samples.

    Drawn where it is needed to be, and spread from there by a Gaussian: a tenth of the work of smoothing all samples.
    """
    if sigma < 1:
        return rng.standard_normal(shape, dtype=np.float32)
    spacing = 0.7 * sigma
    knots = np.arange(-2 * sigma, shape[1] + 2 * sigma, spacing, dtype=np.float32)
    weights = np.exp(-0.5 * ((np.arange(shape[1], dtype=np.float32) - knots[:, None]) / np.float32(sigma)) ** 2)
    weights /= np.sqrt((weights * weights).sum(axis=0))
    noise: np.ndarray = rng.standard_normal((shape[0], len(knots)), dtype=np.float32) @ weights
    return noise


def _on_both_sides(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Noise [n, K, 2], each side its own."""
    return smooth_noise(rng, (2 * shape[0], shape[1]), sigma).reshape(2, *shape).transpose(1, 2, 0)


def lay_out(
    classes: np.ndarray,
    stain: Stain,
    own: np.ndarray,
    style: Style,
    drawing: Drawing,
    rng: np.random.Generator,
    resolution: Resolution = 550,
    sequence: float = 0.0,
) -> Laid:
    """Lay the chromosomes ``classes`` [n] (places in the karyotype's order) out from their bands, short arm up.

    own: float [n, 2, 2], a patient's own factors on size and dye of the variable bands of the short and the long arm.
    sequence: how much lengths go by base pairs in place of the ideogram's units, 0 to 1. The origin is anywhere.
    """
    n, vary = len(classes), drawing.variation
    table = band_table(stain, resolution)
    rows, owner = table.rows(classes)
    arm = table.long_arm[rows].astype(int)
    size_factor, dye_factor = (np.where(table.variable[rows], own[owner, k, arm], 1.0) for k in (0, 1))
    # Sizes of bands, of their chromosomes as shares, and their edges; each chromosome's interval begins at its number.
    iscn, pairs = table.iscn[rows], table.pairs[rows]
    share = (1 - sequence) * iscn / _sums(iscn, owner, n)[owner] + sequence * pairs / _sums(pairs, owner, n)[owner]
    sizes = share * size_factor * np.exp(vary * 0.07 * rng.standard_normal(len(rows)))
    totals = _sums(sizes, owner, n)
    ends = np.cumsum(sizes / totals[owner])
    edges = np.concatenate([[0.0], ends])
    last = np.cumsum(np.bincount(owner, minlength=n)) - 1
    edges[1 + last] = np.arange(1, n + 1)
    waist = edges[(last + 1) - _sums(arm, owner, n).astype(int)] - np.arange(n)

    length = style.length * _RELATIVE[classes] * np.exp(vary * 0.05 * rng.standard_normal(n)) + _ROUNDING
    length = STEP * np.round(length / STEP)
    samples = math.ceil(length.max() / STEP)
    at = (np.arange(samples, dtype=np.float32) + 0.5) * STEP
    u = np.minimum(at / length[:, None], 1 - 1e-4)

    # Unevenness of length along the axis, the same for both chromatids, and what one lags behind the other.
    if style.stretch:
        warp = np.cumsum(np.exp(style.stretch * smooth_noise(rng, u.shape, style.width / STEP)), axis=1)
        at_end = np.take_along_axis(warp, (np.ceil(length / STEP).astype(int) - 1)[:, None], axis=1)
        u = np.minimum(warp / at_end, 1 - 1e-4)
    seen = np.repeat(u[..., None], 2, axis=2)
    if style.lag:
        lag = style.lag * _on_both_sides(rng, u.shape, style.width / STEP) / length[:, None, None]
        seen = np.clip(u[..., None] + lag, 0, 1 - 1e-4)
    band = np.searchsorted(edges[1:], seen + np.arange(n)[:, None, None], side="right").clip(max=len(rows) - 1)

    levels = table.dye[rows]
    levels = style.floor + (1 - style.floor) * levels
    # Less by a factor, so that no band is without any.
    levels = levels * np.exp(-style.pale * table.richness[rows] * (1 - 0.7 * table.dye[rows].clip(0, 1)))
    levels = levels * dye_factor * np.exp(vary * 0.15 * rng.standard_normal(len(rows)))
    dye = gaussian_filter1d(levels.astype(np.float32)[band], style.smear / STEP, axis=1, mode="nearest", truncate=3.0)
    # What is rich in G and C is so with its surroundings.
    near = _RICH_REACH * style.length / STEP
    rich = gaussian_filter1d(table.rich[rows].astype(np.float32)[band[:, :, 0]], near, axis=1, mode="nearest")
    dye = dye * np.exp(-style.rich * np.minimum(1, 1.4 * rich))[..., None]
    # Towards the ends GC content rises, and the dye falls.
    to_end = np.minimum(at, np.maximum(length[:, None] - at, 0)) / (_END_REACH * style.length)
    dye = dye * (1 - style.ends * np.exp(-to_end))[..., None]
    dye = _PIVOT * (np.maximum(dye, _LEAST) / np.float32(_PIVOT)) ** np.float32(style.contrast)
    if style.grain:
        dye = dye * (1 + style.grain * _on_both_sides(rng, u.shape, 0.12 * style.width / STEP))
    if style.uneven:
        dye = dye * np.exp(style.uneven * rng.standard_normal(n))[:, None, None]
    dye = np.maximum(dye, _LEAST).astype(np.float32)

    beside = band[:, :, 0]
    half_width = _half_width(classes, table.width[rows][beside], waist, u, at, length, style, rng)
    heading = _heading(u, waist, length, style, drawing, rng)
    direction = np.stack([np.sin(heading), np.cos(heading)], axis=2).astype(np.float32)
    direction[at[None, :] > length[:, None]] = 0
    axis = np.cumsum(direction, axis=1) * STEP
    ended = (np.ceil(length / STEP).astype(int) - 1)[:, None, None]
    direction = np.where(direction.any(axis=2, keepdims=True), direction, np.take_along_axis(direction, ended, axis=1))
    from_waist = np.abs(u - waist[:, None]) * length[:, None]
    slit = style.slit * (1 - np.exp(-((from_waist / (0.3 * style.width)) ** 2)))
    return Laid(length.astype(np.float32), axis.astype(np.float32), direction, half_width, dye, slit.astype(np.float32))


def _sums(values: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(owner, values, minlength=n)


def _half_width(
    classes: np.ndarray,
    relief: np.ndarray,
    waist: np.ndarray,
    u: np.ndarray,
    at: np.ndarray,
    length: np.ndarray,
    style: Style,
    rng: np.random.Generator,
) -> np.ndarray:
    half = 0.5 * style.width * (0.8 + 0.2 * np.sqrt(_RELATIVE[classes]))
    relief = gaussian_filter1d(relief.astype(np.float32), 0.1 * style.width / STEP, axis=1, mode="nearest")
    from_waist = (u - waist[:, None]) * length[:, None] / (0.22 * style.width)
    constriction = style.waist * np.exp(-(from_waist**2))
    to_end = np.minimum(at, length[:, None] - at).clip(0) / (0.7 * half[:, None])
    rounded = (1 - (1 - np.clip(to_end, 0, 1)) ** 2.8) ** (1 / 2.8)
    one = half[:, None] * relief * (1 - constriction) * rounded
    both = np.repeat(one[..., None], 2, axis=2)
    if style.ripple:
        both = both * (1 + style.ripple * _on_both_sides(rng, one.shape, 0.2 * style.width / STEP)).clip(0.5, 1.5)
    return both.astype(np.float32)


def _heading(
    u: np.ndarray, waist: np.ndarray, length: np.ndarray, style: Style, drawing: Drawing, rng: np.random.Generator
) -> np.ndarray:
    """The direction of each axis at each sample: 0 is down, positive to the right, radians, [n, K]."""
    n = len(length)
    # The longer a chromosome is for its width, the easier it bends.
    limp = np.clip(length / (6 * style.width), 0.2, 1.5)[:, None]
    arc, wave = rng.standard_normal((2, n, 1)) * style.sway * limp * np.array([0.8, 0.4])[:, None, None]
    kink = np.clip(rng.standard_t(3, (n, 1)), -4, 4) * style.kink * limp
    along = u - 0.5
    bent = 2 * arc * along + wave * np.sin(2 * np.pi * along)
    bent = bent + kink * np.tanh((u - waist[:, None]) * length[:, None] / (0.3 * style.width))
    lean = style.tilt * np.clip(rng.standard_normal((n, 1)), -2.5, 2.5)
    turned = np.where(rng.random((n, 1)) < drawing.inverted, math.pi, 0.0)
    return bent - bent.mean(axis=1, keepdims=True) + lean + turned
