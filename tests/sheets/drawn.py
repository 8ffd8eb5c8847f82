"""Sheets drawn from drawn cells, in the styles of laboratories: what stands where is known to the pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bandbridge.dataset.cutout import cut_out, stand
from bandbridge.karyotype import CLASSES
from bandbridge.synthetic.cells import draw_cell

USUAL = (
    ("1", "2", "3", "", "4", "5"),
    ("6", "7", "8", "9", "10", "11", "12"),
    ("13", "14", "15", "", "16", "17", "18"),
    ("19", "20", "", "21", "22", "X", "Y"),
)
#: The older arrangement in three rows, and a portrait one of many.
WIDE = tuple(CLASSES[start : start + 8] for start in range(0, 24, 8))
TALL = tuple(CLASSES[start : start + 4] for start in range(0, 24, 4))


@dataclass(frozen=True)
class Style:
    """How a sheet looks.

    rows: its labels, "" a gap. numbers: "below", "above", "corner" (of frames) or "". ground, ink: gray of the paper
    and of what is printed; tint: of the numbers, RGB. together: the label that X and Y share. caption: text on it.
    scale: size of chromosomes. pair: pixels between homologues, below 0 they touch.
    """

    stain: str = "G"
    rows: tuple[tuple[str, ...], ...] = USUAL
    numbers: str = "below"
    font: str = "DejaVuSans-Bold"
    size: int = 18
    ground: int = 255
    ink: int = 0
    tint: tuple[int, int, int] | None = None
    frames: bool = False
    underline: bool = False
    together: str = ""
    caption: str = ""
    scale: float = 1.0
    pair: int = 8
    seed: int = 5
    cell: int = 0
    extra: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    shift: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A sheet, uint8 [H, W] or [H, W, 3], and its chromosomes: (label, (top, left, bottom, right))."""

    picture: np.ndarray
    truth: tuple[tuple[str, tuple[int, int, int, int]], ...]

    @property
    def gray(self) -> np.ndarray:
        return np.asarray(Image.fromarray(self.picture).convert("L"))

    @property
    def colour(self) -> np.ndarray | None:
        if self.picture.ndim == 2:
            return None
        return self.picture.max(axis=2) - self.picture.min(axis=2)


def draw_sheet(style: Style) -> Drawn:
    """Draw one cell as ``style`` says."""
    cells = _chromosomes(style)
    tall = max(one.shape[0] for group in cells.values() for one in group)
    column = max(sum(one.shape[1] + style.pair for one in group) for group in cells.values()) + 50
    widest = max(len(row) for row in style.rows)
    heights = [
        max([one.shape[0] for label in row for one in cells.get(label, ())] or [tall]) + 70 for row in style.rows
    ]
    width, height = widest * column + 60, sum(heights) + 80
    paper = np.full((height, width), style.ground, np.uint8)
    marks = Image.new("L", (width, height), 0)
    pen, font = ImageDraw.Draw(marks), _font(style.font, style.size)
    truth, top = [], 40
    for row, high in zip(style.rows, heights, strict=True):
        for place, label in enumerate(row):
            if not label:
                continue
            left, floor = 30 + place * column, top + high - 50
            group = cells.get(label, [])
            x = (
                left
                + max(4, (column - sum(one.shape[1] + style.pair for one in group)) // 2)
                + style.shift.get(label, 0)
            )
            for one in group:
                box = (floor - one.shape[0], x, floor, x + one.shape[1])
                _lay(paper, one, box, style)
                truth.append((_true_label(label, one, group, style), box))
                x += one.shape[1] + style.pair
            _mark(pen, font, style, label, (top - 12, left + 2, top + high - 16, left + column - 6), floor)
        top += high
    if style.caption:
        pen.text((40, 8), style.caption, fill=255, font=font)
    return Drawn(_printed(paper, np.asarray(marks), style), tuple(truth))


def _chromosomes(style: Style) -> dict[str, list[np.ndarray]]:
    """Contrasts, uint8, upright, by the label that they stand under."""
    found: dict[str, list[np.ndarray]] = {}
    for one in draw_cell(style.stain, style.seed, style.cell):  # type: ignore[arg-type]
        contrast = stand(cut_out(one.image, style.stain == "G")).contrast
        size = (max(1, round(contrast.shape[1] * style.scale)), max(1, round(contrast.shape[0] * style.scale)))
        found.setdefault(one.label, []).append(np.asarray(Image.fromarray(contrast).resize(size)))
    for label in style.extra:
        found[label].append(found[label][0])
    for label in style.missing:
        found.pop(label)
    if style.together:
        found[style.together] = found.pop("X", []) + found.pop("Y", [])
    return found


def _true_label(label: str, one: np.ndarray, group: Sequence[np.ndarray], style: Style) -> str:
    if label != style.together:
        return label
    return "X" if one is group[0] or one.size > 0.7 * group[0].size else "Y"


def _lay(paper: np.ndarray, one: np.ndarray, box: tuple[int, int, int, int], style: Style) -> None:
    part = paper[box[0] : box[2], box[1] : box[3]].astype(int)
    sign = -1 if style.ground >= 128 else 1
    seen = np.clip(style.ground + sign * one.astype(int) * (0.75 if style.ground not in (0, 255) else 1), 0, 255)
    paper[box[0] : box[2], box[1] : box[3]] = np.minimum(part, seen) if sign < 0 else np.maximum(part, seen)


def _mark(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    style: Style,
    label: str,
    box: tuple[int, int, int, int],
    floor: int,
) -> None:
    top, left, bottom, right = box
    middle = (left + right) // 2 + style.shift.get(label, 0)
    if style.frames:
        pen.rectangle((left, top, right, bottom), outline=255, width=2)
    if style.underline:
        pen.line((left + 8, floor + 5, right - 8, floor + 5), fill=255, width=2)
    if style.numbers == "below":
        pen.text((middle, floor + 12), label, fill=255, font=font, anchor="mt")
    elif style.numbers == "above":
        pen.text((middle, top + 4), label, fill=255, font=font, anchor="mb")
    elif style.numbers == "corner":
        pen.text((left + 6, bottom - 4), label, fill=255, font=font, anchor="lb")


def _printed(paper: np.ndarray, marks: np.ndarray, style: Style) -> np.ndarray:
    share = marks[..., None] / 255
    if style.tint is None:
        return np.rint(paper * (1 - share[..., 0]) + style.ink * share[..., 0]).astype(np.uint8)
    return np.rint(paper[..., None] * (1 - share) + np.array(style.tint) * share).astype(np.uint8)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def boxes_right(
    drawn: Drawn, found: Sequence[tuple[str, tuple[float, float, float, float]]], least: float = 0.5
) -> list[str]:
    """What is wrong of (label, box) ``found``, boxes in the sheet's pixels: missed, extra, and of another class."""
    left = list(drawn.truth)
    wrong = []
    for label, box in found:
        match = max(left, key=lambda one: overlap(one[1], box), default=None)
        if match is None or overlap(match[1], box) < least:
            wrong.append(f"extra {label}")
            continue
        left.remove(match)
        if match[0] != label:
            wrong.append(f"{match[0]} is called {label}")
    return wrong + [f"missed {label}" for label, _ in left]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    high = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    wide = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = high * wide
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def write_sheets(folder: Path, styles: Mapping[str, Style]) -> Path:
    """Write a drawn sheet for each name of ``styles`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, style in styles.items():
        Image.fromarray(draw_sheet(style).picture).save(folder / name)
    return folder
