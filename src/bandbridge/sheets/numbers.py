"""The numbers printed on a sheet: found by their common height, read against the letters of a few fonts.

A whole number is compared at once, "12" as "12": digits of small scans touch. What it reads as is left open, with a
score for every class: the order in which the numbers stand settles what one of them alone does not
(:mod:`bandbridge.sheets.judging`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from bandbridge.karyotype import CLASSES
from bandbridge.sheets.ink import Boxed, Ink

#: What may stand under a group besides the classes.
MARKS = ("M", "mar", "XY")
#: Height of a letter that is compared, and the ground left around it, pixels.
_HEIGHT, _RIM = 20, 2
_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "STIXGeneral",
    "STIXGeneralBol",
    "cmss10",
)
#: Of letters on a sheet: least and most height, as shares of the longest side; least likeness to one; how much heights
#: of one print differ.
_LOWEST, _HIGHEST, _LIKE, _SPREAD = 0.005, 0.045, 0.55, 0.16
#: Room between letters of one number, in heights, and what it costs to be wider or narrower than the letters compared.
_NEAR, _ASPECT_COST = 0.55, 0.6
#: A stroke is no thicker, in heights, and what a scan of so many pixels blurs it by; fewest letters that make a print.
_STROKE, _BLUR, _FEWEST = 0.36, 2.2, 8
#: Letters that make a line of text.
_TEXT = 5


@dataclass(frozen=True, eq=False)
class Number(Boxed):
    """Something printed in the sheet's numbers.

    box: (top, left, bottom, right), working pixels. scores: for each of ``CLASSES`` and ``MARKS``, likeness, 0 to 1.
    places: of its letters, among the pieces of print.
    """

    box: tuple[int, int, int, int]
    scores: dict[str, float]
    places: tuple[int, ...] = ()

    @property
    def best(self) -> str:
        """What it looks most like."""
        return max(self.scores, key=self.scores.__getitem__)

    @property
    def likeness(self) -> float:
        """How much."""
        return self.scores[self.best]

    @property
    def lead(self) -> float:
        """How far the second best is behind."""
        first, second = sorted(self.scores.values())[-1:-3:-1]
        return first - second


@dataclass(frozen=True, eq=False)
class Print:
    """What is printed on a sheet. numbers: that may name groups. pieces: int [h, w], every piece that may be a letter.
    texts: which of them are of names, captions and the like.
    """

    numbers: tuple[Number, ...]
    pieces: np.ndarray
    texts: frozenset[int]

    def ink(self, numbers: Sequence[Number]) -> np.ndarray:
        """Return bool [h, w]: the ink of ``numbers`` and of all texts."""
        return np.isin(self.pieces, [place for one in numbers for place in one.places] + sorted(self.texts))


@dataclass(frozen=True)
class _Letter:
    place: int
    top: int
    left: int
    bottom: int
    right: int
    likeness: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def find_print(ink: Ink) -> Print:
    """Return what is printed on a sheet; nothing where no letters of one height stand on common lines."""
    strong = ndimage.gaussian_filter(ink.contrast, 0.5)
    dark = ((strong > 0.3 * ink.strong) & ~ndimage.binary_dilation(ink.lines, iterations=1)) | ink.coloured
    pieces, _ = ndimage.label(dark, structure=np.ones((3, 3)))
    letters = _letters(ink, pieces)
    kept = _of_one_print(letters, ink.zoom)
    texts = _texts(letters, kept)
    if len(kept) < _FEWEST:
        return Print((), pieces, texts)
    numbers = [
        Number(box, read(_seen(ink, box)), tuple(letter.place for letter in word))
        for word in _words([one for one in kept if one.place not in texts])
        if len(word) <= 3
        for box in [_box(word)]
    ]
    return Print(tuple(numbers), pieces, texts)


def _texts(letters: Sequence[_Letter], kept: Sequence[_Letter]) -> frozenset[int]:
    """The pieces that stand in lines of text: many in a row, letters of any kind, near one another."""
    height = float(np.median([one.height for one in kept])) if kept else 0.0
    lines: list[list[_Letter]] = []
    for one in sorted(letters, key=lambda each: each.left):
        if kept and not 0.4 * height <= one.height <= 1.7 * height:
            continue
        for line in lines:
            last = line[-1]
            shared = min(one.bottom, last.bottom) - max(one.top, last.top)
            if _apart(one, last) < 1.1 * max(one.height, last.height) and shared > 0.4 * min(one.height, last.height):
                line.append(one)
                break
        else:
            lines.append([one])
    return frozenset(one.place for line in lines if len(line) >= _TEXT for one in line)


def read(picture: np.ndarray) -> dict[str, float]:
    """Return the likeness, 0 to 1, to each label of ``picture``, float [h, w], bright letters on 0 cut to their box."""
    scores = dict.fromkeys((*CLASSES, *MARKS), 0.0)
    for label, likeness in _compared(picture, single=False):
        scores[label] = max(scores[label], likeness)
    return scores


def read_at(ink: Ink, region: tuple[int, int, int, int]) -> Number | None:
    """Return what is printed in ``region`` (top, left, bottom, right), where something is."""
    top, left, bottom, right = (max(0, side) for side in region)
    seen = np.where(ink.lines[top:bottom, left:right], 0, ink.contrast[top:bottom, left:right])
    if not seen.size or seen.max() < ink.faint:
        return None
    labels, _ = ndimage.label(seen > 0.4 * seen.max(), structure=np.ones((3, 3)))
    parts = [
        box
        for box in ndimage.find_objects(labels)
        if box[0].stop - box[0].start > 0.5 * (bottom - top) / 1.6 and box[1].start > 0
    ]
    if not parts:
        return None
    box = (
        top + min(part[0].start for part in parts),
        left + min(part[1].start for part in parts),
        top + max(part[0].stop for part in parts),
        left + max(part[1].stop for part in parts),
    )
    return Number(box, read(_seen(ink, box)))


def _letters(ink: Ink, pieces: np.ndarray) -> list[_Letter]:
    """Pieces of a letter's size that look like one."""
    side = ink.side
    found = []
    for place, box in enumerate(ndimage.find_objects(pieces), start=1):
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        if not max(6, _LOWEST * side) <= height <= _HIGHEST * side or width > 2.4 * height or width < 0.08 * height:
            continue
        own = np.pad(pieces[box] == place, 1)
        if 2 * float(ndimage.distance_transform_edt(own).max()) > _STROKE * height + _BLUR * ink.zoom:
            continue
        seen = np.where(own[1:-1, 1:-1], ink.contrast[box], 0)
        # A small digit may have run together with its neighbour.
        single = width <= 1.1 * height
        likeness = max((value for _, value in _compared(seen, single=single)), default=0.0)
        found.append(_Letter(place, box[0].start, box[1].start, box[0].stop, box[1].stop, likeness))
    return found


