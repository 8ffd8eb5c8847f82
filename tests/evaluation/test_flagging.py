"""The threshold against scipy's binomial test image by image, its promise by simulation, errors left by counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from bandbridge.evaluation.design_effect import FEW, USUAL
from bandbridge.evaluation.flagging import choose_threshold, errors_left


def answers(count: int, seed: int, kinship: float = 0.0, size: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence in 0..1, correctness drawn from it, and cells that are good or bad together by ``kinship``."""
    generator = np.random.default_rng(seed)
    cells = np.repeat(np.arange(count // size), size)
    mood = kinship * generator.normal(0, 1, count // size)[cells]
    confidence = 1 / (1 + np.exp(-generator.normal(4, 2, count)))
    chance = 1 / (1 + np.exp(-(np.log(confidence / (1 - confidence)) + mood)))
    return confidence, generator.random(count) < chance, cells


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_the_end_of_a_chain_of_binomial_tests(seed: int) -> None:
    confidence, correct, _ = answers(400, seed)
    found = choose_threshold(confidence, correct, 0.06, most_reviewed=0.7)
    order, kept = np.argsort(-confidence), 120
    assert math.isfinite(found.threshold)
    while kept <= 400:
        wrong = int((~correct[order[:kept]]).sum())
        # The bound is below the wanted error exactly when the one-sided test rejects it.
        if binomtest(wrong, kept, 0.06, alternative="less").pvalue > 0.05:
            break
        kept += 1
    kept -= 1
    assert found.kept == kept and found.threshold == confidence[order[kept - 1]]
    wrong = int((~correct[order[:kept]]).sum())
    exact = binomtest(wrong, kept, alternative="less").proportion_ci(0.95, "exact").high
    assert found.upper_bound == pytest.approx(exact, rel=1e-9)
    assert found.error == wrong / kept and found.review_share == 1 - kept / 400
    assert (confidence >= found.threshold).sum() == kept


@pytest.mark.parametrize("kinship", [0.0, 1.5])
def test_the_promise_is_kept_as_often_as_it_says(kinship: float) -> None:
    # The true error above a threshold comes from a large sample of the same population.
    confidence, correct, _ = answers(400_000, 999, kinship)
    order = np.argsort(-confidence)
    ranked, share = confidence[order], np.cumsum(~correct[order]) / np.arange(1, 400_001)
    broken, rounds = 0, 500
    for seed in range(rounds):
        sample = answers(1000, seed, kinship)
        found = choose_threshold(sample[0], sample[1], 0.03, sample[2] if kinship else None)
        kept = np.searchsorted(-ranked, -found.threshold, side="right")
        broken += kept > 0 and share[kept - 1] > 0.03
    # At most 5 in 100, and three binomial standard deviations.
    assert broken <= rounds * 0.05 + 3 * math.sqrt(rounds * 0.05 * 0.95)


def test_cells_that_fail_as_one_count_as_one_image() -> None:
    confidence, correct, _ = answers(300, 1)
    alone = choose_threshold(confidence, correct, 0.1)
    copies = choose_threshold(confidence.repeat(8), correct.repeat(8), 0.1, np.arange(300).repeat(8))
    # n / (n - 1) of the variance of 300 clusters is all that differs.
    assert copies.design_effect == pytest.approx(8 * 300 / 299, rel=1e-12)
    assert copies.upper_bound == pytest.approx(alone.upper_bound, rel=0.01)
    assert abs(copies.kept - 8 * alone.kept) <= 16


def test_without_an_error_the_usual_kinship_is_assumed_but_no_more_than_one_image_a_cell() -> None:
    confidence, cells = np.linspace(0.5, 1, 200), np.arange(200) // 10
    found = choose_threshold(confidence, np.ones(200, bool), 0.2, cells)
    assert found.design_effect == USUAL and found.review_share == 0
    # Clopper and Pearson, none of 200 / 3
    assert found.upper_bound == pytest.approx(1 - 0.05 ** (USUAL / 200), rel=1e-9)
    assert choose_threshold(confidence, np.ones(200, bool), 0.2, np.arange(200) // 2).design_effect == 2
    assert choose_threshold(confidence, np.ones(200, bool), 0.2, np.arange(200)).design_effect == 1


@pytest.mark.parametrize("cells", [4, 10, 20, 40, 80, 300])
def test_fewer_errors_are_never_promised_less(cells: int) -> None:
    generator = np.random.default_rng(cells)
    confidence, cell = generator.random(46 * cells), np.repeat(np.arange(cells), 46)
    spread = generator.permutation(cells * 46)
    spread = spread[np.unique(cell[spread], return_index=True)[1]]  # one in each cell, which tells the least of kinship
    correct = np.ones(len(cell), bool)
    bounds, shares, unsure = [], [], []
    for errors in range(min(cells, FEW) + 1):
        correct[spread[:errors]] = False
        everything = choose_threshold(np.ones(len(cell)), correct, 0.999, cell)  # nothing flagged: the bound alone
        bounds.append(everything.upper_bound)
        shares.append(choose_threshold(confidence, correct, 0.02, cell).review_share)
        # The most that errors can be worth: the least sure of all, and each in a cell of its own.
        low = confidence.copy()
        low[spread[:errors]] = -np.arange(1, errors + 1)
        unsure.append(choose_threshold(low, correct, 0.02, cell).review_share)
    for promised in (bounds, shares, unsure):
        assert promised == sorted(promised)


def test_eighty_cells_without_an_error_are_promised_what_eighty_with_one_are() -> None:
    cell, correct = np.repeat(np.arange(80), 46), np.ones(80 * 46, bool)
    confidence = np.linspace(0.9, 1, len(cell))
    flawless = choose_threshold(confidence, correct, 0.01, cell)
    correct[1234] = False
    one = choose_threshold(confidence, correct, 0.01, cell)
    assert flawless.review_share <= one.review_share < 1 and flawless.upper_bound <= one.upper_bound < 0.01


def test_nothing_can_be_promised_from_few_images_and_everything_is_flagged() -> None:
    found = choose_threshold(np.linspace(0, 1, 20), np.ones(20, bool), 0.01)
    assert found.threshold == math.inf and found.review_share == 1 and found.kept == 0
    assert math.isnan(found.error) and math.isnan(found.upper_bound)
    hopeless = choose_threshold(np.linspace(0, 1, 20), np.zeros(20, bool), 0.5)
    assert hopeless.threshold == math.inf


def test_equal_confidences_are_flagged_together() -> None:
    confidence = np.repeat([0.9, 0.6], [100, 50])
    correct = np.ones(150, bool)
    correct[120:] = False
    found = choose_threshold(confidence, correct, 0.05)
    assert (found.threshold, found.kept) == (0.9, 100)
    shuffled = np.random.default_rng(0).permutation(150)
    assert choose_threshold(confidence[shuffled], correct[shuffled], 0.05) == found


def test_errors_left_are_counted() -> None:
    confidence = np.arange(100) / 100
    correct = np.ones(100, bool)
    correct[[0, 1, 30, 99]] = False
    outcomes = errors_left(confidence, correct, (0, 0.01, 0.02, 0.05, 0.305, 1))
    assert [outcome.reviewed for outcome in outcomes] == [0, 1, 2, 5, 31, 100]
    assert [outcome.left for outcome in outcomes] == [4, 3, 2, 2, 1, 0]
    assert [outcome.found for outcome in outcomes] == [0, 1, 2, 2, 3, 4]
    assert outcomes[3].error == 0.02


def test_errors_left_among_equal_confidences_are_the_mean_over_all_orders() -> None:
    confidence = np.array([0.1, 0.5, 0.5, 0.5, 0.5, 0.9])
    correct = np.array([True, False, True, True, False, False])
    found = errors_left(confidence, correct, (0.5,))[0]
    generator, means = np.random.default_rng(0), []
    for _ in range(4000):
        order = np.lexsort((generator.random(6), confidence))
        means.append((~correct[order[3:]]).sum())
    assert found.left == pytest.approx(2.0, abs=1e-12)
    assert np.mean(means) == pytest.approx(found.left, abs=5 * np.std(means) / math.sqrt(4000))


def test_what_has_no_meaning_is_refused() -> None:
    confidence, correct = np.array([0.5, 0.7]), np.array([True, False])
    for wanted in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="wanted error"):
            choose_threshold(confidence, correct, wanted)
    with pytest.raises(ValueError, match="finite"):
        choose_threshold(np.array([0.5, math.nan]), correct, 0.1)
    with pytest.raises(ValueError, match="bool"):
        choose_threshold(confidence, np.array([1, 0]), 0.1)
    with pytest.raises(ValueError, match="cells"):
        choose_threshold(confidence, correct, 0.1, np.zeros(3))
    with pytest.raises(ValueError, match="shares"):
        errors_left(confidence, correct, (1.5,))
