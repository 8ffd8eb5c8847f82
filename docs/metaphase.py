"""Draw docs/images/metaphase.png: a drawn metaphase beside what ``bandbridge cut`` makes of it.

python docs/metaphase.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.overview import overview
from bandbridge.synthetic.spread import Crowd, draw_spread

PICTURE = Path(__file__).resolve().parent / "images" / "metaphase.png"


def picture() -> Image.Image:
    """Return the two, side by side."""
    gray = draw_spread("G", 4, 2, Crowd(share=0.2, crossing=0.3, touching=0.3, bend=2.5, nuclei=2, width=12)).gray
    cut = cut_field(gray)
    cut_out = overview(gray, cut, cut.cells[0])
    field = Image.fromarray(gray).convert("RGB").resize(cut_out.size)
    beside = Image.new("RGB", (2 * field.width, field.height))
    beside.paste(field, (0, 0))
    beside.paste(cut_out, (field.width, 0))
    return beside.resize((1400, round(1400 * beside.height / beside.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    picture().quantize(128).save(PICTURE, optimize=True)
