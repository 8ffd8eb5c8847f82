"""Karyogram sheets of known truth, read and compared: the part "Sheets" of docs/results/intake.md.

Of gs, qs and wk the odd-numbered sheets tune and the even ones report; gpk, of one specimen, only reports.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.errors import UserError
from bandbridge.karyotype import AUTOSOMES, CLASSES
from bandbridge.machine import usable_cores
from bandbridge.sheets.judging import Expected, Reading
from bandbridge.sheets.overview import draw_overview
from bandbridge.sheets.pages import Page, decode_page
from bandbridge.sheets.reading import read_sheet
from bandbridge.sheets.tilt import straightened
from bandbridge.workers import Workers

SETS = ("gs", "qs", "wk", "gpk")
_IOU = 0.5
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sheet:
    """A sheet of the collection. boxes: (label, (top, left, bottom, right)); counts: of each class, where known."""

    name: str
    file: Path
    boxes: tuple[tuple[str, Box], ...]
    counts: dict[str, int] | None

    @property
    def set(self) -> str:
        return self.name.split("_")[0]

    @property
    def half(self) -> str:
        return "report" if self.set == "gpk" or int(self.name.split("_")[1]) % 2 == 0 else "tune"

    @property
    def is_usual(self) -> bool:
        """Whether its cell has 46 chromosomes, two of each autosome and two X or one X and one Y."""
        if self.counts is None or any(self.counts[label] != 2 for label in AUTOSOMES):
            return False
        return (self.counts["X"], self.counts["Y"]) in ((2, 0), (1, 1))


def find_sheets(spreads: Path, sets: Sequence[str] = SETS) -> list[Sheet]:
    """Return the sheets of the folder ``spreads`` that have a truth."""
    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for row in pd.read_csv(spreads / "boxes.csv", dtype={"class": str}).itertuples(index=False):
        boxes[row[0]].append((row[1], (row[3], row[2], row[5], row[4])))
    counts = pd.read_csv(spreads / "counts.csv").set_index("file")
    found = []
    for file in pd.read_csv(spreads / "manifest.csv").query("kind == 'karyogram'")["file"]:
        name = Path(file).stem
        known = {label: int(counts.loc[file, label]) for label in CLASSES} if file in counts.index else None
        if name.split("_")[0] in sets and (known or boxes[file]):
            found.append(Sheet(name, spreads / file, tuple(boxes[file]), known))
    return found


def read_one(sheet: Sheet, pictures: Path | None = None) -> dict[str, object]:
    """Return what comes of one sheet: wrong crops, doubts, seconds; an unusual one also with its karyotype told."""
    gray, colour = decode_page(Page(sheet.file.name, sheet.file.read_bytes()))
    started = time.perf_counter()
    straight = straightened(gray, colour)
    gray, colour = straight.gray, straight.colour
    row: dict[str, object] = {"name": sheet.name, "set": sheet.set, "half": sheet.half, "usual": sheet.is_usual}
    try:
        reading = read_sheet(gray, colour)
    except UserError as fault:
        return row | {"right": False, "flagged": True, "wrong": [fault.message], "crops": 0, "doubts": fault.message}
    seconds = time.perf_counter() - started
    wrong = compare(sheet, reading)
    told_flagged, told_right = bool(reading.doubts), not wrong
    if not sheet.is_usual and sheet.counts:
        told = read_sheet(gray, colour, Expected(counts=sheet.counts, karyotype="that of counts.csv"))
        told_flagged, told_right = bool(told.doubts), not compare(sheet, told)
    if pictures is not None and (wrong or reading.doubts):
        pictures.mkdir(parents=True, exist_ok=True)
        draw_overview(gray, reading).save(pictures / f"{sheet.name}.png")
    return row | {
        "right": not wrong,
        "flagged": bool(reading.doubts),
        "told_right": told_right,
        "told_flagged": told_flagged,
        "wrong": wrong,
        "crops": sum(bool(one.label) for one in reading.found),
        "truth": sum(sheet.counts.values()) if sheet.counts else len(sheet.boxes),
        "by": reading.by,
        "doubts": "; ".join(reading.doubts),
        "seconds": seconds,
    }


def compare(sheet: Sheet, reading: Reading) -> list[str]:
    """Return what is wrong of a reading, by the truth that its set has."""
    if sheet.set == "wk":
        assert sheet.counts is not None
        found = reading.counts
        return [
            f"{found[label]} of {label}, not {sheet.counts[label]}"
            for label in CLASSES
            if found[label] != sheet.counts[label]
        ]
    zoom = reading.ink.zoom
    found_boxes = [(one.label, tuple(side / zoom for side in one.box)) for one in reading.found if one.label]
    left = list(range(len(sheet.boxes)))
    wrong = []
    for label, box in found_boxes:
        hits = [place for place in left if _meets(sheet, sheet.boxes[place][1], box)]
        same = [place for place in hits if sheet.boxes[place][0] == label]
        if not hits:
            wrong.append(f"{label} where no box is")
            continue
        chosen = same[0] if same else hits[0]
        left.remove(chosen)
        if not same:
            wrong.append(f"{sheet.boxes[chosen][0]} called {label}")
    return wrong + [f"missed {sheet.boxes[place][0]}" for place in left if sheet.boxes[place][0] in CLASSES]


def _meets(sheet: Sheet, truth: Box, box: Sequence[float]) -> bool:
    if sheet.set == "qs":  # whose boxes are loose
        y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return truth[0] <= y <= truth[2] and truth[1] <= x <= truth[3]
    high = max(0.0, min(truth[2], box[2]) - max(truth[0], box[0]))
    wide = max(0.0, min(truth[3], box[3]) - max(truth[1], box[1]))
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (truth, box)]
    return high * wide >= _IOU * (sum(areas) - high * wide)


def measure(sheets: Sequence[Sheet], pictures: Path | None = None) -> pd.DataFrame:
    """Return a row for each sheet; by all cores."""
    with Workers(usable_cores()) as pool:
        return pd.DataFrame(list(pool.map(partial(read_one, pictures=pictures), sheets)))


def table(rows: pd.DataFrame) -> list[str]:
    """Return the lines of a Markdown table: a row for each set and half."""
    lines = [
        "| set | half | sheets | wholly right | crops right | wrong and not flagged | right, of 46, and flagged "
        "| right, not of 46, and flagged | the same with the karyotype given | seconds a sheet, median |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SETS:
        for half in ("tune", "report"):
            part = rows[(rows["set"] == name) & (rows["half"] == half)]
            if len(part):
                lines.append(_line(name, half, part))
    lines.append(_line("all", "report", rows[rows["half"] == "report"]))
    return lines


def _line(name: str, half: str, part: pd.DataFrame) -> str:
    right, usual, flagged = (part[column].astype(bool) for column in ("right", "usual", "flagged"))
    told = part["told_right"].fillna(False).astype(bool), part["told_flagged"].fillna(True).astype(bool)
    truth = int(part["truth"].fillna(46).sum())
    wrong = sum(_crops_wrong(one) for one in part["wrong"])
    odd = ~usual
    cells = (
        name,
        half,
        len(part),
        int(right.sum()),
        f"{truth - wrong} of {truth}",
        int((~right & ~flagged).sum()),
        f"{int((right & usual & flagged).sum())} of {int((right & usual).sum())}",
        f"{int((right & odd & flagged).sum())} of {int((right & odd).sum())}",
        f"{int((told[0] & odd & told[1]).sum())} of {int((told[0] & odd).sum())}",
        f"{part['seconds'].median():.1f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _crops_wrong(wrong: Iterable[str]) -> int:
    return sum(not one.endswith("where no box is") for one in wrong)


def faults(rows: pd.DataFrame) -> list[str]:
    """Return a line for each sheet of the reporting half that is wrong, or right and flagged though of 46."""
    lines = []
    for row in rows[rows["half"] == "report"].sort_values("name").itertuples(index=False):
        if not row.right:
            state = "flagged" if row.flagged else "NOT flagged"
            lines.append(f"- {row.name}, {state}: {'; '.join(row.wrong[:6])}.")
        elif row.flagged and row.usual:
            lines.append(f"- {row.name}, right and flagged: {row.doubts}.")
    return lines


def slips(rows: pd.DataFrame) -> list[str]:
    """Return the sheets of qs on which the reading adds up without a doubt and differs from the labels of the boxes."""
    part = rows[(rows["set"] == "qs") & ~rows["right"].astype(bool) & ~rows["flagged"].astype(bool)]
    return [f"- {row.name}: {'; '.join(row.wrong)}." for row in part.itertuples(index=False)]


def peak_memory() -> float:
    """Most memory of a process that read sheets, GB."""
    import resource

    return float(np.round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2))
