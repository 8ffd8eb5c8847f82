"""Gains against numbers worked out by hand, permutation tests against scipy and plain enumeration."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, permutation_test, spearmanr

from bandbridge.domains.evidence import Agreement, Gain, agreements, common_cells, fold_gains, measured_gains
from bandbridge.evaluation.comparison import corrected_resampled_t
from bandbridge.evaluation.mixed import crossed_effects
from bandbridge.evaluation.moderation import moderate

NAN = math.nan


def scores_of(values: dict[tuple[str, str, str], list[float]], task: str = "T", checkpoint: str = "last"):
    return pd.DataFrame(
        {
            "task": task,
            "architecture": architecture,
            "approach": approach,
            "intermediate": intermediate,
            "fold": fold,
            "checkpoint": checkpoint,
            "macro_f1": value,
        }
        for (architecture, approach, intermediate), folds in values.items()
        for fold, value in enumerate(folds)
    )


SCORES = scores_of(
    {
        ("a", "imagenet", ""): [0.80, 0.82, 0.84],
        ("a", "two-step", "G"): [0.83, 0.84, 0.85],
        ("a", "two-step", "H"): [0.81, 0.81],
        ("b", "imagenet", ""): [0.70, 0.70],
        ("b", "two-step", "G"): [0.74, 0.72],
        ("b", "two-step", "H"): [0.69, 0.71],
        ("c", "two-step", "G"): [0.99],
    }
)


def test_gains_pair_two_step_with_imagenet_of_the_same_fold() -> None:
    other = scores_of({("a", "imagenet", ""): [0.1], ("a", "two-step", "G"): [0.9]}, task="other")
    best = scores_of({("a", "imagenet", ""): [0.2], ("a", "two-step", "G"): [0.9]}, checkpoint="best")
    gains = fold_gains(pd.concat([SCORES, other, best]), "T", "G", "last")
    assert list(gains.index) == ["a", "b"] and list(gains.columns) == [0, 1, 2]
    np.testing.assert_allclose(gains.to_numpy(), [[3, 2, 1], [4, 2, NAN]], atol=1e-9)
    assert fold_gains(SCORES, "T", "unknown", "last").empty


def test_candidates_are_compared_on_what_all_of_them_have() -> None:
    differences = {name: fold_gains(SCORES, "T", name, "last") for name in ("G", "H", "unknown")}
    gains = measured_gains(differences, folds=5)
    assert list(gains) == ["G", "H"]
    assert gains["G"].architectures == ("a", "b") and gains["G"].folds == 2
    assert gains["G"].mean == pytest.approx((3 + 2 + 4 + 2) / 4)
    assert gains["H"].mean == pytest.approx((1 - 1 - 1 + 1) / 4, abs=1e-9)
    assert math.isnan(gains["G"].low) and "too few folds" in gains["G"].verdict


def test_the_scatter_is_moderated_over_the_candidates() -> None:
    rng = np.random.default_rng(3)
    tables = {name: pd.DataFrame(rng.normal(size=(2, 6)), index=["a", "b"]) for name in "GHI"}
    found = measured_gains(tables, folds=6)
    means = [table.mean().to_numpy() for table in tables.values()]
    spreads = moderate(np.array([one.var(ddof=1) for one in means]), 5)
    for (name, table), spread in zip(tables.items(), spreads, strict=True):
        expected = crossed_effects(table.to_numpy(), 1 / 5, spread=spread).overall
        assert (found[name].low, found[name].high) == pytest.approx((expected.low, expected.high))


def test_one_architecture_by_itself_has_the_corrected_t_interval_and_few_folds_none() -> None:
    folds = np.array([3.0, 2, 1, 2, 4, 1, 2])
    table = pd.DataFrame([folds], index=["a"])
    gain = measured_gains({"G": table}, folds=10)["G"]
    expected = corrected_resampled_t(folds, 1 / 9)
    assert (gain.mean, gain.low, gain.high) == pytest.approx((expected.mean, expected.low, expected.high))
    for count in (1, 2, 6):
        few = measured_gains({"G": table[list(range(count))]}, folds=10)["G"]
        assert few.mean == folds[:count].mean() and math.isnan(few.low) and "without an interval" in few.verdict


@pytest.mark.parametrize("agreeing", [[16.64, 16.75], [5.0, 5.01]])
def test_two_folds_that_happen_to_agree_are_no_reason_to_train(agreeing: list[float]) -> None:
    tables = {"G": pd.DataFrame([agreeing], index=["a"]), "H": pd.DataFrame([[1.0, 4.0]], index=["a"])}
    assert all(math.isnan(gain.low) for gain in measured_gains(tables, folds=2).values())


def test_candidates_without_a_common_fold_are_not_compared() -> None:
    first, second = pd.DataFrame([[1.0]], ["a"], [0]), pd.DataFrame([[1.0]], ["a"], [1])
    assert common_cells([first, second]) == ([], [])
    assert measured_gains({"G": first, "H": second}, 5) == {} and measured_gains({}, 5) == {}


def test_common_cells_keep_as_much_as_they_can() -> None:
    table = pd.DataFrame([[1, 1, 1, 1], [1, 1, 1, NAN], [1, NAN, NAN, NAN]], index=["a", "b", "c"])
    assert common_cells([table]) == (["a", "b"], [0, 1, 2])
    assert common_cells([table, table.loc[["c", "a"]]]) == (["a"], [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.1, 2, "helped"), (-2, -0.1, "harmed"), (-1, 1, "includes 0"), (0, 1, "includes 0")]
)
def test_an_interval_over_zero_is_no_gain(low: float, high: float, words: str) -> None:
    assert words in Gain((low + high) / 2, low, high, ("a",), 5).verdict


@pytest.mark.parametrize("values", [[3.0, 1, 4, 1, 5], [0.2, 0.1, 0.4, 0.3, 0.5], [5.0, 4, 3, 2, 1]])
def test_coefficients_and_their_p_are_scipys(values: list[float]) -> None:
    gains = np.array([0.5, -0.2, 1.4, 0.1, 0.9])
    (found,) = agreements(np.array([values]), gains)
    for name, coefficient in (("spearman", spearmanr), ("kendall", kendalltau)):
        exact = permutation_test(
            (gains,),
            lambda permuted, coefficient=coefficient: coefficient(values, permuted)[0],
            permutation_type="pairings",
            alternative="greater",
            n_resamples=np.inf,
        )
        assert getattr(found, name) == pytest.approx(exact.statistic, abs=1e-12)
        assert getattr(found, f"{name}_p") == pytest.approx(exact.pvalue, abs=1e-12)
    assert found.family_p == pytest.approx(found.spearman_p, abs=1e-12)


def test_the_family_p_is_the_chance_that_any_measure_agrees_as_well() -> None:
    gains = np.array([0.1, 0.4, 0.2, 0.9])
    values = np.array([[1.0, 3, 2, 4], [4.0, 3, 2, 1], [2.0, 1, 4, 3]])
    highest = [
        max(spearmanr(row, gains[list(order)])[0] for row in values) for order in permutations(range(len(gains)))
    ]
    for row, found in zip(values, agreements(values, gains), strict=True):
        expected = np.mean([rho >= spearmanr(row, gains)[0] - 1e-9 for rho in highest])
        assert found.family_p == pytest.approx(expected, abs=1e-12)


def test_four_candidates_in_perfect_order_are_evidence_for_one_measure_but_not_for_one_of_many() -> None:
    gains = np.arange(4.0)
    (alone,) = agreements(np.arange(4.0)[None], gains)
    assert alone.spearman_p == alone.kendall_p == pytest.approx(1 / 24) and alone.is_evidence
    assert alone.verdict.startswith("evidence")
    tried = np.array(list(permutations(range(4))))[::5].astype(float)
    among = agreements(np.concatenate([np.arange(4.0)[None], tried]), gains)[0]
    assert among.family_p > 0.05 and not among.is_evidence and "one of the measures tried" in among.verdict


def test_a_measure_that_some_candidates_lack_is_paid_for_like_the_others() -> None:
    """Brute force: the P of each measure in each order, on the candidates it has, and the smallest of these."""
    gains = np.array([26.2, 14.1, 5.2, 3.7, 3.6])
    values = np.array([[5.0, 4, NAN, 3, 2], [5.0, 4, 1, 2, 3], [4.0, 5, 1, 1, 1], [1.0, NAN, 2, 5, 4]])
    orders = [gains[list(order)] for order in permutations(range(5))]
    p = []
    for row in values:
        kept = ~np.isnan(row)
        rho = np.array([spearmanr(row[kept], order[kept])[0] for order in orders])
        p.append([np.mean(rho >= own - 1e-9) for own in rho])
    lowest = np.min(p, axis=0)
    for own, found in zip(p, agreements(values, gains), strict=True):
        assert found.spearman_p == pytest.approx(own[0], abs=1e-12)
        assert found.family_p == pytest.approx(np.mean(lowest <= own[0] + 1e-9), abs=1e-12)
    partial = agreements(values, gains)[0]
    assert partial.spearman_p == pytest.approx(1 / 24) and partial.family_p > 0.05 and not partial.is_evidence


def test_what_cannot_be_computed_is_no_evidence() -> None:
    assert not Agreement(5, 1.0, 0.01, 1.0, 0.01, NAN).is_evidence


def test_three_candidates_are_no_evidence_whatever_their_order() -> None:
    (found,) = agreements(np.array([[1.0, 2, 3]]), np.array([0.1, 0.2, 0.3]))
    assert found.spearman == pytest.approx(1) and found.spearman_p == pytest.approx(1 / 6)
    assert found.verdict == "no evidence: 3 candidates can agree by chance with probability 0.17"


def test_a_wrong_order_is_no_evidence() -> None:
    (found,) = agreements(np.array([[5.0, 4, 3, 2, 1]]), np.arange(5.0))
    assert found.verdict == "no evidence that this measure orders the candidates"


def test_what_is_missing_takes_no_part() -> None:
    values = np.array([[1.0, 2, NAN, 4, 5], [7.0, 7, 7, 7, 7], [NAN, NAN, NAN, 1, 2]])
    first, constant, few = agreements(values, np.array([1.0, 2, 3, NAN, 5]))
    assert first.candidates == 3 and first.spearman == pytest.approx(1) and not first.is_evidence
    assert constant.candidates == 4 and "the same for all" in constant.verdict
    assert few == Agreement(1) and "fewer than two" in few.verdict


def test_many_candidates_are_tested_with_drawn_orders() -> None:
    generator = np.random.default_rng(3)
    values, gains = generator.normal(size=(1, 10)), generator.normal(size=10) + 0.5
    (found,) = agreements(values, gains)
    assert found.spearman == pytest.approx(spearmanr(values[0], gains)[0])
    # 100,000 orders: the standard error of a share is at most 0.0016.
    assert found.kendall_p == pytest.approx(kendalltau(values[0], gains, alternative="greater").pvalue, abs=0.007)
