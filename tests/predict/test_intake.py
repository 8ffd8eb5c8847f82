"""Whatever a laboratory hands over: the same images and cells from a folder, a zip and a dataset; refusals by name."""

from __future__ import annotations

import json
import shutil
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset.cell_folders import MOST_IN_CELL, cells_of_folders
from bandbridge.errors import ManyErrors, UserError
from bandbridge.predict.intake import Handed, decoded, empty_patients, hand_over, in_whole_cells
from bandbridge.review.intake import MOST_IN_CELL as MAX_CELL_IMAGES


def unprepared(images: list[np.ndarray], cells: list[str]) -> None:
    """In the place of what prepares images."""
    assert len(images) == len(cells)


@pytest.fixture
def folder(tmp_path):
    """Two cells with an image each and one loose image, in a folder."""
    for number, name in enumerate(("c1/a.png", "c2/b.BMP", "loose.tif")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 4 + number), 40 * number, np.uint8)).save(path)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_a_folder_and_its_zip_hand_over_the_same(folder, tmp_path):
    archive = zipped(folder, tmp_path / "in.zip")
    for place in (folder, archive):
        found = hand_over(place)
        assert [(one.name, one.cell) for one in found] == [("c1/a.png", "c1"), ("c2/b.BMP", "c2"), ("loose.tif", "")]
        (_, images, _, refused), *_ = decoded(in_whole_cells(found, 8), unprepared)
        assert [image.shape for image in images] == [(5, 4), (5, 5), (5, 6)] and refused == []


def test_a_cut_hands_over_what_it_leaves_doubtful(tmp_path):
    home = tmp_path / "cut"
    (home / "images" / "a").mkdir(parents=True)
    for name in ("01.png", "02.png", "extra.png"):
        Image.new("L", (20, 20), 200).save(home / "images" / "a" / name)
    (home / "fields" / "a").mkdir(parents=True)
    rows = [{"cell": "a", "mask": 1, "doubt": ""}, {"cell": "a", "mask": 2, "doubt": "may be two"}]
    record = {"kind": "bandbridge cut", "field": "a.png", "found": {"cells": {"a": 2}, "pieces": rows}}
    (home / "fields" / "a" / "cut.json").write_text(json.dumps(record))
    for place in (home, home / "images"):
        assert {one.name: one.doubt for one in hand_over(place)} == {
            "a/01.png": "",
            "a/02.png": "may be two",
            "a/extra.png": "",
        }


def test_a_dataset_names_cells_and_labels(chromosome_set, tmp_path):
    dataset = chromosome_set("Q", 1)
    for place in (dataset, zipped(dataset, tmp_path / "set.zip")):
        found = hand_over(place)
        assert len(found) == 46 and len({one.cell for one in found}) == 1 and all(one.label for one in found)


def test_a_single_image(folder):
    (one,) = hand_over(folder / "c1" / "a.png")
    assert (one.name, one.cell) == ("a.png", "")


def test_batches_keep_the_order_and_list_what_cannot_be_read(folder):
    (folder / "c1" / "broken.png").write_bytes(b"\x89PNG nothing")
    batches = list(decoded(in_whole_cells(hand_over(folder), 2), unprepared))
    assert [one.name for kept, *_ in batches for one in kept] == ["c1/a.png", "c2/b.BMP", "loose.tif"]
    ((name, reason),) = [line for *_, refused in batches for line in refused]
    assert name == "c1/broken.png" and "not a PNG" in reason


def test_images_are_prepared_in_their_order_beside_whoever_uses_them(tmp_path):
    for number in range(12):
        path = tmp_path / f"c{number:02d}" / "a.png"
        path.parent.mkdir()
        Image.fromarray(np.full((3, 3), number, np.uint8)).save(path)
    threads = set()

    def prepare(images: list[np.ndarray], cells: list[str]) -> list[tuple[str, int]]:
        threads.add(threading.get_ident())
        return [(cell, int(image[0, 0])) for cell, image in zip(cells, images, strict=True)]

    found = [prepared for _, _, prepared, _ in decoded(in_whole_cells(hand_over(tmp_path), 1), prepare)]
    assert found == [[(f"c{number:02d}", number)] for number in range(12)]
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("name", ["nothing", "in/notes.txt", "empty"])
def test_nothing_to_classify_is_said(folder, tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as refused:
        hand_over(tmp_path / name)
    assert name.rsplit("/")[-1] in refused.value.message


def test_names_that_lead_out_of_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../x.png", b"")
    with pytest.raises(UserError):
        hand_over(tmp_path / "evil.zip")


def test_a_cell_is_never_divided_between_two_batches():
    cells = ["a", "b", "a", "", "b", "a", "", "c"]
    handed = [Handed(str(number), cell, "", bytes) for number, cell in enumerate(cells)]
    batches = in_whole_cells(handed, 4)
    assert [[one.name for one in batch] for batch in batches] == [["0", "2", "5"], ["1", "4", "3", "6"], ["7"]]
    assert [len(batch) for batch in in_whole_cells(handed, 1)] == [3, 2, 1, 1, 1]


def fill(place, names):
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 4), 40, np.uint8)).save(path)
    return place


