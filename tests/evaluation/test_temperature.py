"""The temperature against closed forms, scipy's general minimiser, a planted value and its own coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from bandbridge.evaluation.design_effect import TELLING, USUAL
from bandbridge.evaluation.metrics import class_probabilities as softmax
from bandbridge.evaluation.temperature import (
    HIGHEST,
    LOWEST,
    PRIOR,
    apply_temperature,
    cross_fitted,
    fit_temperature,
)


def drawn(
    n: int, temperature: float, seed: int, classes: int = 24, per_cell: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, truth drawn from softmax(logits / temperature), and cells; a cell of several repeats one image."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (n // per_cell, classes))
    shares = softmax(logits / temperature)
    truth = (shares.cumsum(axis=1) < generator.random((len(shares), 1))).sum(axis=1).clip(max=classes - 1)
    return np.repeat(logits, per_cell, axis=0), np.repeat(truth, per_cell), np.repeat(np.arange(len(truth)), per_cell)


@pytest.mark.parametrize(("right", "wrong", "gap"), [(9, 1, 5.0), (3, 2, 0.7), (70, 30, 1.0)])
def test_two_classes_with_one_gap_have_a_closed_form(right: int, wrong: int, gap: float) -> None:
    # sigmoid(gap / T) must equal the share that is right.
    logits = np.tile([gap, 0.0], (right + wrong, 1))
    truth = np.repeat([0, 1], [right, wrong])
    assert fit_temperature(logits, truth, prior=0).value == pytest.approx(gap / math.log(right / wrong), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_temperature_has_a_smaller_nll(seed: int) -> None:
    logits, truth, _ = drawn(200, 1.7, seed)
    fitted = fit_temperature(logits, truth)
    searched = minimize_scalar(
        lambda log: log_loss(truth, softmax(logits / math.exp(log)), labels=range(24)), bounds=(-3, 3), method="bounded"
    )
    # A bounded search of a parabola ends within the square root of the machine's precision.
    assert fitted.value == pytest.approx(math.exp(searched.x), rel=1e-4)
    assert fitted.nll_after <= searched.fun + 1e-12
    assert fitted.nll_before == pytest.approx(log_loss(truth, softmax(logits), labels=range(24)), abs=1e-12)
    assert fitted.nll_after == pytest.approx(
        log_loss(truth, softmax(apply_temperature(logits, fitted.value)), labels=range(24)), abs=1e-12
    )


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found_within_its_interval(temperature: float) -> None:
    logits, truth, _ = drawn(40_000, temperature, seed=3)
    fitted = fit_temperature(logits, truth, level=0.9999)
    assert fitted.low < temperature < fitted.high
    assert fitted.high / fitted.low < 1.3
    assert fitted.n == 40_000 and not fitted.at_bound


def test_scaling_the_logits_scales_the_temperature() -> None:
    logits, truth, _ = drawn(300, 1.3, seed=8)
    once, thrice = fit_temperature(logits, truth), fit_temperature(3 * logits, truth)
    assert thrice.value == pytest.approx(3 * once.value, rel=1e-9)
    assert thrice.nll_after == pytest.approx(once.nll_after, abs=1e-10)


def test_images_that_come_in_cells_have_the_interval_of_the_cells() -> None:
    # Five copies of every image say nothing new: grouped, the interval is that of the single images.
    logits, truth, cells = drawn(1000, 1.5, seed=4, per_cell=5)
    single = fit_temperature(logits[::5], truth[::5])
    grouped, alone = fit_temperature(logits, truth, cells), fit_temperature(logits, truth)
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high), rel=1e-9)
    assert math.log(grouped.high / grouped.low) / math.log(alone.high / alone.low) == pytest.approx(5**0.5, rel=0.01)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_covers_the_planted_temperature_as_often_as_it_says(grouped: bool) -> None:
    hits = 0
    for seed in range(300):
        logits, truth, cells = drawn(600, 2.0, seed, classes=6, per_cell=3 if grouped else 1)
        fitted = fit_temperature(logits, truth, cells)
        hits += fitted.low <= 2.0 <= fitted.high
    # 0.95 of 300, four binomial standard deviations.
    assert abs(hits - 285) <= 4 * math.sqrt(300 * 0.95 * 0.05)


def test_maximum_likelihood_without_an_error_or_worse_than_guessing_ends_at_a_bound() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]]
    right, wrong = (fit_temperature(logits, np.array(truth), prior=0) for truth in ([0, 1, 2, 0], [1, 2, 0, 1]))
    assert (right.value, wrong.value) == pytest.approx((LOWEST, HIGHEST), rel=1e-12)
    assert right.at_bound and wrong.at_bound and math.isnan(right.low) and math.isnan(wrong.high)


def flawless(cells: int, gap: float, each: int = 46) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes, all right by the same ``gap``."""
    logits = np.tile([gap, 0.0], (cells * each, 1))
    return logits, np.zeros(len(logits), int), np.repeat(np.arange(cells), each)


