"""From opinions to decisions, on an ensemble whose opinions are made up: reasons, cells as a whole, tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import bandbridge as bb
from bandbridge.karyotype import CLASSES
from bandbridge.predict.classify import FEWEST, cell_table, classify, prediction_table
from bandbridge.predict.confidence import Confidence, count_deviating, no_experience
from bandbridge.predict.ensemble import Opinion
from bandbridge.predict.intake import Handed

NORMAL = [label for label in CLASSES[:22] for _ in range(2)] + ["X", "Y"]


@dataclass
class Oracle:
    """An ensemble that reads its opinion from the image: pixel values are (class, second class, percent, unlike).

    An image of 2 for unlike is empty.
    """

    classes: tuple[str, ...] = CLASSES
    confidence: Confidence | None = None
    review_below: float | None = 0.9
    bits: int | None = None
    rates: None = None
    remark: str = ""
    drawn_stain: str = ""
    thresholds: np.ndarray | None = field(default_factory=lambda: np.full(24, 0.8))

    def prepare(self, images, cells):
        return {}

    def judge(self, images, flips=False, cells=None, prepared=None):
        rows, unlike = [], []
        for image in images:
            first, second, percent, strange = (int(value) for value in image[0, :4])
            row = np.full(len(self.classes), 1e-6)
            row[first] = percent / 100
            row[second] += 1 - row.sum()
            rows.append(row)
            unlike.append(strange)
        said = np.array(unlike)
        trust = np.full(len(rows), 0.043)
        return Opinion(np.array(rows), said == 1, np.zeros(len(rows), dtype=bool), said == 2, trust)


def handed(name, cell, first, second="1", percent=99, unlike=False, label=""):
    """An image file, as it would be read, that says what the oracle is to think."""
    import io

    from PIL import Image

    values = np.array([[CLASSES.index(first), CLASSES.index(second), percent, unlike]], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return Handed(name, cell, label, partial(bytes, buffer.getvalue()))


def cell_of(labels, cell="c1"):
    return [
        handed(f"{cell}/{index}.png", cell, label, "2" if label == "1" else "1") for index, label in enumerate(labels)
    ]


def test_a_sure_normal_cell_gives_no_reason_to_look():
    result = classify(Oracle(), cell_of(NORMAL))
    (sheet,) = result.sheets
    assert sheet.findings == () and not any(one.reasons for one in sheet.chromosomes)
    assert [one.placed for one in sheet.chromosomes] == NORMAL


def test_three_sure_copies_stay_three_and_are_reported():
    (sheet,) = classify(Oracle(), cell_of([*NORMAL, "21"])).sheets
    assert len(sheet.of("21")) == 3
    assert "3 of chromosome 21, 2 expected" in [finding.text for finding in sheet.findings]
    assert all("3 of chromosome 21" in "; ".join(one.reasons) for one in sheet.of("21"))


def test_the_cell_settles_a_doubt_and_says_so():
    doubtful = [one for one in cell_of(NORMAL) if one.name != "c1/3.png"]  # one of the two chromosomes 2 is left out
    doubtful.append(handed("c1/doubt.png", "c1", "9", "2", percent=55))
    (sheet,) = classify(Oracle(), doubtful).sheets
    (one,) = [one for one in sheet.chromosomes if one.file == "c1/doubt.png"]
    assert (one.predicted, one.placed) == ("9", "2")
    assert "2 by the cell's counts, 9 by itself" in one.reasons and one.margin > 0


def test_without_cells_or_by_wish_each_stands_for_itself():
    loose = [handed(f"{index}.png", "", label) for index, label in enumerate([*NORMAL, "21"])]
    apart = classify(Oracle(), cell_of([*NORMAL, "21"]), joint=False)
    for sheet in (*classify(Oracle(), loose).sheets, *apart.sheets):
        assert sheet.findings == () and all(one.placed == one.predicted for one in sheet.chromosomes)


def test_what_its_cut_leaves_doubtful_is_a_reason_to_look_and_moves_nothing():
    plain, doubted = cell_of(NORMAL), cell_of(NORMAL)
    doubted[3] = replace(doubted[3], doubt="may be one with 13")
    (sheet,), (other,) = classify(Oracle(), doubted).sheets, classify(Oracle(), plain).sheets
    assert [one.reasons for one in sheet.chromosomes if one.reasons] == [("its cut is doubtful: may be one with 13",)]
    assert [one.placed for one in sheet.chromosomes] == [one.placed for one in other.chromosomes]
    table = prediction_table(classify(Oracle(), doubted))
    assert table[table["flag"] == "yes"]["file"].tolist() == ["c1/3.png"]


def test_a_few_chromosomes_are_no_cell():
    (sheet,) = classify(Oracle(), cell_of(NORMAL[: FEWEST - 1])).sheets
    assert sheet.findings == ()


@pytest.mark.parametrize(
    ("second", "percent", "unlike", "reason"),
    [
        ("4", 95, False, ""),
        ("4", 80, False, "unsure: 3 (80%) or 4 (20%)"),
        ("4", 95, True, "looks unlike"),
        ("4", 12, False, "unsure: 4 (88%) or 3 (12%)"),
    ],
)
def test_each_reason_by_itself(second, percent, unlike, reason):
    (sheet,) = classify(Oracle(), [handed("a.png", "", "3", second, percent, unlike)]).sheets
    text = "; ".join(sheet.chromosomes[0].reasons)
    assert text.startswith(reason) and bool(text) == bool(reason)


def test_the_set_holds_every_class_that_cannot_be_ruled_out():
    (sheet,) = classify(Oracle(), [handed("a.png", "", "3", "4", 70)]).sheets
    assert sheet.chromosomes[0].labels == ("3", "4")  # 0.70 and 0.30 are both 0.2 or more
    (sheet,) = classify(Oracle(), [handed("a.png", "", "3", "4", 90)]).sheets
    assert sheet.chromosomes[0].labels == ("3",)


def test_nothing_known_flags_nothing_and_hopeless_flags_all():
    unknown = Oracle(review_below=None, thresholds=None)
    (sheet,) = classify(unknown, [handed("a.png", "", "3", "4", 40)]).sheets
    assert sheet.chromosomes[0].reasons == ()
    (sheet,) = classify(Oracle(review_below=np.inf), [handed("a.png", "", "3", "4", 99)]).sheets
    assert "nothing is known" in sheet.chromosomes[0].reasons[0]


def test_unreadable_images_stop_nothing():
    broken = Handed("bad.png", "c1", "", lambda: b"\x89PNG nothing")
    result = classify(Oracle(), [*cell_of(NORMAL), broken])
    ((name, reason),) = result.refused
    assert name == "bad.png" and "bad.png" not in reason  # whoever lists them names each once
    assert len(prediction_table(result)) == 46


def test_the_tables_hold_what_the_sheets_say():
    images = [*cell_of([*NORMAL, "21"]), handed("lone.png", "", "3", "4", 80, label="4")]
    result = classify(Oracle(), images)
    table = prediction_table(result).set_index("file")
    probabilities = table[[f"p_{name}" for name in CLASSES]]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    row = table.loc["lone.png"]
    assert row["class"] == row["by_itself"] == "3" and row["runner_up"] == "4" and row["label"] == "4"
    assert row["probability"] == pytest.approx(0.8) and row["flag"] == "yes"
    cells = cell_table(result).set_index("cell")
    assert list(cells.index) == ["c1"] and cells.loc["c1", "chromosomes"] == 47
    assert cells.loc["c1", "flagged"] == (table.loc[table["cell"] == "c1", "flag"] == "yes").sum() == 3
    assert "3 of chromosome 21" in cells.loc["c1", "findings"] and cells.loc["c1", "evidence"] > 0
    assert cells.loc["c1", "scale_error"] == 4.3


def test_prices_without_experience_are_used_where_nothing_was_learned():
    assert no_experience().weight == 1.0
    (sheet,) = classify(Oracle(confidence=None), cell_of(NORMAL[:-1])).sheets
    assert [finding.text for finding in sheet.findings if not finding.overruled] == ["0 of chromosome Y, 1 expected"]


def known_confidence(most):
    """The confidence of a model that was measured on cells which deviate in ``most`` classes at most."""
    base = no_experience()
    return SimpleNamespace(
        costs=lambda: base, counts=SimpleNamespace(suspect_above=0.0, most_deviating=most), energy_low=0.0
    )


DEVIATING = [*NORMAL, "3", "5", "7", "9", "11"]


@pytest.mark.parametrize("most", [None, 2, 5])
def test_more_unusual_counts_than_any_known_cell_has_are_one_sentence(most):
    (sheet,) = classify(Oracle(confidence=known_confidence(most)), cell_of(DEVIATING)).sheets
    if most == 2:
        assert (
            sheet.findings == () and "deviate in 5 classes, those of the cells it was measured on in 2" in sheet.unknown
        )
        assert "evaluate" in sheet.unknown and "fine-tune" in sheet.unknown
        assert not any("the cell shows" in reason for one in sheet.chromosomes for reason in one.reasons)
    else:
        assert len([one for one in sheet.findings if not one.overruled]) == 5 and sheet.unknown == ""


@pytest.mark.parametrize(("strange", "unknown"), [(23, False), (24, True), (46, True)])
def test_a_cell_of_which_most_looks_strange_is_said_to_be_unknown_once(strange, unknown):
    cell = [handed(f"{number}.png", "c", label, unlike=number < strange) for number, label in enumerate(NORMAL)]
    result = classify(Oracle(), cell)
    assert (f"{strange} of its 46 chromosomes look unlike" in result.sheets[0].unknown) == unknown
    assert (cell_table(result)["unknown"][0] != "") == unknown


@pytest.mark.parametrize(
    ("changes", "chromosomes", "deviating"),
    [([], 46, 0), ([1, -1], 46, 2), ([-1] * 9, 37, 0), ([-1] * 9, 40, 3), ([1, 2, -1], 45, 2), ([1], 47, 1)],
)
def test_losses_that_missing_chromosomes_account_for_are_no_deviation(changes, chromosomes, deviating):
    assert count_deviating(changes, chromosomes) == deviating


def test_an_image_without_a_chromosome_takes_no_place_and_makes_no_finding():
    cell = [*cell_of(NORMAL), handed("c1/blank.png", "c1", "7", unlike=2)]
    (sheet,) = classify(Oracle(), cell).sheets
    (blank,) = (one for one in sheet.chromosomes if one.file == "c1/blank.png")
    assert blank.placed == "" and blank.reasons == ("no chromosome is to be seen in this image",)
    assert sheet.findings == () and [one.placed for one in sheet.chromosomes if one is not blank] == NORMAL


def test_more_images_than_a_cell_has_are_no_cell_whoever_says_so(monkeypatch):
    def placed_at_once(*_: object) -> None:
        raise AssertionError("a crowd is not placed together")

    crowd = cell_of([CLASSES[number % 22] for number in range(151)], "crowd")
    whole = classify(Oracle(), cell_of(NORMAL)).sheets[0]
    monkeypatch.setattr("bandbridge.predict.classify.assign_cell", placed_at_once)
    result = classify(Oracle(), crowd)
    (sheet,) = result.sheets
    assert [one.placed for one in sheet.chromosomes] == [one.predicted for one in sheet.chromosomes]
    assert sheet.findings == () and "151 images are not one cell, which has 150 at most" in sheet.unknown
    assert result.notes == (f"crowd: {sheet.unknown}",) and whole.unknown == ""
    assert cell_table(result)["unknown"].tolist() == [sheet.unknown]
    assert classify(Oracle(), crowd, joint=False).notes == ()
    seven = [one for number in range(7) for one in cell_of([CLASSES[n % 22] for n in range(151)], f"c{number}")]
    assert classify(Oracle(), seven).notes[-1] == "... and 2 more such cells"


def test_chromosomes_on_the_ground_of_the_other_stain_are_told_of():
    drawn = {stain: bb.draw_cells(stain, 1, seed=3) for stain in ("G", "Q")}
    cells = {stain: [one.gray(name) for name in one.samples["file_name"]] for stain, one in drawn.items()}
    opened = {box: bb.load_model(f"box:{box}") for box in ("G", "Q")}
    told = {
        (box, stain): [line for line in opened[box].predict({"cell": images}).notes if "ground" in line]
        for box in opened
        for stain, images in cells.items()
    }
    assert not told["G", "G"] and not told["Q", "Q"]
    (line,) = told["G", "Q"]
    assert line.endswith("most of these are bright on a dark ground; if that is their stain, take box:Q")
    (line,) = told["Q", "G"]
    assert line.endswith("most of these are dark on a bright ground; if that is their stain, take box:G")
    both = bb.load_model(["box:G", "box:Q"]).predict({"cell": cells["Q"]}).notes
    assert not [line for line in both if "ground" in line]
