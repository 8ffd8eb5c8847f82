"""Pictures of how a field was cut: every chromosome outlined and numbered, and each step on the way."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.lifted import BINS
from bandbridge.metaphase.pieces import CHROMOSOME, SURE

#: Colours follow each other by the golden ratio: neighbours in number differ most.
_GOLDEN = 0.618034
_GRAY, _DOUBT = (150, 150, 150), (255, 60, 60)
#: Width of an outline, and how much of a piece's colour lies over it.
_LINE, _TINT = 2, 0.2
#: Radius of a ring, in widths.
_RING = 0.45
#: Pixels of the longer side of a picture: a small field is enlarged up to the one, a large one halved from the other,
#: for in half of the pixels the numbers hide what they stand beside.
_SIDE, _LARGEST = 1600, 2400


def colour_of(number: int, on_dark: bool = True) -> tuple[int, int, int]:
    """Return the colour of piece ``number``, from 1; a darker one where it is not ``on_dark`` ground."""
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1, *((0.75, 1.0) if on_dark else (1.0, 0.8)))
    return round(255 * red), round(255 * green), round(255 * blue)


def overview(gray: np.ndarray, cut: Cut, places: tuple[int, ...]) -> Image.Image:
    """Return uint8 ``gray`` [H, W] with the chromosomes at ``places`` of the cut outlined and numbered from 1.

    Doubtful ones have a red number, and what is no chromosome of this cell a gray outline. A red ring is where it was
    nearly decided the other way.
    """
    by = max(1, -(-max(cut.shape) // _LARGEST))
    scale = max(1, min(3, _SIDE // max(cut.shape)))
    small = gray[::by, ::by]
    colours = np.repeat(small[..., None], 3, axis=2)
    colours = colours.repeat(scale, axis=0).repeat(scale, axis=1)
    number_of = {place: number for number, place in enumerate(places, start=1)}
    for place, piece in enumerate(cut.pieces):
        top, left = piece.top // by * scale, piece.left // by * scale
        mask = piece.mask[::by, ::by].repeat(scale, axis=0).repeat(scale, axis=1)
        mask = mask[: colours.shape[0] - top, : colours.shape[1] - left]
        padded = np.pad(mask, 1)
        edge = (padded & ~ndimage.binary_erosion(padded, iterations=_LINE))[1:-1, 1:-1]
        box = colours[top : top + mask.shape[0], left : left + mask.shape[1]]
        colour = np.array(colour_of(number_of[place], cut.levelled.bright) if place in number_of else _GRAY)
        box[mask] = (_TINT * colour + (1 - _TINT) * box[mask]).astype(np.uint8)
        box[edge] = colour
    image = Image.fromarray(colours)
    pen = ImageDraw.Draw(image)
    otherwise = [one for one in cut.otherwise if set(one.replaces) <= set(number_of)]
    doubtful = {place for one in otherwise if one.even for place in one.replaces}
    for one in otherwise:
        at = (one.at[1] / by * scale, one.at[0] / by * scale)
        pen.circle(at, _RING * cut.width / by * scale, outline=_DOUBT, width=2)
    for place, number in number_of.items():
        piece = cut.pieces[place]
        row, column = piece.middle
        at = (column / by * scale, row / by * scale)
        fill = _DOUBT if piece.sure < SURE or place in doubtful else (255, 255, 255)
        pen.text(at, str(number), fill=fill, stroke_width=2, stroke_fill=(0, 0, 0), anchor="mm", font_size=13)
    return image


def steps(gray: np.ndarray, cut: Cut) -> Iterator[tuple[str, Image.Image]]:
    """Yield a name and a picture of each step: the field, its contrast, what the separator says, the pieces."""
    yield "1-field", Image.fromarray(gray)
    contrast = np.clip(cut.levelled.contrast / 1.3, 0, 1)
    yield "2-without-ground", _as_image(contrast)
    yield "3-chromosomes", _as_image(cut.said.there)
    yield "4-two-on-each-other", _as_image(cut.said.two)
    way, clear = cut.said.core.argmax(axis=0) / BINS, cut.said.core.max(axis=0)
    turned = np.array([colorsys.hsv_to_rgb(step / BINS, 1, 1) for step in range(BINS)])
    yield "5-directions", Image.fromarray((255 * turned[(way * BINS).astype(int)] * clear[..., None]).astype(np.uint8))
    kinds = np.zeros((*cut.shape, 3), np.uint8)
    for number, piece in enumerate(cut.pieces, start=1):
        part = kinds[piece.box]
        twice = piece.mask & part.any(axis=2)
        part[piece.mask] = colour_of(number) if piece.kind == CHROMOSOME else (90, 90, 90)
        part[twice] = 255
    yield "6-pieces", Image.fromarray(kinds)


def _as_image(share: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * share).astype(np.uint8))
