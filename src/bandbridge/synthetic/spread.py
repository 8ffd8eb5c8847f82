"""A whole drawn metaphase with its exact truth: chromosomes of a cell that touch and cross, nuclei, debris, light.

The chromosomes are those of :mod:`bandbridge.synthetic.cells`, bent as a spread bends them and turned anyhow. Where
they lie on each other, intensities add in fluorescence and optical densities in bright field. Which pixel belongs to
whom is known, the axis of each as well: what a separator learns from, and what one is judged by, without a photograph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from bandbridge.dataset.ideogram import RESOLUTIONS, Stain, check_stain
from bandbridge.karyotype import CLASS_INDEX
from bandbridge.synthetic.cells import check_counts, in_crops, karyotype, own_bands
from bandbridge.synthetic.crowd import Crowd, Piece, draw_crowd, scatter
from bandbridge.synthetic.layout import STEP, Laid, lay_out
from bandbridge.synthetic.look import Drawing, Style, draw_style, usual_look
from bandbridge.synthetic.paint import Sheet, paint
from bandbridge.synthetic.surroundings import develop_field, dirt

#: No axis passes here.
NOWHERE = 255
#: Steps of half a turn in which the direction of an axis is kept.
DIRECTIONS = 180
#: Share of a chromosome's width, from its axis, and of its end, that is its core.
CORE = 0.5
_SPREAD = 2  # number of the purpose: see bandbridge.synthetic.cells


@dataclass(frozen=True, eq=False)
class Spread:
    """A drawn metaphase.

    gray: uint8 [H, W]. first, second: uint16 [H, W], 0 or the number (from 1) of the chromosome, second the other one
    where two lie on each other. axes: uint8 [2, H, W], the direction of the axis of each of the two, in degrees from x
    towards y, 0 to 179, within its core, :data:`NOWHERE` elsewhere. labels: the class of each chromosome. width:
    pixels of a chromatid pair. bright: whether chromosomes are brighter than the ground.
    """

    gray: np.ndarray
    first: np.ndarray
    second: np.ndarray
    axes: np.ndarray
    labels: tuple[str, ...]
    width: float
    bright: bool

    def masks(self) -> list[np.ndarray]:
        """Return the whole of each chromosome, bool [H, W]."""
        return [(self.first == k) | (self.second == k) for k in range(1, len(self.labels) + 1)]


def draw_spread(stain: Stain, seed: int, number: int, crowd: Crowd | None = None) -> Spread:
    """Draw spread ``number`` (from 0) of ``seed``; the same arguments always give the same pixels.

    stain "Q": bright on black, "G": dark on a bright ground. crowd: drawn anew for each spread by default. Raises
    :class:`UserError` for an unknown stain or a negative seed or number.
    """
    stain = check_stain(stain)
    check_counts(seed=seed, number=number)
    rng = np.random.default_rng(np.random.SeedSequence([seed, ord(stain), _SPREAD, number]))
    crowd = crowd or draw_crowd(rng)
    style = _style(stain, crowd, rng)
    named = karyotype(stain, seed, number)
    pieces = _draw_pieces(stain, named, own_bands(stain, seed, number, Drawing()), style, crowd, rng)
    order = rng.permutation(len(pieces))
    shape, places = scatter([pieces[k] for k in order], crowd, rng)
    density, densest = np.zeros((2, *shape), np.float32)
    first, second = np.zeros((2, *shape), np.uint16)
    axes = np.full((2, *shape), NOWHERE, np.uint8)
    for label, (k, (top, left)) in enumerate(zip(order, places, strict=True), start=1):
        piece = pieces[k]
        box = np.s_[top : top + piece.mask.shape[0], left : left + piece.mask.shape[1]]
        density[box] += piece.density
        np.maximum(densest[box], piece.density, out=densest[box])
        free = first[box] == 0
        first[box][piece.mask & free] = label
        second[box][piece.mask & ~free] = label
        core = piece.axis != NOWHERE
        alone = axes[0][box] == NOWHERE
        axes[0][box][core & alone] = piece.axis[core & alone]
        axes[1][box][core & ~alone] = piece.axis[core & ~alone]
    # A film, a gamma, a full well of the camera: two on each other may be hardly brighter than one.
    density += np.float32(crowd.filled) * (densest - density)
    other = dirt(density, first > 0, crowd.nuclei, crowd.debris, style.width, rng)
    gray = develop_field(density, other, stain, style, rng, (crowd.haze, crowd.spread))
    labels = tuple(named[k][0] for k in order)
    return Spread(gray, first, second, axes, labels, style.width, stain == "Q")


def _style(stain: Stain, crowd: Crowd, rng: np.random.Generator) -> Style:
    """A cell's style at the width of the crowd, its chromosomes bent, turned anyhow and longer or shorter."""
    style = draw_style(usual_look(stain), Drawing(), rng)
    scale = crowd.width / style.width
    longer = scale * float(np.exp(rng.normal(0.1, 0.2) - crowd.condensed))
    return replace(
        style,
        length=style.length * longer,
        width=crowd.width,
        blur=style.blur * scale,
        smear=style.smear * scale,
        lag=style.lag * scale,
        sway=min(style.sway * crowd.bend, 0.9),
        kink=min(style.kink * crowd.bend * float(rng.uniform(0.2, 1)), 0.6),
        tilt=0.0,
        margin=2.0,
    )


