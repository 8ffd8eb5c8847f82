"""Every number of an evaluation against scikit-learn and plain loops, and what it says where there is none."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from bandbridge.errors import UserError
from bandbridge.evaluation.appraisal import FINDING_COLUMNS, Evaluation, evaluate_predictions
from bandbridge.evaluation.calibration import expected_calibration_error
from bandbridge.evaluation.cluster_intervals import Estimate, estimate_share
from bandbridge.karyotype import CLASSES

#: Sums of some thousand terms, in another order.
EXACT = 1e-12
NORMAL = [*(name for name in CLASSES[:22] for _ in range(2)), "X", "Y"]
NO_FINDINGS = pd.DataFrame(columns=list(FINDING_COLUMNS))


@pytest.fixture(autouse=True)
def _no_warning() -> Any:
    """A division by nothing is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def cell_rows(cell: str, labels: list[str], seed: int, patient: str = "", share: float = 0.85) -> pd.DataFrame:
    """The chromosomes of one cell, placed as a whole: some mended, some spoilt, a few without a place."""
    generator = np.random.default_rng(seed)
    truth, guess = np.array(labels), generator.choice(CLASSES, len(labels))
    alone = np.where(generator.random(len(labels)) < share, truth, guess)
    placed = np.where(generator.random(len(labels)) < 0.7, truth, alone)
    placed = np.where(generator.random(len(labels)) < 0.02, "", placed)
    rows = pd.DataFrame({"image": [f"{cell}/{number:02}" for number in range(len(labels))], "cell": cell})
    rows = rows.assign(patient=patient, label=truth, by_itself=alone, placed=placed, in_cell=True)
    rows["flagged"] = generator.random(len(labels)) < np.where(alone == truth, 0.1, 0.6)
    rows["covered"] = generator.random(len(labels)) < 0.95
    rows["set_size"] = generator.integers(1, 4, len(labels))
    return rows


