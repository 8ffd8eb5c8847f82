"""F1 of every class, drawn and in the table, against scikit-learn on the pooled predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.figures.class_scores import class_f1_figures, class_f1_table
from bandbridge.report.figures.styles import APPROACH_STYLES

CLASSES = ("1", "2", "3", "21", "X", "Y")
#: Class 3 has no images at all, Y none in fold 0.
DRAWN = (["1", "2", "21", "X"], ["1", "2", "21", "X", "Y"])
CONTEXT = TableContext(
    title="Two stains",
    protocol="strict",
    protocol_text="",
    folds=(0, 1),
    tasks=(TaskLabel("g", "G-band"), TaskLabel("empty")),
    architectures=(ArchitectureLabel("ViT-S/16", "modern"), ArchitectureLabel("VGG-16", "traditional")),
    arms=(Arm("g", "scratch"), Arm("g", "imagenet"), Arm("g", "domain", "q"), Arm("empty", "scratch")),
)


def make_run(architecture: str, approach: str, fold: int) -> RunPredictions:
    rng = np.random.default_rng([fold, len(architecture), len(approach)])
    label = rng.choice(DRAWN[fold], size=80)
    truth = np.array([CLASSES.index(name) for name in label])
    frames = []
    for checkpoint in ("best", "last"):
        logits = rng.normal(size=(80, 6)) + 2 * np.eye(6)[truth]
        frame = pd.DataFrame(logits.astype(np.float32), columns=[f"logit_{name}" for name in CLASSES])
        frames.append(frame.assign(image=[f"{fold}-{i}" for i in range(80)], label=label, checkpoint=checkpoint))
    return RunPredictions("g", "", architecture, approach, "", fold, pd.concat(frames, ignore_index=True))


RUNS = [
    make_run(name, way, fold) for name in ("ViT-S/16", "VGG-16") for way in ("imagenet", "scratch") for fold in (1, 0)
]


def f1_of(runs: list[RunPredictions], architecture: str, approach: str) -> dict[str, float]:
    rows = pd.concat(
        [run.predictions for run in runs if (run.architecture, run.approach) == (architecture, approach)]
    ).query("checkpoint == 'last'")
    guess = np.array(CLASSES)[rows[[f"logit_{name}" for name in CLASSES]].to_numpy().argmax(1)]
    values = f1_score(rows["label"], guess, labels=list(CLASSES), average=None, zero_division=0)
    return {name: float(v) for name, v in zip(CLASSES, values, strict=True) if (rows["label"] == name).any()}


def test_the_table_holds_means_over_architectures_with_the_best_in_bold() -> None:
    table = class_f1_table(RUNS, CONTEXT)
    assert table is not None
    assert [column.title for column in table.columns] == ["Class", "Images", "Scratch", "ImageNet", "Domain"]
    assert [row.cells[0].text for row in table.rows] == ["1", "2", "21", "X", "Y"]
    for row in table.rows:
        name = row.cells[0].text
        means = [
            np.mean([f1_of(RUNS, a, way)[name] for a in ("VGG-16", "ViT-S/16")]) for way in ("scratch", "imagenet")
        ]
        assert [cell.text for cell in row.cells[2:]] == [*(f"{100 * mean:.2f}" for mean in means), "–"]
        assert [cell.bold for cell in row.cells[2:]] == [means[0] >= means[1], means[1] >= means[0], False]
    for record in table.data.to_dict("records"):
        expected = f1_of(RUNS, record["architecture"], record["approach"])[record["class"]]
        assert record["f1"] == pytest.approx(expected, abs=1e-12)
    assert len(table.data) == 2 * 2 * 5


def test_architectures_and_folds_that_an_approach_lacks_do_not_count() -> None:
    """ImageNet lacks fold 1 of ViT, and Y is in fold 1 only: VGG alone says how well Y is found."""
    fewer = [run for run in RUNS if (run.architecture, run.approach, run.fold) != ("ViT-S/16", "imagenet", 1)]
    table = class_f1_table(fewer, CONTEXT)
    assert table is not None
    assert [row.cells[0].text for row in table.rows] == ["1", "2", "21", "X", "Y"]
    assert [cell.text for cell in table.rows[-1].cells[2:4]] == [
        f"{100 * f1_of(RUNS, 'VGG-16', way)['Y']:.2f}" for way in ("scratch", "imagenet")
    ]
    assert table.notes[0].startswith("1 of 7 runs are not counted")


def test_marks_stand_at_the_f1_of_their_class_and_approach() -> None:
    (illustration,) = class_f1_figures(RUNS, CONTEXT)
    assert illustration.name == "class-f1-g"
    assert [axes.get_title(loc="left") for axes in illustration.figure.axes] == ["VGG-16", "ViT-S/16"]
    names = ["1", "2", "21", "X", "Y"]
    for axes in illustration.figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == names
        drawn = {line.get_color(): line for line in axes.lines if line.get_marker() != "None"}
        for approach in ("scratch", "imagenet"):
            line = drawn[APPROACH_STYLES[approach].colour]
            expected = f1_of(RUNS, axes.get_title(loc="left"), approach)
            places = np.asarray(line.get_xdata(), dtype=float)
            found = {names[round(x)]: y / 100 for x, y in zip(places, line.get_ydata(), strict=True)}
            assert found == pytest.approx(expected, abs=1e-12)
            low, high = axes.get_ylim()
            assert all(low < 100 * value < high for value in found.values())


def test_without_runs_there_is_nothing() -> None:
    assert class_f1_table([], CONTEXT) is None
    assert class_f1_figures([], CONTEXT) == []
