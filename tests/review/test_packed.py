"""A folder that was cut into, as an archive: its cells have their metaphases, and nothing of it is left behind."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.review.metaphases import make_folder

from bandbridge.review.packed import holds_cut, opened


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("cut"))


@pytest.mark.parametrize(("kind", "inside"), [("zip", "."), ("zip", "cut-cells"), ("gztar", "cut-cells")])
def test_what_is_unpacked_is_what_was_packed_for_as_long_as_it_is_read(cut, tmp_path, kind, inside) -> None:
    shutil.copytree(cut.folder, tmp_path / "in" / inside, dirs_exist_ok=True)
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "in")
    path = type(tmp_path)(packed)
    assert holds_cut(path)
    with opened(path, tmp_path / "work") as place:
        names = {file.relative_to(place).as_posix() for file in place.rglob("*.*") if file.is_file()}
        assert names == {file.relative_to(cut.folder).as_posix() for file in cut.folder.rglob("*.*") if file.is_file()}
        assert all((place / name).read_bytes() == (cut.folder / name).read_bytes() for name in names)
    assert not place.exists()


def test_other_archives_folders_and_broken_files_are_read_as_they_are(cut, tmp_path) -> None:
    (tmp_path / "in" / "c1").mkdir(parents=True)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "in" / "c1" / "1.png")
    plain = type(tmp_path)(shutil.make_archive(str(tmp_path / "plain"), "zip", tmp_path / "in"))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK and no more")
    for path in (plain, broken, cut.folder, tmp_path / "none.zip"):
        assert not holds_cut(path)
        with opened(path, tmp_path / "work") as place:
            assert place == path


def test_an_uploaded_archive_brings_its_metaphase_and_its_doubtful_cuts(
    browser, review, hand_in, cut, tmp_path
) -> None:
    packed = type(tmp_path)(shutil.make_archive(str(tmp_path / "packed"), "zip", cut.folder.parent, cut.folder.name))
    answer = hand_in({"packed.zip": packed.read_bytes()})
    assert answer.status_code == 200 and answer.json()["problems"] == [], answer.json()
    (cell,) = answer.json()["cells"]
    field = review.store.field(cell)
    assert field is not None and len(field.pieces) == len(cut.pieces) and len(field.others) == 2
    assert review.store.cell(cell).name == "drawn"
    assert not list(review.store.folder.glob("*incoming*"))


def test_a_cell_of_the_same_name_in_another_archive_has_not_its_metaphase(review, hand_in, cut, tmp_path) -> None:
    packed = type(tmp_path)(shutil.make_archive(str(tmp_path / "packed"), "zip", cut.folder.parent, cut.folder.name))
    (tmp_path / "in" / "drawn").mkdir(parents=True)
    Image.fromarray(np.eye(30, dtype=np.uint8) * 200).save(tmp_path / "in" / "drawn" / "01.png")
    plain = type(tmp_path)(shutil.make_archive(str(tmp_path / "plain"), "zip", tmp_path / "in"))
    answer = hand_in({"packed.zip": packed.read_bytes(), "plain.zip": plain.read_bytes()}).json()
    fields = {review.store.cell(cell).name: review.store.field(cell) for cell in answer["cells"]}
    assert answer["new"] == 2 and fields.keys() == {"packed/drawn", "plain/drawn"}
    assert fields["packed/drawn"] is not None and fields["plain/drawn"] is None
