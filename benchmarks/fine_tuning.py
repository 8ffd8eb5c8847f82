"""What a laboratory's own cells do for a model of another laboratory: accuracy before and after, by their number.

    python benchmarks/fine_tuning.py --data-dir DATA --weights-dir WEIGHTS --work work/fine-tuning

DATA holds pki3.zip and gband65.zip, two G-banded sets of different laboratories. A small network is trained on a part
of the first, from ImageNet weights, and fine-tuned as ``bandbridge fine-tune`` does on 1, 2, 5 and 10 cells of the
second. The cases of the second are halved by chance: one half gives the cells to tune on, all cells of the other are
tested on. With ``--base-run`` a finished run of ``benchmarks/laboratories.py`` is tuned, and the cases are halved as
there: by name, cells to tune on from the odd places. Each number of cells is drawn several times, each draw from its
own seed. What is done is passed, and goes on after any interruption.

Printed for each number: the share of the tested chromosomes that is right by itself, the mean over the draws and its
range, beside that before. The recipe of the fine-tuning was chosen on drawn chromosomes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from bandbridge.dataset.imagefolder import METADATA, ImageFolder, open_dataset
from bandbridge.dataset.store import build_store
from bandbridge.files import write_text
from bandbridge.study.execute import Executor
from bandbridge.study.fine_tune import Settings, original_logits, plan_tuning
from bandbridge.study.given import BaseModel, open_base
from bandbridge.study.plan import open_study

BASE, SITE = "pki3.zip", "gband65.zip"


def subset(dataset: ImageFolder, unit: str, names: list[str]) -> ImageFolder:
    """Return the images of the patients or cells ``names``."""
    samples = dataset.samples
    return replace(dataset, samples=samples.loc[samples[unit].isin(names)].reset_index(drop=True))


def copy_part(dataset: ImageFolder, folder: Path) -> None:
    """Write ``dataset`` as a folder, once."""
    if (folder / METADATA).exists():
        return
    for name in dataset.samples["file_name"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dataset.read_bytes(name))
    write_text(folder / METADATA, dataset.samples.to_csv(index=False))


def train_base(arguments: argparse.Namespace) -> Path:
    """Train the model to tune; return its run's folder."""
    whole, work = open_dataset(arguments.data_dir / BASE), arguments.work
    patients = np.random.default_rng(0).permutation(sorted(set(whole.samples["patient"])))
    copy_part(subset(whole, "patient", patients[: arguments.patients].tolist()), work / "base")
    study = {
        "name": "base",
        "protocol": "strict",
        "tasks": {"base": {"dataset": "base"}},
        "architectures": [arguments.architecture],
        "approaches": ["imagenet"],
        "run_folds": [0],
        "image_size": arguments.size,
        "preparation": "published",
        "recipe": {"base": "fast", "epochs": arguments.epochs},
    }
    write_text(work / "base.yaml", yaml.safe_dump(study, sort_keys=False))
    planned = open_study(work / "base.yaml")
    executor = Executor(planned, work / "runs", arguments.device, arguments.weights_dir)
    executor.run(planned.runs)
    return executor.ledger.folder(planned.runs[0])


def tested(base: BaseModel, site: ImageFolder, work: Path, folder: Path, device: str) -> np.ndarray:
    """Return which images of ``site`` the model in ``folder`` gets right, bool [N]."""
    store = build_store(site, base.preparation, work / "runs" / ".stores")
    given = replace(base, given=replace(base.given, folder=folder))
    return original_logits(given, store, device).argmax(axis=1) == store.targets_among(base.classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--architecture", default="tf_mobilenetv3_small_100")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--patients", type=int, default=80, help="patients of the base model")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the base model")
    parser.add_argument(
        "--base-run", type=Path, help="the folder of a finished run, in place of a base model of its own"
    )
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    base = open_base(arguments.base_run or train_base(arguments))
    site = open_dataset(arguments.data_dir / SITE)
    cases = sorted(set(site.samples["patient"]))
    halves = [cases[::2], cases[1::2]]
    if arguments.base_run is None:
        halves = [part.tolist() for part in np.array_split(np.random.default_rng(1).permutation(cases), 2)]
    theirs, test = (subset(site, "patient", part) for part in halves)
    before = tested(base, test, arguments.work, base.given.folder, arguments.device).mean()
    print(f"tested on {len(test.samples):,} chromosomes of {test.samples['cell'].nunique()} cells: {before:.1%} before")
    cells = sorted(set(theirs.samples["cell"]))
    for number in arguments.cells:
        after = []
        for draw in range(arguments.draws):
            names = np.random.default_rng([number, draw]).choice(cells, number, replace=False)
            chosen = subset(theirs, "cell", names.tolist())
            tuning = plan_tuning(base, chosen, Settings())
            executor = Executor(tuning, arguments.work / "runs", arguments.device, show=lambda _: None)
            executor.run([tuning.whole])
            folder = executor.ledger.folder(tuning.whole)
            after.append(tested(base, test, arguments.work, folder, arguments.device).mean())
        drawn = f"{number} cells, {arguments.draws} draws"
        print(f"{drawn}: {np.mean(after):.1%} after ({min(after):.1%} to {max(after):.1%})", flush=True)


if __name__ == "__main__":
    main()
