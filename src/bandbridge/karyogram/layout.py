"""Where everything goes on a karyogram: the sheet that cytogeneticists know, one scale for all chromosomes.

Rows are A and B, C, D and E, F and G with the sex chromosomes (ISCN 2020, groups by size and centromere), then those
that have no place. Homologues stand side by side over a line with their number, short arm up, centromeres of a row on
one level. Units are those of a page 1120 wide, in which A4 on its side is 792 high; the page grows where that is not
enough, and nothing is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from bandbridge.dataset.ideogram import centromere, chromosome_length
from bandbridge.dataset.prepare import background_level, foreground_mask
from bandbridge.karyogram.arms import find_centromere
from bandbridge.karyogram.orientation import turn_upright
from bandbridge.karyogram.sheet import CellSheet, Chromosome
from bandbridge.karyotype import AUTOSOMES, CLASSES

WIDTH, PAGE_HEIGHT, MARGIN = 1120.0, 792.0, 32.0
HEADER, CAPTION, NUMBER, ROW_GAP = 58.0, 25.0, 16.0, 12.0
#: Room left of a line for its group's letter.
_LETTER = 16.0
#: Room for a caption under the narrowest chromosome, and between slots and groups.
_PLACE_WIDTH, _PLACE_GAP, _SLOT_GAP, _GROUP_GAP, _NOTE_WIDTH = 31.0, 3.0, 16.0, 30.0, 112.0
_ROOM = WIDTH - 2 * MARGIN - _LETTER
_LARGEST_SCALE, _SMALLEST_LONGEST, _WIDEST_GAP = 4.0, 60.0, 90.0
_GROUPS = {
    "A": ("1", "2", "3"),
    "B": ("4", "5"),
    "C": ("6", "7", "8", "9", "10", "11", "12"),
    "D": ("13", "14", "15"),
    "E": ("16", "17", "18"),
    "F": ("19", "20"),
    "G": ("21", "22"),
    "Sex": ("X", "Y"),
}
_ROWS = ("AB", "C", "DE", "FG+")
#: How far an empty place reaches above the centromeres.
_ABOVE = 12.0
#: Pixels of ground left around a chromosome.
_EDGE = 5
#: How far an estimated centromere may lie from the ideogram's, in parts of the length, to be believed.
_CENTROMERE_TOLERANCE = 0.12


@dataclass(frozen=True, eq=False)
class Tile:
    """One chromosome ready to be drawn. picture: uint8 [h, w], upright, on the sheet's ground. centromere: rows from
    the top. probability: of the class it is placed in. number: its place in the list of those to check, from 1; 0 for
    none.
    """

    chromosome: Chromosome
    picture: np.ndarray
    centromere: float
    probability: float = 0.0
    number: int = 0


@dataclass(frozen=True, eq=False)
class Place:
    """A place for one chromosome, ``tile`` None where one is missing: the box of its picture."""

    tile: Tile | None
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Slot:
    """The places of one class on one line. label: "" for those not placed. note: what is unexpected of the count."""

    label: str
    group: str
    places: tuple[Place, ...]
    left: float = 0.0
    right: float = 0.0
    note: str = ""
    continued: bool = False


@dataclass(frozen=True, eq=False)
class Line:
    """Slots over one line. ``top`` of the tallest chromosome, ``base``: where the line under the captions runs."""

    slots: tuple[Slot, ...]
    top: float
    base: float


@dataclass(frozen=True, eq=False)
class Layout:
    """A whole sheet. scale: units to one pixel of the photographs. dark: whether its ground is black. bottom: of the
    last line."""

    scale: float
    dark: bool
    lines: tuple[Line, ...]
    bottom: float

    @property
    def places(self) -> list[Place]:
        return [place for line in self.lines for slot in line.slots for place in slot.places]

    @property
    def tiles(self) -> list[Tile]:
        """Return the tiles in the order in which they are read."""
        return [place.tile for place in self.places if place.tile]


def lay_out(sheet: CellSheet, notes: float = 0.0) -> Layout:
    """Return where every chromosome of ``sheet`` goes, at the largest scale that fits the page.

    ``notes`` is the height of what follows below the last line.
    """
    dark = is_dark(sheet)
    slots = _slots(sheet, dark)
    rows = _rows(slots)
    longest = max([tile.picture.shape[0] for slot in slots for tile in _tiles(slot)], default=1)
    least = min(_LARGEST_SCALE, _SMALLEST_LONGEST / longest)
    room = PAGE_HEIGHT - MARGIN - notes
    for scale in np.geomspace(_LARGEST_SCALE, least, 120):
        lines = [_break(row, float(scale)) for row in rows]
        layout = _stack([line for row in lines for line in row], float(scale), dark)
        if all(len(broken) == 1 for row, broken in zip(rows, lines, strict=True) if row[0].label) and (
            layout.bottom <= room
        ):
            break
    return layout


def is_dark(sheet: CellSheet) -> bool:
    """Say whether most of the photographs have a dark ground."""
    grounds = [background_level(one.image) for one in sheet.chromosomes]
    return bool(grounds) and float(np.median(grounds)) < 128


def to_check(sheet: CellSheet) -> list[Chromosome]:
    """Return the chromosomes that a person should look at, as they are read on the sheet: the first is number 1."""
    return [one for label in (*sheet.classes, "") for one in sheet.of(label) if one.reasons]


def percent(probability: float) -> str:
    """Return a probability with two digits, ">0.99" and "<0.01" at the ends: none is certain."""
    return ">0.99" if probability >= 0.995 else "<0.01" if probability < 0.005 else f"{probability:.2f}"


def expected_counts(sheet: CellSheet) -> dict[str, int]:
    """Return how many of each class a sheet has places for: its findings' word, else two, and X and Y by the Y.

    Classes that are not human chromosomes have none, and neither has a sheet of images of no known cell.
    """
    if not sheet.name or not set(sheet.classes) <= set(CLASSES):
        return {}
    male = bool(sheet.of("Y"))
    counts = dict.fromkeys(AUTOSOMES, 2) | {"X": 1 if male else 2, "Y": int(male)}
    told = {finding.label: finding.expected for finding in sheet.findings}
    # A word on one sex chromosome is one on the other: both make two.
    for one, other in (("X", "Y"), ("Y", "X")):
        if one in told:
            told.setdefault(other, 2 - told[one])
    counts |= told
    return {label: count for label, count in counts.items() if label in sheet.classes}


def _slots(sheet: CellSheet, dark: bool) -> list[Slot]:
    expected = expected_counts(sheet)
    groups = {label: group for group, labels in _GROUPS.items() for label in labels} if expected else {}
    numbers = {id(one): number for number, one in enumerate(to_check(sheet), start=1)}
    slots = []
    for label in (*sheet.classes, ""):
        tiles = [_tile(one, dark, sheet.probability(one), numbers.get(id(one), 0)) for one in sheet.of(label)]
        missing = max(0, expected.get(label, 0) - len(tiles))
        if not label and not tiles:
            continue
        places = [_place(tile) for tile in (*tiles, *[None] * missing)]
        unexpected = label in expected and len(tiles) != expected[label]
        note = f"{len(tiles)}, expected {expected[label]}" if unexpected else ""
        slots.append(Slot(label, groups.get(label, ""), tuple(places), note=note))
    return slots


def _place(tile: Tile | None) -> Place:
    return Place(tile, 0, 0, 0, 0)


def _tiles(slot: Slot) -> list[Tile]:
    return [place.tile for place in slot.places if place.tile]


def _rows(slots: list[Slot]) -> list[list[Slot]]:
    """The slots row by row: the groups' rows, or rows of eight where there are no groups; those not placed last."""
    placed = [slot for slot in slots if slot.label]
    if all(slot.group for slot in placed):
        rows = [[slot for slot in placed if (slot.group[0] if slot.group != "Sex" else "+") in row] for row in _ROWS]
    else:
        rows = [placed[start : start + 8] for start in range(0, len(placed), 8)]
    return [row for row in [*rows, [slot for slot in slots if not slot.label]] if row]


