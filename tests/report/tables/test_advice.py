"""The advice read back: ranks and marks in the tables, agreement with measured gains, the words of the conclusion."""

from __future__ import annotations

import math

import pytest

from bandbridge.domains.advice import MEASURES, Candidate
from bandbridge.domains.evidence import Gain
from bandbridge.report.rendering import Table, to_csv, to_latex, to_markdown
from bandbridge.report.tables.advice import PREDICTION, advice_tables, class_table, conclusion, ranking_table
from bandbridge.report.tables.advice_evidence import StudyEvidence, agreement_table, gain_table

NAN = math.nan
LOWER = {measure.key for measure in MEASURES if measure.better == "lower"}


def candidate(name: str, promise: float, **changes: float) -> Candidate:
    """A candidate that promises ``promise`` by every measure, whatever its direction."""
    values = {measure.key: -promise if measure.key in LOWER else promise for measure in MEASURES}
    return Candidate(name, 1200, values | changes, {}, ("1", "2", "X"), {"1": 1.0, "2": 2.5, "X": 1.0})


A, B, C = candidate("A", 0.1), candidate("B", 0.3), candidate("C", 0.2, leep=-9.0)
PIXELS = Candidate(
    "pixels",
    500,
    {measure.key: 0.05 if measure.key == "mmd2" else NAN for measure in MEASURES},
    {measure.key: "it shares no class with the target" for measure in MEASURES if measure.key != "mmd2"},
)
ALONE = {"logme": 0.7, "h_score": 12.0, "h_score_shrunk": 10.0}


def gain(mean: float, half: float = 1.0) -> Gain:
    return Gain(mean, mean - half, mean + half, ("ResNet-50", "Swin-T"), 5)


def study(gains: dict[str, Gain], **facts: object) -> StudyEvidence:
    return StudyEvidence("pilot", "strict", "Q", gains, **facts)  # type: ignore[arg-type]


def cells(table: Table, title: str) -> list[str]:
    (row,) = [row for row in table.rows if row.cells[0].text == title]
    return [cell.text + "*" * cell.bold for cell in row.cells[1:]]


def test_the_ranking_shows_each_value_with_its_rank_and_marks_the_first() -> None:
    table = ranking_table("T", [A, B, C, PIXELS], ALONE, "a model")
    assert cells(table, "LEEP") == ["higher", "0.100 (2)", "0.300 (1)*", "-9.000 (3)", "–", ""]
    assert cells(table, "MMD²") == ["lower", "-0.1000 (3)", "-0.3000 (1)*", "-0.2000 (2)", "0.0500 (4)", ""]
    assert cells(table, "CORAL × 10³") == ["lower", "-100.000 (3)", "-300.000 (1)*", "-200.000 (2)", "–", ""]
    assert cells(table, "LogME of source logits")[-1] == "0.700"
    assert len(table.data) == 4 * len(MEASURES)
    notes = "\n".join(table.notes)
    assert "A: 1,200 images, 3 classes shared" in notes and "pixels: 500 images, 0 classes shared" in notes
    assert "different classes" not in notes
    assert "pixels has no" in notes and "it shares no class with the target" in notes


def test_a_shared_first_place_is_marked_for_both() -> None:
    table = ranking_table("T", [A, candidate("twin", 0.1)], ALONE, "a model")
    assert cells(table, "LEEP")[1:3] == ["0.100 (1.5)*", "0.100 (1.5)*"]


def test_classes_show_the_rank_of_their_own() -> None:
    table = class_table("T", [A, PIXELS])
    assert [column.title for column in table.columns] == ["Class", "A"]
    assert cells(table, "1") == ["1*"] and cells(table, "2") == ["2.5"]


def test_gains_are_sorted_and_judged() -> None:
    evidence = study({"A": gain(0.5), "B": gain(2.0), "C": gain(-3.0)}, unmeasured={"D": "no finished fold"})
    table = gain_table("T", evidence)
    assert [row.cells[0].text for row in table.rows] == ["B", "A", "C"]
    assert cells(table, "B") == ["+2.00", "+1.00 to +3.00", "helped"]
    assert cells(table, "A")[2] == "not told from zero: the interval includes 0"
    assert cells(table, "C")[2] == "harmed"
    assert "5 folds of ResNet-50, Swin-T" in table.sentence and "Not measured: D: no finished fold." in table.notes


