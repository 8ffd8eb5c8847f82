"""Reviewed metaphases as they leave the work folder: what the separator learns from, under no name."""

from __future__ import annotations

import csv
import zipfile

import numpy as np
import pytest
from PIL import Image
from tests.review.metaphases import SizeAnalyst, hand_in_cut, make_folder

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.metaphase.maps import pieces_of_maps
from bandbridge.review.accepted import export_accepted
from bandbridge.review.coded import coding
from bandbridge.review.cuts import plan
from bandbridge.review.worker import Worker


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("cut"))


@pytest.fixture
def cell(store, cut) -> int:
    """A cell whose pair was cut; accepted."""
    cell = hand_in_cut(store, cut.folder, SizeAnalyst())
    worker = Worker(store, SizeAnalyst(), "m")
    store.reshape(cell, plan(store, worker, store.sheet(cell), "cut", {"line": cut.line}))
    store.change(cell, "place", ("", 1), store.sheet(cell).ids[0])
    store.change(cell, "accept", (1,))
    return cell


def test_the_export_holds_each_metaphase_with_its_maps_as_they_stand(store, cell, cut):
    made = export_accepted(store)
    assert made.metaphases == (1, 0)
    home = made.folder / "metaphases"
    gray, first, second = (
        np.asarray(Image.open(home / name))
        for name in ("fields/00001.png", "truth/00001_mask.png", "truth/00001_overlap.png")
    )
    field = store.field(cell)
    left, top, right, bottom = field.box
    np.testing.assert_array_equal(gray, cut.gray[top:bottom, left:right])
    written = pieces_of_maps(first, second)
    assert len(written) == len(field.pieces) == len(cut.pieces) + 1 and first.dtype == np.uint16
    for piece, kept in zip(written.values(), field.pieces.values(), strict=True):
        assert (piece.top + top, piece.left + left) == (kept.top, kept.left)
        np.testing.assert_array_equal(piece.mask, kept.mask)
    with (home / "truth" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [one.placed for one in store.sheet(cell).sheet.chromosomes]
    assert {row["field"] for row in rows} == {"00001.png"}
    # The dataset beside it is the dataset, crops of the new pieces in it.
    dataset = open_dataset(made.folder)
    assert len(dataset.samples) == len(field.pieces) - 1 == made.images
    with zipfile.ZipFile(made.archive) as packed:
        assert "metaphases/truth/00001_mask.png" in packed.namelist()


def test_a_field_with_a_cell_that_is_open_is_left_out_and_that_is_said(store, cell, cut, tmp_path):
    other = hand_in_cut(store, make_folder(tmp_path / "again").folder, SizeAnalyst())
    assert other == cell  # the same images are the same cell
    store.change(cell, "accept", (0,))
    found = store.fields()
    with store._transaction():
        rows = store._rows("SELECT * FROM fields WHERE cell = ?", cell)
        columns = "fingerprint, name, patient, stain, notes"
        store._database.execute(f"INSERT INTO cells ({columns}) VALUES ('f', 'n', '', '', '[]')")
        store._database.execute(
            "INSERT INTO fields VALUES (?, ?, ?, ?, ?)",
            (2, found[cell], *[rows[0][name] for name in ("width", "box", "found")]),
        )
    store.change(cell, "accept", (1,))
    made = export_accepted(store)
    assert made.metaphases == (0, 1) and not (made.folder / "metaphases").exists()


def test_under_codes_no_name_goes_with_it(store, cell, cut):
    store.describe(cell, "Jane Roe", "Q")
    with coding(store, True) as codes:
        made = export_accepted(store, codes)
    told = b"".join(path.read_bytes() for path in made.folder.rglob("*") if path.is_file())
    names = " ".join(str(path.relative_to(made.folder)) for path in made.folder.rglob("*"))
    for name in ("Jane", "drawn"):
        assert name.encode() not in told and name not in names
    assert (made.folder / "metaphases" / "fields" / "00001.png").is_file()
