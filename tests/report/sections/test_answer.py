"""The verdicts against the rule that they state, on effects made up for each case."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.effects import Effects
from bandbridge.report.sections.answer import answer_study

CONTEXT = TableContext(
    title="Made up",
    protocol="strict",
    protocol_text="",
    folds=(0, 1),
    tasks=(TaskLabel("q", "Q-band", "padova.zip"),),
    domains=(TaskLabel("g", "G-band", "case-set.zip"),),
    architectures=(ArchitectureLabel("A"), ArchitectureLabel("B")),
    arms=(Arm("q", "imagenet"), Arm("q", "two-step", "g")),
)
NAMED = {"task": "q", "approach": "two-step", "intermediate": "g", "reference": "imagenet"}


def make_scores(values: dict[tuple[str, str], tuple[float, ...]]) -> pd.DataFrame:
    """Macro-F1 by (architecture, approach), a value for each fold."""
    rows = [
        {
            "task": "q",
            "band": "Q-band",
            "architecture": architecture,
            "approach": approach,
            "intermediate": "g" if approach == "two-step" else "",
            "fold": fold,
            "checkpoint": "last",
            "macro_f1": value,
        }
        for (architecture, approach), folds in values.items()
        for fold, value in enumerate(folds)
    ]
    return pd.DataFrame(rows)


def single(
    architecture: str,
    cells: tuple[float, float],
    wide: tuple[float, float],
    p: float = 0.5,
    folds: int = 2,
    over: int = 4,
    groups: int = 119,
) -> dict:
    """One architecture's comparison; ``over``: the comparisons that tell how far trainings scatter."""
    return {
        **NAMED,
        "architecture": architecture,
        "folds": folds,
        "mean_pp": sum(cells) / 2,
        "moderated_low_pp": wide[0],
        "moderated_high_pp": wide[1],
        "moderated_detectable_pp": 3.21,
        "moderated_over": over,
        "pooled_pp": sum(cells) / 2,
        "pooled_low_pp": cells[0],
        "pooled_high_pp": cells[1],
        "pooled_p": p,
        "pooled_p_holm": p,
        "unit": "cell",
        "groups": groups,
    }


def make_effects(comparisons: list[dict], mixed: list[dict] | None = None) -> Effects:
    return Effects(pd.DataFrame(comparisons), pd.DataFrame(mixed or []), pd.DataFrame(), "last", 0.25)


ONE = make_scores({("A", "imagenet"): (0.80, 0.82), ("A", "two-step"): (0.81, 0.83)})


@pytest.mark.parametrize(
    ("cells", "wide", "verdict", "claim"),
    [
        ((0.5, 2.0), (0.1, 3.0), "helps", "Yes: the detour over case-set, after ImageNet, helps."),
        ((-2.0, -0.5), (-3.0, -0.1), "hurts", "No: the detour over case-set, after ImageNet, hurts."),
        ((0.5, 2.0), (-1.0, 3.0), "leans-help", "On these models, yes"),
        ((-2.0, -0.5), (-3.0, 1.0), "leans-hurt", "On these models, no"),
        ((-0.5, 2.0), (0.1, 3.0), "unclear", "No clear difference"),
        ((0.5, 2.0), (math.nan, math.nan), "leans-help", "On these models, yes"),
        ((0.5, 2.0), (-3.0, -0.1), "leans-help", "On these models, yes"),
    ],
)
def test_the_verdict_follows_from_the_two_intervals(cells, wide, verdict, claim):
    (answer,) = answer_study(ONE, make_effects([single("A", cells, wide, folds=3)]), CONTEXT)
    assert answer.verdict == verdict
    assert answer.claim.startswith(claim)


def test_the_sentence_gives_both_scores_the_difference_and_both_intervals():
    (answer,) = answer_study(ONE, make_effects([single("A", (-0.54, 2.04), (-1.5, 3.0), folds=3)]), CONTEXT)
    assert (answer.task, answer.approach, answer.reference) == ("Q-band", "Two-step", "ImageNet")
    assert answer.sentence == (
        "Two-step reaches a Macro-F1 of 82.0%, ImageNet alone 81.0% (A): a difference of +0.8 points, 95% interval "
        "-0.5 to +2.0 for new cells (119 resampled, models as trained) and -1.5 to +3.0 for new trainings. "
        "These folds would have shown a difference of 3.2 points four times in five."
    )


BOTH = make_scores(
    {
        ("A", "imagenet"): (0.80, 0.82),
        ("A", "two-step"): (0.85, 0.87),
        ("B", "imagenet"): (0.90, 0.90),
        ("B", "two-step"): (0.88, 0.86),
    }
)
MIXED = {
    **NAMED,
    "family": "all",
    "folds": 2,
    "mean_pp": 1.0,
    "low_pp": -30.0,
    "high_pp": 32.0,
    "moderated_over": 4,
    "pooled_pp": 1.0,
    "pooled_p": 0.01,
    "pooled_low_pp": 0.2,
    "pooled_high_pp": 1.8,
    "unit": "cell",
    "groups": 119,
}


def test_architectures_that_clearly_disagree_are_not_averaged_into_one_verdict():
    rows = [single("A", (4.0, 6.0), (1.0, 9.0), p=0.001), single("B", (-4.0, -2.0), (-9.0, 3.0), p=0.01)]
    (answer,) = answer_study(BOTH, make_effects(rows, [MIXED]), CONTEXT)
    assert answer.verdict == "depends"
    assert "better in A (+5.0); worse in B (-3.0)" in answer.sentence
    assert "86.5%" in answer.sentence and "85.5%" in answer.sentence  # the means of both, by hand


