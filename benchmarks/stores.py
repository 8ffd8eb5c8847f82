"""How long preparing a set takes, and how much a training step: an earlier build, and this one by the cell, by turns.

    python benchmarks/stores.py --before afe3cdb --data-dir sets

The store of each set (its zip in data-dir) is built anew in a process of its own, the earlier build as published and
this one as published and by the cell; the least of ``--rounds`` seconds of building alone, without the start of Python,
and the ratio to the earlier build. Then the least milliseconds of a training step of ``--architecture`` on one thread,
32 images, with the recipe ``fast`` on one view and with ``laboratory`` on two.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from builds import HERE, checked_out

_STORE = """
import sys, time
from pathlib import Path
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.store import build_store
dataset = open_dataset(Path(sys.argv[1]))
settings = {"crop": "foreground", "scale": "cell", "views": "both", "contrast": "cell", "upright": True}
preparation = Preparation(size=int(sys.argv[3]), **(settings if sys.argv[4] == "by-cell" else {}))
started = time.monotonic()
build_store(dataset, preparation, Path(sys.argv[2]))
print(time.monotonic() - started)
"""
_STEP = """
import sys, tempfile, time
import numpy as np, torch
from pathlib import Path
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import TrainingJob, train
from bandbridge.training.recipe import RecipeSpec, recipe_for
torch.set_num_threads(1)
name, size, by_cell, steps = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "by-cell", int(sys.argv[4])
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (32 * steps, *((2,) if by_cell else ()), size, size), dtype=np.uint8)
model = create_model(find_architecture(name), 24, size, torch.Generator().manual_seed(0))
recipe = recipe_for(RecipeSpec(base="laboratory" if by_cell else "fast", epochs=3), name, pretrained=True)
rows, none = np.arange(len(images)), np.empty(0, dtype=np.int64)
half = (0.5, 0.5, 0.5)
job = TrainingJob("benchmark", recipe, images, generator.integers(0, 24, len(images)), rows, none, half, half)
with tempfile.TemporaryDirectory() as place:
    state, _ = train(model, job, open_fabric("cpu", "fp32", model), Path(place) / "checkpoint.pt")
print(min(entry["seconds"] for entry in state.history) / steps)
"""


def seconds(source: Path, code: str, *arguments: object) -> float:
    """What ``code`` prints when the build in ``source`` runs it."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    words = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    return float(result.stdout.split()[-1])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="afe3cdb", help="commit of the earlier build")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["gband65", "bioimlab", "pki3"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--architecture", default="tf_mobilenetv3_small_100")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    with checked_out(arguments.before) as earlier:
        ways = {
            "earlier, published": (earlier, "published"),
            "published": (HERE, "published"),
            "by-cell": (HERE, "by-cell"),
        }
        print("| store | size | " + " | ".join(f"{name}, s" for name in ways) + " | by-cell / earlier |")
        for name in arguments.sets:
            for size in arguments.sizes:
                best = dict.fromkeys(ways, math.inf)
                for _ in range(arguments.rounds):
                    for way, (build, kind) in ways.items():
                        with tempfile.TemporaryDirectory() as place:
                            dataset = (arguments.data_dir / f"{name}.zip").resolve()
                            best[way] = min(best[way], seconds(build, _STORE, dataset, place, size, kind))
                row = " | ".join(f"{value:.2f}" for value in best.values())
                ratio = best["by-cell"] / best["earlier, published"]
                print(f"| {name} | {size} | {row} | {ratio:.2f} |", flush=True)
        for size in arguments.sizes:
            best = dict.fromkeys(ways, math.inf)
            for _ in range(arguments.rounds):
                for way, (build, kind) in ways.items():
                    best[way] = min(
                        best[way], seconds(build, _STEP, arguments.architecture, size, kind, arguments.steps)
                    )
            row = " | ".join(f"{1000 * value:.1f}" for value in best.values())
            print(f"| step, ms | {size} | {row} | {best['by-cell'] / best['earlier, published']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
