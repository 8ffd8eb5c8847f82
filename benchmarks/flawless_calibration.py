"""What can be promised from cells of which a classifier gets none, one, two or five chromosomes wrong, by simulation.

    python benchmarks/flawless_calibration.py [--simulations 200] [--seed 0]

Cells of 46 chromosomes are drawn from a classifier with Gaussian scores whose cells are seen more or less clearly, so
that chromosomes of a cell fail together (a design effect of 3.1 to 3.8). How far the classes lie apart is set so that
the wanted number of errors is to be expected (half an error for none), and only draws with exactly so many are kept.
Temperature, prediction sets, threshold to flag and promise are learned from them as they are for a model. The truth is
what 200 new cells show.

"before" is maximum likelihood: the temperature alone decides, and a flawless set counts each cell as one image when
errors are promised. T: median temperature. noise: the median probability of the likeliest class for an image of no
chromosome, whose scores are noise. covered: of new chromosomes, the share with their class in their set (%). empty: new
chromosomes whose set is empty (%). promised: the mean error that is promised of what is not flagged (%, 100 for none).
shown: the error that new cells show there (%). broken: simulations where shown exceeds promised (%). flagged: new
chromosomes to look at (%).

Last, promises at their limit: how often an error is promised that is exceeded by one in a hundred of it, where
chromosomes fail by themselves or together.

What to expect: before, T is 0.02 and noise has probability 1.000 wherever no error was seen, and 80 flawless cells are
promised less than 80 cells with one error. After, no promise is worse from fewer errors, sets cover 95% and more, and
promises are broken in at most 5 of 100 simulations. Some minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import norm

from bandbridge.evaluation import flagging
from bandbridge.evaluation.conformal import Guarantee, calibrate, lac_scores
from bandbridge.evaluation.design_effect import design_effect
from bandbridge.evaluation.flagging import choose_threshold
from bandbridge.evaluation.temperature import PRIOR, fit_temperature
from bandbridge.karyotype import CLASSES
from bandbridge.predict.confidence import LARGER_ERRORS, LEAST_THRESHOLD, Promise

CELLS = (4, 10, 20, 40, 80)
ERRORS = (0, 1, 2, 5)
#: Standard deviation of how clearly a cell is seen, as a share of how far the classes lie apart.
CLARITY = 0.2
#: The network's logits are these times the log-likelihood: it is too sure, or not sure enough.
SURENESS = {"too sure": 2.0, "unsure": 0.5}
NEW_CELLS = 200
TRUTH = np.repeat(np.arange(len(CLASSES)), [2] * 22 + [1, 1])


@dataclass(frozen=True)
class Learned:
    """What one set taught, and what it is worth on new cells: shares in 0..1."""

    temperature: float
    noise: float
    covered: float
    empty: float
    promised: float
    shown: float
    flagged: float


def draw_cells(cells: int, apart: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log-likelihoods float64 [N, 24], truth and cell int64 [N] of ``cells`` cells."""
    truth, cell = np.tile(TRUTH, cells), np.repeat(np.arange(cells), len(TRUTH))
    clear = apart * np.exp(CLARITY * generator.normal(size=cells))[cell]
    scores = generator.normal(size=(len(truth), len(CLASSES)))
    scores[np.arange(len(truth)), truth] += clear
    return apart * scores, truth, cell


def distance_for(rate: float) -> float:
    """Return how far the classes must lie apart for an error in about this share of the chromosomes."""
    generator = np.random.default_rng(0)
    clear = np.exp(CLARITY * generator.normal(size=2000))
    grid = np.linspace(2.0, 14.0, 241)
    rates = [np.mean((len(CLASSES) - 1) * norm.sf(apart * clear / np.sqrt(2))) for apart in grid]
    return float(np.interp(-np.log(rate), -np.log(rates), grid))


def learn(
    logits: np.ndarray, truth: np.ndarray, cell: np.ndarray, mended: bool
) -> tuple[float, np.ndarray, float, float]:
    """Return temperature, thresholds of the sets float64 [24], the probability to flag below and the promised error."""
    temperature = fit_temperature(logits, truth, cell, prior=PRIOR if mended else 0.0).value
    likely = softmax(logits / temperature, axis=1)
    unit = "hierarchical" if len(np.unique(cell)) >= 19 else "chromosome"
    thresholds = calibrate(lac_scores(likely), truth, Guarantee(1 - Promise.coverage, unit), cell).values
    correct = likely.argmax(axis=1) == truth
    effect = design_effect if mended else _effect_before
    with patch.object(flagging, "design_effect", effect):
        for error in (Promise.wanted_error, *LARGER_ERRORS):
            review = choose_threshold(likely.max(axis=1), correct, error, cell)
            if np.isfinite(review.threshold):
                break
    promised = review.wanted_error if np.isfinite(review.threshold) else 1.0
    return temperature, np.maximum(thresholds, LEAST_THRESHOLD if mended else 0), review.threshold, promised


