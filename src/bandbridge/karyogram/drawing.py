"""The karyogram of one cell as a picture, as a page to print and as a page to look at.

Every chromosome given is on it, in its place or under "Not placed"; what is missing is an empty place, what is one too
many stands beside the others. Nothing is told by colour alone.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from bandbridge.errors import UserError
from bandbridge.filenames import fault_of_file_name
from bandbridge.files import replacing, write_text
from bandbridge.karyogram.layout import (
    CAPTION,
    MARGIN,
    PAGE_HEIGHT,
    WIDTH,
    Layout,
    Line,
    Place,
    lay_out,
    percent,
    to_check,
)
from bandbridge.karyogram.page import render
from bandbridge.karyogram.sheet import CellSheet, Chromosome

DISCLAIMER = "Research use only. Not a medical device."
#: Certainty of the pose below which the sheet says that either end may be up.
UNSURE_POSE = 0.8
_LINE, _HEADING, _FOOTER, _COLUMN_CHARACTERS = 13.5, 22.0, 26.0, 98
_TONES = {False: {"ink": "#111111", "soft": "#5a5a5a", "paper": "#ffffff"}}
_TONES[True] = {"ink": "#f2f2f2", "soft": "#b4b4b4", "paper": "#000000"}
_ALIGNMENTS: dict[str, Literal["left", "center", "right"]] = {"l": "left", "m": "center", "r": "right"}


@dataclass(frozen=True)
class Text:
    """A line of text whose baseline starts (``anchor`` "l"), is centred ("m") or ends ("r") at (x, y)."""

    x: float
    y: float
    text: str
    size: float = 9.0
    anchor: str = "m"
    tone: str = "ink"
    bold: bool = False


@dataclass(frozen=True)
class Stroke:
    """A straight line from (x, y) to (to_x, to_y)."""

    x: float
    y: float
    to_x: float
    to_y: float
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True, eq=False)
class Plate:
    """Everything on a sheet, in units: the pictures' places, the texts and the strokes; ``height`` of the page."""

    layout: Layout
    texts: tuple[Text, ...]
    strokes: tuple[Stroke, ...]
    height: float


def draw_karyogram(sheet: CellSheet, width: int = 2240) -> Image.Image:
    """Return the karyogram of ``sheet`` as an RGB picture ``width`` pixels wide, one scale for all chromosomes.

    Chromosomes of bright bands on dark ground give a dark sheet. Raises :class:`UserError` for a width of less than
    560 or more than 8960 pixels.
    """
    if not 560 <= width <= 8960:
        raise UserError(f"a karyogram {width} pixels wide is asked for", "Choose 560 to 8960 pixels.")
    return _draw_picture(compose(sheet), width / WIDTH)


def write_karyogram(sheet: CellSheet, folder: Path, stem: str) -> list[Path]:
    """Write ``stem``.png, .pdf and .html into ``folder``; return their paths.

    In the PDF text is text and every chromosome has the photograph's own pixels. The page needs nothing but itself.
    Raises :class:`UserError` for a stem that is no file name, :class:`EnvironmentFault` when files cannot be written.
    """
    if (fault := fault_of_file_name(stem)) or any(not letter.isprintable() for letter in stem):
        why = f": {fault}" if fault else ""
        raise UserError(f"{stem!r} is not the name of a file{why}", "Give a name without folders.")
    plate = compose(sheet)
    picture, paper, page = (folder / f"{stem}{suffix}" for suffix in (".png", ".pdf", ".html"))
    with replacing(picture) as path:
        _draw_picture(plate, 2.0).save(path, format="PNG", dpi=(2 * 96, 2 * 96))
    drawn = _draw_paper(plate, sheet.name)
    with replacing(paper) as path:
        path.write_bytes(drawn)
    write_text(page, render(sheet, plate.layout, summary(sheet), said_below(sheet), UNSURE_POSE))
    return [picture, paper, page]


def compose(sheet: CellSheet) -> Plate:
    """Return what the sheet shows and where."""
    columns = _note_columns(sheet)
    rows = max(len(column) for column in columns)
    layout = lay_out(sheet, _HEADING + rows * _LINE + _FOOTER)
    height = max(PAGE_HEIGHT, layout.bottom + _HEADING + rows * _LINE + _FOOTER + MARGIN)
    texts, strokes = _head(sheet), [Stroke(MARGIN, MARGIN + 44, WIDTH - MARGIN, MARGIN + 44, 0.6)]
    for line in layout.lines:
        for made in (_line_marks(line), *(_place_marks(place, line) for slot in line.slots for place in slot.places)):
            texts += made[0]
            strokes += made[1]
    texts += _notes(columns, layout.bottom)
    texts.append(Text(MARGIN, height - MARGIN + 6, said_below(sheet), 9.5, "l", bold=True))
    scale = "One scale for all chromosomes, short arm up, centromeres aligned. Bandbridge"
    texts.append(Text(WIDTH - MARGIN, height - MARGIN + 6, scale, 8.5, "r", "soft"))
    return Plate(layout, tuple(texts), tuple(strokes), height)


