"""Time to accuracy: the recipe ``fast`` against ``paper``, and ``fast`` without each of its ingredients.

    python benchmarks/recipes.py --data-dir DATA --weights-dir WEIGHTS --runs runs

DATA holds bioimlab.zip (Q-band) and gband65.zip (G-band). Every variant is trained from ImageNet weights on the same
folds (grouped by cell) with the same seeds, by the executor of ``bandbridge study run``: what is done is passed, two
such commands on one ``--runs`` share the work, and ``--report`` only prints. The settings of ``fast`` were chosen on
fold 2, which is not among the folds that are compared here.

Printed for each task: image passes of a run, the pixels they hold as a share of the reference's, seconds of training,
Macro-F1 (last epoch, all classes, pooled over folds, mean over seeds) and its difference to the reference: with the 95%
interval of a bootstrap over cells (of new cells, the trained models held fixed) and of Student's t over the paired
trainings (fold x seed: of new trainings, though folds share training images).

With ``--turned``, the finished runs score their held-out images once more, as they stand and turned by 180 degrees: the
sets stand short arm up, and a recipe that flips less knows less of what lies the other way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bandbridge.evaluation.comparison import Interval, TTest, student_t
from bandbridge.evaluation.metrics import macro_f1
from bandbridge.evaluation.pooled import PairedPredictions, compare_pooled, pair_predictions, stack_architectures
from bandbridge.evaluation.predictions import RunPredictions, read_predictions
from bandbridge.model.classifier import open_classifier
from bandbridge.study.execute import Executor
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study
from bandbridge.study.run import PlannedRun
from bandbridge.training.recipe import image_side

TASKS = {"Q": "bioimlab.zip", "G": "gband65.zip"}
#: By name: recipe settings of a study file. "no" takes one ingredient from ``fast``, "with" adds one.
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {"base": "paper"},
    "paper, a tenth upside down": {"base": "paper", "augmentation": {"flip_vertical": 0.1}},
    "paper in 16 epochs": {"base": "paper", "epochs": 16},
    "fast": {"base": "fast"},
    "fast, twice as long": {"base": "fast", "epochs": 32},
    "fast, no one-cycle: cosine": {"base": "fast", "schedule": "cosine"},
    "fast, no schedule: constant": {"base": "fast", "schedule": "constant"},
    "fast, with averaging": {"base": "fast", "averaging": 0.99},
    "fast, rate of the transformers": {"base": "fast", "learning_rate": 2e-4},
    "fast, a tenth upside down": {"base": "fast", "augmentation": {"flip_vertical": 0.1}},
    "fast, with growing images": {"base": "fast", "growth": {"start": 0.75, "end": 0.5}},
}


@dataclass(frozen=True)
class Arm:
    """One variant and task. pairs: (seed, fold) -> run; passes, seconds: means of a run; pixels: passes x sides^2."""

    runs: dict[tuple[int, int], RunPredictions]
    passes: float
    pixels: float
    seconds: float


def open_variant(arguments: argparse.Namespace, settings: dict[str, Any], seed: int) -> Study:
    """Return the study of one variant and seed."""
    study = {
        "name": "recipes",
        "protocol": "strict",
        "tasks": {task: {"dataset": TASKS[task]} for task in arguments.tasks},
        "architectures": [arguments.architecture],
        "approaches": ["imagenet"],
        "split": {"folds": 5, "seed": 0},
        "run_folds": arguments.folds,
        "image_size": arguments.size,
        "preparation": "published",
        "recipe": settings,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "recipes.yaml"
        path.write_text(yaml.safe_dump(study))
        return open_study(path, arguments.data_dir)


def finished(study: Study, task: str, ledger: Ledger) -> Iterator[tuple[PlannedRun, int]]:
    """Yield the runs of ``task`` that are done, with their folds."""
    for run in study.runs:
        if run.task == task and run.fold is not None and ledger.state(run).kind == "done":
            yield run, run.fold


def gather(studies: dict[int, Study], task: str, ledger: Ledger) -> Arm | None:
    """Return what the finished runs of ``task`` gave; None where there is none."""
    found: dict[tuple[int, int], RunPredictions] = {}
    measured: list[tuple[float, float, float]] = []
    for seed, study in studies.items():
        for run, fold in finished(study, task, ledger):
            frame = read_predictions(ledger.folder(run) / "predictions.parquet")
            found[seed, fold] = RunPredictions(task, "", run.architecture, "imagenet", "", fold, frame)
            measured.append(cost(study, run, ledger))
    return Arm(found, *np.mean(measured, axis=0)) if found else None


def cost(study: Study, run: PlannedRun, ledger: Ledger) -> tuple[float, float, float]:
    """Image passes of ``run``, its pixels in passes at full size, and its seconds, evaluation included."""
    split = study.tasks[run.task].split
    assert split is not None and run.fold is not None
    recipe, size = run.record.recipe, run.record.preparation.size
    images = len(split.rows(run.fold)[0]) // recipe.batch_size * recipe.batch_size
    shares = [(image_side(recipe, epoch, size) / size) ** 2 for epoch in range(recipe.epochs)]
    history = json.loads((ledger.folder(run) / "history.json").read_text())
    return images * recipe.epochs, images * sum(shares), sum(entry["seconds"] for entry in history)


def comparable(arm: Arm, reference: Arm) -> list[tuple[int, int]]:
    """Return the (seed, fold) that both have, of the folds that every such seed has: all predict the same images."""
    both = sorted(arm.runs.keys() & reference.runs.keys())
    seeds = {seed for seed, _ in both}
    return [(seed, fold) for seed, fold in both if all((other, fold) in both for other in seeds)]


def compare(arm: Arm, reference: Arm) -> tuple[float, str]:
    """Macro-F1 of ``arm`` over the comparable trainings, and its difference to ``reference`` in words."""
    both = comparable(arm, reference)
    if not both:
        return float("nan"), "-"
    seeds = sorted({seed for seed, _ in both})
    pairs = [
        pair_predictions(
            *([source.runs[key] for key in both if key[0] == seed] for source in (arm, reference)), checkpoint="last"
        )
        for seed in seeds
    ]
    stacked = stack_architectures(pairs)
    classes = len(stacked.classes)
    score = float(np.mean([macro_f1(stacked.truth, guess, classes) for guess in stacked.approach]))
    if arm is reference:
        return score, "-"
    pooled = compare_pooled(stacked, generator=np.random.default_rng(0)).macro_f1.difference
    each = np.array([training_difference(arm, reference, key) for key in both])
    over_trainings = in_points(student_t(each)) if len(each) > 1 else "-"
    return score, f"{in_points(pooled)} | {over_trainings}"


def in_points(interval: Interval | TTest) -> str:
    """Return an interval in percentage points."""
    return f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def training_difference(arm: Arm, reference: Arm, key: tuple[int, int]) -> float:
    """Difference in Macro-F1 of one fold and seed."""
    pair: PairedPredictions = pair_predictions([arm.runs[key]], [reference.runs[key]], "last")
    classes = len(pair.classes)
    return macro_f1(pair.truth, pair.approach[0], classes) - macro_f1(pair.truth, pair.reference[0], classes)


def table(task: str, arms: dict[str, Arm], against: str) -> list[str]:
    """Return the lines of one task's table; differences are to the variant ``against``."""
    reference = arms[against]
    lines = [
        f"**{task}**, against *{against}*:",
        "",
        "| recipe | trainings | image passes | pixels | seconds | Macro-F1, % | difference (95% over cells) "
        "| over trainings (95%) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        score, difference = compare(arm, reference)
        if difference == "-":
            difference = "- | -"
        lines.append(
            f"| {name} | {len(comparable(arm, reference))} | {arm.passes / 1000:.0f} k "
            f"({reference.passes / arm.passes:.1f}x fewer) | {reference.pixels / arm.pixels:.1f}x fewer "
            f"| {arm.seconds:.0f} ({reference.seconds / arm.seconds:.1f}x) | {100 * score:.1f} | {difference} |"
        )
    return [*lines, ""]


def turned_scores(studies: dict[int, Study], task: str, executor: Callable[[Study], Executor]) -> list[float] | None:
    """Macro-F1 of held-out images as they stand, turned by 180 degrees, and by the mean of both views' probabilities.

    Folds are pooled, seeds averaged; None where no run is finished.
    """
    scores: list[list[float]] = []
    for study in studies.values():
        trainer = executor(study)
        truths: list[np.ndarray] = []
        views: list[tuple[np.ndarray, np.ndarray]] = []
        for run, fold in finished(study, task, trainer.ledger):
            store, split = trainer.store(task), study.tasks[task].split
            assert split is not None
            rows = split.rows(fold)[1]
            classifier, images = open_classifier(trainer.ledger.folder(run), "last", "cpu"), store.images[rows]
            views.append((classifier.probabilities(images), classifier.probabilities(images[:, ::-1, ::-1])))
            truths.append(store.targets[rows])
        if views:
            stands, turned = (np.concatenate(part) for part in zip(*views, strict=True))
            truth = np.concatenate(truths)
            guesses = [one.argmax(axis=1) for one in (stands, turned, stands + turned)]
            scores.append([macro_f1(truth, guess, stands.shape[1]) for guess in guesses])
    return np.mean(scores, axis=0).tolist() if scores else None


def turned_table(task: str, scores: dict[str, list[float]]) -> list[str]:
    """Return the lines of :func:`turned_scores` of each variant, in percent."""
    lines = [f"**{task}**, Macro-F1, %:", "", "| recipe | as they stand | turned by 180 degrees | mean of both |"]
    lines.append("|---|---|---|---|")
    lines += [f"| {name} | {' | '.join(f'{100 * one:.1f}' for one in row)} |" for name, row in scores.items()]
    return [*lines, ""]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--architecture", default="tf_mobilenetv3_small_100")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report", action="store_true", help="train nothing, print what is there")
    parser.add_argument("--turned", action="store_true", help="score the held-out images turned by 180 degrees as well")
    return parser.parse_args(argv)


def main() -> None:
    """Train what is missing, and print the tables."""
    arguments = parse()
    studies = {
        name: {seed: open_variant(arguments, VARIANTS[name], seed) for seed in arguments.seeds}
        for name in arguments.variants
    }

    def executor(study: Study) -> Executor:
        return Executor(study, arguments.runs, arguments.device, arguments.weights_dir)

    if not arguments.report:
        for by_seed in studies.values():
            for study in by_seed.values():
                executor(study).run(study.runs)
    ledger = Ledger(arguments.runs)
    print(f"{arguments.architecture}, {arguments.size} px, folds {arguments.folds}, seeds {arguments.seeds}\n")
    for task in arguments.tasks:
        found = {name: gather(by_seed, task, ledger) for name, by_seed in studies.items()}
        arms = {name: arm for name, arm in found.items() if arm is not None}
        for against in ("paper", "fast"):
            if against in arms:
                print("\n".join(table(task, arms, against)))
        if arguments.turned:
            turned = {name: turned_scores(studies[name], task, executor) for name in arms}
            print("\n".join(turned_table(task, {name: row for name, row in turned.items() if row is not None})))


if __name__ == "__main__":
    main()
