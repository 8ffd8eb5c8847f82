"""Whether a picture is a karyogram: what is arranged is no metaphase, and the other way round."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bandbridge.sheets.ink import NoSheet, find_ink
from bandbridge.sheets.pieces import find_pieces
from bandbridge.sheets.reading import read_sheet
from bandbridge.sheets.tilt import straightened
from bandbridge.sheets.upright import ARRANGED, upright_share


def is_arranged(gray: np.ndarray) -> bool:
    """Whether uint8 ``gray`` [H, W] shows a karyogram: upright pieces that are read as a cell, whether it adds up."""
    return how_arranged(gray) == "upright"


def how_arranged(gray: np.ndarray) -> Literal["upright", "lying", ""]:
    """Return how the karyogram that uint8 ``gray`` [H, W] shows stands, "lying" after a quarter turn; "" for none.

    Which way a lying one was turned is not told: upside down, a sheet may be read as well.
    """
    try:
        ink = find_ink(gray)
        masks = [piece.mask for piece in find_pieces(ink, np.zeros_like(ink.mask)).pieces]
    except NoSheet:
        return ""
    if upright_share(masks) >= ARRANGED:
        return "upright" if _is_read(gray) else ""
    if upright_share(mask.T for mask in masks) >= ARRANGED:
        return "lying" if _is_read(np.rot90(gray)) or _is_read(np.rot90(gray, 3)) else ""
    return ""


def _is_read(gray: np.ndarray) -> bool:
    try:
        read_sheet(straightened(np.ascontiguousarray(gray)).gray)
    except NoSheet:
        return False
    return True
