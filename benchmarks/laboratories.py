"""One laboratory's model on another laboratory's cells: what the preparation of images, and the recipe, are worth.

    python benchmarks/laboratories.py --data-dir DATA --weights-dir WEIGHTS --runs runs

DATA holds pki3.zip and gband65.zip (G-band, two laboratories) and bioimlab.zip (Q-band). Each row of the table is a
preparation and a recipe. Its model is trained from ImageNet weights on four fifths of one laboratory's patients (fold 0
of five, seed 0; of a set without patients, cells) and judged on the rest, its own laboratory, and on half the patients
of the other. Whatever was chosen, was chosen on the half ``--half choice`` (patients by name, the odd places); figures
are of the other half. Runs are those of ``bandbridge study run``: what is done is passed, ``--report`` only prints.

Printed in percent, each with its 95% interval over patients (else cells): chromosomes right by themselves, and in cells
placed as a whole, whose count prices come from the laboratory of the training. ``--changed`` judges held-out cells of
the own laboratory once more, as other laboratories might have handed them over, beside the same cells as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

import bandbridge as bb
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.dataset.prepare import background_level
from bandbridge.evaluation.cluster_intervals import Estimate, Units, estimate_mean
from bandbridge.evaluation.predictions import logits_of, read_predictions
from bandbridge.study.execute import Executor
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study
from bandbridge.training.recipe import OTHER_LABORATORIES

SETS = {"pki3": "pki3.zip", "gband65": "gband65.zip", "bioimlab": "bioimlab.zip"}
#: The sets that are the same stain in two laboratories.
OTHER = {"pki3": "gband65", "gband65": "pki3"}
#: Passes over the training images: small sets take more of them for as much training.
EPOCHS = {"pki3": 12, "gband65": 40, "bioimlab": 16}
#: The view to scale is emptied less.
SELDOM = {**OTHER_LABORATORIES.model_dump(mode="json"), "without_scale": 0.03}
#: By name: preparation and recipe of a study file.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "published, fast": ({"base": "published"}, {"base": "fast"}),
    "published": ({"base": "published"}, {"base": "laboratory"}),
    "foreground on its ground": (
        {"base": "published", "crop": "foreground", "padding": "background"},
        {"base": "laboratory"},
    ),
    "close-up by the cell": ({"base": "by-cell", "views": "close-up", "scale": "each"}, {"base": "laboratory"}),
    "by-cell": ({"base": "by-cell"}, {"base": "laboratory"}),
    "by-cell, averaged": ({"base": "by-cell"}, {"base": "laboratory", "averaging": 0.995}),
    "by-cell, seldom without scale": ({"base": "by-cell"}, {"base": "laboratory", "augmentation": SELDOM}),
}


def study_of(arguments: argparse.Namespace, trained_on: str, row: str) -> Study:
    """The study that trains the model of ``row``."""
    preparation, recipe = ROWS[row]
    value = {
        "name": "laboratories",
        "protocol": "strict",
        "tasks": {trained_on: {"dataset": SETS[trained_on]}},
        "architectures": [arguments.architecture],
        "approaches": ["imagenet"],
        "split": {"folds": 5, "seed": 0},
        "run_folds": [0],
        "image_size": arguments.size,
        "preparation": preparation,
        "recipe": {**recipe, "epochs": arguments.epochs or EPOCHS[trained_on]},
        "seed": arguments.seed,
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "laboratories.yaml"
        path.write_text(yaml.safe_dump(value))
        return open_study(path, arguments.data_dir)


def train(arguments: argparse.Namespace, trained_on: str, row: str) -> Path | None:
    """The folder of the trained model; None where it is not there and may not be made."""
    study = study_of(arguments, trained_on, row)
    (run,) = study.runs
    ledger = Ledger(arguments.runs)
    if ledger.state(run).kind != "done" and not arguments.report:
        executor = Executor(study, arguments.runs, weights_dir=arguments.weights_dir, device=arguments.device)
        executor.run(study.runs)
        ledger = Ledger(arguments.runs)
    return ledger.folder(run) if ledger.state(run).kind == "done" else None


def half(dataset: ImageFolder, which: str) -> ImageFolder:
    """The patients at the odd places of their order by name (``choice``), or the others (``figures``)."""
    patients = sorted(set(dataset.samples["patient"]))
    wanted = set(patients[0 if which == "choice" else 1 :: 2])
    kept = dataset.samples[dataset.samples["patient"].isin(wanted)].reset_index(drop=True)
    return ImageFolder(dataset.path, kept, dataset.members, dataset.contents)


def percent(estimate: Estimate) -> str:
    """The number with its interval, percent."""
    bounds = "" if np.isnan(estimate.low) else f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return f"{100 * estimate.value:.1f}{bounds}"


def evaluated(model: Path, dataset: ImageFolder, flips: bool) -> bb.Evaluation:
    """What the model of a run is worth on ``dataset``; images it was trained on are left out."""
    return bb.load_model(model, device="cpu").evaluate(dataset, flips=flips)


def table(arguments: argparse.Namespace) -> pd.DataFrame:
    """A row for each direction and preparation."""
    rows = []
    for trained_on in arguments.trained_on:
        own = open_dataset(arguments.data_dir / SETS[trained_on])
        for row in arguments.rows:
            model = train(arguments, trained_on, row)
            if model is None:
                continue
            found = {"trained on": trained_on, "preparation": row}
            worth = evaluated(model, own, arguments.flips)
            found |= {"own, by itself": percent(worth.accuracy), "own, in the cell": percent(worth.in_cell_accuracy)}
            if trained_on in OTHER:
                there = half(open_dataset(arguments.data_dir / SETS[OTHER[trained_on]]), arguments.half)
                worth = evaluated(model, there, arguments.flips)
                found |= {
                    "another, by itself": percent(worth.accuracy),
                    "another, in the cell": percent(worth.in_cell_accuracy),
                    "another, flagged": percent(worth.flagged),
                    "another, wrong unflagged": percent(worth.error_unflagged),
                }
            found["against published"] = against(arguments, trained_on, row, own)
            rows.append(found)
            print(json.dumps(found), flush=True)
    return pd.DataFrame(rows)


def against(arguments: argparse.Namespace, trained_on: str, row: str, own: ImageFolder) -> str:
    """How many more of the own held-out images are right than with the published preparation, same recipe, paired."""
    arguments = argparse.Namespace(**{**vars(arguments), "report": True})
    reference, model = (train(arguments, trained_on, name) for name in ("published", row))
    if reference is None or model is None or row == "published":
        return ""
    unit = "patient" if trained_on == "pki3" else "cell"  # the others have few patients held out, or none named
    right = [_right(folder) for folder in (model, reference)]
    units = own.samples.set_index("file_name").loc[right[0].index, unit]
    difference = right[0].to_numpy(dtype=float) - right[1].loc[right[0].index].to_numpy(dtype=float)
    sample, every = Units.named(units.reset_index(drop=True)), np.ones(len(difference), dtype=bool)
    differing = int((sample.totals(difference != 0, every) > 0).sum())
    found = estimate_mean(sample.totals(difference, every), sample.totals(every, every), differing)
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _right(folder: Path) -> pd.Series:
    frame = read_predictions(folder / "predictions.parquet")
    truth, logits, _ = logits_of(frame, "last")
    names = frame.loc[frame["checkpoint"] == "last", "image"]
    return pd.Series(logits.argmax(axis=1) == truth, index=names.to_numpy())


def _resized(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = (max(1, round(side * factor)) for side in image.shape)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _turned(image: np.ndarray, angle: float) -> np.ndarray:
    picture = Image.fromarray(image)
    return np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=background_level(image)))


def _on_canvas(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    above, below, left, right = generator.integers(0, 120, 4)
    return np.pad(image, ((above, below), (left, right)), constant_values=background_level(image))


def _touching(images: list[np.ndarray], generator: np.random.Generator, count: int) -> list[np.ndarray | None]:
    """So many chromosomes of a cell in pairs, each with a third of the other beside it in its crop."""
    changed: list[np.ndarray | None] = list(images)
    for pair in generator.permutation(len(images))[: count // 2 * 2].reshape(-1, 2):
        for one, other in (pair, pair[::-1]):
            piece = images[other][:, : max(1, images[other].shape[1] // 3)]
            height = max(len(images[one]), len(piece))
            ground = background_level(images[one])
            parts = [
                np.pad(part, ((0, height - len(part)), (0, 0)), constant_values=ground) for part in (images[one], piece)
            ]
            changed[one] = np.concatenate(parts, axis=1)
    return changed


#: What another laboratory might have done to the images of a cell; None takes a chromosome away.
Change = Callable[[list[np.ndarray], np.random.Generator], list[np.ndarray | None]]
CHANGES: dict[str, Change] = {
    "polarity flipped": lambda images, _: [255 - image for image in images],
    "half resolution": lambda images, _: [_resized(image, 0.5) for image in images],
    "double size": lambda images, _: [_resized(image, 2.0) for image in images],
    "canvas of any size": lambda images, generator: [_on_canvas(image, generator) for image in images],
    "turned by 180 degrees": lambda images, _: [image[::-1, ::-1] for image in images],
    "turned by any angle": lambda images, generator: [_turned(image, generator.uniform(0, 360)) for image in images],
    "a fifth missing": lambda images, generator: [
        None if taken else image
        for image, taken in zip(images, generator.permutation(len(images)) < len(images) // 5, strict=True)
    ],
    "two touching": lambda images, generator: _touching(images, generator, 2),
    "a fifth touching": lambda images, generator: _touching(images, generator, len(images) // 5),
}


def held_out_cells(model: Path, dataset: ImageFolder) -> Iterator[tuple[str, list[np.ndarray], list[str]]]:
    """Each held-out cell of the run's own set: its name, images and labels."""
    names = set(read_predictions(model / "predictions.parquet")["image"])
    kept = dataset.samples[dataset.samples["file_name"].isin(names)]
    for cell, rows in kept.groupby("cell", sort=True):
        images = [decode_gray(dataset.read_bytes(name), name) for name in rows["file_name"]]
        yield str(cell), images, rows["label"].tolist()


