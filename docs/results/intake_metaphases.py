"""How well metaphases are cut into chromosomes, written to the section Metaphases of docs/results/intake.md.

    python docs/results/intake_metaphases.py --spreads SPREADS [--part tune] [--set bioq]

SPREADS holds manifest.csv, instances.csv, boxes.csv and metaphase/. Of each set, the groups sorted by name: those at
odd places tune, those at even places report; gpm only reports. ``--part tune`` prints the odd places and writes
nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from marks import put_between
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from bandbridge.files import csv_text, write_text
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.ground import otsu

SETS = {
    "bioq": "Q-band, 20 fields of 18 cells",
    "mfish": "DAPI, 12 fields of 4 slides",
    "gpm": "cleaned G-band, 7 fields of one specimen",
    "cil": "amniotic G-band, 46 fields of 35 cases, boxes",
}
#: Recall and precision that were asked for.
GOALS = {"bioq": "95 / 96", "mfish": "88 / 92", "gpm": "98 / 99", "cil": "85 / -"}
HERE = Path(__file__).resolve().parent
ROWS, PAGE = HERE / "intake-metaphases.csv", HERE / "intake.md"
_BEGIN, _END = "<!-- metaphases: python docs/results/intake_metaphases.py -->", "<!-- end of metaphases -->"
#: Pixels of an overlap that count as a marked crossing.
_CROSSING = 10
Cutter = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Counts:
    """What came of one field: see :func:`judged` and :func:`judged_boxes`."""

    truth: int
    pieces: int
    found: int
    crossings: int
    whole: int
    to_join: int
    to_cut: int


def by_otsu(gray: np.ndarray) -> list[np.ndarray]:
    """The floor: Otsu's threshold and connected components of 30 pixels and more."""
    values = gray.astype(float)
    bright = abs(values.max() - np.median(values)) > abs(np.median(values) - values.min())
    signal = values if bright else 255 - values
    return _pieces(ndimage.label(signal > otsu(signal))[0])


def by_watershed(gray: np.ndarray) -> list[np.ndarray]:
    """A watershed on the distance from the ground, of Otsu's threshold, seeds at least six pixels apart."""
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    values = gray.astype(float)
    bright = abs(values.max() - np.median(values)) > abs(np.median(values) - values.min())
    signal = values if bright else 255 - values
    mask = signal > otsu(signal)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 2)
    seeds = np.zeros(mask.shape, int)
    peaks = peak_local_max(distance, min_distance=6, labels=ndimage.label(mask)[0])
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return _pieces(watershed(-distance, seeds, mask=mask))


def by_bandbridge(gray: np.ndarray) -> list[np.ndarray]:
    """As ``bandbridge cut`` does."""
    return cut_field(gray).masks()


METHODS: dict[str, Cutter] = {"Otsu": by_otsu, "Watershed": by_watershed, "Bandbridge": by_bandbridge}


def _pieces(labels: np.ndarray) -> list[np.ndarray]:
    sizes = np.bincount(labels.ravel())
    return [labels == k for k in range(1, len(sizes)) if sizes[k] >= 30]


def judged(truth: list[np.ndarray], pieces: list[np.ndarray], over: list[tuple[int, int]]) -> Counts:
    """Match pieces to whole chromosomes one to one by IoU.

    found: at IoU 0.5. whole: of the crossings ``over`` (two places in truth), those both of which are at IoU 0.7.
    to_join: pieces that are found to be none and lie by more than half in one chromosome; to_cut: those that hold more
    than half of two or more.
    """
    iou, of_truth, of_piece = _compared(truth, pieces)
    rows, columns = linear_sum_assignment(-iou) if iou.size else ([], [])
    best = np.zeros(len(truth))
    best[rows] = iou[rows, columns]
    matched = np.zeros(len(pieces), bool)
    matched[[c for r, c in zip(rows, columns, strict=True) if iou[r, c] >= 0.5]] = True
    many = (of_truth > 0.5).sum(axis=0) >= 2 if len(pieces) else np.zeros(0, bool)
    part = (of_piece > 0.5).any(axis=0) & ~many & ~matched if len(pieces) else np.zeros(0, bool)
    whole = sum(bool(best[a] >= 0.7 and best[b] >= 0.7) for a, b in over)
    return Counts(len(truth), len(pieces), int((best >= 0.5).sum()), len(over), whole, int(part.sum()), int(many.sum()))


