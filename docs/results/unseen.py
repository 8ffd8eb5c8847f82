"""What models that were trained on drawn cells alone say of real ones, written to docs/results/unseen.csv.gz.

    python docs/results/unseen.py --data-dir DATA --runs RUNS

DATA holds bioimlab.zip, gband65.zip and pki3.zip; RUNS the finished runs of studies/answer/2-drawn.yaml. ``make
results`` reads the file that comes of it, and needs neither.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import bandbridge as bb
from bandbridge.api.places import opened_dataset
from bandbridge.files import csv_text, replacing
from bandbridge.predict.classify import is_placed_whole

FILE = Path(__file__).resolve().parent / "unseen.csv.gz"
#: What is told of the sets, and the stain of each.
SETS = {"65 cells": ("gband65.zip", "G"), "BioImLab": ("bioimlab.zip", "Q"), "Pki-3": ("pki3.zip", "G")}
_OF_STUDY = "tf_mobilenetv3_small_100/imagenet/fold0-*/done.json"


def judged(model: bb.Model, path: Path, *, flips: bool) -> Iterator[dict[str, str]]:
    """A row for each chromosome of the dataset ``path``: cell, patient, label, and what ``model`` makes of it.

    whole: whether its cell was placed as one, ``placed`` being its class then and ``by_itself`` otherwise.
    """
    facts = opened_dataset(path).samples.set_index("file_name")
    for sheet in model.predict(path, flips=flips).sheets:
        whole = is_placed_whole(sheet)
        for one in sheet.chromosomes:
            known = facts.loc[one.file]
            yield {
                **{name: known[name] for name in ("cell", "patient", "label")},
                "by_itself": one.predicted,
                "placed": one.placed,
                "whole": "yes" if whole else "no",
                "flagged": "yes" if one.reasons else "no",
            }


def main() -> None:
    """Judge every set with the models of its stain: the study's, mirror images averaged, and the one in the box."""
    parser = argparse.ArgumentParser(description="Write what models trained on drawn cells say of real ones.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    arguments = parser.parse_args()
    frames = []
    for name, (file, stain) in SETS.items():
        (run,) = (done.parent for done in (arguments.runs / stain).glob(_OF_STUDY))
        models = {"tf_mobilenetv3_small_100": (run, True), f"box:{stain}": (f"box:{stain}", False)}
        for title, (place, flips) in models.items():
            rows = pd.DataFrame(judged(bb.load_model(place), arguments.data_dir / file, flips=flips))
            frames.append(rows.assign(set=name, model=title))
            print(
                f"{title}, {name}: {100 * (rows['by_itself'] == rows['label']).mean():.2f}% right by itself", flush=True
            )
    text = csv_text(pd.concat(frames, ignore_index=True))
    with replacing(FILE) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"written: {FILE}")


if __name__ == "__main__":
    main()
