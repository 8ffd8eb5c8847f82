"""Drawn cells beside real ones: how alike they look, what a model that has seen drawn ones alone makes of real ones,
and how fast they are drawn.

    python benchmarks/drawn.py --data-dir DATA --weights-dir WEIGHTS [--only PART] [--sets bioimlab gband65]

DATA holds bioimlab.zip (Q-band) and gband65.zip and pki3.zip (G-band). For each set, without a look at its labels:

- MMD^2 of ImageNet features (tf_mobilenetv3_small_100, images prepared by the cell at 64 px), drawn against real,
  beside the same between two halves of the real set by cell, which is what alike looks like;
- the AUC of a logistic regression that is to tell drawn from real by those features, cross-validated over cells: 0.5
  is as one, 1.0 told apart always; beside the two G-band laboratories told from one another;
- the misfit of each measure of :mod:`bandbridge.synthetic.measure`.

Then a model is trained on drawn cells alone, from ImageNet weights, and judges all of each set, labels and all:
percent right by itself and in cells placed as a whole, with 95% intervals over patients or cells. Runs are those of
``bandbridge study run``: what is done is passed. ``--earlier SRC``, the source folder of an earlier build: its speed,
drawn by turns with this one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bandbridge as bb
from bandbridge.dataset.by_cell import group_by_cell
from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.dataset.prepare import BASES, Preparation
from bandbridge.dataset.read_prepared import cells_of
from bandbridge.domains.distance import Resampling, compare
from bandbridge.domains.embeddings import Embeddings, Extractor, embed, open_extractor
from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.model.architectures import find_architecture
from bandbridge.study.execute import Executor
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study
from bandbridge.synthetic.fitting import misfits
from bandbridge.synthetic.measure import measure_images
from bandbridge.synthetic.sets import draw_cells

STAIN = {"bioimlab": "Q", "gband65": "G", "pki3": "G"}
ARCHITECTURE = "tf_mobilenetv3_small_100"
PREPARATION = Preparation(size=64, **BASES["by-cell"])
#: Drawn cells that are compared with a set, and the seed that no training uses.
COMPARED, SEED = 100, 999
#: Draws cells for so many seconds and prints how many images a second; run with each build by turns.
SPEED = """
import sys, time
try:
    from bandbridge.synthetic.cells import draw_cell
except ImportError:
    from bandbridge.dataset.synthetic import draw_cell
draw_cell(sys.argv[1], 0, 0)
images, cell, began = 0, 0, time.perf_counter()
while time.perf_counter() - began < 4:
    images, cell = images + len(draw_cell(sys.argv[1], 0, cell)), cell + 1
print(images / (time.perf_counter() - began))
"""


def at_most(dataset: ImageFolder, cells: int) -> ImageFolder:
    """So many cells of ``dataset``, spread evenly."""
    names = np.array(cells_of(dataset))
    every = list(dict.fromkeys(names))
    kept = set(np.array(every)[np.unique(np.linspace(0, len(every) - 1, cells).astype(int))])
    rows = dataset.samples[[name in kept for name in names]].reset_index(drop=True)
    return ImageFolder(dataset.path, rows, dataset.members, dataset.contents)


def told_apart(one: Embeddings, other: Embeddings) -> float:
    """The AUC of telling the domains apart by their embeddings, over folds by cell."""
    values = np.concatenate([one.values, other.values])
    truth = np.repeat([0, 1], [len(one.values), len(other.values)])
    units = np.concatenate([one.units, "other " + other.units])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    scores = cross_val_predict(model, values, truth, groups=units, cv=GroupKFold(5), method="decision_function")
    return float(roc_auc_score(truth, scores))


def halves(domain: Embeddings) -> list[Embeddings]:
    """The domain's cells in two halves, every other one."""
    odd = np.isin(domain.units, list(dict.fromkeys(domain.units))[1::2])
    return [
        Embeddings(f"{domain.name} {k}", domain.values[rows], domain.labels[rows], domain.units[rows], domain.facts)
        for k, rows in enumerate([~odd, odd])
    ]


def distance(one: Embeddings, other: Embeddings) -> dict[str, Any]:
    """MMD^2, unbiased, and the AUC of telling the two apart."""
    found = compare(one, other, Resampling(bootstraps=1, permutations=1))
    return {"mmd2": round(float(found.mmd.published.value), 4), "auc": round(told_apart(one, other), 3)}