def _effect_before(failed: np.ndarray, groups: np.ndarray, assumed: float) -> float:
    """The design effect without any assumption but for sets without an error, where each cell counts as one image."""
    if not failed.any():
        return float(len(failed) / len(np.unique(groups)))
    by_cell = np.bincount(groups, weights=failed)
    size, share = len(failed) / len(by_cell), failed.mean()
    return max(1.0, float(size * by_cell.var(ddof=1) / size**2 / (share * (1 - share))))


def simulate(
    cells: int, errors: int, apart: float, sureness: float, generator: np.random.Generator
) -> tuple[Learned, Learned] | None:
    """Return what is learned before and after from one set, or None where it has another number of errors."""
    scores, truth, cell = draw_cells(cells, apart, generator)
    if int((scores.argmax(axis=1) != truth).sum()) != errors:
        return None
    new, new_truth, _ = draw_cells(NEW_CELLS, apart, generator)
    nothing = apart * generator.normal(size=(200, len(CLASSES)))
    found = []
    for mended in (False, True):
        temperature, thresholds, below, promised = learn(sureness * scores, truth, cell, mended)
        likely = softmax(sureness * new / temperature, axis=1)
        sure, wrong = likely.max(axis=1), likely.argmax(axis=1) != new_truth
        sets, kept = 1 - likely <= thresholds, sure >= below
        noise = softmax(sureness * nothing / temperature, axis=1).max(axis=1)
        found.append(
            Learned(
                temperature,
                float(np.median(noise)),
                float(sets[np.arange(len(new_truth)), new_truth].mean()),
                float((~sets.any(axis=1)).mean()),
                promised,
                float(wrong[kept].mean()) if kept.any() else 0.0,
                float(1 - kept.mean()),
            )
        )
    return found[0], found[1]


def run(cells: int, errors: int, sureness: float, simulations: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row of :class:`Learned` for each of ``simulations`` sets, before and after."""
    apart = distance_for(max(errors, 0.5) / (cells * len(TRUTH)))
    generator = np.random.default_rng([seed, cells, errors])
    found: list[tuple[Learned, Learned]] = []
    while len(found) < simulations:
        pair = simulate(cells, errors, apart, sureness, generator)
        if pair is not None:
            found.append(pair)
    before, after = (pd.DataFrame([vars(pair[part]) for pair in found]) for part in range(2))
    return before, after


def broken_at(wanted: float, cells: int, correlation: float, simulations: int, seed: int) -> tuple[float, float]:
    """Return how often ``wanted`` is promised where slightly more chromosomes are wrong, before and after: 0..1.

    Every threshold keeps the same share of errors; those of a cell correlate by a beta distribution.
    """
    rate, generator = 1.01 * wanted, np.random.default_rng([seed, cells])
    cell = np.repeat(np.arange(cells), len(TRUTH))
    strength = (1 - correlation) / correlation if correlation else np.inf
    promised = np.zeros(2)
    for _ in range(simulations):
        rates = generator.beta(rate * strength, (1 - rate) * strength, cells) if correlation else np.full(cells, rate)
        correct, sure = generator.random(len(cell)) >= rates[cell], generator.random(len(cell))
        for part, effect in enumerate((_effect_before, design_effect)):
            with patch.object(flagging, "design_effect", effect):
                promised[part] += np.isfinite(choose_threshold(sure, correct, wanted, cell).threshold)
    before, after = promised / simulations
    return float(before), float(after)


def print_broken(simulations: int, seed: int) -> None:
    """Print how often a promise is broken that is just too good to be true."""
    print("\nBroken promises where 1.01 times the wanted error is true (%, before and after; 5 are allowed)")
    print("design effect  wanted | " + "".join(f"{cells:>6} cells" for cells in CELLS))
    for correlation in (0.0, 0.02, 0.045, 0.1):
        for wanted in (0.01, 0.02, 0.05):
            found = [broken_at(wanted, cells, correlation, simulations, seed) for cells in CELLS]
            shown = "".join(f"{100 * before:6.0f} {100 * after:5.0f}" for before, after in found)
            print(f"{1 + 45 * correlation:13.1f}  {100 * wanted:5.0f}% | {shown}", flush=True)


def main() -> None:
    """Print a table for a network that is too sure of itself and for one that is not sure enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    heads = "cells errors |      T  noise  covered  empty  promised  shown  broken  flagged"
    for name, sureness in SURENESS.items():
        tables = {
            (cells, errors): run(cells, errors, sureness, options.simulations, options.seed)
            for cells in CELLS
            for errors in ERRORS
        }
        for part, when in enumerate(("before", "after")):
            print(f"\nA network that is {name}, {when}\n{heads}", flush=True)
            for (cells, errors), pair in tables.items():
                mean, middle = 100 * pair[part].mean(), pair[part].median()
                broken = 100 * (pair[part]["shown"] > pair[part]["promised"]).mean()
                print(
                    f"{cells:5} {errors:6} | {middle['temperature']:6.2f}  {middle['noise']:.3f}  "
                    f"{mean['covered']:7.1f}  {mean['empty']:5.1f}  {mean['promised']:8.1f}  {mean['shown']:5.2f}  "
                    f"{broken:6.1f}  {mean['flagged']:7.1f}",
                    flush=True,
                )
    print_broken(2 * options.simulations, options.seed)


if __name__ == "__main__":
    main()
