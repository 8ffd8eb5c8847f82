"""Thresholds against plain counting, exact coverage in closed form, and simulations of new chromosomes and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bandbridge.evaluation.conformal import Guarantee, Thresholds, aps_scores, calibrate, lac_scores, report_sets
from bandbridge.evaluation.metrics import class_probabilities as softmax


def cells_of(count: int, size: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, truth and cells of ``count`` cells; good and bad cells differ in how clear their classes are."""
    generator = np.random.default_rng(seed)
    clarity = np.repeat(generator.normal(3, spread, count), size)
    truth = generator.integers(0, 6, count * size)
    logits = generator.normal(0, 1, (len(truth), 6))
    logits[np.arange(len(truth)), truth] += clarity
    return softmax(logits), truth, np.repeat(np.arange(count), size)


@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("n", [7, 9, 99, 100])
def test_the_threshold_is_the_order_statistic_of_split_conformal(alpha: float, n: int) -> None:
    scores = np.random.default_rng(n).random((n, 3))
    truth = np.random.default_rng(n + 1).integers(0, 3, n)
    found = calibrate(scores, truth, Guarantee(alpha, "chromosome"))
    rank = math.ceil(round((n + 1) * (1 - alpha), 9))
    own = np.sort(scores[np.arange(n), truth])
    assert found.values[0] == (own[rank - 1] if rank <= n else math.inf)
    assert (found.units == n).all() and found.everything.all() == (rank > n)


def test_cells_of_equal_size_give_the_hierarchical_threshold_by_counting_masses() -> None:
    generator = np.random.default_rng(2)
    cells = np.repeat(np.arange(12), generator.integers(1, 9, 12))
    scores, truth = generator.random((len(cells), 2)), generator.integers(0, 2, len(cells))
    found = calibrate(scores, truth, Guarantee(0.2, "hierarchical"), cells)
    own = scores[np.arange(len(cells)), truth]
    covered = [
        sum(np.mean(own[cells == cell] <= candidate) for cell in range(12)) / 13 >= 0.8 for candidate in np.sort(own)
    ]
    assert found.values[0] == np.sort(own)[covered.index(True)]
    assert found.units[0] == 12


def test_a_cell_for_every_chromosome_makes_all_units_the_same() -> None:
    probabilities, truth, _ = cells_of(50, 1, seed=1)
    scores = lac_scores(probabilities)
    values = [
        calibrate(scores, truth, Guarantee(0.1, unit), np.arange(50), np.random.default_rng(0)).values[0]
        for unit in ("chromosome", "hierarchical", "draw", "whole-cell")
    ]
    assert len(set(values)) == 1


def test_a_draw_takes_one_chromosome_of_each_cell_and_each_as_often() -> None:
    scores = np.arange(4.0)[:, None]  # cell 0 holds scores 0 and 1, cell 1 holds 2 and 3
    truth, cells = np.zeros(4, int), np.array([0, 0, 1, 1])
    generator = np.random.default_rng(0)
    # alpha 0.7 of two units: the smaller of the two scores drawn.
    drawn = [calibrate(scores, truth, Guarantee(0.7, "draw"), cells, generator).values[0] for _ in range(400)]
    assert set(drawn) == {0.0, 1.0}
    assert abs(drawn.count(0.0) - 200) < 5 * math.sqrt(100)


def test_whole_cells_are_judged_by_their_worst_chromosome() -> None:
    probabilities, truth, cells = cells_of(40, 8, seed=3)
    scores = lac_scores(probabilities)
    own = scores[np.arange(len(truth)), truth]
    worst = np.sort([own[cells == cell].max() for cell in range(40)])
    found = calibrate(scores, truth, Guarantee(0.2, "whole-cell"), cells)
    assert found.values[0] == worst[math.ceil(41 * 0.8) - 1]


@pytest.mark.parametrize(("unit", "exact"), [("chromosome", 9 / 11), ("hierarchical", 10 / 11), ("draw", 10 / 11)])
def test_copies_of_one_score_break_the_chromosome_as_unit_but_not_the_cell(unit: str, exact: float) -> None:
    # Ten cells of 46 equal scores: the threshold is the 9th (chromosomes) or 10th (cells) of ten cells, and a new
    # cell lies below the k-th of ten with probability k / 11. Asked for: 0.85.
    cells, hits, rounds = np.repeat(np.arange(10), 46), 0, 4000
    generator = np.random.default_rng(5)
    for _ in range(rounds):
        own = np.repeat(generator.random(10), 46)[:, None]
        threshold = calibrate(own, np.zeros(460, int), Guarantee(0.15, unit), cells, generator).values[0]
        hits += generator.random() <= threshold
    assert abs(hits - rounds * exact) < 4 * math.sqrt(rounds * exact * (1 - exact))
    assert (exact >= 0.85) == (unit != "chromosome")


