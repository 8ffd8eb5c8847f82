"""What the comparison of recipes prints, against scikit-learn and SciPy: scores, differences, ratios, selection."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_model
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import f1_score
from tests.networks import beginning_moved

from bandbridge.evaluation.predictions import RunPredictions, read_predictions
from bandbridge.study.execute import Executor
from bandbridge.study.plan import open_study

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


@pytest.mark.slow
def test_turned_images_are_scored_as_scikit_learn_scores_what_timm_says_of_them(tmp_path, chromosome_set) -> None:
    chromosome_set("Q")
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: turned\nprotocol: strict\npreparation: published\ntasks: {Q: {dataset: q4-0}}\n"
        "architectures: [test_resnet]\napproaches: [scratch]\nsplit: {folds: 2, scheme: cell}\nimage_size: 32\n"
        "precision: fp32\nrecipe: {base: fast, epochs: 6, batch_size: 8, learning_rate: 0.01}\n"
    )
    study = open_study(path)
    executor = Executor(study, tmp_path / "runs", "cpu")
    assert RECIPES.turned_scores({0: study}, "Q", lambda _: executor) is None
    with beginning_moved():
        executor.run(study.runs)
    found = RECIPES.turned_scores({0: study}, "Q", lambda _: executor)

    truth, views = [], []
    for run in study.runs:
        folder = executor.ledger.folder(run)
        frame = read_predictions(folder / "predictions.parquet").query("checkpoint == 'last'")
        config = json.loads((folder / "config.json").read_text())
        model = timm.create_model("test_resnet", num_classes=len(config["classes"])).eval()
        load_model(model, folder / "last.safetensors")
        images = executor.store("Q").images[study.tasks["Q"].split.rows(run.fold)[1]]
        turned = np.stack([np.rot90(image, 2) for image in images])[:, None].repeat(3, axis=1)
        mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        with torch.inference_mode():
            logits = model((torch.tensor(turned) / 255 - mean) / std).numpy()
        stands = frame[[f"logit_{name}" for name in config["classes"]]].to_numpy()
        truth += frame["label"].map(config["classes"].index).tolist()
        views.append([softmax(stands, axis=1), softmax(logits, axis=1)])
    stands, turned = (np.concatenate(part) for part in zip(*views, strict=True))
    expected = [f1_score(truth, one.argmax(1), average="macro") for one in (stands, turned, stands + turned)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert len(set(found)) == 3
    assert RECIPES.turned_table("Q", {"fast": found})[-2].startswith(f"| fast | {100 * expected[0]:.1f} | ")
