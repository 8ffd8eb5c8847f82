"""The metaphase as the page shows it: its picture, and the outline of each chromosome on it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import contourpy
import numpy as np
from PIL import Image

from bandbridge.metaphase.by_hand import Standing, standing_out
from bandbridge.metaphase.pieces import Piece
from bandbridge.metaphase.told import whole_text
from bandbridge.review.database import Store
from bandbridge.review.field import StoredField
from bandbridge.review.others import Other, decode_mask, encode_mask
from bandbridge.review.picture import encode_png

#: Pixels of the longer side of the picture that the page is given.
_SIDE = 2400
#: Outlines of more points than this are told by every second of them.
_MANY = 60


def show_field(store: Store, cell: int) -> dict[str, Any] | None:
    """Return what the page shows of the metaphase of a cell, in plain values; None where it was not cut from one.

    picture: its address. box: left, top, right and bottom of what the picture shows, pixels of the field. width: of a
    chromosome. outlines: for each chromosome lists of x, y, x, y ... others: what the cut may be otherwise, in which
    chromosomes, the outlines of each piece that it gives, in words, and whether that was nearly even.
    """
    field = store.field(cell)
    if field is None:
        return None
    files = {number: file for number, (file, _) in zip(field.pieces, store.images_of(cell), strict=True)}
    return {
        "picture": f"/api/fields/{cell}/{field.picture}.png",
        "box": field.box,
        "width": round(field.width, 1),
        "outlines": {str(number): outline(piece) for number, piece in field.pieces.items()},
        "others": [_show_other(place, one, files) for place, one in field.others.items()],
    }


def _show_other(place: int, one: Other, files: Mapping[int, str]) -> dict[str, Any]:
    numbers = [int(number) for number in one.replaces]
    names = [files[number] for number in numbers]
    return {
        "other": place,
        "chromosomes": numbers,
        "outlines": [outline(piece) for piece in one.gives],
        "text": whole_text(names, len(one.gives)),
        "even": one.even,
    }


def outline(piece: Piece) -> list[list[float]]:
    """Return the outlines of ``piece``, its holes too, each x, y, x, y ... in pixels of the field."""
    return _outline(encode_mask(piece.mask), piece.top, piece.left)


@lru_cache(maxsize=4096)
def _outline(mask: bytes, top: int, left: int) -> list[list[float]]:
    padded = np.pad(decode_mask(mask), 1).astype(np.float32)
    found = []
    # The middle of the first pixel of the mask is (1, 1) in what is padded, and (0.5, 0.5) from its corner.
    for line in contourpy.contour_generator(z=padded).lines(0.5):
        points = np.asarray(line)[:-1] - 0.5 + (left, top)
        points = points[::2] if len(points) > _MANY else points
        found.append([round(value, 1) for value in points.ravel().tolist()])
    return found


def field_picture(store: Store, field: StoredField) -> bytes:
    """Return the part of the field that shows the cell as a PNG file, smaller where it is very large."""
    left, top, right, bottom = field.box
    part = read_gray(store, field.picture)[top:bottom, left:right]
    if max(part.shape) > _SIDE:
        picture = Image.fromarray(part)
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        part = np.asarray(picture)
    return encode_png(part)


@lru_cache(maxsize=2)
def read_gray(store: Store, picture: str) -> np.ndarray:
    """Return the picture of a field, uint8 [H, W]."""
    return store.read_image(picture)


@lru_cache(maxsize=1)
def read_standing(store: Store, picture: str) -> Standing:
    """Return how far a field stands out from its ground."""
    return standing_out(read_gray(store, picture))