def test_without_a_clear_disagreement_the_mean_over_architectures_decides():
    rows = [single("A", (4.0, 6.0), (1.0, 9.0), p=0.001), single("B", (-4.0, 2.0), (-9.0, 3.0), p=0.3)]
    (answer,) = answer_study(BOTH, make_effects(rows, [MIXED | {"folds": 3}]), CONTEXT)
    assert answer.verdict == "leans-help"
    assert "worse" not in answer.sentence
    assert "-30.0 to +32.0 for new trainings and other architectures" in answer.sentence


def test_an_interval_wider_than_the_score_itself_is_not_printed():
    rows = [single("A", (4.0, 6.0), (1.0, 9.0)), single("B", (-4.0, 2.0), (-9.0, 3.0))]
    mixed = {**MIXED, "folds": 3, "low_pp": -177.0, "high_pp": 204.0}
    (answer,) = answer_study(BOTH, make_effects(rows, [mixed]), CONTEXT)
    assert "177" not in answer.sentence
    assert "say nothing about new trainings" in answer.sentence
    assert "It raised the score of 1 of 2 architectures, none clearly by itself." in answer.sentence


def test_missing_folds_leave_the_question_open_and_show_what_there_is():
    scores = make_scores({("A", "imagenet"): (0.80, 0.82), ("A", "two-step"): (0.81,)})
    row = single("A", (math.nan, math.nan), (math.nan, math.nan)) | {"groups": 0}
    (answer,) = answer_study(scores, make_effects([row]), CONTEXT)
    assert answer.verdict == "unknown"
    assert answer.claim.endswith("has not been measured on all planned folds.")
    assert answer.sentence == "Two-step minus ImageNet so far, without intervals: A +1.0 points (1 of 2 folds)."


def test_folds_that_differ_by_the_same_are_not_called_one_fold():
    answers = [
        answer_study(ONE, make_effects([single("A", (0.5, 2.0), (math.nan, math.nan)) | {"folds": folds}]), CONTEXT)
        for folds in (1, 2)
    ]
    assert "; one fold says nothing about new trainings" in answers[0][0].sentence
    assert "; folds that all differ by the same have no scatter" in answers[1][0].sentence
    assert "one fold" not in answers[1][0].sentence


def test_one_patient_in_all_planned_folds_is_not_called_an_unfinished_study():
    row = single("A", (math.nan, math.nan), (math.nan, math.nan)) | {"groups": 0}
    (answer,) = answer_study(ONE, make_effects([row]), CONTEXT)
    assert answer.verdict == "unknown"
    assert answer.claim == (
        "Not known: the detour over case-set, after ImageNet, was measured on one patient or cell, which says nothing "
        "about others."
    )
    assert answer.sentence == "Two-step minus ImageNet, without intervals: A +1.0 points (2 of 2 folds)."


@pytest.mark.parametrize(("folds", "over", "needed"), [(2, 1, 7), (5, 1, 7), (5, 3, 6), (2, 4, 3), (2, 40, 3)])
def test_folds_that_happen_to_agree_give_no_unqualified_yes(folds, over, needed):
    few, enough = (
        answer_study(ONE, make_effects([single("A", (15.0, 18.0), (15.7, 17.7), 0.001, count, over)]), CONTEXT)[0]
        for count in (folds, needed)
    )
    assert (few.verdict, enough.verdict) == ("leans-help", "helps")
    assert few.claim.startswith("On these models, yes:") and few.claim.endswith("; new trainings may differ.")
    assert "+15.7 to +17.7" not in few.sentence and "+15.7 to +17.7 for new trainings" in enough.sentence
    assert f"no interval for new trainings: {folds} folds may agree by chance; {needed} folds or more" in few.sentence
    assert ("or 3 with 4 comparisons or more" in few.sentence) == (over == 3)
    assert "no interval" not in enough.sentence


@pytest.mark.parametrize("groups", [2, 3, 19])
def test_few_groups_have_their_p_value_and_no_interval(groups):
    nothing = (math.nan, math.nan)
    for p, mean, verdict in ((0.25, 16.7, "unknown"), (0.004, 16.7, "leans-help"), (0.004, -16.7, "leans-hurt")):
        row = single("A", nothing, (mean - 1, mean + 1), p, folds=6, groups=groups) | {
            "mean_pp": mean,
            "pooled_pp": mean,
        }
        (answer,) = answer_study(ONE, make_effects([row]), CONTEXT)
        assert answer.verdict == verdict
        assert f"P = {p:.3f} for swaps within {groups} cells" in answer.sentence
        assert (
            f"no interval for new cells: {groups} of them cannot tell how others differ; 20 or more" in answer.sentence
        )
        assert "% interval" not in answer.sentence.replace("no interval", "")
        told = (
            f"was measured on {groups} cells, too few to tell of others."
            if verdict == "unknown"
            else "other cells may differ."
        )
        assert answer.claim.endswith(told)


def test_the_question_of_the_paper_comes_before_the_same_without_imagenet():
    context = TableContext(
        **{
            **CONTEXT.__dict__,
            "arms": (Arm("q", "scratch"), Arm("q", "imagenet"), Arm("q", "two-step", "g"), Arm("q", "domain", "g")),
        }
    )
    answers = answer_study(ONE, make_effects([single("A", (0.5, 2.0), (0.1, 3.0), folds=3)]), context)
    assert [answer.approach for answer in answers] == ["Two-step", "Domain"]
    assert [answer.verdict for answer in answers] == ["helps", "unknown"]
