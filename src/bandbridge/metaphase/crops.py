"""The single chromosomes of a cut field as images: each on the field's own ground, no other's pixels beside it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.maps import maps_of
from bandbridge.metaphase.pieces import Piece

#: Ground around a chromosome in its crop, in widths, and how much of its blurred rim is its own.
_MARGIN, _SOFT = 0.4, 0.12


def layers_of(cut: Cut, places: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the two maps of the pieces at ``places`` of the cut: see :func:`bandbridge.metaphase.maps.maps_of`."""
    return maps_of([cut.pieces[place] for place in places], cut.shape)


def crop_of(gray: np.ndarray, width: float, piece: Piece, others: np.ndarray) -> np.ndarray:
    """Return the crop of ``piece`` from ``gray`` [H, W], of the same type.

    width: of a chromosome, pixels. others: bool [H, W], where other pieces are. Its own pixels and their soft rim are
    as they were; all else has the gray value of the ground around it.
    """
    margin, soft = max(2, round(_MARGIN * width)), max(1, round(_SOFT * width))
    wide = 3 * margin
    rows, columns = piece.box
    outer = np.s_[max(0, rows.start - wide) : rows.stop + wide, max(0, columns.start - wide) : columns.stop + wide]
    own = np.zeros(gray[outer].shape, bool)
    own[
        rows.start - outer[0].start : rows.stop - outer[0].start,
        columns.start - outer[1].start : columns.stop - outer[1].start,
    ] = piece.mask
    other = others[outer] & ~own
    near = ndimage.binary_dilation(own | other, iterations=soft + 1)
    ground = gray[outer][~near]
    level = np.median(ground) if ground.size else np.median(gray[outer])
    grown = ndimage.binary_dilation(own, iterations=soft) & ~ndimage.binary_dilation(other, iterations=1) | own
    rim = grown & ~own
    found = np.where(grown, gray[outer], level.astype(gray.dtype))
    # The rim is softened into the ground, and nothing in it is farther from the ground than the chromosome.
    values = found[rim].astype(float)
    found[rim] = (0.5 * values + 0.5 * float(level)).astype(gray.dtype)
    up, left = rows.start - outer[0].start, columns.start - outer[1].start
    top, side = max(0, up - margin), max(0, left - margin)
    bottom = min(found.shape[0], up + piece.mask.shape[0] + margin)
    right = min(found.shape[1], left + piece.mask.shape[1] + margin)
    return np.ascontiguousarray(found[top:bottom, side:right])
