"""How far a sheet is askew, and the picture of it turned straight, as a scan of a paper has to be.

What is printed and arranged in rows is sharpest edged when it is summed up along the rows, and frames and upright
chromosomes along the columns: the angle at which neighbouring sums differ most is the sheet's (Postl's criterion, US
patent 4,723,297 of 1988, long expired).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from bandbridge.sheets.ink import Ink, NoSheet, find_ink

#: Angles that are looked at, degrees: the most, from one to the next, then nearer.
_MOST, _STEP, _NEARER = 12.0, 0.5, 0.1
#: Below this a sheet is straight, degrees: turned, it would lose more than it gains.
_LEAST = 0.4
#: How many times as sharp as at the usual angle a sheet is at its own: sheets were 1.7 and more, metaphases 1.4 or so.
_CLEARLY = 1.5


@dataclass(frozen=True, eq=False)
class Straight:
    """A sheet as it is read: gray uint8 [H, W], colour uint8 [H, W] or None, and by how many degrees it was turned,
    counterclockwise; 0.0: it is as it was."""

    gray: np.ndarray
    colour: np.ndarray | None
    turned: float = 0.0


def straightened(gray: np.ndarray, colour: np.ndarray | None = None) -> Straight:
    """Return the sheet ``gray``, uint8 [H, W], turned straight; its corners are filled with its ground.

    colour: as :func:`~bandbridge.sheets.ink.find_ink` has it. One that is straight, or shows no rows, stays as it is.
    """
    try:
        ink = find_ink(gray, colour)
    except NoSheet:
        return Straight(gray, colour)
    angle = tilt_of(ink)
    if not angle:
        return Straight(gray, colour)
    return Straight(_turned(gray, angle, ink.ground), None if colour is None else _turned(colour, angle, 0), angle)


def tilt_of(ink: Ink) -> float:
    """Return by how many degrees, counterclockwise, a sheet has to be turned to stand straight; 0.0 where it does."""
    marks = ink.mask | ink.lines
    rows, columns = np.nonzero(marks & ~ndimage.binary_erosion(marks, iterations=2))
    if not len(rows):
        return 0.0
    # In pixels of the file, and anywhere within each: an enlarged scan has edges along its pixels that are not its own.
    at = np.stack([rows, columns]) / max(1.0, ink.zoom) + np.random.default_rng(0).uniform(-0.5, 0.5, (2, len(rows)))
    coarse = np.arange(-_MOST, _MOST + _STEP / 2, _STEP)
    sharp = np.array([_sharpness(at, angle) for angle in coarse])
    middle = coarse[int(np.argmax(sharp))]
    near = middle + np.arange(-_STEP, _STEP + _NEARER / 2, _NEARER)
    sharper = np.array([_sharpness(at, angle) for angle in near])
    angle = round(float(near[int(np.argmax(sharper))]), 1)
    clear = sharper.max() > _CLEARLY * float(np.median(sharp))
    return angle if clear and abs(angle) >= _LEAST else 0.0


def _sharpness(at: np.ndarray, angle: float) -> float:
    """How much neighbouring sums along rows and columns differ that are ``angle`` degrees askew."""
    turn = np.radians(angle)
    found = 0.0
    for along, across in ((at[0], at[1]), (at[1], -at[0])):
        place = along * np.cos(turn) - across * np.sin(turn)
        sums = np.bincount((place - place.min()).astype(int)).astype(float)
        found += float((np.diff(sums) ** 2).sum())
    return found


def _turned(image: np.ndarray, angle: float, ground: int) -> np.ndarray:
    picture = Image.fromarray(image)
    return np.asarray(picture.rotate(angle, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=ground))