def likely(rows: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """Probabilities whose largest is that of ``by_itself``."""
    generator = np.random.default_rng(seed)
    found = generator.dirichlet(np.full(24, 0.2), len(rows))
    every, best = np.arange(len(rows)), rows["by_itself"].map(CLASSES.index).to_numpy()
    top = found.argmax(axis=1)
    found[every, top], found[every, best] = found[every, best], found[every, top].copy()
    return found


def some_cells(cells: int = 12, patients: int = 0, share: float = 0.85) -> pd.DataFrame:
    """Normal cells of a man, and single chromosomes of no cell where there are no patients."""
    parts = [
        cell_rows(f"c{number:02}", NORMAL, number, f"p{number % patients}" if patients else "", share)
        for number in range(cells)
    ]
    return pd.concat(parts, ignore_index=True)


def loosened(rows: pd.DataFrame, cells: list[str]) -> pd.DataFrame:
    """The same without the placing of some cells."""
    loose = rows["cell"].isin(cells)
    placed = np.where(loose, rows["by_itself"], rows["placed"])
    return rows.assign(in_cell=~loose, placed=placed)


def evaluate(rows: pd.DataFrame, findings: pd.DataFrame | None = None) -> Evaluation:
    return evaluate_predictions(rows, likely(rows), CLASSES, findings)


def test_scores_are_scikit_learns() -> None:
    rows = loosened(some_cells(), ["c03", "c04"])
    found, whole = evaluate(rows), rows.loc[rows["in_cell"]]
    for part, answer, accuracy, macro_f1 in (
        (rows, "by_itself", found.accuracy, found.macro_f1),
        (whole, "by_itself", found.in_cell_accuracy_by_itself, found.in_cell_macro_f1_by_itself),
        (whole, "placed", found.in_cell_accuracy, found.in_cell_macro_f1),
    ):
        assert accuracy.value == pytest.approx(accuracy_score(part["label"], part[answer]), abs=EXACT)
        expected = f1_score(part["label"], part[answer], labels=CLASSES, average="macro")
        assert macro_f1.value == pytest.approx(expected, abs=EXACT)
        assert accuracy.n == macro_f1.n == len(part)
        for one in (accuracy, macro_f1):
            assert 0 < one.low < one.value < one.high < 1
    assert "of those in whole cells" in str(found) and "of those in whole cells" not in str(evaluate(whole))


def test_classes_one_by_one_are_scikit_learns() -> None:
    rows = loosened(some_cells(), ["c03", "c04"])
    rows = rows.loc[rows["label"] != "Y"].reset_index(drop=True)
    table = evaluate(rows).per_class
    assert table["label"].tolist() == list(CLASSES)
    for part, answer, end in ((rows, "by_itself", ""), (rows.loc[rows["in_cell"]], "placed", "_in_cell")):
        scores = precision_recall_fscore_support(part["label"], part[answer], labels=CLASSES, zero_division=np.nan)
        for name, expected in zip(("precision", "recall"), scores, strict=False):
            assert table[name + end].to_numpy() == pytest.approx(expected, abs=EXACT, nan_ok=True)
        present = scores[3] > 0
        assert table.loc[present, "f1" + end].to_numpy() == pytest.approx(scores[2][present], abs=EXACT)
        assert table.loc[~present, "f1" + end].isna().all()
        assert table["images" + end].tolist() == scores[3].tolist()
    for row in table.to_dict("records"):
        mistakes = rows.loc[(rows["label"] == row["label"]) & (rows["by_itself"] != row["label"]), "by_itself"]
        counts = Counter(mistakes)
        assert row["times"] == max(counts.values(), default=0)
        assert counts[row["mistaken_for"]] == row["times"] and (row["mistaken_for"] == "") == (not counts)
    assert evaluate(rows).macro_f1.value == pytest.approx(table["f1"].mean(), abs=EXACT)
    assert any("left out of the mean F1: Y" in note for note in evaluate(rows).notes)


def test_cells_and_flags_and_sets_by_loops() -> None:
    rows = loosened(some_cells(16, share=0.95), ["c07"])
    rows.loc[rows["cell"] == "c05", ["by_itself", "placed"]] = rows.loc[
        rows["cell"] == "c05", ["label", "label"]
    ].values
    rows["covered"] = rows["covered"].astype(object)
    rows.loc[rows["cell"] == "c02", "covered"] = pd.NA
    found, lines = evaluate(rows), rows.to_dict("records")
    cells: dict[str, list[dict[Any, Any]]] = {}
    for line in lines:
        cells.setdefault(line["cell"], []).append(line)
    whole = [members for members in cells.values() if members[0]["in_cell"]]
    for answer, one in (("by_itself", found.cells_right_by_itself), ("placed", found.cells_right)):
        right = sum(all(line[answer] == line["label"] for line in members) for members in whole)
        exact = binomtest(right, 15).proportion_ci(0.95, "exact")  # a cell is one case in units of cells
        assert one.value == right / 15 and one.n == 15 and right > 0
        assert (one.low, one.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    wrong = [line for line in lines if line["placed"] != line["label"]]
    passed = [line for line in lines if not line["flagged"]]
    assert found.flagged.value == sum(line["flagged"] for line in lines) / len(lines)
    assert found.error_unflagged.value == sum(line in wrong for line in passed) / len(passed)
    assert found.errors_flagged.value == sum(line["flagged"] for line in wrong) / len(wrong)
    assert (found.error_unflagged.n, found.errors_flagged.n) == (len(passed), len(wrong))
    sets = [line for line in lines if line["cell"] != "c02"]
    assert found.set_coverage.value == sum(line["covered"] for line in sets) / len(sets)
    assert found.set_size.value == sum(line["set_size"] for line in sets) / len(sets) and found.set_size.n == len(sets)
    worst = found.worst_cells.set_index("cell")
    for cell, members in cells.items():
        counts = [sum(line[name] != line["label"] for line in members) for name in ("by_itself", "placed")]
        row = worst.loc[cell]
        assert (row["chromosomes"], row["wrong_by_itself"]) == (46, counts[0])
        assert row["flagged"] == sum(line["flagged"] for line in members)
        assert pd.isna(row["wrong_in_cell"]) if cell == "c07" else row["wrong_in_cell"] == counts[1]
    placed = found.worst_cells["wrong_in_cell"].dropna().tolist()
    assert placed == sorted(placed, reverse=True) and placed[-1] == 0


def test_calibration_is_that_of_its_module() -> None:
    rows = some_cells(20)
    probabilities, truth = likely(rows), rows["label"].map(CLASSES.index).to_numpy()
    found = evaluate(rows)
    expected = expected_calibration_error(probabilities, truth)
    assert found.calibration_error.value == pytest.approx(expected, abs=EXACT)
    gap = probabilities.max(axis=1).mean() - (rows["by_itself"] == rows["label"]).mean()
    assert found.overconfidence.value == pytest.approx(gap, abs=EXACT)
    for one in (found.calibration_error, found.overconfidence):
        assert one.low < one.value < one.high and one.n == len(rows)
    assert abs(gap) <= expected + EXACT


def counted_cells() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Normal cells n0 to n3, three 21s, one 5, XXX, a 7 too many and an 8 too few; and what was said of them."""
    made = {f"n{number}": NORMAL for number in range(4)}
    made |= {"trisomy": [*NORMAL, "21"], "monosomy": NORMAL[:8] + NORMAL[9:], "sex": [*NORMAL[:-1], "X", "X"]}
    made |= {"both": [*(NORMAL[:14] + NORMAL[15:]), "7"], "missed": [*NORMAL, "1"]}
    rows = pd.concat([cell_rows(cell, labels, 3) for cell, labels in made.items()], ignore_index=True)
    said = [
        ("n1", "4", 3, 2, 1.0),  # a false alarm
        ("n2", "4", 3, 2, -0.5),  # a suspicion only
        ("trisomy", "21", 3, 2, 3.0),
        ("trisomy", "3", 1, 2, 2.0),  # wrong beside a right one
        ("monosomy", "5", 3, 2, 3.0),  # right class, wrong direction
        ("monosomy", "5", 1, 2, -1.0),  # right, but overruled
        ("sex", "Y", 0, 1, 2.0),  # of the sex chromosomes anything is right
        ("both", "9", 3, 2, 2.0),  # another class
    ]
    return rows, pd.DataFrame(said, columns=list(FINDING_COLUMNS))


def test_unusual_counts_are_judged_by_the_labels() -> None:
    rows, findings = counted_cells()
    found = evaluate(rows, findings)
    shares = (found.false_alarms, found.false_alarms_suspected, found.abnormal_found, found.abnormal_found_suspected)
    assert [one.value for one in shares] == [1 / 4, 2 / 4, 2 / 5, 3 / 5]
    assert [one.n for one in shares] == [4, 4, 5, 5]
    exact = binomtest(2, 5).proportion_ci(0.95, "exact")
    assert (shares[2].low, shares[2].high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    quiet = evaluate(rows, NO_FINDINGS)
    assert (quiet.false_alarms.value, quiet.abnormal_found.value) == (0, 0)
    silent = evaluate(rows, None)
    assert silent.false_alarms.n == silent.abnormal_found.n == 0 and math.isnan(silent.abnormal_found.value)
    assert "Unusual counts: 1 of 4 normal cells" in str(found) and "Unusual counts" not in str(silent)


def test_the_unit_is_the_patient_where_all_are_known() -> None:
    rows = some_cells(12, patients=6, share=0.96)
    found, by_cell = evaluate(rows), evaluate(rows.assign(patient=""))
    assert (found.unit, found.units, found.patients, found.cells, found.images) == ("patient", 6, 6, 12, 552)
    assert (by_cell.unit, by_cell.units, by_cell.patients) == ("cell", 12, 0)
    assert found.accuracy.value == by_cell.accuracy.value and found.accuracy.low != by_cell.accuracy.low
    right = (rows["placed"] == rows["label"]).groupby(rows["cell"]).all().to_numpy()
    # Two cells of a patient are no longer two independent cases.
    assert found.cells_right == estimate_share(right.reshape(2, 6).sum(axis=0), np.full(6, 2)) != by_cell.cells_right
    half = evaluate(rows.assign(patient=np.where(rows["cell"] < "c06", rows["patient"], "")))
    assert (half.unit, half.patients) == ("cell", 6)


def test_images_of_no_cell_are_independent() -> None:
    rows = loosened(some_cells(2), ["c00", "c01"]).assign(cell="")
    found = evaluate(rows)
    assert (found.unit, found.units, found.cells) == ("image", 92, 0)
    right = int((rows["by_itself"] == rows["label"]).sum())
    exact = binomtest(right, 92).proportion_ci(0.95, "exact")
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    for one in (found.in_cell_accuracy, found.in_cell_macro_f1, found.cells_right, found.cells_right_by_itself):
        assert one.n == 0 and math.isnan(one.value) and not one.bounded
    assert found.worst_cells.empty and found.per_class["f1_in_cell"].isna().all()
    assert any("no cell was placed" in note for note in found.notes)
    assert any("intervals are too narrow" in note for note in found.notes)


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = some_cells(12)
    probabilities, shuffled = likely(rows), np.random.default_rng(0).permutation(len(rows))
    results = [
        evaluate_predictions(rows.iloc[order], probabilities[order], CLASSES, NO_FINDINGS)
        for order in (np.arange(len(rows)), shuffled)
    ]
    assert results[0].calibration_error.bounded
    assert json.dumps(results[0].as_dict()) == json.dumps(results[1].as_dict())


def test_one_image() -> None:
    rows = loosened(cell_rows("c", ["21"], 0, share=1.0), ["c"])
    found = evaluate(rows)
    exact = binomtest(1, 1).proportion_ci(0.95, "exact")
    assert (found.accuracy.value, found.accuracy.low, found.accuracy.high) == (1, pytest.approx(exact.low), 1)
    assert found.macro_f1.value == 1 and not found.macro_f1.bounded
    assert found.errors_flagged.n == 0 and math.isnan(found.errors_flagged.value)
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["estimates"]["errors_flagged"]["value"] is None
    assert "100.0% right by themselves" in str(found) and "unknown" not in found._repr_html_()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_everything_right_or_wrong_is_no_certainty(share: float) -> None:
    rows = some_cells(10)
    alone = rows["label"] if share else rows["label"].map(lambda name: CLASSES[CLASSES.index(name) - 1])
    found = evaluate(rows.assign(by_itself=alone, placed=alone, flagged=True))
    for one in (found.accuracy, found.in_cell_accuracy, found.cells_right):
        assert one.value == share
        assert 0.02 < one.high - one.low < 0.5
    assert (found.macro_f1.value > 0.5) == bool(share) and found.macro_f1.high - found.macro_f1.low > 0.02
    assert found.error_unflagged.n == 0 and found.flagged.value == 1
    assert not found.calibration_error.bounded and any("calibration has no interval" in note for note in found.notes)
    assert found.errors_flagged.n == (0 if share else len(rows))


def test_without_sets_nothing_is_said_of_them() -> None:
    rows = some_cells(3).assign(covered=pd.NA, set_size=pd.NA)
    found = evaluate(rows)
    assert found.set_coverage.n == found.set_size.n == 0
    assert "prediction sets" not in str(found)
    same = evaluate(some_cells(12).assign(set_size=1))
    assert same.set_size == Estimate(1.0, n=552)  # sets of one size do not tell how sizes vary


def test_two_cells_have_no_intervals() -> None:
    found = evaluate(some_cells(2))
    assert not found.accuracy.bounded and not found.macro_f1.bounded and found.accuracy.n == 92
    assert any(note.startswith("2 cells cannot tell") for note in found.notes)


def test_other_classes_than_a_humans() -> None:
    rows = some_cells(4)
    names = tuple(f"kind {name}" for name in CLASSES)
    for column in ("label", "by_itself", "placed"):
        rows[column] = rows[column].map(lambda name: f"kind {name}" if name else "")
    probabilities = likely(some_cells(4))
    found = evaluate_predictions(rows, probabilities, names, NO_FINDINGS)
    assert found.accuracy.value == evaluate(some_cells(4)).accuracy.value and found.false_alarms.n == 0


def test_table_dictionary_and_words() -> None:
    rows, findings = counted_cells()
    found = evaluate_predictions(rows, likely(rows), CLASSES, findings, notes=["2 images <left out>"])
    table = found.table()
    assert table.columns.tolist() == ["what", "value", "low", "high", "n"]
    assert table["what"].is_unique and len(table) == len(found.estimates()) == 19
    assert table["value"].tolist() == [one.value for one in found.estimates().values()]
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert read["estimates"]["accuracy"] == {
        "value": found.accuracy.value,
        "low": found.accuracy.low,
        "high": found.accuracy.high,
        "n": len(rows),
    }
    assert read["unit"] == "cell" and len(read["per_class"]) == 24 and len(read["worst_cells"]) == 9
    said = found.sentences()
    assert said[0].startswith(f"{100 * found.accuracy.value:.1f}% right by themselves (")
    assert "9 cells)" in said[0] and "in their cell" in said[0]
    assert "2 images <left out>" in said and str(found) == "\n".join(said)
    page = found._repr_html_()
    assert "&lt;left out&gt;" in page and "<left out>" not in page
    assert repr(found) == f"Evaluation(416 chromosomes, 9 cells: {100 * found.accuracy.value:.1f}% right by themselves)"


def test_an_error_is_not_rounded_away() -> None:
    found = evaluate(some_cells(4))
    for value, text in ((0.9996, "99.96%"), (0.99997, "99.997%"), (1.0, "100.0%"), (0.0003, "0.03%"), (0.5, "50.0%")):
        shown = replace(found, accuracy=Estimate(value, value - 0.0001, value, 5000))
        assert str(shown).startswith(f"{text} right")


def test_labels_that_the_model_does_not_know_are_named() -> None:
    rows = some_cells(2)
    probabilities = likely(rows)
    rows.loc[[0, 1, 50], "label"] = ["marker", "marker", ""]
    with pytest.raises(UserError, match=r"'marker': 2 images\n  '': 1 image\n"):
        evaluate_predictions(rows, probabilities, CLASSES)
    with pytest.raises(UserError, match="no labelled image"):
        evaluate_predictions(rows.iloc[:0], probabilities[:0], CLASSES)
    two = some_cells(2).assign(cell="c", patient=np.repeat(["a", "b"], 46))
    with pytest.raises(UserError, match="c: 2 patients"):
        evaluate_predictions(two, probabilities, CLASSES)


def broken(rows: pd.DataFrame, how: str) -> pd.DataFrame:
    changes: dict[str, Any] = {
        "twice": {"image": "a"},
        "bool": {"flagged": "yes"},
        "likeliest": {"by_itself": np.roll(rows["by_itself"], 1)},
        "neither a class nor": {"placed": "marker"},
        "without a cell": {"cell": ""},
        "no size": {"set_size": pd.NA},
    }
    return rows.assign(**changes[how])


@pytest.mark.parametrize("how", ["twice", "bool", "likeliest", "neither a class nor", "without a cell", "no size"])
def test_tables_that_do_not_fit_are_refused(how: str) -> None:
    rows = some_cells(2)
    with pytest.raises(ValueError, match=how):
        evaluate_predictions(broken(rows, how), likely(rows), CLASSES)


def test_findings_and_probabilities_that_do_not_fit_are_refused() -> None:
    rows, findings = counted_cells()
    with pytest.raises(ValueError, match="not placed as a whole: elsewhere"):
        evaluate(rows, findings.assign(cell="elsewhere"))
    with pytest.raises(ValueError, match="unknown classes"):
        evaluate(rows, findings.assign(label="marker"))
    with pytest.raises(ValueError, match=r"must be \[416, 24\]"):
        evaluate_predictions(rows, likely(rows)[:, :23], CLASSES)
    with pytest.raises(ValueError, match="lack flagged, log_odds"):
        evaluate_predictions(rows.drop(columns="flagged"), likely(rows), CLASSES, findings.drop(columns="log_odds"))


def test_what_was_known_of_the_own_cells_stands_beside_what_is_found_here() -> None:
    rows = cell_rows("a", NORMAL, 1, patient="p")
    found = evaluate_predictions(
        rows, likely(rows), CLASSES, NO_FINDINGS, own={"accuracy": 0.97, "flagged": 0.05, "set_coverage": 0.95}
    )
    drift = found.drift().set_index("what")
    assert drift["own"].tolist() == [0.97, 0.05, 0.95]
    assert drift["here"].tolist() == [found.accuracy.value, found.flagged.value, found.set_coverage.value]
    assert drift["change"].tolist() == pytest.approx(
        [found.accuracy.value - 0.97, found.flagged.value - 0.05, found.set_coverage.value - 0.95]
    )
    assert "own held-out cells: right by themselves 97.0%, here" in str(found)
    assert [row["own"] for row in found.as_dict()["drift"]] == [0.97, 0.05, 0.95]
    plain = evaluate_predictions(rows, likely(rows), CLASSES, NO_FINDINGS)
    assert plain.drift().empty and "own held-out" not in str(plain)
