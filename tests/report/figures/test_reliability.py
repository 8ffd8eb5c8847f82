"""The calibration table and the reliability diagram against SciPy, scikit-learn and a loop over images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from scipy.special import softmax
from scipy.stats import binned_statistic
from sklearn.metrics import brier_score_loss, log_loss

from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.figures.reliability import calibration_table, reliability_figures
from bandbridge.report.figures.styles import APPROACH_STYLES, architecture_style, arm_style

CLASSES = ("1", "2", "X", "Y")
CONTEXT = TableContext(
    title="Two stains",
    protocol="paper",
    protocol_text="",
    folds=(0, 1),
    tasks=(TaskLabel("g", "G-band"), TaskLabel("q", "Q-band"), TaskLabel("empty")),
    architectures=(ArchitectureLabel("ViT-S/16", "modern"), ArchitectureLabel("VGG-16", "traditional")),
    arms=(Arm("g", "scratch"), Arm("g", "two-step", "q"), Arm("g", "two-step", "r"), Arm("q", "scratch")),
)


def make_run(task: str, architecture: str, arm: tuple[str, str], fold: int) -> RunPredictions:
    rng = np.random.default_rng([fold, len(architecture), len(arm[0])])
    truth = rng.integers(4, size=150)
    logits = (rng.normal(size=(2, 150, 4)) + 2 * rng.random((2, 150, 1)) * np.eye(4)[truth]).astype(np.float32)
    frames = [
        pd.DataFrame(values, columns=[f"logit_{name}" for name in CLASSES]).assign(
            image=[f"{fold}-{i}" for i in range(150)], label=np.array(CLASSES)[truth], checkpoint=checkpoint
        )
        for values, checkpoint in zip(logits, ("best", "last"), strict=True)
    ]
    return RunPredictions(task, "", architecture, *arm, fold, pd.concat(frames, ignore_index=True))


ARMS = [("two-step", "r"), ("scratch", ""), ("two-step", "q")]
RUNS = [make_run("g", name, arm, fold) for name in ("ViT-S/16", "VGG-16") for arm in ARMS for fold in (0, 1)]
RUNS += [make_run("q", "VGG-16", ("scratch", ""), 1)]


def pooled(task: str, architecture: str, approach: str, intermediate: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth of the checkpoint that the paper's protocol reports."""
    runs = [run for run in RUNS if run.arm == (task, architecture, approach, intermediate)]
    rows = pd.concat([run.predictions for run in runs]).query("checkpoint == 'best'")
    logits = rows[[f"logit_{name}" for name in CLASSES]].to_numpy(dtype=np.float64)
    return softmax(logits, axis=1), rows["label"].map(CLASSES.index).to_numpy()


def test_the_table_holds_the_scores_of_the_pooled_images() -> None:
    table = calibration_table(RUNS, CONTEXT)
    assert table is not None
    assert len(table.data) == 7
    for row, record in zip(table.rows, table.data.to_dict("records"), strict=True):
        probabilities, truth = pooled(*(record[name] for name in ("task", "architecture", "approach", "intermediate")))
        right = probabilities.argmax(1) == truth
        expected = {
            "images": len(truth),
            "accuracy": right.mean(),
            "confidence": probabilities.max(1).mean(),
            "nll": log_loss(truth, probabilities),
            "brier": brier_score_loss(truth, probabilities, scale_by_half=False),
        }
        assert {name: record[name] for name in expected} == pytest.approx(expected, rel=1e-12)
        surplus = binned_statistic(probabilities.max(1), probabilities.max(1) - right, "sum", 15, (0, 1)).statistic
        assert record["ece"] == pytest.approx(np.abs(surplus).sum() / len(truth), abs=1e-12)
        shown = [f"{100 * right.mean():.2f}", f"{100 * probabilities.max(1).mean():.2f}", f"{100 * record['ece']:.2f}"]
        shown += [f"{expected['nll']:.3f}", f"{expected['brier']:.3f}"]
        assert [cell.text for cell in row.cells[3:]] == shown


def test_rows_follow_the_context_and_name_unfinished_cross_validations() -> None:
    table = calibration_table(RUNS, CONTEXT)
    assert table is not None
    assert [(row.section, *(cell.text for cell in row.cells[:3])) for row in table.rows] == [
        ("G-band", "VGG-16", "Scratch", "300"),
        ("", "", "Two-step via Q-band", "300"),
        ("", "", "Two-step via r", "300"),
        ("", "ViT-S/16", "Scratch", "300"),
        ("", "", "Two-step via Q-band", "300"),
        ("", "", "Two-step via r", "300"),
        ("Q-band", "VGG-16", "Scratch", "150 (1/2)"),
    ]
    assert len(table.notes) == 2
    finished = calibration_table(RUNS[:-1], CONTEXT)
    assert finished is not None
    assert len(finished.notes) == 1


def test_marks_stand_at_the_means_of_their_bins_with_areas_of_their_shares() -> None:
    first, second = reliability_figures(RUNS, CONTEXT)
    assert (first.name, second.name) == ("reliability-g", "reliability-q")
    titles = [axes.get_title(loc="left") for axes in first.figure.axes]
    assert titles == ["(a) Scratch", "(b) Two-step via Q-band", "(c) Two-step via r"]
    for axes, arm in zip(first.figure.axes, (ARMS[1], ARMS[2], ARMS[0]), strict=True):
        clouds = [each for each in axes.collections if isinstance(each, PathCollection)]
        for cloud, architecture in zip(clouds, ("VGG-16", "ViT-S/16"), strict=True):
            probabilities, truth = pooled("g", architecture, *arm)
            confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
            place = np.ceil(confidence * 15)
            expected = [
                (confidence[place == bin_].mean(), right[place == bin_].mean(), (place == bin_).mean())
                for bin_ in np.unique(place)
            ]
            np.testing.assert_allclose(cloud.get_offsets(), [one[:2] for one in expected], atol=1e-12)
            areas = np.asarray(cloud.get_sizes()) - 3
            np.testing.assert_allclose(areas / areas.sum(), [one[2] for one in expected], atol=1e-12)


def contrast(colour: str, ground: str) -> float:
    """WCAG 2.1 contrast ratio of two colours."""
    lights = []
    for text in (colour, ground):
        parts = np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_every_colour_can_be_told_from_a_white_and_from_a_dark_page() -> None:
    """3:1 is what WCAG 2.1, 1.4.11, asks of graphics."""
    styles = [*APPROACH_STYLES.values(), *(architecture_style(index) for index in range(11))]
    assert all(contrast(style.colour, ground) >= 3 for style in styles for ground in ("#ffffff", "#15181c"))


def test_no_two_architectures_and_no_two_arms_look_the_same() -> None:
    assert len({architecture_style(index) for index in range(11)}) == 11
    assert len({arm_style(arm, CONTEXT) for arm in CONTEXT.arms_of("g")}) == 3
    one, other = (arm_style(arm, CONTEXT) for arm in CONTEXT.arms_of("g", "two-step"))
    assert (one.colour, one.marker) == (other.colour, other.marker)


def test_without_runs_there_is_nothing() -> None:
    assert calibration_table([], CONTEXT) is None
    assert reliability_figures([], CONTEXT) == []
