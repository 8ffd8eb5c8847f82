"""The bootstrap and the swaps over cells against their complete enumeration with scikit-learn and scipy."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from bandbridge.evaluation.pooled import (
    PairedPredictions,
    compare_pooled,
    grouping_unit,
    pair_predictions,
    stack_architectures,
)
from bandbridge.evaluation.predictions import RunPredictions

CLASSES = ("1", "2", "X")


def paired(images: int, groups: int, seed: int = 0, architectures: int = 1, shares=(0.8, 0.6)) -> PairedPredictions:
    """Random truth, guesses that are right with the two ``shares``, groups of unequal size."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=images)
    guesses = [
        np.where(rng.random((architectures, images)) < share, truth, rng.integers(3, size=(architectures, images)))
        for share in shares
    ]
    group = np.concatenate([np.arange(groups), rng.integers(groups, size=images - groups)])
    return PairedPredictions(truth, *guesses, group, "cell", CLASSES)


def scores(pairs: PairedPredictions, rows: np.ndarray) -> np.ndarray:
    """Approach minus reference by scikit-learn on some rows: Macro-F1, accuracy and the F1 of each class."""
    values = []
    for guess in (pairs.approach[0, rows], pairs.reference[0, rows]):
        by_class = f1_score(pairs.truth[rows], guess, average=None, labels=range(3), zero_division=0)
        values.append([by_class.mean(), accuracy_score(pairs.truth[rows], guess), *by_class])
    return np.subtract(*values)


def test_the_differences_are_scikit_learns() -> None:
    pairs = paired(200, 20)
    result = compare_pooled(pairs, 10, generator=np.random.default_rng(0))
    expected = scores(pairs, np.arange(200))
    assert result.macro_f1.difference.mean == pytest.approx(expected[0], abs=1e-12)
    assert result.accuracy.difference.mean == pytest.approx(expected[1], abs=1e-12)
    assert result.by_class.difference == pytest.approx(expected[2:], abs=1e-12)
    f1 = f1_score(pairs.truth, pairs.reference[0], average=None)
    assert result.by_class.reference == pytest.approx(f1, abs=1e-12)
    assert result.by_class.support.tolist() == np.bincount(pairs.truth).tolist()


def test_the_interval_is_that_of_every_resample_of_the_cells() -> None:
    pairs = paired(40, 4, seed=1)
    members = [np.flatnonzero(pairs.group == group) for group in range(4)]
    exact = np.array(
        [scores(pairs, np.concatenate([members[group] for group in drawn])) for drawn in product(range(4), repeat=4)]
    )
    result = compare_pooled(pairs, 20_000, generator=np.random.default_rng(2), level=0.9)
    lows = [result.macro_f1.difference.low, result.accuracy.difference.low, *result.by_class.low]
    highs = [result.macro_f1.difference.high, result.accuracy.difference.high, *result.by_class.high]
    # The share of resamples below an exact quantile is binomial: 5 standard deviations.
    slack = 5 * np.sqrt(0.05 * 0.95 / 20_000)
    for ends, tail in ((lows, 0.05), (highs, 0.95)):
        below, above = np.quantile(exact, [tail - slack, tail + slack], axis=0)
        assert (below - 1e-12 <= ends).all() and (ends <= above + 1e-12).all()


def test_the_p_values_are_those_of_every_swap_of_the_cells() -> None:
    pairs = paired(60, 8, seed=3, shares=(0.9, 0.75))
    observed = scores(pairs, np.arange(60))
    extreme = []
    for tosses in product((False, True), repeat=8):
        swap = np.array(tosses)[pairs.group]
        guesses = np.where(swap, pairs.reference, pairs.approach), np.where(swap, pairs.approach, pairs.reference)
        swapped = replace(pairs, approach=guesses[0], reference=guesses[1])
        extreme.append(np.abs(scores(swapped, np.arange(60))) >= np.abs(observed) - 1e-12)
    exact = np.mean(extreme, axis=0)
    result = compare_pooled(pairs, 20_000, generator=np.random.default_rng(4))
    found = np.array([result.macro_f1.p, result.accuracy.p, *result.by_class.p])
    assert (np.abs(found - exact) <= 5 * np.sqrt(exact * (1 - exact) / 20_000) + 1 / 20_000).all()


def test_swapping_single_images_is_scipys_paired_permutation_test() -> None:
    """Of single images, whose equal kinds are drawn together; accuracy, where scipy's test takes the hits."""
    pairs = replace(paired(12, 12, seed=5, shares=(0.95, 0.4)), unit="image")
    hits = [(guess[0] == pairs.truth).astype(float) for guess in (pairs.approach, pairs.reference)]
    exact = stats.permutation_test(
        hits, lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    result = compare_pooled(pairs, 20_000, generator=np.random.default_rng(6))
    assert result.accuracy.p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 20_000))


def test_images_that_only_repeat_their_cell_add_nothing() -> None:
    once = paired(60, 60, seed=7)
    often = PairedPredictions(
        *(np.repeat(getattr(once, name), 8, axis=-1) for name in ("truth", "approach", "reference", "group")),
        "cell",
        CLASSES,
    )
    few, many = (compare_pooled(pairs, 2000, generator=np.random.default_rng(8)) for pairs in (once, often))
    for name in ("mean", "low", "high"):
        assert getattr(many.macro_f1.difference, name) == pytest.approx(
            getattr(few.macro_f1.difference, name), abs=1e-12
        )
    assert many.by_class.p == pytest.approx(few.by_class.p, abs=1e-12)
    by_image = compare_pooled(
        replace(often, group=np.arange(480), unit="image"), 2000, generator=np.random.default_rng(8)
    )
    widths = [c.macro_f1.difference.high - c.macro_f1.difference.low for c in (many, by_image)]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(8), rel=0.1)


