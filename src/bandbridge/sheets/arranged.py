"""Whether a picture is a karyogram: what is arranged is no metaphase, and the other way round."""

from __future__ import annotations

import numpy as np

from bandbridge.sheets.ink import NoSheet, find_ink
from bandbridge.sheets.pieces import find_pieces
from bandbridge.sheets.reading import read_sheet
from bandbridge.sheets.upright import ARRANGED, upright_share


def is_arranged(gray: np.ndarray) -> bool:
    """Whether uint8 ``gray`` [H, W] shows a karyogram: upright pieces that are read as a cell, whether it adds up."""
    try:
        ink = find_ink(gray)
        pieces = find_pieces(ink, np.zeros_like(ink.mask)).pieces
        if not upright_share(piece.mask for piece in pieces) >= ARRANGED:
            return False
        read_sheet(gray)
    except NoSheet:
        return False
    return True