def said_below(sheet: CellSheet) -> str:
    """Return what stands below every sheet: what it may be used for, and what has to be known of the model."""
    return " ".join(filter(None, (DISCLAIMER, sheet.remark)))


def summary(sheet: CellSheet) -> str:
    """Return "46 chromosomes, 1 not placed, 3 to check, 2 placed by hand"."""
    unplaced, checks = len(sheet.of("")), len(to_check(sheet))
    parts = [f"{len(sheet.chromosomes)} chromosome{'s' if len(sheet.chromosomes) != 1 else ''}"]
    parts += [f"{unplaced} not placed"] if unplaced else []
    parts += [f"{checks} to check" if checks else "none flagged"] if sheet.chromosomes else []
    moved = sum(one.corrected for one in sheet.chromosomes)
    return ", ".join(parts + ([f"{moved} placed by hand"] if moved else []))


def _head(sheet: CellSheet) -> list[Text]:
    key = (
        "Number under a chromosome: calibrated probability of its class.  \u25b2 in a frame: look at it, see below.  "
        "\u270e placed by hand.  \u2195 either end may be up.  Dashed: expected, not found."
    )
    return [
        Text(MARGIN, MARGIN + 14, f"Karyogram {clean(sheet.name, 60)}", 17, "l", bold=True),
        Text(WIDTH - MARGIN, MARGIN + 14, summary(sheet), 11, "r"),
        Text(MARGIN, MARGIN + 34, key, 8.5, "l", "soft"),
    ]


def _line_marks(line: Line) -> tuple[list[Text], list[Stroke]]:
    """The number and the line under each class, and the letter of each group."""
    texts, strokes = [], []
    for place, slot in enumerate(line.slots):
        middle = (slot.left + slot.right) / 2
        title = (slot.label or "Not placed") + (" (continued)" if slot.continued else "")
        strokes.append(Stroke(slot.left, line.base, slot.right, line.base, 1.1))
        title += f"  \u25b2 {slot.note}" if slot.note and not slot.continued else ""
        texts.append(Text(middle, line.base + 13, title, 9 if slot.note else 11, bold=True))
        first = place == 0 or line.slots[place - 1].group != slot.group
        if first and slot.group and slot.group != "Sex":
            texts.append(Text(slot.left - 9, line.base + 13, slot.group, 11, tone="soft"))
    return texts, strokes


def _place_marks(place: Place, line: Line) -> tuple[list[Text], list[Stroke]]:
    """The caption of a chromosome and its frame if it is to be checked; the outline of a missing one."""
    middle, floor = place.left + place.width / 2, line.base - CAPTION
    if place.tile is None:
        box = _box(place.left, place.top, place.left + place.width, place.top + place.height, 0.8, True)
        return [Text(middle, floor + 10, "missing", 7, tone="soft")], box
    one, number = place.tile.chromosome, place.tile.number
    texts = [Text(middle, floor + 10, percent(place.tile.probability), 8.5, bold=bool(number))]
    texts.append(Text(middle, floor + 20, " ".join(marks_of(one, number)), 8.5, bold=True))
    if not number:
        return texts, []
    half = max(place.width, 29.0) / 2 + 0.5
    return texts, _box(middle - half, place.top - 3, middle + half, line.base - 2, 1.2, False)


def _box(left: float, top: float, right: float, bottom: float, width: float, dashed: bool) -> list[Stroke]:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return [Stroke(*one, *other, width, dashed) for one, other in pairwise(corners)]


def marks_of(one: Chromosome, number: int) -> list[str]:
    """Return the signs under a chromosome: its number among those to check, its likeliest class where it is not placed,
    placed by hand, either end may be up.
    """
    signs = [f"\u25b2{number}"] if number else []
    signs += [] if one.placed else [f"{clean(one.predicted, 8)}?"]
    signs += ["\u270e"] if one.corrected else []
    return signs + (["\u2195"] if one.pose.certainty < UNSURE_POSE else [])