def cells_found(place):
    return sorted({one.cell for one in hand_over(place)})


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ""])
def test_the_folder_or_archive_of_one_cell_is_that_cell(tmp_path, ending):
    place = fill(tmp_path / "Case 7.12", ["1a.png", "1b.PNG", "x.tif"])
    (place / "notes.txt").write_text("no image")
    (tmp_path / "packed").mkdir()
    if ending == ".zip":
        place = zipped(place, tmp_path / "packed" / "Case 7.12.ZIP")
    elif ending:
        with tarfile.open(tmp_path / "packed" / "Case 7.12.tar.gz", "w:gz") as archive:
            archive.add(place, ".")
        place = tmp_path / "packed" / "Case 7.12.tar.gz"
    assert cells_found(place) == ["Case 7.12"]


def test_the_folder_that_one_stands_in_has_its_own_name(tmp_path, monkeypatch):
    place = fill(tmp_path / "c9", ["a.png", "b.png"])
    monkeypatch.chdir(place)
    assert cells_found(Path()) == ["c9"] == cells_found(Path("../c9/"))
    (place / "deeper").mkdir()
    monkeypatch.chdir(place / "deeper")
    assert cells_found(Path("..")) == ["c9"]


@pytest.mark.parametrize("names", [["c1/a.png", "loose.png"], ["c1/a.png", "c2/a.png", "b.png", "c.png"]])
def test_loose_images_beside_cells_are_of_no_known_cell(tmp_path, names):
    for place in (fill(tmp_path / "day", names), zipped(tmp_path / "day", tmp_path / "day.zip")):
        assert {one.name: one.cell for one in hand_over(place)} == {name: name.rpartition("/")[0] for name in names}


@pytest.mark.parametrize(("count", "cell"), [(150, "many"), (151, "")])
def test_more_images_than_three_karyotypes_are_no_cell(count, cell):
    names = [f"{number}.png" for number in range(count)]
    assert set(cells_of_folders(names, "many")) == {cell}
    below = cells_of_folders([f"in/{name}" for name in names] + ["c/x.png"], "home")
    assert set(below) == {"in" if cell else "", "c"}
    assert MOST_IN_CELL == MAX_CELL_IMAGES, "the review page refuses what is no cell here"


@pytest.mark.parametrize("name", ["run.json", "config.json"])
def test_a_model_in_the_place_of_the_images_is_told(name, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="is a model and holds no image"):
        hand_over(tmp_path)


@pytest.mark.parametrize("odd", ["a\x1b[2J.png", "a\nb.png", "a\r.png", "\u202egnp.a.png", "\udce9.png"])
def test_names_that_no_result_can_hold_are_refused_and_shown(folder: Path, odd: str) -> None:
    shutil.copy(folder / "c1" / "a.png", folder / "c1" / odd)
    with pytest.raises(ManyErrors, match=r"names of images with control signs, .*\n  c1/.*\\[un]") as caught:
        hand_over(folder)
    assert "Rename" in caught.value.remedy


def test_a_zip_that_holds_one_name_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    """One of the two images was dropped, and nothing said."""
    archive = zipped(folder, tmp_path / "in.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "a") as file:
        warnings.simplefilter("ignore")
        file.write(folder / "loose.tif", "c1/a.png")
    with pytest.raises(UserError, match=r"'c1/a\.png' is stored 2 times"):
        hand_over(archive)


def lay(home: Path, *names: str) -> Path:
    """Make folders ("P1/") and files by name; nothing is in the files."""
    for name in names:
        place = home / name
        (place if name.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            place.touch()
    return home


@pytest.mark.parametrize(
    ("names", "fields", "empty"),
    [
        (("P1/c1/a.png", "P2/", "P3/letters/x.txt", "P1/c2/", "@eaDir/", ".git/x/", "x.txt"), False, ["P2", "P3"]),
        (("ward/P1/c1/a.png", "ward/P2/c1/", "notes/"), False, ["notes", "ward/P2"]),
        (("P1/a.png", "P2/", "Mu\u0308ller/"), True, ["Mu\u0308ller", "P2"]),
        (("c1/a.png", "c2/"), False, []),  # cells of nobody
        (("a.png", "later/"), True, []),
        (("P1/c1/a.png", "P2/c1/b.png"), False, []),
    ],
)
def test_folders_of_patients_without_an_image_are_found_in_folders_and_zips(tmp_path, names, fields, empty):
    place = lay(tmp_path / "in", *names)
    assert empty_patients(place, fields=fields) == empty
    assert empty_patients(zipped(place, tmp_path / "in.zip"), fields=fields) == empty


def test_no_patient_is_missed_in_a_dataset_a_cut_or_a_damaged_zip(tmp_path):
    place = lay(tmp_path / "in", "P1/c1/a.png", "P2/")
    (place / "metadata.csv").write_text("file_name,label\nP1/c1/a.png,1\n")
    (tmp_path / "torn.zip").write_bytes(b"PK")
    for other in (place, tmp_path / "torn.zip", tmp_path / "none"):
        assert empty_patients(other, fields=False) == []
