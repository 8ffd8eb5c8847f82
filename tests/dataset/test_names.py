"""What stands for an unknown cell or patient, and names in several spellings: in the table, folds and findings."""

from __future__ import annotations

import pandas as pd
import pytest

from bandbridge.dataset.census import take_census
from bandbridge.dataset.contents import contents_of
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.layouts import read_class_folders
from bandbridge.dataset.names import is_unknown, near_spellings, with_unknown
from bandbridge.dataset.splits import make_split, strictest_scheme
from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES

UNKNOWN = [
    *("NA", "N/A", "n/a", "N.A.", "n.a", "nan", "NaN", "none", "None", "NULL", "null", "nil", "unknown", "Unknown"),
    *("UNK", "?", "??", "-", "--", "–", ".", "#N/A", "<NA>", "_", "n/k"),
]
NAMES = ["Nana", "N1", "NA12878", "nan1", "Unknown-7", "Noneman", "0", "1", "-1", "P1", "K.", "X", "ND"]


@pytest.mark.parametrize("name", ["", "not known", " Not available ", "no name", *UNKNOWN])
def test_what_says_that_there_is_no_name(name):
    assert is_unknown(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_a_name_stays_one(name):
    assert not is_unknown(name)


@pytest.mark.parametrize(
    "alike",
    [
        *(("P1", "p1", "P 1", "P-1"), ("P01", "P1"), ("case_7", "Case 7", "case007"), ("1.12", "1-12", "01 12")),
        *(("Müller", "MÜLLER"), ("Ｐ１", "P1"), ("P1 ", "P1")),
    ],
)
def test_names_that_differ_in_case_signs_and_zeros_are_near(alike):
    others = ["Q2", "P11", "P10", "2.12"]
    assert near_spellings([*others, *alike]) == [sorted(alike)]


@pytest.mark.parametrize("names", [("1.12", "112", "11.2"), ("P1", "P2"), ("P10", "P1"), ("a1", "b1"), ("1a", "11a")])
def test_names_that_differ_otherwise_are_not(names):
    assert near_spellings(names) == []


def written(folder, cells, patients):
    """A set of two images for each cell, as its table writes cells and patients."""
    folder.mkdir()
    rows = ["file_name,label,cell,patient"]
    for number, (cell, patient) in enumerate(zip(cells, patients, strict=True)):
        for copy in "ab":
            (folder / f"{number}{copy}.png").write_bytes(f"{number}{copy}".encode())
            rows.append(f"{number}{copy}.png,1,{cell},{patient}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return open_dataset(folder)


@pytest.mark.parametrize("word", ["NA", "n/a", "nan", "none", "Unknown", "?", "-", "#N/A"])
def test_what_is_written_as_unknown_is_unknown_to_folds_and_protocol(tmp_path, word):
    samples = written(tmp_path / "set", ["c1", "c2", "c3", word], ["p1", word, word, "p2"]).samples
    assert samples["patient"].tolist() == ["p1", "p1", "", "", "", "", "p2", "p2"]
    assert samples["cell"].tolist()[-2:] == ["", ""]
    with pytest.raises(UserError, match="needs the cell or the patient of every image"):
        strictest_scheme(samples)
    with pytest.raises(UserError, match="4 of 8 have none"):
        make_split(samples, "patient", 2, seed=0)
    (finding,) = [one for one in take_census(samples) if one.kind == "name-means-unknown"]
    assert finding.examples == (f"cell {word!r}: 2 images", f"patient {word!r}: 4 images")
    assert finding.severity == "note"


def test_near_spellings_are_told_with_the_remedy_and_not_merged(tmp_path):
    samples = written(tmp_path / "set", ["a", "b", "c", "d"], ["P1", "p1", "P 1", "P2"]).samples
    assert samples["patient"].nunique() == 4
    found = {one.kind: one for one in take_census(samples)}
    assert found["patient-spelling"].examples == ("'P 1' (2), 'P1' (2), 'p1' (2)",)
    assert found["patient-spelling"].severity == "decision" and "in one way" in found["patient-spelling"].remedy
    assert "cell-spelling" not in found
    cells = written(tmp_path / "cells", ["c1", "C-01", "c2", "d"], ["", "", "", ""]).samples
    assert {one.kind: one for one in take_census(cells)}["cell-spelling"].examples == ("'C-01' (2), 'c1' (2)",)


def test_a_set_without_such_values_is_the_same_table_and_has_the_same_fingerprint(tmp_path):
    dataset = written(tmp_path / "set", ["c1", "c2"], ["p1", ""])
    assert dataset.samples.attrs == {} and with_unknown(dataset.samples) is dataset.samples
    # As it was before anything was taken for unknown.
    assert contents_of(dataset).fingerprint == "1aa215465db922c95b38a04f260da0392fc312163fd409b5835c2c7c743ad110"


@pytest.mark.parametrize("write", [lambda n: f"{n}.0", lambda n: f"{n},0", lambda n: f"{n:02}", lambda n: f"chr{n}"])
def test_labels_of_a_spreadsheet_are_a_finding_with_the_fix(write):
    rows = [{"file_name": f"{n}.png", "label": write(n), "cell": "", "patient": "", "stain": ""} for n in range(1, 23)]
    found = {one.kind: one for one in take_census(pd.DataFrame(rows))}
    wrong = {write(n): str(n) for n in range(1, 23) if write(n) != str(n)}
    assert found["label-spelling"].examples == tuple(f"{text!r}: write {label!r}" for text, label in wrong.items())
    assert found["label-spelling"].severity == "decision" and "labels-not-chromosomes" not in found


def test_folders_named_by_a_spreadsheet_are_chromosomes_to_the_importer():
    found = read_class_folders(["1.0/c1/a.png", "22.0/c1/a.png", "X/c1/a.png", "23.0/c2/b.png"])
    assert [one.label for one in found] == ["1", "22", "X", "X"]


@pytest.mark.parametrize("unit", ["patient", "cell", "image"])
def test_a_class_that_only_one_has_is_told(unit):
    rows = [
        {"file_name": f"{p}-{label}{copy}.png", "label": label, "cell": f"c{p}", "patient": f"p{p}", "stain": ""}
        for p in range(4)
        for label in CLASSES[:23]
        for copy in "ab"
    ]
    more = [{**rows[0], "file_name": "y.png", "label": "Y"}, {**rows[0], "file_name": "z.png", "label": "Y"}]
    samples = pd.DataFrame(rows + more[: 1 if unit == "image" else 2])
    if unit != "patient":
        samples["patient"] = ""
    if unit == "image":
        samples["cell"] = ""
    found = {one.kind: one for one in take_census(samples)}[f"class-of-one-{unit}"]
    named = {
        "patient": "Y: 2 images of patient p0",
        "cell": "Y: 2 images of cell c0",
        "image": "Y: 1 image of image y.png",
    }
    assert found.examples == (named[unit],) and found.severity == "note"
    two = samples.assign(label=samples["label"].replace({"Y": "1"}))
    assert not [one for one in take_census(two) if one.kind.startswith("class-of-one")]