def test_equal_approaches_differ_by_nothing() -> None:
    pairs = paired(80, 8)
    result = compare_pooled(replace(pairs, reference=pairs.approach), 100, generator=np.random.default_rng(0))
    assert (result.macro_f1.difference.low, result.macro_f1.difference.high, result.macro_f1.p) == (0, 0, 1)
    assert (result.by_class.low == 0).all() and (result.by_class.p == 1).all()


def test_a_class_that_never_occurs_has_no_effect() -> None:
    pairs = replace(paired(80, 8), classes=(*CLASSES, "Y"))
    result = compare_pooled(pairs, 100, generator=np.random.default_rng(0))
    by_class = result.by_class
    assert (by_class.approach[3], by_class.low[3], by_class.high[3], by_class.p[3]) == (0, 0, 0, 1)


def test_several_architectures_are_averaged_over_the_same_cells() -> None:
    pairs = paired(120, 15, seed=9, architectures=3)
    singles = [replace(pairs, approach=pairs.approach[[i]], reference=pairs.reference[[i]]) for i in range(3)]
    stacked = stack_architectures(singles)
    assert np.array_equal(stacked.approach, pairs.approach)
    together = compare_pooled(stacked, 500, generator=np.random.default_rng(0))
    means = [compare_pooled(one, 500, generator=np.random.default_rng(0)).macro_f1.difference.mean for one in singles]
    assert together.macro_f1.difference.mean == pytest.approx(np.mean(means), abs=1e-12)
    alone, twice = (
        compare_pooled(one, 500, generator=np.random.default_rng(0))
        for one in (singles[0], stack_architectures([singles[0], singles[0]]))
    )
    assert twice.macro_f1.difference.low == pytest.approx(alone.macro_f1.difference.low, abs=1e-12)
    assert twice.macro_f1.p == alone.macro_f1.p


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = paired(120, 15)
    whole = compare_pooled(pairs, 500, generator=np.random.default_rng(0))
    monkeypatch.setattr("bandbridge.evaluation.pooled._BLOCK", 1200)
    parts = compare_pooled(pairs, 500, generator=np.random.default_rng(0))
    assert whole.macro_f1 == parts.macro_f1


def test_one_cell_cannot_be_resampled() -> None:
    alone = replace(paired(40, 5), group=np.zeros(40, dtype=np.int64))
    with pytest.raises(ValueError, match="two of them"):
        compare_pooled(alone, generator=np.random.default_rng(0))


def make_run(fold: int, approach: str, cell: bool = True, patient: bool = False, seed: int = 0) -> RunPredictions:
    """Thirty images of three cells of one patient; the rows in an order of their own."""
    rng = np.random.default_rng([fold, seed, len(approach)])
    number = np.arange(30 * fold, 30 * fold + 30)
    text = {
        "image": [f"{index}.png" for index in number],
        "cell": [f"c{index // 10}" if cell else "" for index in number],
        "patient": f"p{fold}" if patient else "",
        "label": np.array(CLASSES)[number % 3],
        "checkpoint": "best",
    }
    logits = pd.DataFrame(rng.normal(size=(30, 3)).astype(np.float32), columns=[f"logit_{name}" for name in CLASSES])
    frame = pd.concat([pd.DataFrame(text), logits], axis=1).sample(frac=1, random_state=seed + len(approach))
    return RunPredictions("q", "", "VGG-16", approach, "", fold, frame.reset_index(drop=True))


def test_predictions_are_paired_by_image() -> None:
    approach, reference = ([make_run(fold, name) for fold in (1, 0)] for name in ("two-step", "imagenet"))
    pairs = pair_predictions(approach, reference, "best")
    assert (pairs.unit, pairs.groups, pairs.classes) == ("cell", 6, CLASSES)
    frame = pd.concat([run.predictions for run in reference]).sort_values("image")
    assert [CLASSES[index] for index in pairs.truth] == frame["label"].to_list()
    expected = frame[[f"logit_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    assert pairs.reference[0].tolist() == expected.tolist()
    cells = frame["cell"].to_numpy()
    same_cell = cells[:, None] == cells
    assert np.array_equal(pairs.group[:, None] == pairs.group, same_cell)


def test_the_unit_is_the_coarsest_that_every_image_names() -> None:
    assert grouping_unit(make_run(0, "imagenet", patient=True).predictions) == "patient"
    assert grouping_unit(make_run(0, "imagenet").predictions) == "cell"
    assert grouping_unit(make_run(0, "imagenet", cell=False).predictions) == "image"
    half = pd.concat([make_run(0, "imagenet", patient=True).predictions, make_run(1, "imagenet").predictions])
    assert grouping_unit(half) == "cell"
    images = [[make_run(0, name, cell=False)] for name in ("two-step", "imagenet")]
    assert pair_predictions(*images, "best").groups == 30


def test_approaches_of_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="do not predict the same images"):
        pair_predictions([make_run(0, "two-step")], [make_run(1, "imagenet")], "best")
    with pytest.raises(ValueError, match="do not predict the same images"):
        stack_architectures([paired(40, 5), paired(40, 5, seed=1)])
