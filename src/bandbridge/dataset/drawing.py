"""From bands to pixels: one chromosome laid out along a bent axis, and the picture of it.

A chromosome is laid out once (:func:`lay_out`): its band lengths, the dye along its axis, its half-width and
the axis itself. It is then painted as a density of dyed chromatin (:func:`paint`), and the density becomes
gray levels the way the stain's microscope makes them (:func:`develop`): light emitted on black for Q, light
absorbed from white for G. The constants are chosen so that crop sizes and gray levels agree with published Q-
and G-banded sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from bandbridge.dataset.ideogram import (
    ACROCENTRIC,
    Stain,
    centromere,
    chromosome_length,
    dye_levels,
    load_ideogram,
)
from bandbridge.errors import ManyErrors

_STEP = 0.5  # pixels between two samples of the axis
_ROUNDING = 2.0  # pixels that rounded ends and the objective's blur add to every chromosome
_ROWS = 16  # rows of pixels measured against the axis at once, which bounds the memory of large drawings
_PROBABILITIES = ("neighbours", "inverted")
_LARGEST_KNOB = 10.0


@dataclass(frozen=True)
class Drawing:
    """How chromosomes are drawn. Every knob multiplies what real sets show: 1 as they are, 0 none of it.

    ``length`` and ``width`` of the chromosomes, ``contrast`` of the bands, ``blur``, ``grain`` (texture of
    the chromatin), ``noise`` (of the camera), ``bend`` of the axis, ``tilt`` against the vertical, and
    ``variation``: how much cells, patients and the two copies differ. Two are probabilities: ``neighbours``,
    that part of another chromosome reaches into the crop, and ``inverted``, that the long arm is up. Raises
    :class:`ManyErrors` for knobs out of range.
    """

    length: float = 1.0
    width: float = 1.0
    contrast: float = 1.0
    blur: float = 1.0
    grain: float = 1.0
    noise: float = 1.0
    bend: float = 1.0
    tilt: float = 1.0
    variation: float = 1.0
    neighbours: float = 0.06
    inverted: float = 0.04

    def __post_init__(self) -> None:
        problems = []
        for field in fields(self):
            value = getattr(self, field.name)
            low = 0.1 if field.name in ("length", "width") else 0.0
            high = 1.0 if field.name in _PROBABILITIES else _LARGEST_KNOB
            if not low <= value <= high:
                problems.append(f"{field.name} is {value}, expected {low:g} to {high:g}")
        if problems:
            raise ManyErrors("these drawing knobs are out of range", problems)


#: The plain ideogram: straight, upright, alike in every cell, without grain, noise or neighbours.
NEUTRAL = Drawing(grain=0, noise=0, bend=0, tilt=0, variation=0, neighbours=0, inverted=0)


@dataclass(frozen=True)
class Style:
    """What all chromosomes of one cell share. Lengths in pixels, angles in radians.

    ``length`` is that of chromosome 1, ``width`` that of a chromatid pair. ``blur`` is the SD of the
    microscope's blur, ``smear`` that of the bands' own soft borders along the axis. ``strength`` is the gray
    level of bright chromatin in Q, the optical density of dark chromatin in G. ``slit`` is how far the line
    between the chromatids pales, 0 to 1. ``sway`` is the typical bend and ``tilt`` the typical lean;
    ``margin`` the ground left round a crop.
    """

    length: float
    width: float
    blur: float
    smear: float
    contrast: float
    strength: float
    slit: float
    grain: float
    noise: float
    sway: float
    tilt: float
    margin: float


@dataclass(frozen=True)
class Heteromorphism:
    """What is one patient's own in a copy of a chromosome: factors on its bands' size and dye, [bands]."""

    size: np.ndarray
    dye: np.ndarray


@dataclass(frozen=True)
class Chromosome:
    """A chromosome laid out: samples every half pixel along its axis, all float64 [samples] or [samples, 2].

    ``position`` is the distance from the short arm's end in pixels, ``axis`` the (x, y) of the sample,
    ``direction`` the unit tangent, ``half_width`` in pixels, ``dye`` the dye there (about 0 to 1), ``slit``
    the paling midline. ``slant`` is one float64 [3], pixels: how far bands bow at the sides, lean, and lag on
    one chromatid.
    """

    position: np.ndarray
    axis: np.ndarray
    direction: np.ndarray
    half_width: np.ndarray
    dye: np.ndarray
    slit: np.ndarray
    slant: np.ndarray

    def outline(self) -> np.ndarray:
        """Return the points of both sides, float64 [2 x samples, 2], as (x, y) in pixels."""
        across = self.half_width[:, None] * self.direction[:, ::-1] * np.array([-1.0, 1.0])
        return np.concatenate([self.axis - across, self.axis + across])

    def moved(self, shift: np.ndarray) -> Chromosome:
        """Return this chromosome with ``shift``, (x, y) in pixels, added to its axis."""
        return replace(self, axis=self.axis + shift)


def draw_style(stain: Stain, drawing: Drawing, rng: np.random.Generator) -> Style:
    """Draw the style of one cell: condensation, focus, staining and exposure differ from cell to cell."""
    vary = drawing.variation

    def around(middle: float, log_sd: float) -> float:
        return middle * math.exp(vary * log_sd * float(np.clip(rng.normal(), -2.5, 2.5)))

    q = stain == "Q"
    stretch = around(1.0, 0.15)
    return Style(
        length=drawing.length * stretch * (76.0 if q else 98.0),
        width=drawing.width * around(1.0, 0.07) / math.sqrt(stretch) * (15.0 if q else 16.5),
        blur=drawing.blur * around(1.15 if q else 0.8, 0.2),
        smear=drawing.blur * around(1.2 if q else 0.9, 0.3),
        contrast=drawing.contrast * around(0.8 if q else 1.15, 0.25),
        strength=around(180.0 if q else 1.35, 0.35 if q else 0.3),
        slit=min(0.75, around(0.3 if q else 0.18, 0.6)),
        grain=drawing.grain * around(0.1 if q else 0.22, 0.3),
        noise=drawing.noise * around(1.2 if q else 4.0, 0.4),
        sway=drawing.bend * around(0.4 if q else 0.3, 0.5),
        tilt=drawing.tilt * around(0.32 if q else 0.06, 0.7),
        margin=around(9.0 if q else 1.5, 0.15),
    )


def draw_heteromorphism(label: str, drawing: Drawing, rng: np.random.Generator) -> Heteromorphism:
    """Draw a patient's own form of ``label``: variable heterochromatin and stalks; 1 for all other bands."""
    variable = np.array([band.stain in ("gvar", "stalk") for band in load_ideogram()[label]])
    size, dye = np.exp(drawing.variation * 0.25 * np.clip(rng.normal(size=(2, variable.size)), -2, 2) * variable)
    return Heteromorphism(size, dye)