def measures(dataset: ImageFolder) -> list[np.ndarray]:
    """What is measured of each cell."""
    files = dataset.samples["file_name"].tolist()
    return [measure_images([dataset.gray(files[k]) for k in group]) for group in group_by_cell(cells_of(dataset))]


def alike(arguments: argparse.Namespace, extractor: Extractor) -> None:
    """Print how alike drawn and real cells look."""
    domains: dict[str, Embeddings] = {}
    for name in arguments.sets:
        real = at_most(open_dataset(arguments.data_dir / f"{name}.zip"), COMPARED)
        drawn = draw_cells(STAIN[name], COMPARED, seed=SEED)  # type: ignore[arg-type]
        domains[name] = embed(real, name, extractor, PREPARATION, arguments.runs)
        other = embed(drawn, "drawn", extractor, PREPARATION, arguments.runs)
        first, second = halves(domains[name])
        within = distance(first, second)
        print(json.dumps({"set": name, "drawn to real": distance(other, domains[name]), "real to real": within}))
        found = misfits(measures(drawn), measures(real))
        print("  misfit " + ", ".join(f"{key} {a:.2f} {b:.2f}" for key, (a, b) in found.items()), flush=True)
    if {"gband65", "pki3"} <= domains.keys():
        print(json.dumps({"two laboratories": distance(domains["gband65"], domains["pki3"])}), flush=True)


def percent(estimate: Estimate) -> str:
    """The number with its interval, percent."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def judged(arguments: argparse.Namespace) -> None:
    """Train on drawn cells alone and print what the model is worth on real ones."""
    for stain in sorted({STAIN[name] for name in arguments.sets}):
        place = arguments.runs / "sets" / f"{stain}{arguments.cells}"
        draw_cells(stain, arguments.cells, seed=arguments.seed).save(place)  # type: ignore[arg-type]
        value = {
            "name": "drawn",
            "protocol": "strict",
            "tasks": {stain: {"dataset": place.name, "scheme": "cell"}},
            "architectures": [ARCHITECTURE],
            "approaches": ["imagenet"],
            "split": {"folds": 20, "seed": 0},
            "run_folds": [0],
            "image_size": 64,
            "recipe": {"base": "laboratory", "epochs": arguments.epochs},
            "seed": arguments.seed,
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "drawn.yaml"
            path.write_text(yaml.safe_dump(value))
            study = open_study(path, place.parent)
        (run,) = study.runs
        if Ledger(arguments.runs).state(run).kind != "done":
            Executor(study, arguments.runs, weights_dir=arguments.weights_dir, device=arguments.device).run(study.runs)
        model = bb.load_model(Ledger(arguments.runs).folder(run), device=arguments.device)
        for name in (name for name in arguments.sets if STAIN[name] == stain):
            worth = model.evaluate(open_dataset(arguments.data_dir / f"{name}.zip"), flips=True)
            found = {"by itself": percent(worth.accuracy), "in the cell": percent(worth.in_cell_accuracy)}
            print(json.dumps({"trained on": f"{arguments.cells} drawn cells", "judged on": name, **found}), flush=True)


def speed(earlier: Path | None) -> None:
    """Print images drawn a second in one process, this build and an earlier one by turns."""
    here = Path(__file__).resolve().parents[1] / "src"
    for stain in ("G", "Q"):
        rates: dict[str, list[float]] = {}
        for _ in range(3):
            for name, source in {"this build": here, **({"earlier": earlier} if earlier else {})}.items():
                done = subprocess.run(
                    [sys.executable, "-c", SPEED, stain],
                    env={"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                rates.setdefault(name, []).append(float(done.stdout))
        print(stain, {name: f"{np.median(found):.0f} images/s" for name, found in rates.items()}, end=" ")
        print(f"{np.median(rates['this build']) / np.median(rates['earlier']):.2f} times" if earlier else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/drawn"))
    parser.add_argument("--sets", nargs="+", choices=sorted(STAIN), default=["bioimlab", "gband65"])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["speed", "alike", "judged"], help="one part; all by default")
    parser.add_argument("--earlier", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    if arguments.only in (None, "speed"):
        speed(arguments.earlier)
    if arguments.only in (None, "alike"):
        alike(arguments, open_extractor(find_architecture(ARCHITECTURE), 64, arguments.weights_dir, arguments.device))
    if arguments.only in (None, "judged"):
        judged(arguments)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