def test_the_predicted_order_stands_beside_the_measured_one() -> None:
    evidence = study({"A": gain(0.1), "B": gain(0.3), "C": gain(0.2)})
    table = agreement_table([A, B, C, PIXELS], evidence)
    assert "Measured order: B > C > A." in table.sentence
    chance = "no evidence: 3 candidates can agree by chance with probability 0.17"
    assert cells(table, "MMD²")[:5] == ["B > C > A", "+1.00", "0.17", "+1.00", "0.17"]
    assert cells(table, "MMD²")[-1] == chance and cells(table, "LEEP")[:2] == ["B > A > C", "+0.50"]


def test_ties_are_written_as_such() -> None:
    twins = [A, candidate("twin", 0.1)]
    table = agreement_table(twins, study({"A": gain(1), "twin": gain(2)}))
    assert cells(table, "LEEP")[:2] == ["A = twin", "n/a"]


def test_without_a_study_the_ranking_is_a_prediction() -> None:
    text = conclusion("T", [A, B, C], None)
    assert text.startswith(PREDICTION) and f"B is first by {len(MEASURES)} of {len(MEASURES)} measures" in text
    assert "two-step on T with B" in text
    text = conclusion("T", [A], study({}, reason="it has no task that classifies the target"))
    assert "Study pilot has nothing to say: it has no task that classifies the target. " + PREDICTION in text
    assert "nothing to rank" in text


@pytest.mark.parametrize(
    ("gains", "action"),
    [
        ({"A": gain(2.0), "B": gain(0.1)}, "Train T by way of A."),
        ({"A": gain(0.5), "B": gain(-0.1)}, "No detour is shown to help"),
        ({"A": gain(-2.0), "B": gain(-3.0)}, "every detour measured did harm"),
        ({"A": gain(-2.0), "B": gain(-3.0, 5)}, "No detour is shown to help"),
        (
            {"A": Gain(9.4, NAN, NAN, ("r",), 1), "B": gain(-9)},
            "without an interval: too few folds, or folds that agree. That is",
        ),
    ],
)
def test_the_action_follows_the_interval(gains: dict[str, Gain], action: str) -> None:
    text = conclusion("T", [A, B], study(gains))
    assert action in text and "No evidence that any measure orders candidates (2 gains measured)." in text


def test_a_candidate_that_is_first_but_not_measured_is_the_next_to_try() -> None:
    text = conclusion("T", [A, B, C], study({"A": gain(0.1), "C": gain(0.2)}))
    assert f"B is first by {len(MEASURES)} of {len(MEASURES)} measures and not measured: it is the next to try" in text
    assert "(2 gains measured): of the others the ranking is a prediction." in text
    assert "next to try" not in conclusion("T", [A, C], study({"A": gain(0.1), "C": gain(0.2)}))


def test_evidence_is_named_where_there_is_some() -> None:
    """Five candidates in the measured order by every measure: 1 in 120 orders agrees so well."""
    candidates = [candidate(name, index / 10) for index, name in enumerate("ABCDE")]
    gains = {name: gain(float(index)) for index, name in enumerate("ABCDE")}
    text = conclusion("T", candidates, study(gains))
    assert "Evidence that a measure orders the candidates: MMD², CORAL" in text and "No evidence" not in text


def test_every_table_can_be_written() -> None:
    evidence = study({"A": gain(0.1), "B": gain(0.3)})
    names = [table.name for table in advice_tables("T", [A, B, PIXELS], ALONE, evidence, "a model")]
    assert names == ["advice", "advice-classes", "advice-gains", "advice-agreement"]
    alone = advice_tables("T", [A, B], ALONE, study({"A": gain(1)}), "a model")
    assert [table.name for table in alone] == ["advice", "advice-classes", "advice-gains"]
    assert [table.name for table in advice_tables("T", [PIXELS], ALONE, None, "a model")] == ["advice"]
    for table in advice_tables("T", [A, B, PIXELS], ALONE, evidence, "a model"):
        assert to_markdown(table).startswith("## ") and r"\toprule" in to_latex(table)
        assert len(to_csv(table).splitlines()) == len(table.data) + 1
