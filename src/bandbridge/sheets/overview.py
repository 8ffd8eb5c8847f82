"""What was read on each sheet, as a page to look at: the sheet with boxes and labels over it, and why it is doubted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bandbridge.sheets.judging import DOUBTFUL, FAIR, SURE, Reading
from bandbridge.sheets.records import Record
from bandbridge.templates import page_templates

#: By how sure a label is: ink of its box; on dark and on bright grounds well seen.
_INKS = {SURE: (20, 150, 60), FAIR: (40, 110, 230), DOUBTFUL: (220, 30, 30), "by hand": (150, 60, 200)}
#: Width of a picture, pixels.
_WIDTH = 1400
#: Chromosomes that reach less of the way from the ground to white or black are shown with more contrast, by a power.
_DIM, _RAISED = 0.6, 0.6


def draw_overview(gray: np.ndarray, reading: Reading) -> Image.Image:
    """Return the sheet ``gray``, uint8 [H, W], with a box, a label and a small number over each piece.

    A sheet whose chromosomes hardly stand out of its ground is shown with more contrast: somebody is to check them.
    """
    share = _WIDTH / gray.shape[1]
    way = Image.Resampling.BICUBIC if share > 1 else Image.Resampling.BOX
    size = (_WIDTH, max(1, round(gray.shape[0] * share)))
    picture = Image.fromarray(_clearer(gray, reading)).resize(size, way).convert("RGB")
    pen = ImageDraw.Draw(picture)
    zoom = share / reading.ink.zoom
    for one in reading.found:
        top, left, bottom, right = (side * zoom for side in one.box)
        ink = _INKS[one.sure]
        pen.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=ink, width=2)
        _write(pen, (left - 1, top - 19), one.label or "?", ink, 16, bold=True)
        _write(pen, (left, bottom + 1), str(one.number), (110, 110, 110), 10, bold=False)
    return picture


def _clearer(gray: np.ndarray, reading: Reading) -> np.ndarray:
    """The sheet, uint8, with as much contrast as its chromosomes leave room for, the faint ones raised most."""
    boxes = [[round(side / reading.ink.zoom) for side in one.box] for one in reading.found]
    inside = [gray[top:bottom, left:right].ravel() for top, left, bottom, right in boxes]
    ground = float(np.median(gray))
    away = np.concatenate(inside).astype(np.float32) - ground if inside else np.zeros(0, np.float32)
    if not away.size:
        return gray
    bright = np.percentile(away, 99) > -np.percentile(away, 1)
    room = 255 - ground if bright else ground
    reach = float(np.percentile(away if bright else -away, 99))
    if not 0 < reach < _DIM * room:
        return gray
    off = (gray.astype(np.float32) - ground) / reach
    raised = np.sign(off) * np.minimum(np.abs(off), 1) ** _RAISED
    found: np.ndarray = np.rint(np.clip(ground + room * raised, 0, 255)).astype(np.uint8)
    return found


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    ink: tuple[int, int, int],
    size: int,
    *,
    bold: bool,
) -> None:
    at = (at[0], max(0.0, at[1]))
    font = _font(size, bold)
    pen.rectangle(pen.textbbox(at, text, font=font), fill=(255, 255, 255))
    pen.text(at, text, fill=ink, font=font)


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def render_overview(records: Sequence[Record], notes: Sequence[str], command: str) -> str:
    """Return the page of all sheets, HTML: those to check first. Every text from outside is escaped.

    notes: files that are no sheets, a sentence each. command: what takes the labels set by hand.
    """
    environment = page_templates("bandbridge.sheets")
    order = sorted(records, key=lambda one: (one.state != "to check", one.sheet))
    return environment.get_template("overview.html.j2").render(
        records=order,
        to_check=[one for one in order if one.state == "to check"],
        imported=[one for one in order if one.state == "imported"],
        notes=notes,
        command=command,
    )
