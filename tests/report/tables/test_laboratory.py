"""The laboratory's tables against sums over the trial, and why an arm has none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bandbridge.evaluation.predictions import RunPredictions
from bandbridge.karyotype import CLASSES
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.tables.laboratory import laboratory_tables, laboratory_trials

CONTEXT = TableContext(
    "Made up",
    "strict",
    "",
    folds=(0, 1),
    tasks=(TaskLabel("q", "Q-band"),),
    architectures=(ArchitectureLabel("A"),),
    arms=(Arm("q", "imagenet"),),
)


def make_run(fold: int, cells: int = 10, **changes: object) -> RunPredictions:
    """Whole cells, one in five with three 21s."""
    rng = np.random.default_rng(fold)
    parts, names = [], []
    for index in range(cells):
        counts = np.array([2] * 22 + [1, 1])
        counts[20] += index % 5 == 0
        parts.append(np.repeat(np.arange(24), counts))
        names += [f"f{fold}c{index}"] * counts.sum()
    truth = np.concatenate(parts)
    logits = rng.normal(size=(len(truth), 24))
    logits[np.arange(len(truth)), truth] += 3.5
    frame = pd.DataFrame({"image": [f"{fold}-{index}" for index in range(len(truth))], "cell": names})
    frame = frame.assign(patient="", label=np.array(CLASSES)[truth], checkpoint="last", **changes)
    columns = pd.DataFrame(logits.astype(np.float32), columns=[f"logit_{name}" for name in CLASSES])
    return RunPredictions("q", "Q-band", "A", "imagenet", "", fold, pd.concat([frame, columns], axis=1))


@pytest.fixture(scope="module")
def trials():
    found, refused = laboratory_trials([make_run(0), make_run(1)], CONTEXT)
    assert refused == []
    return found


def test_shares_are_those_of_the_trial(trials):
    (trial,) = trials.values()
    cells, confidence, _ = laboratory_tables(trials, CONTEXT)
    (record,) = cells.data.to_dict("records")
    real = trial.cells.loc[trial.cells["planted"] == ""]
    assert record["images"] == len(trial.images) == real["chromosomes"].sum()
    assert record["accuracy"] == pytest.approx(1 - real["wrong_alone"].sum() / record["images"])
    assert record["joint_accuracy"] == pytest.approx(1 - real["wrong_joint"].sum() / record["images"])
    assert record["cells_right_joint"] == pytest.approx((real["wrong_joint"] == 0).mean())
    sizes = trial.images["cell"].nunique()
    assert sizes == 20 and record["difference_low"] < record["joint_accuracy"] - record["accuracy"]
    assert record["joint_accuracy"] - record["accuracy"] < record["difference_high"]
    (row,) = confidence.rows
    assert row.cells[-4].text == f"{100 * (1 - record['accuracy']):.2f}"  # nothing reviewed: every error is left
    assert record["error_left_5"] < record["error_left_1"] <= record["error_left_0"]


def test_abnormal_cells_are_counted_by_kind(trials):
    (trial,) = trials.values()
    data = laboratory_tables(trials, CONTEXT)[2].data.set_index("what")
    real = trial.cells.loc[trial.cells["planted"] == ""]
    assert data.loc["Real: an autosome too many", "cells"] == 4 == real["gain"].sum()
    assert data.loc["Real: an autosome too many", "reported"] == real.loc[real["gain"], "reported_gain"].sum()
    assert data.loc["Normal cells with a false alarm", "cells"] == 16
    assert data.loc["Planted: gain and loss", "cells"] == 16
    assert (data["suspected"] >= data["reported"]).all()


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([make_run(0)], "one fold only"),
        ([make_run(0), make_run(1, cell="")], "cells are not known"),
        ([make_run(0, cell="same"), make_run(1, cell="same")], "divide cells"),
    ],
)
def test_an_arm_that_cannot_be_judged_says_why(runs, reason):
    trials, (line,) = laboratory_trials(runs, CONTEXT)
    assert trials == {} and line.startswith("q, A, imagenet:") and reason in line
    assert laboratory_tables(trials, CONTEXT) == []


def test_nineteen_cells_have_a_difference_and_no_interval():
    few, _ = laboratory_trials([make_run(0), make_run(1, cells=9)], CONTEXT)
    table, *_ = laboratory_tables(few, CONTEXT)
    (record,) = table.data.to_dict("records")
    assert np.isnan(record["difference_low"]) and np.isnan(record["difference_high"])
    (row,) = table.rows
    assert not any("nan" in cell.text or "n/a" in cell.text for cell in row.cells)
    assert any("fewer than 20" in note for note in table.notes)
