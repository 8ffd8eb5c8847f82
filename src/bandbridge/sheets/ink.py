"""What is on a sheet: its ground, how far every pixel is from it, and which of that are lines, frames and colour.

All later steps see contrast alone, at one working size: dark chromosomes on white and bright ones on black or grey,
scans of 400 and of 10,000 pixels are the same to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy import ndimage

from bandbridge.errors import UserError

#: Longest side of the picture that is worked on, pixels, and how much a small scan is enlarged for it at most.
_SIDE, _MOST_ENLARGED = 1600, 4.0
#: Gray levels from the ground that are ink at least, in noise of the ground, and as a share of the strong ink.
_LEAST, _NOISE, _SHARE = 4.0, 5.0, 0.10
#: Between the strongest and the weakest of a pixel's three colours: what is printed in colour.
_COLOUR = 70
#: A line is at least so long, as a share of the longest side, across and down, and no thicker than this share of it.
_LONG_ACROSS, _LONG_DOWN, _THICK = 0.035, 0.07, 0.005
#: One of up to twice, and of up to three times, that thickness is at least so long.
_LONG, _LONGEST = 0.14, 0.25
#: Shares of the picture that the ground takes at least, of a sheet.
_LEAST_GROUND = 0.35
#: What smooths noise away, pixels of the file, and which share is left of the contrast that stands out of it.
_SMOOTH, _DIM = 0.8, 0.45
#: The ground is read in windows of this share of the longest side.
_WINDOW = 0.12


class NoSheet(UserError):
    """A picture that is no karyogram sheet, or none that can be read."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why, remedy or "Leave it out, or give a larger or cleaner picture of the sheet.")


class Boxed:
    """What has a place on a sheet. box: (top, left, bottom, right), working pixels."""

    box: tuple[int, int, int, int]

    @property
    def x(self) -> float:
        """Middle of its box, across."""
        return (self.box[1] + self.box[3]) / 2

    @property
    def y(self) -> float:
        """Middle of its box, down."""
        return (self.box[0] + self.box[2]) / 2


@dataclass(frozen=True, eq=False)
class Ink:
    """A sheet at its working size [h, w].

    contrast: float32, gray levels from the ground to the chromosomes' side, 0 elsewhere. mask: bool, what is ink, less
    lines and colour. lines, coloured: bool, both left out of ``mask``. zoom: working pixels to one of the file. strong:
    contrast of well stained ink. faint: contrast that is told from the ground's noise. bright: whether the ground is.
    ground: its gray value.
    """

    contrast: np.ndarray
    mask: np.ndarray
    lines: np.ndarray
    coloured: np.ndarray
    zoom: float
    strong: float
    faint: float
    bright: bool
    ground: int

    @cached_property
    def smooth(self) -> np.ndarray:
        """The contrast with the noise of single pixels of the file taken out, float32 [h, w]."""
        return np.asarray(ndimage.gaussian_filter(self.contrast, _SMOOTH * self.zoom))

    @property
    def dim(self) -> float:
        """The contrast that is told from the ground in :attr:`smooth`."""
        return _DIM * self.faint

    @property
    def side(self) -> int:
        """The longest side, working pixels."""
        return max(self.mask.shape)


def find_ink(gray: np.ndarray, colour: np.ndarray | None = None) -> Ink:
    """Return what is on uint8 ``gray`` [H, W]; ``colour``: uint8 [H, W], strongest less weakest of a pixel's colours.

    Raises :class:`NoSheet` for a picture that is blank, or has no even ground.
    """
    zoom = min(_MOST_ENLARGED, _SIDE / max(gray.shape))
    work = _resized(gray, zoom).astype(np.float32)
    ground = _ground_level(work)
    bright = float(work.mean()) < ground if abs(float(work.mean()) - ground) > 0.2 else ground >= 128
    local = _local_ground(work, bright)
    contrast = np.maximum(local - work if bright else work - local, 0)
    noise = _noise(work, local, bright)
    limit = max(_LEAST, _NOISE * noise)
    found = contrast > limit
    if found.mean() < 0.002:
        raise NoSheet("nothing stands out of its ground: it is blank, or all noise")
    if found.mean() > 1 - _LEAST_GROUND:
        raise NoSheet("there is no even ground around what is on it, as a sheet has")
    coloured = _coloured(colour, zoom, found)
    lines = _lines(found)
    plain = found & ~coloured & ~ndimage.binary_dilation(lines, iterations=2)
    strong = float(np.quantile(contrast[plain], 0.9)) if plain.any() else float(contrast.max())
    mask = contrast > max(limit, _SHARE * strong)
    mask &= ~ndimage.binary_dilation(coloured, iterations=3)
    mask &= ~_without_crossed(lines, mask)
    return Ink(contrast, mask, lines, coloured, zoom, strong, max(2.0, 3 * noise), bright, round(ground))


