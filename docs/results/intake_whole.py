"""The whole way, from fields of view to placed chromosomes, and what it takes; written to docs/results/intake.md.

    python docs/results/intake_whole.py --spreads SPREADS --pki3 MODEL

The fields are those that docs/results/intake_metaphases.py reports on. The models in the box were trained on drawn
cells alone; MODEL is the run of studies/answer/5-best-p.yaml that holds out fold 0, trained on the others of Pki-3. A
chromosome is placed without a hand if the piece that matches it at IoU 0.5 is given its class.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from intake_metaphases import PAGE, fields
from marks import put_between
from PIL import Image
from scipy.optimize import linear_sum_assignment

import bandbridge as bb
from bandbridge.metaphase.crops import crop_of
from bandbridge.metaphase.field import Cut, cut_field
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

SETS = {"bioq": "Q-band, 20 fields", "gpm": "cleaned G-band, 7 fields"}
#: Who places the chromosomes of each set: what the page calls it, and what is opened.
_OF_BOX = {"bioq": ("`box:Q`", "box:Q"), "gpm": ("`box:G`", "box:G")}
_OF_PKI3 = "EfficientNet-Lite0 of Pki-3"
#: What a commercial system placed in routine, percent (ASI HiBand, published 2025).
PUBLISHED = 82.9
_BEGIN, _END = "<!-- whole way: python docs/results/intake_whole.py -->", "<!-- end of the whole way -->"
#: Columns and rows of the field that is timed, and how wide its chromosomes are.
_FIELD, _WIDTH = (1280, 1024), 20.0


def crops_of(gray: np.ndarray, cut: Cut) -> list[np.ndarray]:
    """Return the crop of each chromosome of all cells, in the order of :func:`pieces_in_cells`."""
    others = np.zeros(cut.shape, bool)
    for piece in cut.pieces:
        others[piece.box] |= piece.mask
    return [crop_of(gray, cut.width, cut.pieces[place], others) for cell in cut.cells for place in cell]


def pieces_in_cells(cut: Cut) -> list[np.ndarray]:
    """Return the mask of each chromosome of all cells, bool [H, W]."""
    found = []
    for place in (place for cell in cut.cells for place in cell):
        mask = np.zeros(cut.shape, bool)
        mask[cut.pieces[place].box] = cut.pieces[place].mask
        found.append(mask)
    return found


def matched(truth: np.ndarray, over: np.ndarray, number: int, pieces: list[np.ndarray]) -> np.ndarray:
    """Return the IoU of chromosome ``number`` with each piece."""
    whole = (truth == number) | (over == number)
    return np.array([(whole & piece).sum() / (whole | piece).sum() for piece in pieces])


def placed(spreads: Path, name: str, opened: str | Path) -> tuple[int, int, int]:
    """Return of a set: chromosomes whose class is known, those cut right, and those cut and placed right."""
    model, known = bb.load_model(opened), pd.read_csv(spreads / "instances.csv", dtype={"class": str})
    table = fields(spreads, "report")
    total = cut_right = right = 0
    for file in table[table.set == name].file:
        place = spreads / file
        gray = np.asarray(Image.open(place).convert("L"))
        cut = cut_field(gray)
        pieces, said = pieces_in_cells(cut), model.predict({"cell": crops_of(gray, cut)}).table()["class"].tolist()
        first, second = (np.asarray(Image.open(place.with_name(f"{place.stem}_{end}.png"))) for end in ("inst", "over"))
        rows = known[(known.file == file) & known["class"].notna()]
        if rows.empty or not pieces:
            total += len(rows)
            continue
        iou = np.array([matched(first, second, number, pieces) for number in rows.instance])
        pairs = [(a, b) for a, b in zip(*linear_sum_assignment(-iou), strict=True) if iou[a, b] >= 0.5]
        total, cut_right = total + len(rows), cut_right + len(pairs)
        right += sum(said[b] == rows["class"].iloc[a] for a, b in pairs)
        print(f"{file}: {len(rows)} known, {len(pairs)} cut, {right} of {total} placed so far", flush=True)
    return total, cut_right, right


def timed() -> tuple[float, float]:
    """Return the seconds that a core takes to cut a drawn field of 1,280 x 1,024, and the most memory, GB.

    They are of the processor, not of the clock, which depends on what else the machine does.
    """
    spread = draw_spread("Q", 5, 0, Crowd(share=0.25, width=_WIDTH, nuclei=1, debris=8))
    field = np.full(_FIELD[::-1], int(np.median(spread.gray)), np.uint8)
    part = spread.gray[: field.shape[0], : field.shape[1]]
    field[: part.shape[0], : part.shape[1]] = part
    started = time.process_time()
    cut_field(field)
    return time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def section(rows: list[tuple[str, str, int, int, int]], seconds: float, memory: float) -> str:
    """Return what is written between the marks."""
    lines = [
        "| set | model | chromosomes of known class | cut right | cut and placed right | a commercial system |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, model, total, cut_right, right in rows:
        shares = f"{cut_right / total:.1%} | {right / total:.1%}"
        lines.append(f"| {SETS[name]} | {model} | {total} | {shares} | {PUBLISHED}% |")
    took = (
        f"A drawn field of 1,280 x 1,024 pixels took {seconds:.1f} seconds of one core to cut, the models' opening "
        f"included, with {memory:.2f} GB at most."
    )
    return "\n".join([*lines, "", took])


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description="Measure the whole way from fields of view.")
    parser.add_argument("--spreads", type=Path)
    parser.add_argument("--pki3", type=Path, help="A model trained on Pki-3.")
    parser.add_argument("--time", action="store_true", help="Only the seconds and the memory, printed.")
    arguments = parser.parse_args()
    if arguments.time:
        print(*timed())
        return
    # In a process of its own: memory is the most that a process ever had.
    told = subprocess.run([sys.executable, __file__, "--time"], check=True, capture_output=True, text=True).stdout
    seconds, memory = map(float, told.split())
    print(f"{seconds:.1f} s, {memory:.2f} GB", flush=True)
    judges = [(name, *of_box) for name, of_box in _OF_BOX.items()]
    judges += [("gpm", _OF_PKI3, arguments.pki3)] if arguments.pki3 else []
    rows = [(name, called, *placed(arguments.spreads, name, opened)) for name, called, opened in judges]
    put_between(PAGE, _BEGIN, _END, section(rows, seconds, memory))


if __name__ == "__main__":
    main()
