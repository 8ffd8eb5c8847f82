"""Make docs/images/patients.png, the page of three drawn patients, sorted by the model in the box, and signed.png.

    python docs/patients.py

How often the counts are right is measured on the drawn cells of ``results/patient-drawn.npz``: that model knows such
cells far better than photographs. signed.png is what the review writes of the third of them, whose cells two
readers put right and signed. Both pages are shown by a Chromium of this machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import bandbridge as bb
from bandbridge.api.patients import Patients
from bandbridge.dataset.ideogram import Stain
from bandbridge.evaluation.assignment_trial import CellLogits
from bandbridge.evaluation.count_rates import CountRates, measure_rates
from bandbridge.review.analyst import EnsembleAnalyst
from bandbridge.review.database import Store
from bandbridge.review.log import Reader
from bandbridge.review.patient_page import export_patient
from bandbridge.review.schema import Incoming
from bandbridge.synthetic.cells import DrawnChromosome, draw_styled, karyotype, own_bands
from bandbridge.synthetic.look import Drawing, draw_style, usual_look

ROOT = Path(__file__).resolve().parents[1]
PICTURE, SIGNED = (ROOT / "docs" / "images" / name for name in ("patients.png", "signed.png"))
sys.path.insert(0, str(ROOT))
STAIN: Stain = "G"
#: Changes of each cell of each patient: of an autosome one gained.
PLAN = {"P1": ["21"] * 6 + [""] * 8, "P2": [""] * 6, "P3": ["18"] * 4}
SEED, _WIDTH, _HEIGHT = 31, 1180, 1000
#: Cells of the signed patient that are accepted; the others are counted only.
ACCEPTED = 2


def drawn(patient: int, number: int, gained: str) -> list[DrawnChromosome]:
    """Return the chromosomes of a drawn cell with one more ``gained`` ("" none), those of a patient of one sex."""
    first, drawing = 3 * patient, Drawing()
    named = karyotype(STAIN, SEED, first) + ([(gained, "a")] if gained else [])
    rng = np.random.default_rng([SEED, patient, number])
    style = draw_style(usual_look(STAIN), drawing, rng)
    return draw_styled(STAIN, named, own_bands(STAIN, SEED, first, drawing), style, drawing, rng)


def rates_on_drawn() -> CountRates:
    """Measure the model in the box on drawn cells."""
    costs = bb.load_model(f"box:{STAIN}").ensemble.confidence
    stored = np.load(ROOT / "docs" / "results" / "patient-drawn.npz")
    ends = np.cumsum(stored["sizes"])[:-1]
    parts = zip(np.split(stored["logits"], ends), np.split(stored["truth"], ends), strict=True)
    cells = [
        CellLogits(str(number), logits.astype(np.float64), truth.astype(np.int64))
        for number, (logits, truth) in enumerate(parts)
    ]
    assert costs is not None
    return measure_rates(cells, costs.costs(), 0, f"{len(cells)} drawn cells")


def signed_page(work: Path, patient: int, analyst: EnsembleAnalyst) -> Path:
    """Let two readers put right and sign the drawn cells of ``patient`` in the folder ``work``; return their page."""
    store = Store(work)
    anna, ben = Reader("Anna Example", "first"), Reader("Ben Example", "second")
    name = list(PLAN)[patient]
    for number, gained in enumerate(PLAN[name]):
        chromosomes = drawn(patient, number, gained)
        images = [(f"{place:02d}.png", one.image) for place, one in enumerate(chromosomes)]
        held = tuple((file, store.put_image(image)) for file, image in images)
        cell, _ = store.add_cell(Incoming(f"cell {number + 1}", held, name, STAIN), anna)
        store.save_sheet(cell, analyst.sheet(f"cell {number + 1}", images), f"box:{STAIN}")
        stored = store.sheet(cell)
        for chromosome, one, true in zip(stored.ids, stored.sheet.chromosomes, chromosomes, strict=True):
            if one.placed != true.label:
                store.change(cell, "place", (true.label, 1), chromosome, by=ben if number == 1 else anna)
        store.change(cell, "accept" if number < ACCEPTED else "count", (1,), by=anna)
    for reader in (anna, ben):
        store.sign(name, reader)
    folder = export_patient(store, name)
    store.close()
    return folder / "patient.html"


def photographed(program: str, page: Path, picture: Path) -> None:
    """Take the picture of the top of ``page``."""
    shot = page.with_suffix(".png")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}"]
    size = f"--window-size={_WIDTH},{_HEIGHT}"
    subprocess.run([program, *words, size, page.as_uri()], check=True, capture_output=True)
    with Image.open(shot) as shown:
        shown.convert("RGB").quantize(32).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size} bytes")


def main() -> None:
    """Draw, sort, and take the pictures."""
    from tests.review.chromium import find_chromium

    program = find_chromium()
    if program is None:
        raise SystemExit("docs/patients.py needs a Chromium")
    cells, patients = {}, {}
    for place, (patient, changes) in enumerate(PLAN.items()):
        for number, gained in enumerate(changes):
            name = f"{patient} cell {number + 1}"
            cells[name] = [one.image for one in drawn(place, number, gained)]
            patients[name] = patient
    result = bb.load_model(f"box:{STAIN}").predict(cells, grades=True)
    judged = Patients(replace(result._classified, rates=rates_on_drawn()), patients)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        judged.save(home)
        photographed(program, home / "patients.html", PICTURE)
        analyst = EnsembleAnalyst(bb.load_model(f"box:{STAIN}").ensemble)
        photographed(program, signed_page(home / "work", 2, analyst), SIGNED)
    print(judged.table()[["patient", "draft", "why_none"]].to_string())


if __name__ == "__main__":
    main()