def _resized(image: np.ndarray, zoom: float) -> np.ndarray:
    size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
    way = Image.Resampling.BICUBIC if zoom > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size, way))


def _ground_level(work: np.ndarray) -> float:
    """The most frequent gray value, give or take two levels."""
    counts = np.bincount(np.rint(work).astype(int).ravel().clip(0, 255), minlength=256)
    return float(np.argmax(np.convolve(counts, np.ones(5), "same")))


def _local_ground(work: np.ndarray, bright: bool) -> np.ndarray:
    """The ground at each pixel, float32 [h, w]: uneven light and paper's shadow lie in it.

    In windows wider than a pair of chromosomes, the value that most of the window's ground side has.
    """
    step = max(1, max(work.shape) // 120)
    small = work[::step, ::step]
    window = max(5, int(_WINDOW * max(small.shape)))
    level = ndimage.percentile_filter(small, 75 if bright else 25, size=window, mode="nearest")
    level = ndimage.gaussian_filter(level, window / 3, mode="nearest")
    return np.asarray(Image.fromarray(level).resize(work.shape[::-1], Image.Resampling.BILINEAR), np.float32)


def _noise(work: np.ndarray, local: np.ndarray, bright: bool) -> float:
    """Spread of the ground, gray levels, from its side that no ink lies on."""
    beyond = work - local if bright else local - work
    beyond = beyond[beyond > 0]
    return float(np.median(beyond)) / 0.6745 if beyond.size > work.size * 0.02 else 0.0


def _coloured(colour: np.ndarray | None, zoom: float, found: np.ndarray) -> np.ndarray:
    """What is printed in colour on a gray sheet; of sheets that are coloured all over, nothing."""
    if colour is None:
        return np.zeros_like(found)
    coloured = (_resized(colour, zoom) > _COLOUR) & ndimage.binary_dilation(found, iterations=2)
    return coloured if coloured.sum() < 0.25 * found.sum() else np.zeros_like(found)


def _lines(found: np.ndarray) -> np.ndarray:
    """Straight thin strokes, across and down: rules, underlines, frames. The thicker, the longer they have to be."""
    side = max(found.shape)
    lines = np.zeros_like(found)
    for flip, share in ((False, _LONG_ACROSS), (True, _LONG_DOWN)):
        lain = found.T if flip else found
        for thick, long in ((_THICK, share), (2 * _THICK, _LONG), (3 * _THICK, _LONGEST)):
            most = max(3, round(thick * side))
            # What a stroke crosses, and where it meets another, it is not thin itself: short gaps are bridged.
            thin = lain & ~_runs(lain.T, most + 1).T
            strokes = _runs(thin | (lain & _bridged(thin, 2 * most + 2)), round(long * side)) & lain
            lines |= strokes.T if flip else strokes
    return lines


def _bridged(thin: np.ndarray, gap: int) -> np.ndarray:
    """``thin`` with gaps along the rows up to ``gap`` pixels closed."""
    padded = np.pad(thin, ((0, 0), (gap, gap)))
    return ~_runs(~padded, gap + 1)[:, gap:-gap] | thin


def _runs(found: np.ndarray, least: int) -> np.ndarray:
    """The pixels of ``found`` that stand in an unbroken run of ``least`` along their row."""
    padded = np.pad(found, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    long = stops - starts >= least
    marks = np.zeros((found.shape[0], found.shape[1] + 1), np.int32)
    np.add.at(marks, (rows[long], starts[long]), 1)
    np.add.at(marks, (rows[long], stops[long]), -1)
    return np.cumsum(marks, axis=1)[:, :-1] > 0


def _without_crossed(lines: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``lines`` and their soft rims, less where a line runs through a chromosome: there is ink on both its sides."""
    if not lines.any():
        return lines
    # Only what lies at the line itself: a number under an underline is not what the line runs through.
    reach = 3 + round(float(np.median(ndimage.distance_transform_edt(lines)[lines])))
    wide = ndimage.binary_dilation(lines, iterations=2)
    ink = mask & ~wide
    size = 2 * reach + 1
    crossed = np.zeros_like(lines)
    for axis in (0, 1):
        before = ndimage.maximum_filter1d(ink, size, axis, origin=reach)
        after = ndimage.maximum_filter1d(ink, size, axis, origin=-reach)
        crossed |= before & after
    return wide & ~ndimage.binary_opening(crossed & wide, iterations=1)
