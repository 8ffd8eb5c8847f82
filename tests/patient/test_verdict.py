"""From counted cells to what is said of a patient: the clone rule, chance, evidence, the draft or why there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta
from tests.patient.made import cell, cells, rates

from bandbridge.karyotype import CLASS_INDEX
from bandbridge.patient.cells import MOST_EVIDENCE
from bandbridge.patient.findings import find
from bandbridge.patient.verdict import finding_table, judge, patient_table


@pytest.mark.parametrize(
    ("number", "sexes", "changes", "kind"),
    [
        (1, "XX", {"8": 1}, "single gain"),
        (2, "XX", {"8": 1}, "clone"),
        (1, "XX", {"8": -1}, "random loss"),
        (2, "XX", {"8": -1}, "random loss"),
        (3, "XX", {"8": -1}, "clone"),
        (1, "XXY", {}, "single gain"),
        (2, "XXX", {}, "clone"),
        (2, "X", {}, "random loss"),
        (3, "X", {}, "clone"),
        (2, "XX", {"8": 2}, "clone"),
    ],
)
def test_two_cells_gain_and_three_lose(number: int, sexes: str, changes: dict[str, int], kind: str) -> None:
    (found,) = find(cells((number, sexes, changes), (20 - number, "XX", {})), rates(alarms=0, normal=4000))
    assert found.kind == kind and len(found.cells) == number and found.usable == 20


def test_what_false_alarms_explain_is_no_clone() -> None:
    made = cells((2, "XX", {"8": 1}), (18, "XX", {}))
    (sure,) = find(made, rates(alarms=0, normal=4000))
    (unsure,) = find(made, rates(alarms=20, normal=400))
    assert (sure.kind, unsure.kind) == ("clone", "unclear")
    assert sure.chance < 0.001 < unsure.chance


def test_where_nothing_is_known_of_the_counts_the_rule_stands_alone_and_nothing_is_drafted() -> None:
    verdict = judge("P", cells((5, "XX", {"8": 1}), (15, "XX", {})), None)
    (found,) = verdict.findings
    assert found.kind == "clone" and np.isnan([found.low, found.high, found.chance, found.fraction]).all()
    assert verdict.draft.text == "" and "is not known" in verdict.draft.why_none
    assert "if none was missed" in found.text


@pytest.mark.parametrize(
    ("made", "draft", "why"),
    [
        ([(20, "XX", {})], "46,XX[20]", ""),
        ([(3, "XY", {})], "46,XY[3]", ""),
        ([(2, "XY", {})], "", "a clone of a loss takes 3"),
        ([(1, "XY", {"21": 1})], "", "no clone is made of fewer than two"),
        ([(2, "XY", {"21": 1}), (3, "XY", {})], "mos 47,XY,+21[2]/46,XY[3]", ""),
        ([(19, "XX", {}), (1, "XX", {"8": 1})], "46,XX[20]", ""),
        # A cell with another change is no normal line, and of four cells one too many in none.
        (
            [(3, "XX", {"21": 1}), (1, "XX", {"22": 1})],
            "",
            "1 of 4 cells fit none of the lines: c4 (47, XX, 22 gained)",
        ),
        ([(9, "XX", {"21": 1}), (1, "XX", {"22": 1})], "47,XX,+21[9]", ""),
    ],
)
def test_of_cells_that_a_person_read_the_counts_are_taken_as_they_are(made, draft: str, why: str) -> None:
    found = judge("P", cells(*made), None, read=True).draft
    assert found.text == draft and why in found.why_none
    assert any("as the reader left" in note for note in found.notes) == bool(draft)
    tissue = judge("P", cells((2, "XY", {}), (3, "X", {})), None, read=True, acquired=True).draft
    assert tissue.text == "45,X,-Y[3]/46,XY[2]"


def test_evidence_is_added_up_over_cells() -> None:
    made = cells((5, "XX", {"8": 1}), (15, "XX", {}))
    (found,) = find(made, rates())
    assert found.evidence == pytest.approx(5 * 5 - 15 * 5)
    shares = np.linspace(0, 1, 100_001)
    best = (5 * np.log(1 - shares + shares * np.exp(5)) + 15 * np.log(1 - shares + shares * np.exp(-5))).max()
    assert found.part == pytest.approx(best, abs=0.02) and found.part > 0
    table = judge("P", made, rates()).counts().set_index("chromosome")
    assert table.loc["8", ["2", "3"]].tolist() == [15, 5] and table.loc["8", "gain"] == -50
    assert table.loc["9", ["2", "3"]].tolist() == [20, 0]


def test_cells_that_cannot_be_counted_are_listed_with_the_reason() -> None:
    made = [*cells((3, "XX", {"21": 1})), cell("burst", "XX", {"21": 1}, "12 chromosomes: too few")]
    verdict = judge("P", made, rates(alarms=0, normal=4000))
    (row,) = patient_table([verdict]).to_dict("records")
    assert (row["cells"], row["usable"]) == (4, 3) and row["excluded"] == "burst: 12 chromosomes: too few"
    assert row["draft"] == "47,XX,+21[3]"
    (found,) = finding_table([verdict]).to_dict("records")
    assert found["shown_by"] == "c1; c2; c3" and "burst" not in found["shown_by"]


@pytest.mark.parametrize(
    ("made", "draft"),
    [
        ([(20, "XX", {})], "46,XX[20]"),
        ([(18, "XY", {}), (2, "XY", {"7": -1})], "46,XY[20]"),
        ([(6, "XX", {"8": 1}), (14, "XX", {})], "mos 47,XX,+8[6]/46,XX[14]"),
        ([(20, "XXY", {})], "47,XXY[20]"),
        ([(19, "XX", {"21": 1}), (1, "XX", {})], "47,XX,+21[19]"),
        ([(6, "X", {}), (14, "XX", {})], "mos 45,X[6]/46,XX[14]"),
        ([(5, "XX", {"8": 1}), (5, "XX", {"8": 1, "21": 1}), (10, "XX", {})], None),
        ([(19, "XX", {}), (1, "XY", {})], "46,XX[19]"),
        ([(19, "XX", {}), (1, "XXX", {})], "46,XX[20]"),
        ([(2, "XY", {"18": 1})], "47,XY,+18[2]"),
    ],
)
def test_drafts(made, draft) -> None:
    found = judge("P", cells(*made), rates(alarms=0, normal=4000)).draft
    wanted = draft or "mos 47,XX,+8[5]/48,XX,+8,+21[5]/46,XX[10]"
    assert (found.text, found.why_none) == (wanted, "")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([(1, "XX", {})], "no clone is made of fewer than two"),
        ([(10, "XX", {}), (10, "XY", {})], "mixed up, or the patient is a chimera"),
        ([(1, "XX", {}), (1, "XY", {})], "fit none of the lines"),
        ([(20, "Y", {})], "without an X"),
    ],
)
def test_what_is_not_drafted(made, why: str) -> None:
    found = judge("P", cells(*made), rates(alarms=0, normal=4000)).draft
    assert found.text == "" and why in found.why_none


def test_a_few_normal_cells_are_no_normal_karyotype() -> None:
    few = judge("P", cells((2, "XX", {})), rates(alarms=0, normal=4000)).draft
    assert few.text == "" and "so few may miss" in few.why_none
    poor = rates(found=25, planted=100, alarms=0, normal=4000)
    assert judge("P", cells((10, "XX", {})), poor).draft.text == ""
    assert judge("P", cells((40, "XX", {})), poor).draft.text == "46,XX[40]"


def test_a_model_that_misses_half_does_not_call_a_mosaic() -> None:
    made = cells((5, "XX", {"21": 1}), (7, "XX", {}))
    poor = judge("P", made, rates(found=30, planted=100, alarms=0, normal=4000))
    assert poor.clones and poor.draft.text == "" and "misses so many" in poor.draft.why_none
    assert judge("P", made, rates(alarms=0, normal=4000)).draft.text == "mos 47,XX,+21[5]/46,XX[7]"


def test_an_unclear_change_leaves_no_draft() -> None:
    found = judge("P", cells((2, "XX", {"8": 1}), (18, "XX", {})), rates(alarms=20, normal=400)).draft
    assert found.text == "" and "may be false alarms" in found.why_none


def test_what_twenty_cells_cannot_exclude_is_computed() -> None:
    verdict = judge("P", cells((20, "XX", {})), rates(found=10**9, planted=10**9))
    assert verdict.least[1] == pytest.approx(1 - 0.05 ** (1 / 20), abs=1e-5)
    assert verdict.least[2] == pytest.approx(beta.ppf(0.95, 2, 19), abs=1e-5)
    assert "20 cells exclude, at 95%, a mosaic of 14% or more" in verdict.excluded
    assert judge("P", [], rates()).excluded == "no cell can be counted: nothing is excluded"


def test_infinite_evidence_of_a_cell_does_not_drown_the_others() -> None:

    from bandbridge.karyogram.sheet import CountEvidence
    from bandbridge.patient.cells import _evidence

    table = _evidence(CountEvidence(np.full(24, np.inf), np.full(24, -np.inf), 3.0))
    assert table[0].tolist() == [MOST_EVIDENCE, -MOST_EVIDENCE] and table[CLASS_INDEX["X"]].tolist() == [3, 3]


def test_a_gain_beside_a_loss_in_the_same_cells_may_be_one_chromosome_that_looks_like_another() -> None:
    """As in a patient of Pki-3, in whose cells a 2 is as short as a 7, a 3 as long as a 2: nothing is gained."""
    made = [(2, "XX", {"7": 1, "3": -1})]
    verdict = judge("P", cells(*made), rates(alarms=0, normal=4000))
    assert verdict.draft.text == "" and verdict.clones[0].name == "7 gained"
    assert "7 gained and 3 lost in the same 2 cells: one chromosome that looks like another" in verdict.draft.why_none
    # A person has looked, or other cells have lost it: then it is as it is counted.
    assert judge("P", cells((3, "XX", {"7": 1, "3": -1})), None, read=True).draft.text == "46,XX,-3,+7[3]"
    apart = cells((2, "XX", {"7": 1}), (1, "XX", {"3": -1}), (3, "XX", {"7": 1, "3": -1}))
    assert "looks like another" not in judge("P", apart, rates(alarms=0, normal=4000)).draft.why_none
