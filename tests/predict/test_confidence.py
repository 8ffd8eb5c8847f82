"""What is learned from out-of-fold predictions, against the functions behind it and simulated classifiers."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp, softmax

from bandbridge.errors import UserError
from bandbridge.evaluation.calibration import expected_calibration_error
from bandbridge.evaluation.temperature import fit_temperature
from bandbridge.karyotype import CLASSES
from bandbridge.predict.confidence import (
    Confidence,
    Promise,
    energies,
    fit_confidence,
    no_experience,
    read_confidence,
    without_errors,
    write_confidence,
)


def make_fold(fold: int, cells: int = 12, sharpness: float = 6.0, seed: int = 0) -> pd.DataFrame:
    """Whole cells of 46 chromosomes by a classifier that is overconfident by a factor of two."""
    rng = np.random.default_rng([seed, fold])
    truth = np.tile(np.repeat(np.arange(24), [2] * 22 + [1, 1]), cells)
    logits = rng.normal(size=(len(truth), 24))
    logits[np.arange(len(truth)), truth] += sharpness
    frame = pd.DataFrame(
        {
            "image": [f"{fold}-{index}.png" for index in range(len(truth))],
            "cell": [f"f{fold}c{index // 46}" for index in range(len(truth))],
            "patient": "",
            "label": np.array(CLASSES)[truth],
            "checkpoint": "last",
        }
    )
    columns = pd.DataFrame((2 * logits).astype(np.float32), columns=[f"logit_{name}" for name in CLASSES])
    return pd.concat([frame, columns], axis=1)


@pytest.fixture(scope="module")
def folds() -> list[pd.DataFrame]:
    return [make_fold(0, sharpness=3.0), make_fold(1, sharpness=3.0)]


@pytest.fixture(scope="module")
def confidence(folds) -> Confidence:
    return fit_confidence(folds, "last")


def pooled(folds: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    frame = pd.concat(folds)
    truth = np.array([CLASSES.index(label) for label in frame["label"]])
    return frame[[f"logit_{name}" for name in CLASSES]].to_numpy(dtype=np.float64), truth


def test_temperature_and_calibration_are_those_of_the_pooled_predictions(folds, confidence):
    logits, truth = pooled(folds)
    assert confidence.temperature == pytest.approx(fit_temperature(logits, truth).value, rel=1e-9)
    assert confidence.ece_before == pytest.approx(expected_calibration_error(softmax(logits, axis=1), truth))
    assert confidence.ece_after < confidence.ece_before
    assert confidence.accuracy == pytest.approx((logits.argmax(axis=1) == truth).mean())
    assert (confidence.images, confidence.groups, confidence.unit) == (2 * 12 * 46, 24, "cell")


def test_sets_and_review_keep_their_promises_on_new_cells(confidence):
    logits, truth = pooled([make_fold(9, cells=200, sharpness=3.0, seed=5)])
    likely = softmax(logits / confidence.temperature, axis=1)
    covered = 1 - likely[np.arange(len(truth)), truth] <= np.array(confidence.thresholds)[truth]
    assert 0.94 <= covered.mean() <= 0.99  # the promise is 0.95; a hierarchical quantile of 24 cells errs upwards
    kept = likely.max(axis=1) >= confidence.review_below
    assert (likely.argmax(axis=1) != truth)[kept].mean() <= confidence.wanted_error
    assert kept.mean() == pytest.approx(1 - confidence.review_share, abs=0.03)


def test_one_image_in_two_hundred_scores_below_what_is_taken_for_a_chromosome(folds, confidence):
    logits, _ = pooled(folds)
    below = logsumexp(logits, axis=1) < confidence.energy_low
    assert below.mean() == pytest.approx(0.005, abs=1 / len(logits))
    assert energies(logits) == pytest.approx(np.log(np.exp(logits).sum(axis=1)))


def test_counts_are_learned_from_whole_cells(confidence):
    assert confidence.counts.cells == 24
    names = [name for name, *_ in confidence.counts.constitutions]
    prices = dict(zip(names, [price for _, _, price, _ in confidence.counts.constitutions], strict=True))
    assert min(prices, key=prices.get) == "XY"  # every cell was one
    assert confidence.counts.suspect_above <= 0


def test_split_cells_teach_no_counts(folds):
    mixed = [frame.assign(cell=frame["cell"].str.slice(2)) for frame in folds]  # f0c3 and f1c3 become one cell
    assert fit_confidence(mixed, "last").counts is None


def test_other_classes_than_a_humans_teach_no_counts(folds):
    few = [frame.drop(columns="logit_Y").loc[frame["label"] != "Y"].reset_index(drop=True) for frame in folds]
    assert fit_confidence(few, "last").counts is None


def test_an_error_that_cannot_be_promised_gives_way_to_the_next(folds):
    weak = [make_fold(fold, cells=6, sharpness=2.0) for fold in (0, 1)]
    found = fit_confidence(weak, "last", Promise(wanted_error=0.001))
    assert found.wanted_error in (0.02, 0.05, 0.1, 0.2)


def test_folds_of_different_classes_are_refused(folds):
    fewer = folds[1].drop(columns="logit_Y").loc[folds[1]["label"] != "Y"]
    with pytest.raises(UserError, match="different classes"):
        fit_confidence([folds[0], fewer], "last")


def test_it_comes_back_from_its_file_also_where_nothing_can_be_promised(confidence, tmp_path):
    hopeless = confidence.model_copy(
        update={"thresholds": (math.inf,) * 24, "review_below": math.inf, "review_bound": math.nan}
    )
    for one in (confidence, hopeless):
        write_confidence(one, tmp_path)
        assert read_confidence(tmp_path).model_dump_json() == one.model_dump_json()
    assert math.isinf(read_confidence(tmp_path).review_below)
    costs, again = confidence.costs(), Confidence.model_validate_json(confidence.model_dump_json()).costs()
    assert np.array_equal(costs.losses, again.losses) and costs.weight == again.weight


def test_a_damaged_file_is_named(confidence, tmp_path):
    (tmp_path / "confidence.json").write_text('{"version": 1}')
    with pytest.raises(UserError, match=r"confidence\.json is damaged"):
        read_confidence(tmp_path)
    assert read_confidence(tmp_path / "nowhere") is None


def stated(confidence, **changes):
    return {**json.loads(confidence.model_dump_json()), **changes}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.5}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"thresholds": [0.5] * 23}, "23 thresholds for 24 classes"),
        ({"thresholds": [0.5] * 25}, "25 thresholds for 24 classes"),
        ({"thresholds": [0.5] * 23 + [math.nan]}, "thresholds"),
        ({"thresholds": [0.5] * 23 + [-0.1]}, "thresholds"),
        ({"review_below": math.nan}, "review_below"),
        ({"energy_low": math.nan}, "energy_low"),
        ({"accuracy": 1.5}, "accuracy"),
        ({"coverage": -0.1}, "coverage"),
        ({"images": -1}, "images"),
        ({"classes": [*CLASSES[:23], "1"]}, "each class has a name of its own"),
        ({"classes": [*CLASSES[:23], ""]}, "each class has a name of its own"),
    ],
)
def test_values_that_make_no_sense_are_damage(confidence, tmp_path, changes, place):
    (tmp_path / "confidence.json").write_text(json.dumps(stated(confidence, **changes)))
    with pytest.raises(UserError, match=r"confidence\.json is damaged") as caught:
        read_confidence(tmp_path)
    assert place in caught.value.message and "export the model again" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"weight": -1.0}, "weight"),
        ({"rejection": math.nan}, "rejection"),
        ({"suspect_above": math.nan}, "suspect_above"),
        ({"cells": -1}, "cells"),
        ({"constitutions": []}, "constitutions"),
        ({"losses": [], "gains": []}, ""),
    ],
)
def test_prices_of_counts_that_make_no_sense_are_damage(confidence, tmp_path, changes, place):
    counts = json.loads(confidence.model_dump_json())["counts"]
    (tmp_path / "confidence.json").write_text(json.dumps(stated(confidence, counts={**counts, **changes})))
    with pytest.raises(UserError, match=r"confidence\.json is damaged") as caught:
        read_confidence(tmp_path)
    assert place in caught.value.message


def test_prices_of_other_classes_than_the_models_are_damage(confidence, tmp_path):
    fewer = stated(confidence, classes=list(CLASSES[:3]), thresholds=[0.5] * 3)
    (tmp_path / "confidence.json").write_text(json.dumps(fewer))
    with pytest.raises(UserError, match="prices of 24 classes for 3"):
        read_confidence(tmp_path)


def test_without_experience_a_normal_cell_costs_least():
    costs = no_experience()
    normal = [one for one in costs.constitutions if one.normal]
    assert {one.name for one in normal} == {"XX", "XY"}
    assert (costs.losses > 0).all() and (costs.gains > 0).all()


def test_a_larger_coverage_makes_larger_sets_and_a_larger_error_fewer_looks(folds, confidence):
    other = fit_confidence(folds, "last", Promise(coverage=0.8, wanted_error=0.1))
    assert max(other.thresholds) < max(confidence.thresholds) and other.coverage == 0.8
    assert other.review_share < confidence.review_share and other.wanted_error == 0.1


@pytest.mark.parametrize("cells", [2, 5, 40])
def test_a_flawless_set_teaches_no_certainty_and_leaves_no_set_empty(cells):
    flawless = [make_fold(fold, cells=cells, sharpness=14.0) for fold in (0, 1)]
    found = fit_confidence(flawless, "last")
    assert found.accuracy == 1 and 0.5 < found.temperature <= 1 and math.isnan(found.temperature_low)
    noise = softmax(2 * np.random.default_rng(1).normal(size=(500, 24)) / found.temperature, axis=1).max(axis=1)
    assert np.median(noise) < 0.9
    logits, truth = pooled([make_fold(9, cells=50, sharpness=9.0, seed=5)])  # less clear than those it learned from
    likely = softmax(logits / found.temperature, axis=1)
    sets = 1 - likely <= np.array(found.thresholds)
    assert sets[np.arange(len(truth)), truth].mean() > 0.95 and sets.any(axis=1)[likely.max(axis=1) > 0.5].all()
    assert found.counts.weight == 1.0


def test_that_no_error_was_seen_is_said_in_words(folds, confidence):
    flawless = fit_confidence([make_fold(0, sharpness=14.0)], "last")
    text = without_errors(flawless)
    assert "none of these 552 images of 12 cells was named wrongly" in text and "errors will come" in text
    assert without_errors(confidence) == ""
    before = flawless.model_copy(update={"temperature": 0.02})
    assert "export it again" in without_errors(before)


def test_a_flawless_set_is_promised_no_less_than_one_with_errors(folds):
    cells = [make_fold(0, cells=40, sharpness=14.0), make_fold(1, cells=40, sharpness=14.0)]
    promised = [fit_confidence(cells, "last")]
    for row in (100, 777, 1500):
        scores = [f"logit_{name}" for name in CLASSES]
        wrong = cells[0].loc[row, scores].to_numpy(dtype=float)
        cells[0].loc[row, scores] = np.roll(wrong, 3)
        promised.append(fit_confidence(cells, "last"))
    assert [one.accuracy < 1 for one in promised] == [False, True, True, True]
    assert {one.wanted_error for one in promised} == {0.01}
    bounds = [one.review_bound for one in promised]
    assert bounds == sorted(bounds)


def test_a_threshold_that_every_suspicion_reaches_is_written_and_read_back(confidence, tmp_path):
    """Most normal cells raise no suspicion: then the quantile of the strongest is below every number."""
    assert confidence.counts is not None
    counts = confidence.counts.model_copy(update={"suspect_above": -math.inf})
    whole = confidence.model_copy(update={"counts": counts})
    write_confidence(whole, tmp_path)
    back = read_confidence(tmp_path)
    assert back is not None and back.counts is not None and back.counts.suspect_above == -math.inf


def test_more_images_than_a_cell_has_teach_no_counts():
    crowd, other = make_fold(0, cells=4).assign(cell="crowd"), make_fold(1, cells=4)
    assert len(crowd) > 150
    assert fit_confidence([crowd], "last").counts is None
    counts = fit_confidence([crowd, other], "last").counts
    assert counts is not None and counts.cells == 4
