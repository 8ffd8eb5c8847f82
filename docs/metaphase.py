"""Draw docs/images/metaphase.png: a drawn metaphase beside what ``bandbridge cut`` makes of it.

python docs/metaphase.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.overview import overview
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

#: Grays of the palette, and by how much the channels of a gray pixel differ at most.
_GRAYS, _GRAY = 64, 12
PICTURE = Path(__file__).resolve().parent / "images" / "metaphase.png"


def picture() -> Image.Image:
    """Return the two, side by side."""
    gray = draw_spread("G", 4, 2, Crowd(share=0.2, crossing=0.3, touching=0.3, bend=2.5, nuclei=2, width=12)).gray
    cut = cut_field(gray, otherwise=True)
    cut_out = overview(gray, cut, cut.cells[0])
    field = Image.fromarray(gray).convert("RGB").resize(cut_out.size)
    beside = Image.new("RGB", (2 * field.width, field.height))
    beside.paste(field, (0, 0))
    beside.paste(cut_out, (field.width, 0))
    return beside.resize((1400, round(1400 * beside.height / beside.width)), Image.Resampling.LANCZOS)


def few_colours(image: Image.Image) -> Image.Image:
    """Return it with a palette of grays and of the outlines' colours, which are lost in that of a gray picture."""
    pixels = np.asarray(image)
    coloured = pixels[np.ptp(pixels.astype(int), axis=2) > _GRAY]
    grays = [level for step in range(_GRAYS) for level in [round(255 * step / (_GRAYS - 1))] * 3]
    colours = Image.fromarray(coloured[None]).quantize(256 - _GRAYS).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(grays + colours[: 3 * (256 - _GRAYS)])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    few_colours(picture()).save(PICTURE, optimize=True)
