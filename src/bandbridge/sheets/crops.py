"""A chromosome's own pixels on the sheet's ground: nothing else that stands on the sheet, no text, goes along."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from bandbridge.sheets.judging import Found, Reading

#: Ground around a crop, and how far its soft rim reaches beyond its outline, in pixels of the file; the rim at least so
#: many working pixels.
_EDGE, _RIM, _LEAST_RIM = 4, 1.5, 2
#: Longest side of a crop, pixels: of larger scans, less is kept.
_LONGEST = 1500


def cut_crop(gray: np.ndarray, one: Found, reading: Reading) -> np.ndarray:
    """Return ``one`` chromosome of the sheet ``gray``, uint8 [H, W], as uint8 [h, w] in the pixels of the file."""
    zoom = reading.ink.zoom
    top, left, bottom, right = one.box
    reach = round(max(_LEAST_RIM, _RIM * zoom))
    pad = reach + 2
    mask = np.pad(one.mask, pad)
    mask = ndimage.binary_fill_holes(mask)
    grown = ndimage.binary_dilation(mask, iterations=reach)
    grown &= mask | ~_others(reading, one, (top - pad, left - pad, bottom + pad, right + pad))
    box = (
        max(0, int((top - pad) / zoom)),
        max(0, int((left - pad) / zoom)),
        min(gray.shape[0], int(np.ceil((bottom + pad) / zoom))),
        min(gray.shape[1], int(np.ceil((right + pad) / zoom))),
    )
    kept = _to_file(grown, (top - pad, left - pad), box, zoom)
    seen = gray[box[0] : box[2], box[1] : box[3]]
    crop = np.where(kept, seen, np.uint8(reading.ink.ground))
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    if len(rows):
        crop = crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    crop = np.pad(crop, _EDGE, constant_values=reading.ink.ground)
    if max(crop.shape) > _LONGEST:
        shrink = _LONGEST / max(crop.shape)
        size = (max(1, round(crop.shape[1] * shrink)), max(1, round(crop.shape[0] * shrink)))
        crop = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BOX))
    return np.ascontiguousarray(crop, np.uint8)


def box_in_file(one: Found, reading: Reading, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of ``one`` in the pixels of the file, whose ``shape`` is [H, W]."""
    top, left, bottom, right = (side / reading.ink.zoom for side in one.box)
    return max(0, round(top)), max(0, round(left)), min(shape[0], round(bottom)), min(shape[1], round(right))


def _others(reading: Reading, one: Found, box: tuple[int, int, int, int]) -> np.ndarray:
    """Bool of the size of ``box``: where something else stands, other chromosomes, print, lines."""
    top, left, bottom, right = box
    taken = np.zeros((bottom - top, right - left), bool)
    everything = reading.blocked
    height, width = everything.shape
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    taken[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = everything[rows, columns]
    for other in reading.found:
        if other is one:
            continue
        first, second = max(top, other.box[0]), min(bottom, other.box[2])
        third, fourth = max(left, other.box[1]), min(right, other.box[3])
        if first < second and third < fourth:
            part = other.mask[
                first - other.box[0] : second - other.box[0], third - other.box[1] : fourth - other.box[1]
            ]
            taken[first - top : second - top, third - left : fourth - left] |= part
    return ndimage.binary_dilation(taken, iterations=1)


def _to_file(mask: np.ndarray, corner: tuple[int, int], box: tuple[int, int, int, int], zoom: float) -> np.ndarray:
    """``mask``, working pixels from ``corner`` on, in the pixels of the file inside ``box``."""
    rows = np.floor((np.arange(box[0], box[2]) + 0.5) * zoom).astype(int) - corner[0]
    columns = np.floor((np.arange(box[1], box[3]) + 0.5) * zoom).astype(int) - corner[1]
    within = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & ((columns >= 0) & (columns < mask.shape[1]))
    taken = mask[rows.clip(0, mask.shape[0] - 1)[:, None], columns.clip(0, mask.shape[1] - 1)]
    return np.asarray(taken & within)
