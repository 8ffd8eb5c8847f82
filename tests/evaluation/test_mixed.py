"""Crossed effects against a regression ANOVA, their one-way limits, and how often the interval covers the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bandbridge.evaluation.comparison import corrected_resampled_t, student_t
from bandbridge.evaluation.mixed import balanced, crossed_effects


def simulated(
    rng: np.random.Generator, shape: tuple[int, int], deviations: tuple[float, float, float], correlation: float = 0.0
) -> np.ndarray:
    """Differences of mean 0: architecture, fold and rest of these deviations; trainings of two folds correlate."""
    rows, columns = shape
    own, shared = np.sqrt(1 - correlation), np.sqrt(correlation)
    architecture = rng.normal(size=(rows, 1))
    fold = own * rng.normal(size=columns) + shared * rng.normal()
    rest = own * rng.normal(size=shape) + shared * rng.normal(size=(rows, 1))
    return deviations[0] * architecture + deviations[1] * fold + deviations[2] * rest


def residual(table: np.ndarray, *effects: str) -> float:
    """The residual sum of squares of a regression on dummy variables."""
    rows, columns = np.indices(table.shape)
    design = [np.ones((table.size, 1))]
    design += [np.eye(table.shape[0])[rows.ravel()]] if "row" in effects else []
    design += [np.eye(table.shape[1])[columns.ravel()]] if "column" in effects else []
    matrix = np.hstack(design)
    fitted = matrix @ np.linalg.lstsq(matrix, table.ravel(), rcond=None)[0]
    return float(np.sum((table.ravel() - fitted) ** 2))


@pytest.mark.parametrize("shape", [(11, 5), (4, 2), (2, 3)])
def test_components_are_those_of_a_regression_anova(shape: tuple[int, int]) -> None:
    rows, columns = shape
    table = simulated(np.random.default_rng(rows), shape, (2, 1, 0.3)) + 0.7
    full = residual(table, "row", "column")
    mean_square = {
        "row": (residual(table, "column") - full) / (rows - 1),
        "column": (residual(table, "row") - full) / (columns - 1),
        "rest": full / ((rows - 1) * (columns - 1)),
    }
    result = crossed_effects(table)
    assert result.architecture_sd**2 == pytest.approx(max(0, mean_square["row"] - mean_square["rest"]) / columns)
    assert result.fold_sd**2 == pytest.approx(max(0, mean_square["column"] - mean_square["rest"]) / rows)
    assert result.rest_sd**2 == pytest.approx(mean_square["rest"])
    parts = np.array([mean_square["row"], mean_square["column"]]) / table.size
    df = parts.sum() ** 2 / np.sum(parts**2 / np.array([rows - 1, columns - 1]))
    assert result.overall.df == pytest.approx(df)
    low, high = stats.t.interval(0.95, df, loc=table.mean(), scale=np.sqrt(parts.sum()))
    assert (result.overall.low, result.overall.high) == pytest.approx((low, high))
    assert result.overall.p == pytest.approx(2 * stats.t.sf(abs(table.mean()) / np.sqrt(parts.sum()), df))


def test_components_recover_what_was_simulated() -> None:
    rng = np.random.default_rng(1)
    results = [crossed_effects(simulated(rng, (12, 10), (3, 2, 1))) for _ in range(1500)]
    variances = np.array([[r.architecture_sd**2, r.fold_sd**2, r.rest_sd**2] for r in results])
    # Five standard errors of the mean of the estimates.
    slack = 5 * variances.std(axis=0) / np.sqrt(len(results))
    assert (np.abs(variances.mean(axis=0) - [9, 4, 1]) < slack).all()


def test_architectures_that_agree_are_one_architecture() -> None:
    folds = np.array([0.8, -0.3, 1.9, 0.4, 3.1])
    crossed, expected = crossed_effects(np.tile(folds, (7, 1)), 1 / 4).overall, corrected_resampled_t(folds, 1 / 4)
    assert list(vars(crossed).values()) == pytest.approx(list(vars(expected).values()), rel=1e-12)


def test_folds_that_agree_are_one_fold() -> None:
    architectures = np.array([0.8, -0.3, 1.9, 0.4])
    result, expected = crossed_effects(np.tile(architectures[:, None], 6), 1 / 4), student_t(architectures)
    assert list(vars(result.overall).values()) == pytest.approx(list(vars(expected).values()), rel=1e-12)
    assert (result.helped, result.architectures, result.folds) == (3, 4, 6)


@pytest.mark.parametrize("deviations", [(1, 1, 1), (0, 0, 1), (1, 0, 1), (0, 1, 1), (2, 0.5, 1)])
def test_the_interval_covers_the_truth_when_folds_share_their_training_images(deviations) -> None:
    """Eleven architectures on five folds of a cross-validation, which correlate by n_test / n = 1/5."""
    rng = np.random.default_rng(2)
    p_values = [crossed_effects(simulated(rng, (11, 5), deviations, 1 / 5), 1 / 4).overall.p for _ in range(800)]
    # 95% within three binomial standard deviations (0.0077), or more: what is left in widens the interval.
    assert np.mean(np.array(p_values) > 0.05) >= 0.927


def test_ignoring_the_folds_would_cover_far_less() -> None:
    """The reason for the model: the architectures' means alone take an easy fold for eleven confirmations."""
    rng = np.random.default_rng(3)
    tables = [simulated(rng, (11, 5), (0, 1, 1), 1 / 5) for _ in range(500)]
    naive = np.mean([student_t(table.mean(axis=1)).p > 0.05 for table in tables])
    crossed = np.mean([crossed_effects(table, 1 / 4).overall.p > 0.05 for table in tables])
    assert naive < 0.5 and crossed > 0.9


def test_incomplete_architectures_are_left_out_by_name() -> None:
    table = pd.DataFrame({0: [1.0, np.nan, 2.0], 1: [3.0, 4.0, 5.0]}, index=["VGG-16", "Swin-T", "ViT-S/16"])
    kept, left_out = balanced(table)
    assert (list(kept.index), left_out) == (["VGG-16", "ViT-S/16"], ("Swin-T",))


def test_a_table_without_scatter_has_no_test() -> None:
    for table in (np.full((3, 4), 0.1), np.array([[1.0, -1.0], [-1.0, 1.0]])):
        overall = crossed_effects(table).overall
        assert overall.mean == pytest.approx(table.mean())
        assert np.isnan([overall.low, overall.high, overall.p]).all()


@pytest.mark.parametrize("table", [np.ones((1, 5)), np.ones((5, 1)), np.ones(5), [[1.0, np.nan], [1.0, 2.0]]])
def test_tables_without_two_rows_and_columns_are_refused(table) -> None:
    with pytest.raises(ValueError, match="two architectures and two folds"):
        crossed_effects(table)