def _draw_pieces(
    stain: Stain,
    named: list[tuple[str, str]],
    own: np.ndarray,
    style: Style,
    crowd: Crowd,
    rng: np.random.Generator,
) -> list[Piece]:
    classes = np.array([CLASS_INDEX[label] for label, _ in named])
    copies = np.array([copy == "b" for _, copy in named], dtype=int)
    laid = lay_out(
        classes,
        stain,
        own[classes, copies],
        style,
        Drawing(),
        rng,
        RESOLUTIONS[rng.integers(3)],
        float(rng.uniform(0, 1)),
    )
    laid = _turned(laid, rng.uniform(0, 2 * np.pi, len(classes)))
    evened = float(rng.uniform(0.4, 1.0)) * (1 - crowd.plain)
    pale = _spotted(replace(laid, dye=(laid.dye**evened).astype(np.float32)), crowd, rng)
    halves = _splayed(pale, style, crowd.splay, rng)
    both = halves[0].beside(halves[1])
    wide, sheet = in_crops(_wider(laid, style, crowd.splay), style, replace(Drawing(), variation=0), rng)
    shift = wide.axis[:, 0] - laid.axis[:, 0]
    every = np.arange(len(classes))
    density = np.zeros(sheet.shape, np.float32)
    paint(both.moved(np.concatenate([shift, shift])), sheet, np.concatenate([every, every]), density)
    solid = np.zeros(sheet.shape, np.float32)
    whole = replace(both, dye=np.ones_like(both.dye), slit=np.zeros_like(both.slit))
    paint(whole.moved(np.concatenate([shift, shift])), sheet, np.concatenate([every, every]), solid)
    return [_piece(wide, int(k), sheet, density, solid, style.width) for k in every]


def _turned(laid: Laid, angle: np.ndarray) -> Laid:
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    turn = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    return replace(laid, axis=laid.axis @ turn, direction=laid.direction @ turn)


def _spotted(laid: Laid, crowd: Crowd, rng: np.random.Generator) -> Laid:
    """Some chromosomes with a block that takes far more of the dye, as heterochromatin does, and each its own dye."""
    n = len(laid.length)
    dye = laid.dye
    if crowd.unlike:
        dye = dye * np.exp(crowd.unlike * rng.standard_normal((n, 1, 1)))
    if crowd.spots:
        at = (np.arange(dye.shape[1]) + 0.5) * STEP / laid.length[:, None]
        off = np.abs(at - rng.uniform(0, 1, (n, 1))) / rng.uniform(0.04, 0.15, (n, 1))
        more = np.where(rng.random((n, 1)) < crowd.spots, np.expm1(rng.uniform(0.4, 1.6, (n, 1))), 0.0)
        dye = dye * (1 + more / (1 + off**4))[..., None]
    return replace(laid, dye=dye.astype(np.float32))


def _wider(laid: Laid, style: Style, splay: float) -> Laid:
    return replace(laid, half_width=laid.half_width + np.float32(0.5 * style.width * splay))


def _splayed(laid: Laid, style: Style, splay: float, rng: np.random.Generator) -> tuple[Laid, Laid]:
    """The two chromatids of each as ribbons of their own, which stand apart where there is no centromere."""
    across = laid.direction[..., ::-1] * np.array([1, -1], np.float32)
    if splay < 0.05:
        # As one: half of the dye each, so that they add up to the whole.
        half = replace(laid, dye=laid.dye / 2)
        return half, half
    apart = 0.5 * style.width * splay * np.exp(rng.normal(0, 0.3, (len(laid.length), 1)))
    narrow = laid.half_width.mean(axis=2)
    # The slit pales the midline away from the centromere: there the chromatids stand apart.
    opened = laid.slit / np.maximum(laid.slit.max(axis=1, keepdims=True), 1e-6) if laid.slit.any() else 1.0
    ribbons = []
    for side, sign in enumerate((1, -1)):
        shift = sign * (0.45 * narrow + 0.5 * apart * opened)
        axis = laid.axis + shift[..., None] * across
        ribbons.append(
            replace(
                laid,
                axis=axis.astype(np.float32),
                half_width=(0.6 * laid.half_width).astype(np.float32),
                dye=np.repeat(laid.dye[..., side : side + 1], 2, axis=2),
                slit=np.zeros_like(laid.slit),
            )
        )
    return ribbons[0], ribbons[1]


def _piece(laid: Laid, k: int, sheet: Sheet, density: np.ndarray, solid: np.ndarray, width: float) -> Piece:
    seen = sheet.crop(solid, k)
    # What lies between two chromatids that stand apart belongs to their chromosome.
    mask = _closed(seen > 0.3, max(1, round(0.3 * width)))
    samples = int(np.ceil(laid.length[k] / STEP))
    trimmed = min(round(CORE * 0.5 * width / STEP), samples // 2 - 1)
    inner = np.s_[trimmed : samples - trimmed]
    x, y = laid.axis[k, inner, 0].astype(int), laid.axis[k, inner, 1].astype(int)
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    x, y, toward = x[inside], y[inside], laid.direction[k, inner][inside]
    angle = np.full(mask.shape, NOWHERE, np.uint8)
    angle[y, x] = np.rint(np.degrees(np.arctan2(toward[:, 1], toward[:, 0]))) % DIRECTIONS
    distance, (row, column) = distance_transform_edt(angle == NOWHERE, return_indices=True)
    core = (distance < max(1.2, CORE * 0.5 * width)) & mask
    ends = laid.axis[k, [0, samples - 1], ::-1], laid.direction[k, [0, samples - 1], ::-1] * np.array([[-1], [1]])
    axis = np.where(core, angle[row, column], np.uint8(NOWHERE))
    return Piece(sheet.crop(density, k), mask, axis, np.concatenate(ends, axis=1))


def _closed(mask: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(mask, reach + 1)
    grown = distance_transform_edt(~padded) <= reach
    closed = distance_transform_edt(grown) > reach
    inner = np.s_[reach + 1 : -reach - 1, reach + 1 : -reach - 1]
    return closed[inner] | mask
