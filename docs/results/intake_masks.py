"""How many chromosomes of a sheet are found again on the metaphase of the same cell; written to docs/results/intake.md.

    python docs/results/intake_masks.py --spreads SPREADS

SPREADS holds pairs.csv, whose sheets are read as ``data import karyogram --metaphase`` does. A mask is right if it
matches a chromosome of its class at IoU 0.5. Nothing was tuned on these pairs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from intake_metaphases import PAGE
from marks import put_between
from PIL import Image

import bandbridge as bb
from bandbridge.files import write_text
from bandbridge.metaphase.masks import CLASSES_FILE, MASK, OVERLAP

_BEGIN, _END = "<!-- masks: python docs/results/intake_masks.py -->", "<!-- end of masks -->"


def right_on(spreads: Path, metaphase: str, place: Path) -> tuple[int, int, int]:
    """Return of a cell: its masks in ``place``, those that are right, and those that match one of another class."""
    field = spreads / metaphase
    truth = pd.read_csv(spreads / "instances.csv", dtype={"class": str})
    truth = truth[truth.file == metaphase]
    ours, theirs = (
        [np.asarray(Image.open(one)) for one in pair]
        for pair in (
            (place / MASK, place / OVERLAP),
            (field.with_name(f"{field.stem}_inst.png"), field.with_name(f"{field.stem}_over.png")),
        )
    )
    told = pd.read_csv(place / CLASSES_FILE, dtype={"class": str})
    right = other = 0
    for row in told.to_dict("records"):
        mask = (ours[0] == row["number"]) | (ours[1] == row["number"])
        best = max(
            (_iou(mask, (theirs[0] == number) | (theirs[1] == number)), label)
            for number, label in zip(truth.instance, truth["class"], strict=True)
        )
        right += best[0] >= 0.5 and best[1] == row["class"]
        other += best[0] >= 0.5 and best[1] != row["class"]
    return len(told), int(right), int(other)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description="Measure masks from sheets.")
    parser.add_argument("--spreads", type=Path, required=True)
    spreads = parser.parse_args().spreads
    pairs = pd.read_csv(spreads / "pairs.csv")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for kind in ("karyogram", "metaphase"):
            (place / kind).mkdir()
            for name in pairs[kind]:
                (place / name).write_bytes((spreads / name).read_bytes())
        names = pairs.map(lambda name: Path(name).name).rename(columns={"karyogram": "sheet"})
        write_text(place / "pairs.csv", names.to_csv(index=False))
        bb.import_sheets(
            place / "karyogram", place / "set", stain="G", metaphases=place / "metaphase", pairs=place / "pairs.csv"
        )
        rows = [
            right_on(spreads, one.metaphase, place / "set" / "fields" / Path(one.karyogram).stem)
            for one in pairs.itertuples()
        ]
    found, right, other = (sum(each) for each in zip(*rows, strict=True))
    total = int((pd.read_csv(spreads / "instances.csv").file.isin(pairs.metaphase)).sum())
    line = (
        f"Of the {total} chromosomes of {len(pairs)} sheets (gpk), {found} were found again on their metaphases (gpm); "
        f"{right} of these masks match a chromosome of their class at IoU 0.5, and {other} one of another class."
    )
    print(line)
    put_between(PAGE, _BEGIN, _END, line)


if __name__ == "__main__":
    main()
