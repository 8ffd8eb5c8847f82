"""From laid out chromosomes to pixels: density of dyed chromatin on one sheet of all crops, and the gray image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from bandbridge.dataset.ideogram import Stain
from bandbridge.synthetic.layout import STEP, Laid
from bandbridge.synthetic.look import Style

_GAP = 3  # pixels between crops on a sheet, so that no blur reaches over
#: Density of dyed chromatin that a segmentation still finds, in G, and that has the camera's noise in Q.
_FAINTEST, _FAINT = 0.05, 0.02
_BLOCK = 4  # pixels a side of the blocks whose nearest sample is looked for first
_STRIDE = 6  # samples between those that are looked at first


@dataclass(frozen=True)
class Sheet:
    """Where crops lie on one sheet: ``top``, ``left``, ``height``, ``width`` int64 [n], pixels, and its ``shape``."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    shape: tuple[int, int]

    def crop(self, sheet: np.ndarray, number: int) -> np.ndarray:
        """Return crop ``number`` of ``sheet`` [H, W]."""
        top, left = self.top[number], self.left[number]
        return sheet[top : top + self.height[number], left : left + self.width[number]]


def arrange(height: np.ndarray, width: np.ndarray) -> Sheet:
    """Lay crops of these sizes, int64 [n], on shelves, the highest first."""
    order = np.argsort(-height, kind="stable")
    widest = max(int(np.sqrt((height + _GAP) @ (width + _GAP))), int(width.max()))
    top, left = np.zeros_like(height), np.zeros_like(width)
    shelf, across, tall = _GAP, _GAP, 0
    for number in order:
        if across > _GAP and across + width[number] > widest:
            shelf, across, tall = shelf + tall + _GAP, _GAP, 0
        top[number], left[number] = shelf, across
        across, tall = across + int(width[number]) + _GAP, max(tall, int(height[number]))
    return Sheet(top, left, height, width, (shelf + tall + _GAP, int((left + width).max()) + _GAP))


def paint(laid: Laid, sheet: Sheet, crops: np.ndarray, into: np.ndarray) -> None:
    """Add the density of dyed chromatin of ``laid`` [n] to float32 ``into`` [sheet.shape], in crops ``crops`` [n].

    Axes are relative to their crop's corner. A pixel belongs to the axis sample nearest to it; its distance from the
    axis gives the place across the width. Where chromosomes lie on each other, densities add up.
    """
    owner, row, column, at = _near_pixels(laid, sheet, crops)
    samples = laid.axis.shape[1]
    # One row for each sample, (x, y) of the axis and of the tangent. Looking rows up by take is ten times as fast as by
    # an index.
    frames = np.concatenate([laid.axis, laid.direction], axis=2).reshape(-1, 4)
    first = np.arange(len(crops)) * samples
    last = first + np.ceil(laid.length / STEP).astype(np.int64) - 1
    reach = laid.half_width.max(axis=(1, 2)) + np.float32(0.5)
    x, y = (column + 0.5).astype(np.float32), (row + 0.5).astype(np.float32)
    along, across = _from_axis(frames, at, x, y)
    # Most of a block lies outside, and stays there.
    kept = np.flatnonzero(np.abs(across) < reach.take(owner) + np.abs(along))
    owner, row, column, at, x, y, along = (each.take(kept) for each in (owner, row, column, at, x, y, along))
    lowest, highest = first.take(owner), last.take(owner)
    at = np.clip(at + np.rint(along * np.float32(1 / STEP)).astype(np.int64), lowest, highest)
    along, across = _from_axis(frames, at, x, y)
    # The axis bends little from here to the nearest sample: what is across stays.
    nearest = np.clip(at + np.rint(along * np.float32(1 / STEP)).astype(np.int64), lowest, highest)
    along -= (nearest - at) * np.float32(STEP)
    at = nearest
    half = laid.half_width.reshape(-1).take(2 * at + (across > 0))
    # Beyond the first and last sample the distance along the axis is what is missing.
    is_end = (at == lowest) & (along < 0) | (at == highest) & (along > 0)
    beyond = np.maximum(np.abs(along) - np.float32(STEP / 2), 0) * is_end
    coverage = np.clip(half - np.abs(across) + np.float32(0.5), 0, 1) * np.maximum(1 - beyond, 0)
    inside = np.flatnonzero(coverage > 0)
    at, half, coverage, across = (each.take(inside) for each in (at, half, coverage, across))
    place = np.clip(across / np.maximum(half, np.float32(1e-6)), -1, 1)
    right = np.clip(np.float32(0.5) + 2 * place, 0, 1)
    dye = laid.dye.reshape(-1)
    left_dye = dye.take(2 * at)
    mixed = left_dye + right * (dye.take(2 * at + 1) - left_dye)
    square = place * place
    dent = np.maximum(1 - square * np.float32(6), 0)
    thickness = (np.float32(0.65) + np.float32(0.35) * np.sqrt(1 - square)) * (
        1 - laid.slit.reshape(-1).take(at) * dent * dent
    )
    corner = (sheet.top * sheet.shape[1] + sheet.left)[crops]
    target = corner.take(owner.take(inside)) + row.take(inside) * sheet.shape[1] + column.take(inside)
    # Two of them may lie in one crop, and a pixel then counts twice.
    into += np.bincount(target, coverage * thickness * mixed, minlength=into.size).reshape(into.shape)


