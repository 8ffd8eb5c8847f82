"""The laboratory's trial: nothing learned from the fold it judges, counts by hand, planted cells as asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from bandbridge.evaluation.assignment import assign_cell
from bandbridge.evaluation.assignment_trial import CellLogits
from bandbridge.evaluation.counts import learn_costs
from bandbridge.evaluation.crossfit import PLANTS, Rules, judge_cell, run_trial, true_deviations
from bandbridge.karyotype import CLASSES

XY = np.array([2] * 22 + [1, 1])
COSTS = learn_costs(np.tile(XY, (50, 1)))
RULES = Rules(2.0, np.full(24, 0.9), 0.6, COSTS, -2.0)


def copies(**changes: int) -> np.ndarray:
    found = XY.copy()
    for name, number in changes.items():
        found[CLASSES.index(name.removeprefix("c"))] = number
    return found


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (copies(), {}),
        (copies(X=2, Y=0), {}),
        (copies(c21=3), {20: 1}),
        (copies(c5=1, c7=0), {4: -1, 6: -2}),
        (copies(X=3, Y=0), {22: 1}),
        (copies(X=1, Y=0), {22: -1}),
        (copies(X=2, Y=1), {23: 1}),
        (copies(X=1, Y=2), {23: 1}),
    ],
)
def test_true_deviations(cell, expected):
    found = true_deviations(cell)
    autosomes = {index: step for index, step in expected.items() if index < 22}
    assert {index: step for index, step in found.items() if index < 22} == autosomes
    assert any(index >= 22 for index in found) == any(index >= 22 for index in expected)


def cell_logits(counts: np.ndarray, name: str = "c", strength: float = 12.0, seed: int = 0) -> CellLogits:
    truth = np.repeat(np.arange(24), counts)
    logits = np.random.default_rng(seed).normal(size=(len(truth), 24))
    logits[np.arange(len(truth)), truth] += strength
    return CellLogits(name, logits, truth)


def test_a_gain_that_is_plain_to_see_is_reported_and_nothing_else():
    classes, record = judge_cell(cell_logits(copies(c21=3)), RULES)
    assert (classes == 20).sum() == 3
    assert record["deviations"] == "21+1" and record["gain"] and not record["loss"] and not record["sex"]
    assert record["reported_right"] and record["reported_wrong"] == 0 and record["reported_gain"]


def test_mended_and_made_are_counted_as_the_assignment_has_them():
    cell = cell_logits(copies(), strength=2.5, seed=3)
    classes, record = judge_cell(cell, RULES)
    found = assign_cell(cell.log_probabilities, COSTS)
    alone, joint = cell.logits.argmax(axis=1) != cell.truth, found.classes != cell.truth
    assert np.array_equal(classes, found.classes)
    assert (record["wrong_alone"], record["wrong_joint"]) == (alone.sum(), joint.sum())
    assert record["wrong_joint"] == record["wrong_alone"] - record["mended"] + record["made"]
    assert record["wrong_alone"] > record["wrong_joint"]  # else the case shows nothing


def test_an_unusual_sex_is_a_finding_of_its_own():
    _, record = judge_cell(cell_logits(copies(X=2, Y=1)), RULES)
    assert record["sex"] and record["sexes"] == "XXY" and record["reported_sex"] and record["reported_wrong"] == 0


def make_fold(number: int, cells: int = 6) -> pd.DataFrame:
    parts = [cell_logits(XY, f"f{number}c{index}", 3.0, 100 * number + index) for index in range(cells)]
    truth, logits = np.concatenate([one.truth for one in parts]), np.vstack([one.logits for one in parts])
    frame = pd.DataFrame({"image": [f"{number}-{index}" for index in range(len(truth))]})
    frame["cell"] = np.repeat([one.cell for one in parts], 46)
    frame = frame.assign(patient="", label=np.array(CLASSES)[truth], checkpoint="last")
    columns = pd.DataFrame(2 * logits.astype(np.float32), columns=[f"logit_{name}" for name in CLASSES])
    return pd.concat([frame, columns], axis=1)


@pytest.fixture(scope="module")
def folds():
    return [make_fold(number) for number in range(3)]


def test_each_fold_is_judged_by_what_the_others_taught(folds):
    seen = []

    def learn(others):
        seen.append(sorted({name[:2] for frame in others for name in frame["cell"]}))
        return RULES

    trial = run_trial(folds, "last", learn)
    assert seen == [["f1", "f2"], ["f0", "f2"], ["f0", "f1"]]
    assert trial.images["fold"].tolist() == [number for number in range(3) for _ in range(276)]


def test_what_is_said_of_images_follows_from_their_probabilities(folds):
    trial = run_trial(folds, "last", lambda _: RULES)
    logits = pd.concat(folds)[[f"logit_{name}" for name in CLASSES]].to_numpy(dtype=np.float64)
    likely = softmax(logits / RULES.temperature, axis=1)
    images = trial.images
    assert trial.probabilities == pytest.approx(likely)
    assert trial.raw_probabilities == pytest.approx(softmax(logits, axis=1))
    assert np.array_equal(images["correct"], likely.argmax(axis=1) == trial.truth)
    assert np.array_equal(images["flagged"], likely.max(axis=1) < 0.6)
    assert np.array_equal(images["covered"], likely[np.arange(len(likely)), trial.truth] >= 0.1 - 1e-12)
    assert np.array_equal(images["set_size"], (likely >= 0.1 - 1e-12).sum(axis=1))
    real = trial.cells.loc[trial.cells["planted"] == ""]
    assert (~images["correct"]).sum() == real["wrong_alone"].sum()
    assert (~images["joint_correct"]).sum() == real["wrong_joint"].sum()


def test_planted_cells_deviate_as_asked(folds):
    cells = run_trial(folds, "last", lambda _: RULES).cells
    for kind, (first, second) in PLANTS.items():
        part = cells.loc[cells["planted"] == kind]
        assert len(part) == 18 and (part["chromosomes"] == 46 + first + second).all()
        assert (part["gain"] == (first > 0)).all() and (part["loss"] == (min(first, second) < 0)).all()


def test_one_fold_teaches_nothing(folds):
    with pytest.raises(ValueError, match="two at least"):
        run_trial(folds[:1], "last", lambda _: RULES)


def test_more_images_than_a_cell_has_are_not_judged_as_one(folds):
    crowd = folds[0].assign(cell="crowd")
    assert len(crowd.loc[crowd["checkpoint"] == "last"]) > 150
    trial = run_trial([crowd, *folds[1:]], "last", lambda _: RULES)
    assert set(trial.cells["fold"]) == {1, 2} and "crowd" not in set(trial.cells["cell"])
    assert (trial.images["cell"] == "crowd").any()