def _of_one_print(letters: Sequence[_Letter], zoom: float) -> list[_Letter]:
    """Those of the height that most of what looks like letters has, standing on lines with others of it."""
    like = [one for one in letters if one.likeness >= _LIKE]
    best: list[_Letter] = []
    for tall in sorted({one.height for one in like}):
        same = [one for one in like if abs(one.height - tall) <= max(zoom, _SPREAD / 2 * tall)]
        on_lines = [one for one in same if sum(abs(one.bottom - other.bottom) <= 0.2 * tall for other in same) >= 3]
        if sum(one.likeness**2 for one in on_lines) > sum(one.likeness**2 for one in best):
            best = on_lines
    if not best:
        return []
    height = float(np.median([one.height for one in best]))
    print_ = [one for one in like if abs(one.height - height) <= max(1.4 * zoom, _SPREAD * height)]
    # Letters that look like none of ours, of names and captions, stand beside some that do.
    return print_ + [
        one
        for one in letters
        if one.likeness < _LIKE
        and abs(one.height - height) <= 2 * _SPREAD * height
        and any(abs(one.bottom - other.bottom) <= 0.2 * height and _apart(one, other) < height for other in print_)
    ]


def _apart(one: _Letter, other: _Letter) -> int:
    return max(one.left - other.right, other.left - one.right)


def _words(letters: Sequence[_Letter]) -> list[list[_Letter]]:
    words: list[list[_Letter]] = []
    for one in sorted(letters, key=lambda each: each.left):
        for word in words:
            last = word[-1]
            near = one.left - max(each.right for each in word) <= _NEAR * one.height
            if near and abs(one.bottom - last.bottom) <= 0.3 * one.height:
                word.append(one)
                break
        else:
            words.append([one])
    return words


