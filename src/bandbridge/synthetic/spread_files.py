"""Drawn metaphases as files, with their truth beside them: to try a cut on, or to learn one from.

FOLDER/fields/spread-g1.png            the field
FOLDER/truth/spread-g1_mask.png        16 bits: the number of the chromosome at a pixel, from 1
FOLDER/truth/spread-g1_overlap.png     16 bits: the second one where two lie on each other
FOLDER/truth/labels.csv                the class of each number
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bandbridge.dataset.ideogram import Stain, check_stain
from bandbridge.errors import UserError
from bandbridge.files import csv_lines, replacing, write_text
from bandbridge.progress import track
from bandbridge.synthetic.cells import check_counts
from bandbridge.synthetic.spread import draw_spread


def write_spreads(folder: Path, stain: Stain, count: int, seed: int = 0) -> Path:
    """Draw ``count`` metaphases into ``folder`` and return it; those that are there are drawn again, the same.

    Raises :class:`UserError` for another stain, fewer than one or a negative seed.
    """
    stain = check_stain(stain)
    check_counts(seed=seed)
    if count < 1:
        raise UserError(f"cells is {count}, expected 1 or more")
    rows = []
    for number in track(range(count), count, "Drawing metaphases"):
        spread = draw_spread(stain, seed, number)
        name = f"spread-{stain.lower()}{number + 1}"
        _save(spread.gray, folder / "fields" / f"{name}.png")
        _save(spread.first, folder / "truth" / f"{name}_mask.png")
        _save(spread.second, folder / "truth" / f"{name}_overlap.png")
        rows += [(f"{name}.png", str(k), label) for k, label in enumerate(spread.labels, start=1)]
    write_text(folder / "truth" / "labels.csv", csv_lines(("field", "number", "label"), rows))
    return folder


def _save(image: np.ndarray, path: Path) -> None:
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