def _from_axis(frames: np.ndarray, at: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far pixels (x, y) are from samples ``at``, along the axis and across it, pixels."""
    frame = frames.take(at, axis=0)
    offset_x, offset_y = x - frame[:, 0], y - frame[:, 1]
    along = offset_x * frame[:, 2] + offset_y * frame[:, 3]
    return along, offset_x * frame[:, 3] - offset_y * frame[:, 2]


def _near_pixels(laid: Laid, sheet: Sheet, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pixels near each chromosome: whose, row and column in its crop, and a first guess of the nearest sample.

    All int64. Samples are counted over all chromosomes.
    """
    height, width = sheet.height[crops], sheet.width[crops]
    down, over = -(-height // _BLOCK), -(-width // _BLOCK)
    owner, inner = _ranges(down * over)
    block_row, block_column = np.divmod(inner, over.take(owner))
    x = (block_column * _BLOCK + _BLOCK / 2).astype(np.float32)
    y = (block_row * _BLOCK + _BLOCK / 2).astype(np.float32)
    coarse = laid.axis[:, _STRIDE // 2 :: _STRIDE]
    from_x = np.ascontiguousarray(coarse[:, :, 0]).take(owner, axis=0) - x[:, None]
    from_y = np.ascontiguousarray(coarse[:, :, 1]).take(owner, axis=0) - y[:, None]
    squared = from_x * from_x
    squared += from_y * from_y
    nearest = squared.argmin(axis=1)
    reach = laid.half_width.max(axis=(1, 2)) + 0.75 * _BLOCK + _STRIDE * STEP / 2 + 1
    distance = squared.reshape(-1).take(np.arange(len(owner)) * squared.shape[1] + nearest)
    near = np.flatnonzero(distance < (reach * reach).take(owner))
    owner, block_row, block_column, nearest = (each.take(near) for each in (owner, block_row, block_column, nearest))
    at = owner * laid.axis.shape[1] + nearest * _STRIDE + _STRIDE // 2
    rows, columns = np.divmod(np.arange(_BLOCK * _BLOCK), _BLOCK)
    row = (block_row[:, None] * _BLOCK + rows).reshape(-1)
    column = (block_column[:, None] * _BLOCK + columns).reshape(-1)
    owner, at = np.repeat(owner, _BLOCK * _BLOCK), np.repeat(at, _BLOCK * _BLOCK)
    inside = np.flatnonzero((row < height.take(owner)) & (column < width.take(owner)))
    return owner.take(inside), row.take(inside), column.take(inside), at.take(inside)


def _ranges(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the members of groups of ``counts`` [n]: each one's group, and its place there."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - (np.cumsum(counts) - counts).take(owner)


def develop(density: np.ndarray, stain: Stain, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Return the gray image, uint8 [H, W], of a density of dyed chromatin, float32 [H, W].

    Q: bright on black. G: dark on a ground of exactly 255, as segmented crops have it.
    """
    if style.speckle:
        density = density * np.maximum(1 + style.speckle * _noise(rng, density.shape), 0.2)
    density = gaussian_filter(density, style.blur, truncate=3.0)
    noise = style.noise * _noise(rng, density.shape)
    if stain == "Q":
        gray = style.strength * density + noise * (density > _FAINT)
    else:
        gray = np.minimum(250 * np.exp(-style.strength * density) + noise, 234)
        gray[density < _FAINTEST] = 255
    return np.rint(np.clip(gray, 0, 255)).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 noise of mean 0 and unit variance, even between its bounds: drawn in a fifth of the time of a normal."""
    noise: np.ndarray = rng.random(shape, dtype=np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(12**0.5)
    return noise
