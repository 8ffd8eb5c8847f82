"""Draw docs/images/synthetic.png: two drawn cells of each stain, a row each, at the same scale.

python docs/drawn.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bandbridge.dataset.ideogram import Stain
from bandbridge.synthetic.cells import draw_cell

PICTURE = Path(__file__).resolve().parent / "images" / "synthetic.png"
SHOWN = ("1", "2", "3", "5", "7", "9", "11", "13", "15", "17", "19", "21", "X", "Y")
ROWS: tuple[tuple[Stain, int], ...] = (("Q", 3), ("Q", 0), ("G", 0), ("G", 9))
_WIDTH, _HEIGHT = 62, 118


def picture() -> np.ndarray:
    """Return the picture, uint8 [H, W]."""
    rows = []
    for stain, cell in ROWS:
        drawn = {one.label: one.image for one in draw_cell(stain, 5, cell)}
        places = []
        for label in SHOWN:
            place = np.full((_HEIGHT, _WIDTH), 0 if stain == "Q" else 255, np.uint8)
            if label in drawn:
                image = drawn[label][:_HEIGHT, :_WIDTH]
                top, left = (_HEIGHT - image.shape[0]) // 2, (_WIDTH - image.shape[1]) // 2
                place[top : top + image.shape[0], left : left + image.shape[1]] = image
            places.append(place)
        rows.append(np.hstack(places))
    return np.vstack(rows)


if __name__ == "__main__":
    Image.fromarray(picture()).save(PICTURE, optimize=True)
    print(f"drawn: {PICTURE}")