@pytest.mark.parametrize("cells", [1, 4, 80, 2000])
@pytest.mark.parametrize("gap", [0.5, 2.0, 8.0, 30.0])
def test_what_a_flawless_set_teaches_is_the_least_of_the_penalised_likelihood(cells: int, gap: float) -> None:
    fitted = fit_temperature(*flawless(cells, gap))
    count = cells * 46 / USUAL
    searched = minimize_scalar(
        lambda b: count * math.log1p(math.exp(-b * gap)) + PRIOR * (b - math.log(b)),
        bounds=(1 / HIGHEST, 1 / LOWEST),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert 1 / fitted.value == pytest.approx(searched.x, rel=1e-5)
    assert LOWEST < fitted.value <= 1 and fitted.at_bound and math.isnan(fitted.low)
    # Not half an error, in all of them together, is thought to have been missed by luck.
    if gap / fitted.value > 1:
        assert count / (1 + math.exp(gap / fitted.value)) < max(0.5, count / (1 + math.exp(gap)))


def test_more_cells_without_an_error_support_surer_probabilities_and_cells_less_than_as_many_images() -> None:
    values = [fit_temperature(*flawless(cells, 2.0)).value for cells in (1, 4, 20, 80, 400)]
    assert values == sorted(values, reverse=True) and values[0] > 1.5 * values[-1]
    assert fit_temperature(*flawless(460, 2.0, each=2)).value < values[2]  # of two images a cell no three count as one
    assert fit_temperature(*flawless(20, 2.0)[:2]).value < values[2]
    pairs, alone = flawless(20, 2.0, each=2), flawless(20, 2.0, each=1)
    assert fit_temperature(*pairs).value == pytest.approx(fit_temperature(*alone).value, rel=1e-9)


def test_a_network_that_is_surer_than_the_set_can_tell_is_left_as_it_is() -> None:
    assert fit_temperature(*flawless(80, 30.0)).value == pytest.approx(1, abs=1e-7)
    assert fit_temperature(np.zeros((4, 3)), np.arange(3).repeat(2)[:4]).value == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("errors", [0, 1, 2, 5, 10, 25, 39, 40, 100])
def test_the_prior_fades_with_the_errors_and_is_gone_with_the_fortieth(errors: int) -> None:
    logits, truth, cells = flawless(80, 3.0)
    truth[np.linspace(0, len(truth) - 1, errors).astype(int)] = 1
    fitted, likeliest = fit_temperature(logits, truth, cells), fit_temperature(logits, truth, cells, prior=0)
    if errors >= TELLING:
        assert fitted == likeliest
    else:
        assert abs(math.log(fitted.value)) < abs(math.log(likeliest.value))
    fewer = truth.copy()
    fewer[np.flatnonzero(fewer)[:1]] = 0
    assert fit_temperature(logits, fewer, cells).value <= fitted.value


def test_cross_fitting_is_a_loop_over_the_other_folds() -> None:
    logits, truth, _ = drawn(300, 2.0, seed=5)
    folds = np.random.default_rng(6).integers(0, 3, 300)
    fitted = cross_fitted(logits, truth, folds)
    for fold in range(3):
        value = fit_temperature(logits[folds != fold], truth[folds != fold]).value
        assert fitted.temperatures[fold].value == value
        assert np.array_equal(fitted.logits[folds == fold], logits[folds == fold] / value)
    assert fitted.nll_after == pytest.approx(log_loss(truth, softmax(fitted.logits), labels=range(24)), abs=1e-12)
    assert fitted.nll_before == pytest.approx(log_loss(truth, softmax(logits), labels=range(24)), abs=1e-12)
    assert fitted.nll_after >= fit_temperature(logits, truth).nll_after


def test_a_fold_has_no_say_in_its_own_temperature() -> None:
    logits, truth, _ = drawn(200, 2.0, seed=7)
    folds = np.repeat([0, 1], 100)
    changed = truth.copy()
    changed[:100] = (changed[:100] + 1) % 24
    first, second = cross_fitted(logits, truth, folds), cross_fitted(logits, changed, folds)
    assert first.temperatures[0] == second.temperatures[0]
    assert first.temperatures[1] != second.temperatures[1]


@pytest.mark.parametrize(
    ("logits", "truth", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "non-empty"),
        (np.array([[np.nan, 1.0]]), np.array([0]), "finite"),
        (np.zeros((2, 2)), np.array([0]), "integers"),
        (np.zeros((1, 2)), np.array([2]), "outside"),
        (np.zeros((1, 2)), np.array([0.0]), "integers"),
    ],
)
def test_what_cannot_be_fitted_is_refused(logits: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, truth)


def test_wrong_temperatures_folds_and_groups_are_refused() -> None:
    logits, truth, _ = drawn(10, 1.0, seed=1)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="above 0"):
            apply_temperature(logits, temperature)
    with pytest.raises(ValueError, match="two folds"):
        cross_fitted(logits, truth, np.zeros(10, int))
    with pytest.raises(ValueError, match="groups must have one value"):
        fit_temperature(logits, truth, np.zeros(9))