def _compared(truth: list[np.ndarray], pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU, share of the chromosome that is in the piece, and of the piece in the chromosome, [truth, pieces]."""
    if not truth or not pieces:
        return (np.zeros((len(truth), len(pieces))),) * 3
    ours, theirs = (np.stack(each).reshape(len(each), -1).astype(np.float32) for each in (truth, pieces))
    both = ours @ theirs.T
    areas, sizes = ours.sum(axis=1)[:, None], theirs.sum(axis=1)
    return both / np.maximum(areas + sizes - both, 1), both / np.maximum(areas, 1), both / np.maximum(sizes, 1)


def judged_boxes(truth: np.ndarray, pieces: list[np.ndarray]) -> Counts:
    """Match the boxes of pieces to ``truth`` [n, 4], x0, y0, x1, y1, at IoU 0.5."""
    boxes = np.array([_box(piece) for piece in pieces]).reshape(-1, 4)
    low = np.maximum(truth[:, None, :2], boxes[None, :, :2])
    high = np.minimum(truth[:, None, 2:], boxes[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area = lambda each: (each[:, 2:] - each[:, :2]).prod(axis=1)  # noqa: E731
    iou = both / np.maximum(area(truth)[:, None] + area(boxes) - both, 1)
    rows, columns = linear_sum_assignment(-iou)
    return Counts(len(truth), len(pieces), int((iou[rows, columns] >= 0.5).sum()), 0, 0, 0, 0)


def _box(piece: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(piece.any(axis=1)), np.flatnonzero(piece.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def fields(spreads: Path, part: str) -> pd.DataFrame:
    """The metaphases with truth of ``part``, "tune" or "report"."""
    table = pd.read_csv(spreads / "manifest.csv")
    table = table[(table.kind == "metaphase") & table.set.isin(SETS)].copy()
    table["group"] = table.group.fillna(table.file)
    odd = {
        (name, group)
        for name, of_set in table.groupby("set")
        if name != "gpm"
        for group in sorted(of_set.group.unique())[::2]
    }
    tunes = [(row.set, row.group) in odd for row in table.itertuples()]
    return table[np.array(tunes) == (part == "tune")]


def judge(spreads: Path, method: str, name: str, kind: str) -> tuple[Counts, float]:
    """Cut one field and judge it; also the seconds of cutting."""
    place = spreads / name
    gray = np.asarray(Image.open(place).convert("L"))
    started = time.perf_counter()
    pieces = METHODS[method](gray)
    seconds = time.perf_counter() - started
    if kind == "cil":
        boxes = pd.read_csv(spreads / "boxes.csv")
        return judged_boxes(boxes[boxes.file == name][["x0", "y0", "x1", "y1"]].to_numpy(float), pieces), seconds
    first, second = (np.asarray(Image.open(place.with_name(f"{place.stem}_{end}.png"))) for end in ("inst", "over"))
    numbers = np.unique(first[first > 0])
    at = {int(number): k for k, number in enumerate(numbers)}
    truth = [(first == number) | (second == number) for number in numbers]
    pairs, sizes = np.unique(np.stack([first[second > 0], second[second > 0]]), axis=1, return_counts=True)
    over = [
        (at[int(a)], at[int(b)]) for a, b, size in zip(*pairs, sizes, strict=True) if size >= _CROSSING and int(b) in at
    ]
    return judged(truth, pieces, over), seconds


def measured(spreads: Path, part: str, sets: list[str], methods: list[str], jobs: int, every: int = 1) -> pd.DataFrame:
    """A row for each set and method: sums over its fields."""
    table = fields(spreads, part)
    rows = []
    with ProcessPoolExecutor(jobs) as pool:
        for name in sets:
            files = list(table[table.set == name].file)[::every]
            for method in methods:
                found = list(pool.map(partial(judge, spreads, method, kind=name), files))
                if found:
                    sums = pd.DataFrame([counts.__dict__ for counts, _ in found])
                    rows.append(_row(name, method, sums, [seconds for _, seconds in found]))
                    print(pd.DataFrame(rows[-1:]).to_string(header=len(rows) == 1, index=False), flush=True)
    return pd.DataFrame(rows)


def _row(name: str, method: str, sums: pd.DataFrame, seconds: list[float]) -> dict[str, object]:
    total = sums.sum()
    return {
        "set": name,
        "method": method,
        "fields": len(sums),
        "recall": round(total.found / total.truth, 3),
        "precision": round(total.found / max(total.pieces, 1), 3),
        "crossings": total.crossings,
        "whole": round(total.whole / total.crossings, 3) if total.crossings else None,
        "pieces": round(46 * total.pieces / total.truth, 1),
        "join": round(100 * total.to_join / max(total.pieces, 1), 1),
        "cut": round(100 * total.to_cut / max(total.pieces, 1), 1),
        "seconds": round(float(np.median(seconds)), 1),
    }


def kept(rows: pd.DataFrame) -> pd.DataFrame:
    """Put ``rows`` into the file of rows, in the place of those of the same set and method; return all."""
    if ROWS.is_file():
        old = pd.read_csv(ROWS)
        fresh = set(zip(rows.set, rows.method, strict=True))
        rows = pd.concat([old[[pair not in fresh for pair in zip(old.set, old.method, strict=True)]], rows])
    order = {name: k for k, name in enumerate([*SETS, *METHODS])}
    rows = rows.sort_values(["set", "method"], key=lambda column: column.map(order)).reset_index(drop=True)
    write_text(ROWS, csv_text(rows))
    return rows


def section(rows: pd.DataFrame) -> str:
    """Return the section Metaphases."""
    lines = [
        "| set | method | fields | recall | precision | goal | crossings whole | pieces a cell | to join | to cut "
        "| seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows.to_dict("records"):
        boxes = row["set"] == "cil"
        whole = "" if pd.isna(row["whole"]) else f"{100 * row['whole']:.0f}% of {row['crossings']}"
        share = ["", ""] if boxes else [f"{row[key]:.1f}%" for key in ("join", "cut")]
        cells = [
            SETS[row["set"]] if row["method"] == "Otsu" else "",
            row["method"],
            row["fields"],
            f"{100 * row['recall']:.1f}%",
            f"{100 * row['precision']:.1f}%",
            GOALS[row["set"]] if row["method"] == "Bandbridge" else "",
            whole,
            row["pieces"],
            *share,
            row["seconds"],
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def write_page(rows: pd.DataFrame) -> None:
    """Put the table between its marks on the page."""
    put_between(PAGE, _BEGIN, _END, section(rows))


def main() -> None:
    """Measure, print, and of the reporting half write the section."""
    parser = argparse.ArgumentParser(description="Measure how well metaphases are cut.")
    parser.add_argument("--spreads", type=Path, required=True)
    parser.add_argument("--part", choices=("tune", "report"), default="report")
    parser.add_argument("--set", nargs="*", default=list(SETS))
    parser.add_argument("--method", nargs="*", default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    rows = measured(arguments.spreads, arguments.part, arguments.set, arguments.method, arguments.jobs, arguments.every)
    if arguments.part == "report" and arguments.every == 1:
        write_page(kept(rows))


if __name__ == "__main__":
    main()