def lay_out(
    label: str, stain: Stain, own: Heteromorphism, style: Style, drawing: Drawing, rng: np.random.Generator
) -> Chromosome:
    """Lay chromosome ``label`` out from its bands, short arm up unless inverted; the origin is anywhere."""
    bands = load_ideogram()[label]
    sizes = np.array([band.length for band in bands]) * own.size
    sizes = sizes * np.exp(drawing.variation * 0.07 * rng.normal(size=sizes.size))
    total = style.length * chromosome_length(label) / chromosome_length("1")
    total = total * math.exp(drawing.variation * 0.05 * rng.normal()) + _ROUNDING
    total = _STEP * round(total / _STEP)
    edges = np.concatenate([[0.0], np.cumsum(sizes)]) * (total / sizes.sum())
    waist = float(np.interp(centromere(label), [0, *(band.stop for band in bands)], edges))
    position = np.arange(_STEP / 2, total, _STEP)
    levels = dye_levels(label, stain) * own.dye * np.exp(drawing.variation * 0.15 * rng.normal(size=sizes.size))
    dye = gaussian_filter1d(_average(levels, edges, position), style.smear / _STEP, mode="nearest")
    half_width = _half_width(label, edges, waist, position, total, style, rng)
    heading = _heading(position, waist, total, style, drawing, rng)
    direction = np.stack([np.sin(heading), np.cos(heading)], axis=1)
    axis = np.cumsum(direction, axis=0) * _STEP
    slit = style.slit * (1 - np.exp(-(((position - waist) / (0.3 * style.width)) ** 2)))
    contrasted = np.clip(0.45 + style.contrast * (dye - 0.45), 0, None)
    slant = drawing.variation * rng.normal(size=3) * (0.5, 0.4, 0.35)
    return Chromosome(position, axis, direction, half_width, contrasted, slit, slant)


