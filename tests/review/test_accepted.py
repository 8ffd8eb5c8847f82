"""Accepted cells as a dataset: opened and split by the same code that a study uses."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from tests.review.conftest import NamedAnalyst, picture

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.splits import make_split, strictest_scheme
from bandbridge.errors import UserError
from bandbridge.karyogram.sheet import CellSheet, Chromosome
from bandbridge.review.accepted import _letters, export_accepted
from bandbridge.review.schema import Incoming


@pytest.fixture
def cells(store):
    """Three accepted cells, two of one name, each with one correction and one image placed nowhere, and an open one."""
    numbers = []
    for seed, name in enumerate(("c1", "c1", "c2", "open")):
        files = ("1a.png", "1b.png", "2a.png", "Xa.png")
        images = {file: picture(10 * seed + place) for place, file in enumerate(files)}
        held = tuple((file, store.put_image(image)) for file, image in images.items())
        cell, _ = store.add_cell(Incoming(name, held, f"p{seed}", "G"))
        store.save_sheet(cell, NamedAnalyst().sheet(name, list(images.items())), "m1")
        ids = store.sheet(cell).ids
        store.change(cell, "place", ("1", 1), ids[2])
        store.change(cell, "place", ("", 1), ids[3])
        if name != "open":
            store.change(cell, "accept", (1,))
        numbers.append(cell)
    return numbers


def test_what_was_accepted_is_a_dataset_with_the_corrected_labels(store, cells):
    made = export_accepted(store)
    assert (made.cells, made.images, made.unplaced) == (3, 9, 3)
    for path in (made.folder, made.archive):
        dataset = open_dataset(path)
        samples = dataset.samples
        assert len(samples) == 9 and set(samples["label"]) == {"1"} and set(samples["stain"]) == {"G"}
        assert samples.groupby("cell", sort=False).size().to_dict() == {"c1": 3, "c1 (2)": 3, "c2": 3}
        assert samples["copy"].tolist() == ["a", "b", "c"] * 3
        assert samples["source"].tolist()[:3] == ["reviewed: 1a.png", "reviewed: 1b.png", "reviewed: 2a.png"]
        for name, seed in zip(samples["file_name"], (0, 1, 2, 10, 11, 12, 20, 21, 22), strict=True):
            np.testing.assert_array_equal(decode_gray(dataset.read_bytes(name), name), picture(seed))
        assert strictest_scheme(samples) == "patient"
        split = make_split(samples, "patient", 3, 0)
        assert sorted(np.bincount(split.assignment)) == [3, 3, 3]
        assert make_split(samples, "cell", 3, 0).folds == 3


def test_the_table_of_corrections_tells_what_the_model_thought(store, cells):
    made = export_accepted(store)
    rows = list(csv.DictReader((made.folder / "corrections.csv").read_text().splitlines()))
    assert len(rows) == 12 and {row["model"] for row in rows} == {"m1"}
    first = rows[:4]
    assert [(row["file"], row["suggested"], row["placed"], row["by"]) for row in first] == [
        ("1a.png", "1", "1", "model"),
        ("1b.png", "1", "1", "model"),
        ("2a.png", "2", "1", "person"),
        ("Xa.png", "X", "", "person"),
    ]
    assert [bool(row["file_name"]) for row in first] == [True, True, True, False]


def test_names_like_formulas_are_guarded_in_the_tables_and_read_back_as_they_are(store):
    held = (("=1+1.png", store.put_image(picture(1))),)
    cell, _ = store.add_cell(Incoming("@c1", held, "-7+1", "G"))
    sheet = NamedAnalyst().sheet("@c1", [("1a.png", picture(1))])
    store.save_sheet(cell, replace(sheet, chromosomes=(replace(sheet.chromosomes[0], file="=1+1.png"),)), "m1")
    store.change(cell, "accept", (1,))
    made = export_accepted(store)
    for table in ("metadata.csv", "corrections.csv"):
        for row in csv.reader((made.folder / table).read_text().splitlines()):
            assert not any(text[:1] in ("=", "@", "-") for text in row), row
    samples = open_dataset(made.folder).samples
    assert samples[["cell", "patient"]].to_numpy().tolist() == [["@c1", "-7+1"]]


def test_a_second_export_leaves_the_first_alone(store, cells):
    first, second = export_accepted(store), export_accepted(store)
    assert first.folder != second.folder and first.archive.is_file()
    assert zipfile.ZipFile(first.archive).namelist() == zipfile.ZipFile(second.archive).namelist()


def test_without_an_accepted_cell_there_is_nothing_to_export(store):
    with pytest.raises(UserError, match="no cell is accepted yet"):
        export_accepted(store)
    assert not (store.folder / "exports").exists()


@pytest.mark.parametrize(("number", "text"), [(0, "a"), (25, "z"), (26, "aa"), (51, "az"), (52, "ba"), (702, "aaa")])
def test_copies_are_counted_in_letters(number, text):
    assert _letters(number) == text


def test_classes_that_differ_in_signs_or_case_alone_do_not_share_a_file(store):
    labels = ("+21", "-21", "m", "M", "m")
    images = [picture(seed) for seed in range(len(labels))]
    held = tuple((f"{place}.png", store.put_image(image)) for place, image in enumerate(images))
    cell, _ = store.add_cell(Incoming("c", held, "", ""))
    classes = ("+21", "-21", "m", "M")
    chances = np.full(len(classes), 0.25)
    sheet = (
        Chromosome(f"{place}.png", image, label, label, chances, (label,))
        for place, (label, image) in enumerate(zip(labels, images, strict=True))
    )
    store.save_sheet(cell, CellSheet("c", classes, tuple(sheet)), "m1")
    store.change(cell, "accept", (1,))
    made = export_accepted(store)
    dataset = open_dataset(made.folder)
    names = dataset.samples["file_name"].tolist()
    assert names == [f"images/{cell:05d}/{name}.png" for name in ("-21a", "-21a-2", "ma", "Ma-2", "mb")]
    assert dataset.samples["label"].tolist() == list(labels) and dataset.samples["copy"].tolist() == list("aaaab")
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(decode_gray(dataset.read_bytes(name), name), image)
