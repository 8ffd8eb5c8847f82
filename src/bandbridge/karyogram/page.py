"""The karyogram as one HTML file that needs nothing else, with a way to note corrections and take them along."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from bandbridge.karyogram.layout import Layout, Line, percent, to_check
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.templates import page_templates

#: Pixels that the pictures of one line may take on a page; the rest of its width is gaps.
_PICTURES_WIDTH, _LARGEST_ZOOM = 700.0, 1.6


def render(sheet: CellSheet, layout: Layout, summary: str, disclaimer: str, unsure_pose: float) -> str:
    """Return the page. Every text that comes from outside is escaped; the page runs no script but its own."""
    environment = page_templates("bandbridge.karyogram")
    zoom = _zoom(layout)
    environment.filters |= {"picture": inline_png, "percent": percent}
    return environment.get_template("karyogram.html.j2").render(
        sheet=sheet,
        layout=layout,
        lines=[(line, zoom * _height(line)) for line in layout.lines],
        zoom=zoom,
        checks=to_check(sheet),
        summary=summary,
        disclaimer=disclaimer,
        unsure_pose=unsure_pose,
        css=Markup(_asset("karyogram.css")),
        js=Markup(_asset("karyogram.js")),
    )


def inline_png(picture: np.ndarray) -> str:
    """Return uint8 gray ``picture`` [H, W] as a data URI, its pixels unchanged."""
    return inline_image(Image.fromarray(picture))


def inline_image(picture: Image.Image) -> str:
    """Return ``picture`` as a data URI of a PNG, its pixels unchanged."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _zoom(layout: Layout) -> float:
    """How much larger than on paper the page can show the chromosomes before a line gets wider than it."""
    pictures = max(
        (sum(place.width for slot in line.slots for place in slot.places) for line in layout.lines), default=1
    )
    return min(_LARGEST_ZOOM, max(1.0, _PICTURES_WIDTH / pictures))


def _height(line: Line) -> float:
    """The height of a line's pictures: the page puts each as far below the top as the sheet does."""
    bottoms = [place.top + place.height for slot in line.slots for place in slot.places]
    return max(bottoms, default=line.top) - line.top


def _asset(name: str) -> str:
    return Path(__file__).with_name("templates").joinpath(name).read_text(encoding="utf-8")