def _average(levels: np.ndarray, edges: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The mean of a step function over each half pixel: levels [bands], edges [bands + 1] -> [samples]."""
    cumulative = np.concatenate([[0.0], np.cumsum(levels * np.diff(edges))])
    bounds = np.concatenate([position - _STEP / 2, position[-1:] + _STEP / 2])
    return np.diff(np.interp(bounds, edges, cumulative)) / _STEP


def _half_width(
    label: str,
    edges: np.ndarray,
    waist: float,
    position: np.ndarray,
    total: float,
    style: Style,
    rng: np.random.Generator,
) -> np.ndarray:
    half = 0.5 * style.width * (0.8 + 0.2 * math.sqrt(chromosome_length(label) / chromosome_length("1")))
    relative = np.ones(len(edges) - 1)
    if label in ACROCENTRIC:
        narrow = {"gvar": 0.75, "stalk": 0.5, "acen": 0.8}
        relative = np.array(
            [narrow.get(band.stain, 1.0) if band.arm == "p" else 1.0 for band in load_ideogram()[label]]
        )
    relief = gaussian_filter1d(_average(relative, edges, position), 1.5 / _STEP, mode="nearest")
    constriction = 0.35 * np.exp(-(((position - waist) / (0.22 * style.width)) ** 2))
    ripple = 1 + 0.03 * min(1.0, style.grain * 10) * gaussian_filter1d(rng.normal(size=position.size), 6) * 5
    to_end = np.minimum(position, total - position) / (0.7 * half)
    rounded = (1 - (1 - np.clip(to_end, 0, 1)) ** 2.8) ** (1 / 2.8)
    return half * relief * (1 - constriction) * ripple * rounded


def _heading(
    position: np.ndarray, waist: float, total: float, style: Style, drawing: Drawing, rng: np.random.Generator
) -> np.ndarray:
    """The direction of the axis at each sample: 0 is down, positive to the right, radians."""
    limp = style.sway * (0.35 + 0.65 * min(1.0, total / 60.0))
    arc, wave = rng.normal(size=2) * limp * (0.8, 0.4)
    kink = float(np.clip(rng.standard_t(3), -4, 4)) * limp * 0.6
    along = position / total - 0.5
    bent = 2 * arc * along + wave * np.sin(2 * np.pi * along)
    bent = bent + kink * np.tanh((position - waist) / (0.3 * style.width))
    lean = style.tilt * float(np.clip(rng.normal(), -2.5, 2.5))
    turned = math.pi if rng.random() < drawing.inverted else 0.0
    return bent - bent.mean() + lean + turned


def paint(chromosome: Chromosome, height: int, width: int) -> np.ndarray:
    """Return the density of dyed chromatin at each pixel, float64 [height, width], 0 outside the chromosome.

    A pixel belongs to the axis sample nearest to it; its distance from the axis gives the place across the
    width.
    """
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    from_x, from_y = ((at[:, None] - chromosome.axis[:, k]).astype(np.float32) for k, at in enumerate((x, y)))
    nearest = np.concatenate(
        [
            np.argmin((from_y[top : top + _ROWS, None] ** 2) + from_x**2, axis=2).ravel()
            for top in range(0, height, _ROWS)
        ]
    )
    offset = np.stack([np.tile(x, height), np.repeat(y, width)], axis=1) - chromosome.axis[nearest]
    tangent = chromosome.direction[nearest]
    along = chromosome.position[nearest] + (offset * tangent).sum(axis=1)
    across = offset[:, 0] * tangent[:, 1] - offset[:, 1] * tangent[:, 0]

    half = np.interp(along, chromosome.position, chromosome.half_width)
    end = chromosome.position[-1] + _STEP / 2
    beyond = np.maximum(-along, along - end).clip(0)
    coverage = np.clip(half - np.abs(across) + 0.5, 0, 1) * np.clip(1 - beyond, 0, 1)
    place = np.clip(across / np.maximum(half, 1e-6), -1, 1)
    bow, shear, lag = chromosome.slant
    seen = along + bow * place**2 + shear * place + lag * np.tanh(4 * place)
    dye = np.interp(seen, chromosome.position, chromosome.dye)
    slit = np.interp(along, chromosome.position, chromosome.slit)
    thickness = (0.7 + 0.3 * np.sqrt(1 - place**2)) * (1 - slit * np.exp(-((place / 0.25) ** 2)))
    return (coverage * thickness * (0.3 + 0.7 * dye)).reshape(height, width)


def develop(density: np.ndarray, stain: Stain, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Return the gray image, uint8 [H, W], of a density of dyed chromatin, float64 [H, W].

    Q: bright on black. G: dark on a ground of exactly 255, as segmented crops have it.
    """
    texture = gaussian_filter(rng.normal(size=density.shape), 0.8) * 2.8
    density = gaussian_filter(density * np.clip(1 + style.grain * texture, 0.2, None), style.blur, truncate=3.0)
    noise = style.noise * rng.normal(size=density.shape)
    if stain == "Q":
        gray = style.strength * density + np.where(density > 0.02, noise, 0.0)
    else:
        gray = np.where(density < 0.1, 255.0, np.clip(250.0 * np.exp(-style.strength * density) + noise, 0, 234))
    return np.rint(np.clip(gray, 0, 255)).astype(np.uint8)