def _tile(one: Chromosome, dark: bool, probability: float, number: int) -> Tile:
    upright = turn_upright(one.image, one.pose)
    picture, mask = _on_ground(upright, 0 if dark else 255)
    return Tile(one, picture, _centromere_row(mask, one.placed or one.predicted), probability, number)


def _on_ground(image: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut uint8 ``image`` to its chromosome and fade its ground into ``level``; the image as it is if it is blank.

    The edge is soft and lies three pixels outside the foreground: faint ends and satellites stay as photographed.
    """
    mask = foreground_mask(image)
    if not mask.any():
        return image, np.ones_like(mask)
    around = np.pad(mask, _EDGE)
    opacity = np.clip(
        ndimage.gaussian_filter(ndimage.binary_dilation(around, iterations=_EDGE - 2).astype(float), 0.8), 0, 1
    )
    padded = np.pad(image.astype(np.float64), _EDGE, constant_values=background_level(image))
    mixed = np.rint(opacity * padded + (1 - opacity) * level).astype(np.uint8)
    rows, columns = ndimage.find_objects(around.astype(np.int8))[0]
    box = slice(rows.start - _EDGE, rows.stop + _EDGE), slice(columns.start - _EDGE, columns.stop + _EDGE)
    return mixed[box], around[box]


def _centromere_row(mask: np.ndarray, label: str) -> float:
    """The row of the centromere: where the chromosome is narrowest, unless the ideogram says that cannot be."""
    rows = np.flatnonzero(mask.any(axis=1))
    top, height = float(rows[0]), float(rows[-1] + 1 - rows[0])
    known = centromere(label) / chromosome_length(label) if label in CLASSES else None
    arms = find_centromere(mask)
    if arms is not None and arms.waisted:
        places = np.indices(mask.shape)[0]
        up = places[arms.short].mean() < places[arms.long].mean()
        found = arms.centromere if up else 1 - arms.centromere
        if known is None or abs(found - known) < _CENTROMERE_TOLERANCE:
            return top + found * height
    return top + (0.5 if known is None else known) * height


def _place_width(place: Place, scale: float) -> float:
    return max(_PLACE_WIDTH, place.tile.picture.shape[1] * scale if place.tile else 0)


def _slot_width(slot: Slot, scale: float) -> float:
    widths = [_place_width(place, scale) for place in slot.places] or [_PLACE_WIDTH]
    # A note under a narrow slot needs room of its own.
    return max(sum(widths) + _PLACE_GAP * (len(widths) - 1), _NOTE_WIDTH if slot.note else 0)


def _gap(before: Slot, after: Slot) -> float:
    return _SLOT_GAP if before.group == after.group else _GROUP_GAP


def _break(row: list[Slot], scale: float) -> list[list[Slot]]:
    """Divide a row into lines no wider than the page, a slot too wide for one into several."""
    room = _ROOM
    lines: list[list[Slot]] = [[]]
    used = 0.0
    for slot in (part for whole in row for part in _divide(whole, scale, room)):
        width = _slot_width(slot, scale) + (_gap(lines[-1][-1], slot) if lines[-1] else 0)
        if lines[-1] and used + width > room:
            lines.append([])
            used, width = 0.0, _slot_width(slot, scale)
        lines[-1].append(slot)
        used += width
    return lines


def _divide(slot: Slot, scale: float, room: float) -> list[Slot]:
    if _slot_width(slot, scale) <= room:
        return [slot]
    parts: list[list[Place]] = [[]]
    used = 0.0
    for place in slot.places:
        width = _place_width(place, scale) + _PLACE_GAP
        if parts[-1] and used + width > room:
            parts.append([])
            used = 0.0
        parts[-1].append(place)
        used += width
    return [replace(slot, places=tuple(part), continued=number > 0) for number, part in enumerate(parts)]


def _stack(lines: list[list[Slot]], scale: float, dark: bool) -> Layout:
    """Put the lines below each other and the slots of each side by side."""
    top, stacked = HEADER + MARGIN, []
    for slots in lines:
        tiles = [tile for slot in slots for tile in _tiles(slot)]
        above = max([_ABOVE, *(tile.centromere * scale for tile in tiles)])
        below = max([(tile.picture.shape[0] - tile.centromere) * scale for tile in tiles], default=30.0)
        base = top + above + below + CAPTION
        stacked.append(Line(tuple(_spread(slots, scale, top + above, base - CAPTION)), top, base))
        top = base + NUMBER + ROW_GAP
    return Layout(scale, dark, tuple(stacked), top)


def _spread(slots: list[Slot], scale: float, level: float, floor: float) -> list[Slot]:
    """Share the width that is left among the gaps and place the pictures, centromeres at ``level``."""
    widths = [_slot_width(slot, scale) for slot in slots]
    gaps = [_gap(before, after) for before, after in pairwise(slots)]
    left_over = _ROOM - sum(widths) - sum(gaps)
    spare = min(left_over / len(gaps), _WIDEST_GAP) if gaps else 0.0
    left = MARGIN + _LETTER + (max(left_over - spare * len(gaps), 0) / 2 if slots[0].label else 0)
    spread = []
    for slot, width, gap in zip(slots, widths, [*gaps, 0.0], strict=True):
        spread.append(_fill(slot, scale, left, width, level, floor))
        left += width + gap + spare
    return spread


def _fill(slot: Slot, scale: float, left: float, width: float, level: float, floor: float) -> Slot:
    taken = sum(_place_width(place, scale) for place in slot.places) + _PLACE_GAP * max(0, len(slot.places) - 1)
    edge, places = left + (width - taken) / 2, []
    for place in slot.places:
        across = _place_width(place, scale)
        if place.tile:
            height, breadth = (side * scale for side in place.tile.picture.shape)
            top = level - place.tile.centromere * scale
        else:
            height, breadth = min(40.0, floor - level + _ABOVE), 20.0
            top = level - _ABOVE
        places.append(Place(place.tile, edge + (across - breadth) / 2, top, breadth, height))
        edge += across + _PLACE_GAP
    return replace(slot, places=tuple(places), left=left, right=left + width)