def changed_table(arguments: argparse.Namespace) -> pd.DataFrame:
    """Accuracy by itself of the held-out cells as they are and changed, the same chromosomes."""
    rows = []
    for trained_on in arguments.trained_on:
        folder = train(arguments, trained_on, arguments.rows[-1])
        if folder is None:
            continue
        own = open_dataset(arguments.data_dir / SETS[trained_on])
        cells = list(held_out_cells(folder, own))[: arguments.cells]
        model = bb.load_model(folder, device="cpu")
        plain = {cell: _hits(model, cell, images, labels, arguments.flips) for cell, images, labels in cells}
        for name, change in CHANGES.items():
            before, after = [], []
            for number, (cell, images, labels) in enumerate(cells):
                changed = change(images, np.random.default_rng(number))
                there = [place for place, image in enumerate(changed) if image is not None]
                shown = [image for image in changed if image is not None]
                after += _hits(model, cell, shown, [labels[place] for place in there], arguments.flips)
                before += [plain[cell][place] for place in there]
            row = {"trained on": trained_on, "change": name, "images": len(after)}
            row |= {"unchanged": f"{100 * np.mean(before):.1f}", "changed": f"{100 * np.mean(after):.1f}"}
            rows.append({**row, "difference": f"{100 * (np.mean(after) - np.mean(before)):+.1f}"})
            print(json.dumps(rows[-1]), flush=True)
    return pd.DataFrame(rows)


def _hits(model: bb.Model, cell: str, images: Sequence[np.ndarray], labels: Sequence[str], flips: bool) -> list[bool]:
    found = model.predict({cell: list(images)}, flips=flips, keep_images=False).table()
    order = [int(name.rsplit("/", 1)[1]) - 1 for name in found["file"]]
    said = dict(zip(order, found["by_itself"], strict=True))
    return [said[place] == label for place, label in enumerate(labels)]


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--trained-on", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS)[:5])
    parser.add_argument("--architecture", default="tf_mobilenetv3_small_100")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, help="instead of those of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", choices=["choice", "figures"], default="figures")
    parser.add_argument("--flips", action="store_true", help="average over the mirror images")
    parser.add_argument("--changed", action="store_true", help="judge changed cells by the last of the rows")
    parser.add_argument("--cells", type=int, default=30, help="held-out cells that are changed")
    parser.add_argument("--report", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    frame = changed_table(arguments) if arguments.changed else table(arguments)
    print(
        "\n".join(
            "| " + " | ".join(map(str, row)) + " |" for row in [frame.columns.tolist(), *frame.to_numpy().tolist()]
        )
    )


if __name__ == "__main__":
    main()