def _note_columns(sheet: CellSheet) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """The text below the chromosomes in two columns, (line, whether bold): what the counts say, then which to check."""
    unknown = textwrap.wrap(f"\u25b2 {clean(sheet.unknown, 400)}", _COLUMN_CHARACTERS) if sheet.unknown else []
    blocks = [[(line, True) for line in unknown]] if unknown else []
    blocks += [[(f"\u25b2 {clean(finding.text, 90)}: for review", True)] for finding in sheet.findings]
    for number, one in enumerate(to_check(sheet), start=1):
        text = f"\u25b2{number}  {clean(one.file, 48)}, {whereabouts(sheet, one)}: {clean('; '.join(one.reasons), 400)}"
        lines = textwrap.wrap(text, _COLUMN_CHARACTERS, subsequent_indent="      ")
        blocks.append([(line, False) for line in lines])
    if not blocks:
        blocks = [
            [("Nothing is flagged. That is no finding of a normal karyotype: a person looks at every sheet.", False)]
        ]
    total = sum(len(block) for block in blocks)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for block in blocks:
        (left if len(left) + len(block) <= (total + 2) // 2 or not left else right).extend(block)
    return left, right


def _notes(columns: tuple[list[tuple[str, bool]], ...], top: float) -> list[Text]:
    texts = [Text(MARGIN, top + 14, "For review", 11.5, "l", bold=True)]
    for left, column in zip((MARGIN, WIDTH / 2 + 8), columns, strict=True):
        for row, (text, bold) in enumerate(column):
            texts.append(Text(left, top + _HEADING + (row + 0.8) * _LINE, text, 9.2, "l", bold=bold))
    return texts


def whereabouts(sheet: CellSheet, one: Chromosome) -> str:
    """Return "in 9 (0.62; could be 9, 12)"."""
    where = f"in {one.placed}" if one.placed else f"not placed, most like {one.predicted}"
    could = f"; could be {', '.join(one.labels)}" if len(one.labels) > 1 else ""
    return f"{where} ({percent(sheet.probability(one))}{could})"


def clean(text: str, longest: int) -> str:
    """Return ``text`` in one line of printable characters, its middle left out where it is too long."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    head = (longest - 1) // 2
    return shown if len(shown) <= longest else f"{shown[:head]}\u2026{shown[len(shown) - (longest - 1 - head) :]}"


def _draw_picture(plate: Plate, zoom: float) -> Image.Image:
    """Draw a plate with Pillow, ``zoom`` pixels to a unit."""
    tones = _TONES[plate.layout.dark]
    canvas = Image.new("RGB", (round(WIDTH * zoom), round(plate.height * zoom)), tones["paper"])
    for place in plate.layout.places:
        if place.tile:
            size = max(1, round(place.width * zoom)), max(1, round(place.height * zoom))
            picture = Image.fromarray(place.tile.picture).resize(size, Image.Resampling.BICUBIC)
            canvas.paste(picture, (round(place.left * zoom), round(place.top * zoom)))
    pen = ImageDraw.Draw(canvas)
    for stroke in plate.strokes:
        for start, stop in _dashes(stroke):
            ends = [(x * zoom, y * zoom) for x, y in (start, stop)]
            pen.line(ends, fill=tones["ink"], width=max(1, round(stroke.width * zoom)))
    for text in plate.texts:
        pen.text(
            (text.x * zoom, text.y * zoom),
            text.text,
            fill=tones[text.tone],
            font=_font(round(text.size * zoom), text.bold),
            anchor=f"{text.anchor}s",
        )
    return canvas


def _dashes(stroke: Stroke) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    start, stop = np.array([stroke.x, stroke.y]), np.array([stroke.to_x, stroke.to_y])
    if not stroke.dashed:
        return [((stroke.x, stroke.y), (stroke.to_x, stroke.to_y))]
    count = max(1, round(float(np.linalg.norm(stop - start)) / 6))
    ends = [start + (stop - start) * part / (2 * count) for part in range(2 * count)]
    return [
        ((float(a[0]), float(a[1])), (float(b[0]), float(b[1]))) for a, b in zip(ends[::2], ends[1::2], strict=True)
    ]


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _draw_paper(plate: Plate, title: str) -> bytes:
    """Return a plate as a PDF page, three quarters of a point to a unit: A4 on its side where it fits."""
    tones = _TONES[plate.layout.dark]
    with matplotlib.rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH / 96, plate.height / 96), facecolor=tones["paper"])
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for place in plate.layout.places:
            if place.tile:
                box = (place.left, place.left + place.width, place.top + place.height, place.top)
                axes.imshow(place.tile.picture, cmap="gray", vmin=0, vmax=255, extent=box, interpolation="none")
        for one in plate.strokes:
            style = (0, (4, 4)) if one.dashed else "solid"
            axes.plot((one.x, one.to_x), (one.y, one.to_y), color=tones["ink"], lw=0.75 * one.width, linestyle=style)
        for text in plate.texts:
            axes.text(
                text.x,
                text.y,
                text.text,
                size=0.75 * text.size,
                color=tones[text.tone],
                ha=_ALIGNMENTS[text.anchor],
                va="baseline",
                weight="bold" if text.bold else "normal",
                parse_math=False,
            )
        axes.set(xlim=(0, WIDTH), ylim=(plate.height, 0), aspect="auto")
        # Without a date, the same cell gives the same file.
        metadata: dict[str, str | None] = {"Title": f"Karyogram {clean(title, 60)}", "Subject": DISCLAIMER}
        metadata |= {"Creator": "Bandbridge"} | dict.fromkeys(["CreationDate"])
        drawn = io.BytesIO()  # a full disk would have the writer raise an error of its own
        FigureCanvasPdf(figure).print_pdf(drawn, metadata=metadata)
        return drawn.getvalue()
