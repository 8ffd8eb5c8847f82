"""One drawn cell: its chromosomes, a patient's own heterochromatin, neighbours, overlaps and missing ends.

Everything random descends from ``(seed, stain)``: a stream for each patient and one for each cell, so that a cell's
images depend neither on how many cells are drawn nor on the order in which they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bandbridge.dataset.ideogram import RESOLUTIONS, Stain, check_stain
from bandbridge.errors import UserError
from bandbridge.karyotype import CLASS_INDEX, CLASSES, expected_copies
from bandbridge.synthetic.layout import Laid, lay_out
from bandbridge.synthetic.look import Drawing, Look, Style, draw_style, usual_look
from bandbridge.synthetic.paint import Sheet, arrange, develop, paint

#: Cells 0 to 2 are the first patient's, 3 to 5 the second's, and so on.
CELLS_PER_PATIENT = 3
#: Chromosomes of a drawn cell, all of them normal.
IN_CELL = 46
# One number for each purpose that draws at random, so that no two share a stream.
_PATIENT, _CELL = range(2)
_HETEROMORPHISM_SD = 0.25
#: Share of cells drawn at each resolution.
_RESOLUTION_ODDS = (0.3, 0.5, 0.2)


@dataclass(frozen=True)
class DrawnChromosome:
    """One crop: ``label`` "1".."22", "X" or "Y", ``copy`` "a" or "b", ``image`` uint8 [H, W]."""

    label: str
    copy: str
    image: np.ndarray


def draw_cell(
    stain: Stain, seed: int, cell: int, drawing: Drawing | None = None, look: Look | None = None
) -> list[DrawnChromosome]:
    """Draw the 46 chromosomes of cell number ``cell`` (from 0), in karyotype order.

    Q images are bright on black, G images dark on white. The sex and the heterochromatin are those of patient
    ``cell // CELLS_PER_PATIENT``; condensation, focus, exposure and staining are the cell's own. The same
    arguments always give the same pixels. Raises :class:`UserError` for an unknown stain or a negative seed
    or cell.
    """
    stain, drawing = check_stain(stain), drawing or Drawing()
    check_counts(seed=seed, cell=cell)
    named = karyotype(stain, seed, cell)
    own = own_bands(stain, seed, cell, drawing)
    rng = _stream(stain, seed, _CELL, cell)
    style = draw_style(look or usual_look(stain), drawing, rng)
    return draw_styled(stain, named, own, style, drawing, rng)


def draw_styled(
    stain: Stain,
    named: list[tuple[str, str]],
    own: np.ndarray,
    style: Style,
    drawing: Drawing,
    rng: np.random.Generator,
) -> list[DrawnChromosome]:
    """Draw the chromosomes ``named``, each by (label, copy), in ``style``; ``own``: see :func:`own_bands`."""
    classes = np.array([CLASS_INDEX[label] for label, _ in named])
    copies = np.array([copy == "b" for _, copy in named], dtype=int)
    varied = drawing.variation > 0
    resolution = RESOLUTIONS[rng.choice(3, p=_RESOLUTION_ODDS)] if varied else 550
    sequence = float(rng.uniform(0, 1)) if varied else 0.0
    # What lies in whose crop besides its own: other chromosomes, beside it or across.
    beside, across = (
        np.flatnonzero(rng.random(len(classes)) < odds) for odds in (drawing.neighbours, drawing.overlaps)
    )
    foreign = rng.integers(len(CLASSES), size=len(beside) + len(across))
    every = np.concatenate([classes, foreign])
    plain = np.ones((len(foreign), 2, 2))
    bands = np.concatenate([own[classes, copies], plain])
    laid = lay_out(every, stain, bands, style, drawing, rng, resolution, sequence)
    hosts, sheet = in_crops(laid.only(slice(len(classes))), style, drawing, rng)
    crops = np.concatenate([np.arange(len(classes)), beside, across])
    others = _laid_by(laid.only(slice(len(classes), None)), sheet, crops[len(classes) :], len(beside), style, rng)
    density = np.zeros(sheet.shape, np.float32)
    paint(hosts.beside(others), sheet, crops, density)
    _cut_ends(density, sheet, drawing, rng)
    gray = develop(density, stain, style, rng)
    return [
        DrawnChromosome(label, copy, np.ascontiguousarray(sheet.crop(gray, number)))
        for number, (label, copy) in enumerate(named)
    ]


def check_counts(**counts: int) -> None:
    """Raise :class:`UserError` for a negative one of ``counts``."""
    for name, value in counts.items():
        if value < 0:
            raise UserError(f"{name} is {value}, expected 0 or more")


def _stream(stain: Stain, seed: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, ord(stain), *purpose]))


def karyotype(stain: Stain, seed: int, cell: int) -> list[tuple[str, str]]:
    """Return the (label, copy) of each chromosome of a normal cell; half the patients are XX, half XY."""
    x_count = 1 + int(_stream(stain, seed, _PATIENT, cell // CELLS_PER_PATIENT).random() < 0.5)
    return [(label, copy) for label in CLASSES for copy in "ab"[: expected_copies(label, x_count)]]


def own_bands(stain: Stain, seed: int, cell: int, drawing: Drawing) -> np.ndarray:
    """Return a patient's factors on variable bands, [24 classes, 2 copies, size and dye, short and long arm]."""
    rng = _stream(stain, seed, _PATIENT, cell // CELLS_PER_PATIENT, 1)
    drawn = np.clip(rng.standard_normal((len(CLASSES), 2, 2, 2)), -2, 2)
    factors: np.ndarray = np.exp(drawing.variation * _HETEROMORPHISM_SD * drawn)
    return factors


def in_crops(laid: Laid, style: Style, drawing: Drawing, rng: np.random.Generator) -> tuple[Laid, Sheet]:
    """Return the chromosomes each in a crop with its margin, and the sheet of those crops."""
    low, high = laid.bounds()
    margin = style.margin * (1 + drawing.variation * rng.uniform(-0.3, 0.3, size=(2, len(low), 2)))
    extent = high - low + margin[0] + margin[1]
    size = np.maximum(np.ceil(extent), 1).astype(np.int64)
    # The size is rounded up to whole pixels; half the gain on either side keeps symmetric crops symmetric.
    laid = laid.moved(margin[0] - low + (size - extent) / 2)
    return laid, arrange(size[:, 1], size[:, 0])


def _cut_ends(density: np.ndarray, sheet: Sheet, drawing: Drawing, rng: np.random.Generator) -> None:
    """Take an end away from some chromosomes, along a straight line: what a poor segmentation leaves."""
    for number in np.flatnonzero(rng.random(len(sheet.top)) < drawing.cut):
        share, slant, top = rng.uniform(0.08, 0.35), rng.normal(0, 0.4), rng.random() < 0.5
        crop = sheet.crop(density, int(number))
        height, width = crop.shape
        line = share * height + slant * (np.arange(width) - width / 2)
        rows = np.arange(height)[:, None]
        crop[(rows < line) if top else (rows > height - line)] = 0


def _laid_by(
    others: Laid, sheet: Sheet, crops: np.ndarray, beside: int, style: Style, rng: np.random.Generator
) -> Laid:
    """``others`` in ``crops``: the first ``beside`` along the left or right border, the rest across, turned anyhow."""
    count, width = len(crops), sheet.width[crops]
    is_beside = np.arange(count) < beside
    reach = rng.uniform(-0.3, 0.3, count) * style.width
    at_border = np.where(rng.random(count) < 0.5, reach, width - reach)
    amid = width / 2 + rng.uniform(-1.5, 1.5, count) * style.width
    x = np.where(is_beside, at_border, amid)
    y = rng.uniform(0, 1, count) * sheet.height[crops]
    angle = np.where(is_beside, 0.0, rng.uniform(0.5, np.pi - 0.5, count))
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    turn = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    turned = replace(others, axis=others.axis @ turn, direction=others.direction @ turn)
    middle = turned.axis[np.arange(count), turned.length.astype(int)]
    return turned.moved(np.stack([x, y], axis=1) - middle)