def _box(word: Sequence[_Letter]) -> tuple[int, int, int, int]:
    return (
        min(one.top for one in word),
        min(one.left for one in word),
        max(one.bottom for one in word),
        max(one.right for one in word),
    )


def _seen(ink: Ink, box: tuple[int, int, int, int]) -> np.ndarray:
    top, left, bottom, right = box
    seen = np.where(ink.lines[top:bottom, left:right], 0, ink.contrast[top:bottom, left:right])
    return np.asarray(seen, np.float32)


def _compared(picture: np.ndarray, *, single: bool) -> list[tuple[str, float]]:
    """Likeness of ``picture`` to each of the letters of the fonts, or to each label.

    It is their correlation at one size, less what their shapes differ.
    """
    found: list[tuple[str, float]] = []
    aspect = picture.shape[1] / picture.shape[0]
    for width, (labels, templates) in _templates(single).items():
        stretch = abs(float(np.log(aspect * _HEIGHT / width)))
        if stretch > 0.6:
            continue
        size = (width, _HEIGHT)
        small = Image.fromarray(np.asarray(picture, np.float32)).resize(size, Image.Resampling.BILINEAR)
        one = np.pad(np.asarray(small), _RIM).ravel()
        one = one - one.mean()
        norm = float(np.linalg.norm(one))
        if norm == 0:
            continue
        values = templates @ one / norm - _ASPECT_COST * max(0.0, stretch - 0.15)
        found += zip(labels, np.maximum(values, 0).tolist(), strict=True)
    return found


@cache
def _templates(single: bool) -> dict[int, tuple[list[str], np.ndarray]]:
    """By their width: the single letters, or the labels, in each font, of mean 0 and norm 1, one a row."""
    made: dict[int, tuple[list[str], list[np.ndarray]]] = {}
    for font in _FONTS:
        letters = {letter: _drawn(letter, font) for letter in "0123456789XYM"}
        plain = dict(letters) | {"1": _without_foot(letters["1"])}
        for label in letters if single else (*CLASSES, *MARKS):
            for way in (letters, plain) if "1" in label else (letters,):
                whole = _drawn(label, font) if label == "mar" else _side_by_side([way[each] for each in label])
                # A few widths, so that a picture is brought to a few sizes only.
                width = max(4, 2 * round(_HEIGHT * whole.shape[1] / whole.shape[0] / 2))
                labels, pictures = made.setdefault(width, ([], []))
                labels.append(label)
                pictures.append(_normal(whole, width).ravel())
    return {width: (labels, np.stack(pictures)) for width, (labels, pictures) in made.items()}


def _drawn(text: str, font: str, size: int = 60) -> np.ndarray:
    place = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    canvas = Image.new("L", (size * (len(text) + 1), 2 * size))
    ImageDraw.Draw(canvas).text((size // 2, size // 2), text, fill=255, font=ImageFont.truetype(place, size))
    values = np.asarray(canvas)
    rows, columns = np.flatnonzero(values.max(axis=1) > 64), np.flatnonzero(values.max(axis=0) > 64)
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)


def _without_foot(one: np.ndarray) -> np.ndarray:
    """The digit 1 as Helvetica has it: without the stroke at its foot."""
    stem = one[one.shape[0] // 2] > 64
    bare = one.copy()
    bare[int(0.8 * one.shape[0]) :, ~stem] = 0
    columns = np.flatnonzero(bare.max(axis=0) > 64)
    return bare[:, columns[0] : columns[-1] + 1]


def _side_by_side(letters: Sequence[np.ndarray]) -> np.ndarray:
    height = max(one.shape[0] for one in letters)
    gap = np.zeros((height, round(0.14 * height)), np.float32)
    parts: list[np.ndarray] = []
    for one in letters:
        grown = Image.fromarray(one).resize((max(1, round(one.shape[1] * height / one.shape[0])), height))
        parts += [gap, np.asarray(grown)] if parts else [np.asarray(grown)]
    return np.concatenate(parts, axis=1)


def _normal(picture: np.ndarray, width: int) -> np.ndarray:
    small = np.asarray(Image.fromarray(picture).resize((width, _HEIGHT), Image.Resampling.BOX))
    padded = np.pad(ndimage.gaussian_filter(small, 0.6), _RIM)
    padded = padded - padded.mean()
    return np.asarray(padded / np.linalg.norm(padded), np.float32)
