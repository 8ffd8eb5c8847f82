"""What the models in the box count on real and on drawn cells, for docs/results/patient.py to tell of.

    python docs/results/patient_measure.py --data-dir DATA

DATA holds bioimlab.zip and pki3.zip. Written are ``src/bandbridge/predict/count_rates.json`` (how often the counts of
these models are right), ``patient-cells.csv.gz`` (what was counted in each real cell, and its grade) and
``patient-drawn.npz`` (logarithms of the probabilities of drawn cells). An hour on a shared core; with ``--only cells``
the second alone, in a quarter of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bandbridge as bb
from bandbridge.evaluation.assignment_trial import CellLogits
from bandbridge.evaluation.count_rates import measure_rates
from bandbridge.files import csv_text, replacing, write_text
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.karyotype import CLASS_INDEX, CLASSES
from bandbridge.patient.cells import CountedCell
from bandbridge.predict.confidence import MeasuredCounts
from bandbridge.predict.intake import hand_over

HERE = Path(__file__).resolve().parent
RATES = HERE.parents[1] / "src" / "bandbridge" / "predict" / "count_rates.json"
CELLS, DRAWN = HERE / "patient-cells.csv.gz", HERE / "patient-drawn.npz"
SETS = {
    "Pki-3": ("pki3.zip", "box:G", "463 G-banded cells of 279 patients (Pki-3), photographs it was not trained on"),
    "BioImLab": ("bioimlab.zip", "box:Q", "119 Q-banded cells (BioImLab), photographs it was not trained on"),
}
#: Drawn cells: so many, from this seed, which no model was trained on.
DRAWN_CELLS, DRAWN_SEED = 90, 2024


def known(sheet: CellSheet, labels: dict[str, str]) -> CellLogits:
    """The cell of ``sheet`` with its true classes; its probabilities are calibrated, their logarithms are logits."""
    likely = np.stack([one.probabilities for one in sheet.chromosomes])
    truth = np.array([CLASS_INDEX[labels[one.file]] for one in sheet.chromosomes], dtype=np.int64)
    return CellLogits(sheet.name, np.log(np.clip(likely, 1e-12, 1)), truth)


def row_of(name: str, sheet: CellSheet, patient: str, truth: np.ndarray) -> dict[str, Any]:
    """What is kept of a real cell."""
    counted, grade = CountedCell.of(sheet), sheet.grade
    alone = [one.predicted == CLASSES[label] for one, label in zip(sheet.chromosomes, truth, strict=True)]
    copies = np.bincount(truth, minlength=len(CLASSES))
    row: dict[str, Any] = {"set": name, "cell": sheet.name, "patient": patient, "excluded": counted.excluded}
    row |= {f"placed_{label}": int(counted.copies[index]) for index, label in enumerate(CLASSES)}
    row |= {f"true_{label}": int(copies[index]) for index, label in enumerate(CLASSES)}
    row["right"] = round(float(np.mean(alone)), 4)
    for measure in ("touching", "sharpness", "length_of_1", "bands", "banding", "level", "score"):
        row[measure] = None if grade is None else round(float(getattr(grade, measure)), 4)
    return row


def main() -> None:
    """Judge both sets and the drawn cells."""
    parser = argparse.ArgumentParser(description="Measure what the counts of the models in the box are worth.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--only", choices=["cells"], help="Write patient-cells.csv.gz alone.")
    arguments = parser.parse_args()
    rows, rates = [], {}
    for name, (file, box, source) in SETS.items():
        handed = hand_over(arguments.data_dir / file)
        labels = {one.name: one.label for one in handed}
        patients = {one.cell: one.patient for one in handed}
        model = bb.load_model(box)
        confidence = model.ensemble.confidence
        assert confidence is not None
        sheets = [sheet for sheet in model.predict(handed, keep_images=False, grades=True).sheets if sheet.name]
        cells = [known(sheet, labels) for sheet in sheets]
        rows += [
            row_of(name, sheet, patients[sheet.name], cell.truth) for sheet, cell in zip(sheets, cells, strict=True)
        ]
        print(f"{box}, {name}: {len(cells)} cells", flush=True)
        if arguments.only == "cells":
            continue
        measured = MeasuredCounts.of(measure_rates(cells, confidence.costs(), 0, source))
        rates[box] = json.loads(measured.model_dump_json())
    with replacing(CELLS) as temporary:
        temporary.write_bytes(gzip.compress(csv_text(pd.DataFrame(rows)).encode(), mtime=0))
    if arguments.only == "cells":
        return
    write_text(RATES, json.dumps(rates) + "\n")
    drawn = bb.draw_cells("G", DRAWN_CELLS, seed=DRAWN_SEED)
    labels = dict(zip(drawn.samples["file_name"], drawn.samples["label"], strict=True))
    judged = [known(sheet, labels) for sheet in bb.load_model("box:G").predict(drawn, keep_images=False).sheets]
    with replacing(DRAWN) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            logits=np.concatenate([cell.logits for cell in judged]).astype(np.float16),
            truth=np.concatenate([cell.truth for cell in judged]).astype(np.int8),
            sizes=np.array([len(cell.truth) for cell in judged]),
        )
    print(f"written: {RATES}, {CELLS}, {DRAWN}")


if __name__ == "__main__":
    main()
