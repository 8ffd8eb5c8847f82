"""The trial against counting by hand and scikit-learn, and abnormal cells made on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from bandbridge.evaluation.assignment import REJECTED, assign_cell, joint_classes
from bandbridge.evaluation.assignment_trial import (
    CellLogits,
    Detection,
    choose_weight,
    measure_assignment,
    perturb_cell,
)
from bandbridge.evaluation.counts import CountCosts, learn_costs

CHR18, CHR21, X, Y = 17, 20, 22, 23


def made_cell(seed: int, sharpness: float = 6.0) -> CellLogits:
    """A normal cell, female for an even seed, of which the classifier gets some chromosomes wrong."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(24), [2] * 22 + ([1, 1] if seed % 2 else [2, 0]))
    logits = generator.normal(0, 1.5, (46, 24))
    logits[np.arange(46), truth] += sharpness
    return CellLogits(f"c{seed}", logits, truth)


@pytest.fixture(scope="module")
def costs() -> CountCosts:
    return learn_costs(np.array([made_cell(seed).copies for seed in range(100)]), weight=0.5)


@pytest.fixture(scope="module")
def mixed() -> list[CellLogits]:
    """Twenty normal cells, ten with a third 21, ten without one 18, five XYY or XXY."""
    cells = [made_cell(seed) for seed in range(45)]
    changes = [{}] * 20 + [{CHR21: 1}] * 10 + [{CHR18: -1}] * 10 + [{Y: 1}] * 5
    return [
        perturb_cell(cell, change, cells, np.random.default_rng(7)) for cell, change in zip(cells, changes, strict=True)
    ]


def test_the_trial_is_a_loop_over_cells(costs: CountCosts, mixed: list[CellLogits]) -> None:
    trial = measure_assignment(mixed, costs)
    mended = made = before = after = rejected = whole_before = whole_after = found = alarms = abnormal = 0
    for cell in mixed:
        one = assign_cell(cell.log_probabilities, costs)
        was, now = cell.logits.argmax(axis=1) == cell.truth, one.classes == cell.truth
        mended, made = mended + int((~was & now).sum()), made + int((was & ~now).sum())
        before, after = before + int((~was).sum()), after + int((~now).sum())
        whole_before, whole_after = whole_before + was.all(), whole_after + now.all()
        rejected += int((one.classes == REJECTED).sum())
        true = {(index, int(np.sign(cell.copies[index] - 2))) for index in range(22) if cell.copies[index] != 2}
        said = {(a.class_index, int(np.sign(a.copies - a.expected))) for a in one.anomalies if a.class_index < X}
        if tuple(cell.copies[X:]) not in {(2, 0), (1, 1)}:
            true.add((X, 0))
        if any(a.class_index >= X for a in one.anomalies):
            said.add((X, 0))
        abnormal, found, alarms = abnormal + bool(true), found + bool(true & said), alarms + bool(said - true)
    assert (trial.cells, trial.chromosomes) == (45, sum(len(cell.truth) for cell in mixed))
    assert (trial.errors_before, trial.errors_after, trial.mended, trial.made) == (before, after, mended, made)
    assert (trial.correct_before, trial.correct_after) == (whole_before / 45, whole_after / 45)
    assert (trial.abnormal_cells, trial.abnormal_found, trial.false_alarm_cells) == (abnormal, found, alarms)
    assert trial.rejected == rejected and abnormal == 25
    assert trial.by_cell.abnormal.tolist() == [False] * 20 + [True] * 25
    alarmed = [bool(assign_cell(cell.log_probabilities, costs).anomalies) for cell in mixed]
    assert (trial.by_cell.log_odds > 0).tolist() == alarmed


def test_planted_gains_and_losses_are_told_from_normal_counts(costs: CountCosts, mixed: list[CellLogits]) -> None:
    trial = measure_assignment(mixed, costs)
    assert (trial.gains.found + trial.gains.missed, trial.losses.found + trial.losses.missed) == (10, 10)
    assert trial.sexes.found + trial.sexes.missed == 5
    assert len(trial.gains.log_odds) == 45 * 22 and len(trial.sexes.log_odds) == 45
    assert trial.gains.area > 0.99 and trial.losses.area > 0.99 and trial.sexes.area > 0.95
    for kind in (trial.gains, trial.losses, trial.sexes):
        finite = np.clip(kind.log_odds, -1e6, 1e6)
        assert kind.area == pytest.approx(roc_auc_score(kind.abnormal, finite), abs=1e-12)


