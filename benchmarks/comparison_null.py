"""How often each comparison finds a difference between two learners that are equally good.

    python benchmarks/comparison_null.py [--repetitions 2000] [--resamples 500] [--seed 0]

Prints the false positive rates at 5%. Each repetition draws a data set of cells, trains and tests two learners by
k-fold cross-validation and compares their Macro-F1. The learners are nearest-centroid classifiers that look at two
disjoint sets of features of the same distribution, so that their expected scores are equal whatever the number of
training images. The images of a cell share the contrast in which each learner sees them, as those of one metaphase
share its focus and exposure, so the errors of a learner in one cell correlate.

What to expect: the published percentile interval excludes zero three times too often (with two folds in half of all
cases: whenever both have one sign), Student's t in about 5%, the corrected t in 1 to 2%, as long as no fold shares
cells with another. Where folds divide the cells, all of them see the same cells, and the folds alone cannot tell:
Student's t then errs in 15%. A bootstrap over images takes the images of a cell for independent and errs in 24%; one
over cells in 7%, the swaps of whole cells in 5%. About a minute on a free core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bandbridge.evaluation.comparison import corrected_resampled_t, percentile_bootstrap, student_t
from bandbridge.evaluation.pooled import PairedPredictions, compare_pooled

CLASSES, FEATURES, FOLDS, COPIES = 4, 8, 5, 3
ALPHA = 0.05
#: Title, folds of whole cells or not, and the SD of a cell's log contrast: 0 makes all images independent.
SETTINGS = (
    ("independent images", False, 0.0),
    ("folds of cells", True, 0.5),
    ("folds of images", False, 0.5),
)
#: Repetitions that are simulated at once: some 60 MB.
BLOCK = 250


@dataclass(frozen=True, eq=False)
class Design:
    """Where each of N images stands: ``truth``, ``cell``, ``fold``, int64 [N]; and the SD of a cell's log contrast."""

    truth: np.ndarray
    cell: np.ndarray
    fold: np.ndarray
    cell_sd: float


def make_design(whole_cells: bool, cell_sd: float, cells: int = 40) -> Design:
    """Return cells of ``CLASSES`` x ``COPIES`` images, divided into folds by whole cells or by images."""
    cell, truth, copy = (axis.ravel() for axis in np.indices((cells, CLASSES, COPIES)))
    fold = cell % FOLDS if whole_cells else (cell * COPIES + copy) % FOLDS
    return Design(truth, cell, fold, cell_sd)


def draw_features(design: Design, repetitions: int, generator: np.random.Generator) -> np.ndarray:
    """Return float64 [R, N, FEATURES]: the centre of the class, nearer to zero in dull cells, and noise of SD 1."""
    centres = np.zeros((CLASSES, FEATURES))
    centres[:, :CLASSES] = 2.5 * np.eye(CLASSES)
    contrast = np.exp(design.cell_sd * generator.normal(size=(repetitions, design.cell.max() + 1, 1)))
    noise = generator.normal(size=(repetitions, len(design.truth), FEATURES))
    return centres[design.truth] * contrast[:, design.cell] + noise


def cross_validate(features: np.ndarray, design: Design) -> np.ndarray:
    """Return the class int64 [R, N] that a nearest-centroid classifier, trained on the other folds, gives an image."""
    predicted = np.empty(features.shape[:2], dtype=np.int64)
    of_class = np.eye(CLASSES)[design.truth].T
    for fold in range(FOLDS):
        held_out = design.fold == fold
        training = of_class * ~held_out
        centroids = training @ features / training.sum(axis=1, keepdims=True)
        # The nearest centroid c has the largest x c - c c / 2: the square of x itself is the same for all.
        scores = features[:, held_out] @ centroids.swapaxes(1, 2) - (centroids**2).sum(axis=2)[:, None] / 2
        predicted[:, held_out] = scores.argmax(axis=2)
    return predicted


def fold_macro_f1(predicted: np.ndarray, design: Design) -> np.ndarray:
    """Return Macro-F1 of every repetition and fold, float64 [R, FOLDS]."""
    guess, truth = np.eye(CLASSES)[predicted], np.eye(CLASSES)[design.truth]
    in_fold = np.eye(FOLDS)[design.fold].T
    hits, guesses, support = in_fold @ (guess * truth), in_fold @ guess, in_fold @ truth
    return (2 * hits / (guesses + support)).mean(axis=2)


def simulate(
    design: Design, repetitions: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, PairedPredictions]]:
    """Yield, for each repetition, the fold differences float64 [FOLDS] and the pooled predictions of both learners."""
    names = tuple(map(str, range(CLASSES)))
    for start in range(0, repetitions, BLOCK):
        count = min(BLOCK, repetitions - start)
        both = [cross_validate(draw_features(design, count, generator), design) for _ in range(2)]
        differences = np.subtract(*(fold_macro_f1(one, design) for one in both))
        for index in range(count):
            guesses = (one[[index]] for one in both)
            yield differences[index], PairedPredictions(design.truth, *guesses, design.cell, "cell", names)


def found(differences: np.ndarray, generator: np.random.Generator) -> dict[str, bool]:
    """Return which comparison of the folds calls a difference."""
    published = percentile_bootstrap(differences, 2000, generator=generator)
    return {
        "published interval": not published.low <= 0 <= published.high,
        "Student t": student_t(differences).p <= ALPHA,
        "corrected t": corrected_resampled_t(differences, 1 / (FOLDS - 1)).p <= ALPHA,
    }


def found_pooled(pairs: PairedPredictions, resamples: int, generator: np.random.Generator) -> dict[str, bool]:
    """Return which comparison of the pooled predictions calls a difference."""
    by_cell = compare_pooled(pairs, resamples, generator=generator).macro_f1
    images = replace(pairs, group=np.arange(len(pairs.truth)), unit="image")
    by_image = compare_pooled(images, resamples, generator=generator).macro_f1
    return {
        "bootstrap, images": not by_image.difference.low <= 0 <= by_image.difference.high,
        "bootstrap, cells": not by_cell.difference.low <= 0 <= by_cell.difference.high,
        "swaps of cells": by_cell.p <= ALPHA,
    }


def false_positive_rates(design: Design, repetitions: int, resamples: int, seed: int) -> dict[str, float]:
    """Return the share of repetitions in which each comparison finds a difference; 0 ``resamples``: folds only."""
    generator = np.random.default_rng(seed)
    counts: dict[str, int] = {}
    for differences, pairs in simulate(design, repetitions, generator):
        results = found(differences, generator)
        results |= {f"{name}, 2 folds": hit for name, hit in found(differences[:2], generator).items()}
        results |= found_pooled(pairs, resamples, generator) if resamples else {}
        for name, hit in results.items():
            counts[name] = counts.get(name, 0) + bool(hit)
    return {name: count / repetitions for name, count in counts.items()}


def main() -> None:
    """Print one line for each comparison, one column for each way to divide the images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    rates = {
        title: false_positive_rates(make_design(whole, sd), options.repetitions, options.resamples, options.seed)
        for title, whole, sd in SETTINGS
    }
    error = np.sqrt(ALPHA * (1 - ALPHA) / options.repetitions)
    print(
        f"False positives at {ALPHA:.0%}; {options.repetitions} repetitions (standard error {error:.1%}), {FOLDS} folds"
    )
    print(f"{'':28}" + "".join(f"{title:>22}" for title in rates))
    for name in next(iter(rates.values())):
        print(f"{name:28}" + "".join(f"{column[name]:>22.1%}" for column in rates.values()))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