@pytest.mark.parametrize("unit", ["hierarchical", "draw", "whole-cell"])
def test_new_cells_are_covered_as_promised(unit: str) -> None:
    covered, rounds = [], 400
    for seed in range(rounds):
        probabilities, truth, cells = cells_of(25, 12, seed)
        generator = np.random.default_rng(seed)
        scores = aps_scores(probabilities, generator.random(len(truth)))
        old, new = cells < 24, cells == 24
        found = calibrate(scores[old], truth[old], Guarantee(0.1, unit), cells[old], generator)
        report = report_sets(found.sets(scores[new]), truth[new], cells[new])
        covered.append(report.cell_coverage if unit == "whole-cell" else report.coverage)
    slack = 3 * np.std(covered) / math.sqrt(rounds)
    assert np.mean(covered) >= 0.9 - slack
    # 24 cells can overshoot by at most one cell's mass.
    assert np.mean(covered) <= 0.9 + 1 / 25 + slack + (0.01 if unit == "whole-cell" else 0)


def test_classwise_thresholds_are_those_of_each_class_alone() -> None:
    probabilities, truth, cells = cells_of(30, 20, seed=4)
    scores = lac_scores(probabilities)
    for unit in ("chromosome", "hierarchical", "whole-cell"):
        found = calibrate(scores, truth, Guarantee(0.1, unit, classwise=True), cells)
        for index in range(6):
            rows = truth == index
            alone = calibrate(scores[rows], truth[rows], Guarantee(0.1, unit), cells[rows])
            assert found.values[index] == alone.values[0] and found.units[index] == alone.units[0]


def test_a_class_of_few_units_is_in_every_set_and_is_named() -> None:
    scores = np.random.default_rng(0).random((120, 2))
    truth = np.repeat([0, 1], [101, 19])
    found = calibrate(scores, truth, Guarantee(0.05, "chromosome", classwise=True))
    assert list(found.everything) == [False, False]  # 19 + 1 = 1 / alpha is just enough
    few = calibrate(scores[:-1], truth[:-1], Guarantee(0.05, "chromosome", classwise=True))
    assert list(few.everything) == [False, True] and list(few.units) == [101, 18]
    assert few.sets(np.ones((5, 2)))[:, 1].all()
    none = calibrate(scores[:101], truth[:101], Guarantee(0.05, "chromosome", classwise=True))
    assert list(none.everything) == [False, True] and none.units[1] == 0


@pytest.mark.parametrize(("penalty", "free"), [(0.0, 0), (0.1, 2)])
def test_adaptive_scores_are_a_loop_over_ranks(penalty: float, free: int) -> None:
    probabilities = softmax(np.random.default_rng(6).normal(0, 2, (40, 7)))
    uniforms = np.random.default_rng(7).random(40)
    scores = aps_scores(probabilities, uniforms, penalty, free)
    for row, share, found in zip(probabilities, uniforms, scores, strict=True):
        for index, own in enumerate(row):
            above = row[row > own]
            expected = above.sum() + share * own + penalty * max(0, len(above) + 1 - free)
            assert found[index] == pytest.approx(expected, abs=1e-12)


def test_adaptive_scores_of_the_true_class_are_uniform_when_the_probabilities_are_right() -> None:
    generator = np.random.default_rng(8)
    probabilities = softmax(generator.normal(0, 2, (20_000, 5)))
    truth = (probabilities.cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1).clip(max=4)
    own = aps_scores(probabilities, generator.random(20_000))[np.arange(20_000), truth]
    # Kolmogorov's distance of 20,000 uniform numbers exceeds 1.95 / sqrt(n) once in a thousand times.
    assert np.abs(np.sort(own) - (np.arange(20_000) + 0.5) / 20_000).max() < 1.95 / math.sqrt(20_000)


def test_a_report_counts_by_hand() -> None:
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    report = report_sets(sets, np.array([0, 1, 1, 0]), np.array(["a", "a", "b", "b"]))
    assert (report.n, report.coverage, report.mean_size) == (4, 0.75, 1.5)
    assert (report.singletons, report.empty, report.cell_coverage) == (0.25, 0.25, 0.5)
    assert report.class_coverage[:2].tolist() == [1.0, 0.5] and math.isnan(report.class_coverage[2])
    assert math.isnan(report_sets(sets, np.array([0, 1, 1, 0])).cell_coverage)


def test_what_has_no_meaning_is_refused() -> None:
    scores, truth = np.random.default_rng(0).random((6, 3)), np.zeros(6, int)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            Guarantee(alpha)
    with pytest.raises(ValueError, match="unknown unit"):
        Guarantee(0.1, "patient")
    with pytest.raises(ValueError, match="needs the cell"):
        calibrate(scores, truth, Guarantee(0.1))
    with pytest.raises(ValueError, match="needs a generator"):
        calibrate(scores, truth, Guarantee(0.1, "draw"), truth)
    with pytest.raises(ValueError, match="NaN"):
        calibrate(scores * math.nan, truth, Guarantee(0.1, "chromosome"))
    with pytest.raises(ValueError, match="outside"):
        calibrate(scores, truth + 3, Guarantee(0.1, "chromosome"))
    with pytest.raises(ValueError, match="softmax"):
        lac_scores(scores + 1)
    with pytest.raises(ValueError, match="uniforms"):
        aps_scores(scores, np.full(6, 1.5))
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        Thresholds(np.zeros(3), np.zeros(3, int), Guarantee(0.1)).sets(np.zeros((2, 4)))