def test_the_roc_is_that_of_scikit_learn_with_ties() -> None:
    generator = np.random.default_rng(3)
    scores, abnormal = generator.integers(-5, 6, 200).astype(float), generator.random(200) < 0.2
    detection = Detection(scores, abnormal)
    false, true, _ = roc_curve(abnormal, scores, drop_intermediate=False)
    assert np.array_equal(np.stack(detection.roc()), np.stack([false, true]))
    assert detection.area == pytest.approx(roc_auc_score(abnormal, scores), abs=1e-12)
    assert (detection.found, detection.missed) == ((scores[abnormal] > 0).sum(), (scores[abnormal] <= 0).sum())
    assert detection.alarms == (scores[~abnormal] > 0).sum()
    assert np.isnan(Detection(scores, np.zeros(200, bool)).area)


def test_the_weight_is_the_one_with_fewest_errors_and_the_smallest_of_equals(costs: CountCosts) -> None:
    cells = [made_cell(seed, 4.0) for seed in range(12)]
    weights = (1.0, 0.0, 0.3, 30.0, 40.0)
    errors = {
        weight: sum(
            int((joint_classes(cell.log_probabilities, replace(costs, weight=weight)) != cell.truth).sum())
            for cell in cells
        )
        for weight in weights
    }
    chosen = choose_weight(cells, costs, weights)
    assert errors[chosen] == min(errors.values()) < errors[0.0]
    assert chosen == min(weight for weight in weights if errors[weight] == errors[chosen])


def test_without_an_error_to_mend_the_weight_is_that_of_bayes_or_the_largest_that_does_no_harm(
    costs: CountCosts,
) -> None:
    clear = [made_cell(seed, 30.0) for seed in range(4)]
    assert choose_weight(clear, costs, (1.0, 0.0, 0.3, 30.0)) == 1.0
    assert choose_weight(clear, costs, (0.0, 0.3)) == 0.3
    # A third 21, rightly named but hardly so: a weight that sorts it elsewhere does harm.
    third = perturb_cell(clear[0], {CHR21: 1}, clear, np.random.default_rng(0))
    third.logits[-1] = 0
    third.logits[-1, CHR21] = 2.5
    assert (third.logits.argmax(axis=1) == third.truth).all()
    chosen = choose_weight([*clear, third], costs)
    harmless = joint_classes(third.log_probabilities, replace(costs, weight=chosen))
    harmful = joint_classes(third.log_probabilities, replace(costs, weight=1.0))
    assert 0 < chosen < 1 and (harmless == third.truth).all() and (harmful != third.truth).any()


def test_a_perturbed_cell_has_what_was_asked_for_and_nothing_else() -> None:
    cells = [made_cell(seed) for seed in range(6)]
    changed = perturb_cell(cells[0], {CHR21: 2, CHR18: -1}, cells, np.random.default_rng(0))
    assert changed.cell == "c0-1(17)+2(20)"
    asked = np.zeros(24, int)
    asked[[CHR21, CHR18]] = 2, -1
    assert np.array_equal(changed.copies, cells[0].copies + asked)
    kept = changed.logits[:-2]
    own = cells[0].logits[cells[0].truth != CHR18]
    assert all((kept == row).all(axis=1).sum() == 1 for row in own) and len(kept) == len(own) + 1
    others = np.vstack([cell.logits[cell.truth == CHR21] for cell in cells[1:]])
    assert all((others == row).all(axis=1).sum() == 1 for row in changed.logits[-2:])
    assert not np.array_equal(changed.logits[-1], changed.logits[-2])


def test_what_is_drawn_follows_from_the_generator() -> None:
    cells = [made_cell(seed) for seed in range(6)]
    first, again, other = (
        perturb_cell(cells[0], {CHR21: 1, 3: -1}, cells, np.random.default_rng(seed)).logits for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    untouched = perturb_cell(cells[0], {}, cells, np.random.default_rng(0))
    assert np.array_equal(untouched.logits, cells[0].logits) and untouched.cell == "c0"


def test_what_cannot_be_done_is_refused(costs: CountCosts) -> None:
    cell, generator = made_cell(1), np.random.default_rng(0)
    with pytest.raises(ValueError, match="0 chromosomes of class 20 to add to cell c1"):
        perturb_cell(cell, {CHR21: 1}, [cell], generator)
    with pytest.raises(ValueError, match="2 chromosomes of class 20 to take from cell c1, 3 wanted"):
        perturb_cell(cell, {CHR21: -3}, [], generator)
    with pytest.raises(ValueError, match="at least one cell"):
        measure_assignment([], costs)
    with pytest.raises(ValueError, match="one weight"):
        choose_weight([cell], costs, ())
    with pytest.raises(ValueError, match="finite"):
        CellLogits("c", np.full((1, 24), np.nan), np.array([0]))
    with pytest.raises(ValueError, match="truth"):
        CellLogits("c", np.zeros((2, 24)), np.array([0, 24]))
