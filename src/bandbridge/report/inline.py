"""Figures and pictures as text inside a page: vector drawings that follow its colours, images without files."""

from __future__ import annotations

import base64
import io
import re
from html import escape

import matplotlib
import numpy as np
from PIL import Image

from bandbridge.filenames import in_letters
from bandbridge.report.figures.illustration import Illustration

#: What a drawing on white paper uses, and what the page says instead, in its light and its dark form.
_COLOURS = {"#000000": "currentColor", "#ffffff": "var(--paper)"}
_FONTS = re.compile(r"'DejaVu Sans'[^;\"]*?sans-serif")


def inline_svg(illustration: Illustration) -> str:
    """Return the figure as an ``<svg>`` element for a page: text as text, no fixed size, ids of its own.

    Black becomes the page's text colour and white its ground, so that it can be read on light and dark pages. The
    element is an image with a name to a screen reader.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": illustration.name, "svg.fonttype": "none"}):
        illustration.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _with_own_ids(text, illustration.name)
    for paper, page in _COLOURS.items():
        text = re.sub(paper, page, text, flags=re.IGNORECASE)
    text = _FONTS.sub("var(--sans)", text)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)  # it would rule the whole page
    text = re.sub(r"\n\s*", "\n", text)
    return _with_header(text, illustration)


def _with_own_ids(text: str, name: str) -> str:
    """Drop the ids that nothing refers to and put the figure's name before the others: pages hold many figures."""
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    prefix = in_letters(name, "_-", "-")

    def own(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', own, text)
    return re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\g<1>{prefix}-\g<2>", text)


def _with_header(text: str, illustration: Illustration) -> str:
    box = re.search(r'viewBox="([^"]*)"', text)
    view = box[1] if box else "0 0 100 100"
    width = float(view.split()[2])
    label = escape(f"{illustration.title}. {illustration.sentence}", quote=True)
    header = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view}" style="width:{width * 4 / 3:.0f}px" '
        f'role="img" aria-label="{label}" fill="currentColor">'
    )
    return header + text[text.index(">") + 1 :]


def inline_image(picture: np.ndarray, quality: int = 88) -> str:
    """Return uint8 ``picture``, [H, W] or [H, W, 3], as a data URI (WebP; ``quality`` 1 to 100)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
