"""What the comparison of recipes prints, against scikit-learn and SciPy: scores, differences, ratios, selection."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from bandbridge.evaluation.predictions import RunPredictions

RECIPES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "recipes.py")))
CLASSES = ("1", "2", "X")


def predictions(fold: int, right: float, seed: int) -> RunPredictions:
    """One run of a fold of 60 images in six cells, of which it gets about a share of ``right`` right."""
    draws = np.random.default_rng(seed)
    truth = np.arange(60) % len(CLASSES)
    guess = np.where(draws.random(60) < right, truth, (truth + 1) % len(CLASSES))
    frame = pd.DataFrame(
        {
            "image": [f"fold{fold}/{number}" for number in range(60)],
            "cell": [f"cell{fold}-{number // 10}" for number in range(60)],
            "patient": "",
            "label": [CLASSES[index] for index in truth],
            "checkpoint": "last",
        }
    )
    for index, name in enumerate(CLASSES):
        frame[f"logit_{name}"] = np.where(guess == index, 1, 0).astype(np.float32)
    return RunPredictions("Q", "", "some", "imagenet", "", fold, frame)


def arm(right: float, keys: list[tuple[int, int]], first_seed: int, passes: float = 100.0):
    """One recipe's runs by (seed, fold)."""
    runs = {(seed, fold): predictions(fold, right, first_seed + 10 * seed + fold) for seed, fold in keys}
    return RECIPES.Arm(runs, passes, passes, passes)


def guessed(runs: list[RunPredictions]) -> tuple[np.ndarray, np.ndarray]:
    frame = pd.concat([run.predictions for run in runs])
    logits = frame[[f"logit_{name}" for name in CLASSES]].to_numpy()
    return frame["label"].to_numpy(), np.array(CLASSES)[logits.argmax(1)]


def test_only_folds_that_every_seed_has_are_compared() -> None:
    paper = arm(0.9, [(0, 0), (0, 1), (1, 0)], 0)
    fast = arm(0.8, [(0, 0), (0, 1), (1, 0), (1, 1)], 100)
    assert RECIPES.comparable(fast, paper) == [(0, 0), (1, 0)]


def test_score_and_interval_over_trainings_are_those_of_other_libraries() -> None:
    keys = [(seed, fold) for seed in (0, 1) for fold in (0, 1)]
    paper, fast = arm(0.9, keys, 0), arm(0.7, keys, 100)
    score, words = RECIPES.compare(fast, paper)

    pooled = [f1_score(*guessed([fast.runs[seed, fold] for fold in (0, 1)]), average="macro") for seed in (0, 1)]
    assert score == pytest.approx(np.mean(pooled), abs=1e-12)

    each = [
        100
        * (
            f1_score(*guessed([fast.runs[key]]), average="macro")
            - f1_score(*guessed([paper.runs[key]]), average="macro")
        )
        for key in keys
    ]
    low, high = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    over_cells, over_trainings = words.split(" | ")
    assert over_trainings == f"{np.mean(each):+.1f} ({low:+.1f} to {high:+.1f})"
    assert over_cells.startswith("-")


def test_one_training_has_no_interval_over_trainings() -> None:
    _, words = RECIPES.compare(arm(0.7, [(0, 0)], 100), arm(0.9, [(0, 0)], 0))
    assert words.endswith("| -")


def test_the_table_says_how_many_times_fewer_passes() -> None:
    paper, fast = arm(0.9, [(0, 0)], 0, passes=5000.0), arm(0.7, [(0, 0)], 100, passes=1000.0)
    lines = RECIPES.table("Q", {"paper": paper, "fast": fast}, "paper")
    row = next(line for line in lines if line.startswith("| fast "))
    assert row.startswith("| fast | 1 | 1 k (5.0x fewer) | 5.0x fewer | 1000 (5.0x) |")
