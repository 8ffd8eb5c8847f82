"""Whatever a laboratory hands over: the same images and cells from a folder, a zip and a dataset; refusals by name."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from PIL import Image

from bandbridge.errors import UserError
from bandbridge.predict.intake import Handed, decoded, hand_over, in_whole_cells


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
        (_, images, refused), *_ = decoded(in_whole_cells(found, 8))
        assert [image.shape for image in images] == [(5, 4), (5, 5), (5, 6)] and refused == []


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
    batches = list(decoded(in_whole_cells(hand_over(folder), 2)))
    assert [one.name for kept, _, _ in batches for one in kept] == ["c1/a.png", "c2/b.BMP", "loose.tif"]
    ((name, reason),) = [line for _, _, refused in batches for line in refused]
    assert name == "c1/broken.png" and "not a PNG" in reason


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
