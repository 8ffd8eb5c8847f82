"""Fields cut into a dataset: read by the others, gone on with, and bad files reported together."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import bandbridge as bb
from bandbridge.dataset.archive import read_images
from bandbridge.errors import UserError
from bandbridge.metaphase.field import Cut
from bandbridge.metaphase.intake import are_fields, fields_of, read_field, shown
from bandbridge.metaphase.pieces import Piece
from bandbridge.metaphase.record import patients_in
from bandbridge.metaphase.writing import _Names, _told, fields_table
from bandbridge.predict.intake import hand_over


@pytest.fixture(scope="module")
def fields(tmp_path_factory, clean_g, clean_q, nuclei_alone):
    folder = tmp_path_factory.mktemp("metaphases")
    Image.fromarray(clean_g.gray).save(folder / "g.png")
    colour = np.stack([np.zeros_like(clean_q.gray), np.zeros_like(clean_q.gray), clean_q.gray], axis=2)
    Image.fromarray(colour).save(folder / "blue.tif")
    Image.fromarray(nuclei_alone).save(folder / "nuclei.png")
    Image.fromarray(np.full((200, 300), 90, np.uint8)).save(folder / "blank.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    Image.fromarray(np.zeros((40, 20), np.uint8)).save(folder / "crop.png")
    Image.new("1", (10_000, 10_000)).save(folder / "slide.png")
    return folder


@pytest.fixture(scope="module")
def cut(fields, tmp_path_factory):
    return bb.cut(fields, tmp_path_factory.mktemp("cut") / "cells", show_steps=True)


def test_each_field_gets_a_clear_answer(cut) -> None:
    assert set(cut.cells) == {"g", "blue"} and all(43 <= count <= 49 for count in cut.cells.values())
    why = dict([*cut.refused, *cut.without_cell])
    assert set(why) == {"nuclei.png", "blank.png", "broken.png", "crop.png", "slide.png"}
    assert "no cell" in why["nuclei.png"] and "nothing is on it" in why["blank.png"]
    assert "too few for a field of view" in why["crop.png"] and "10000 x 10000 is more than" in why["slide.png"]
    assert "2 cells" in repr(cut) and "<table" in cut._repr_html_()


def test_its_folder_of_crops_is_what_predict_reads(cut) -> None:
    handed = hand_over(cut.images)
    assert Counter(one.cell for one in handed) == cut.cells
    assert min(min(one.gray().shape) for one in handed) > 8


def test_places_masks_and_steps_agree(cut) -> None:
    table = cut.table()
    for cell in cut.cells:
        folder = cut.folder / "fields" / cell
        first, second = (np.asarray(Image.open(folder / f"{name}.png")) for name in ("mask", "overlap"))
        assert first.dtype == np.uint16
        for row in table[table["cell"] == cell].to_dict("records"):
            whole = (first == row["mask"]) | (second == row["mask"])
            box = whole[row["y0"] : row["y1"], row["x0"] : row["x1"]]
            # Of three on each other the maps leave one out.
            assert box.sum() == whole.sum() and 0.9 * row["area"] < whole.sum() <= row["area"]
            assert 0 <= row["sure"] <= 1
            even = row["alternative"].split("; ")[0] in row["why"].split("; ") if row["alternative"] else False
            assert (row["check"] == "yes") == (row["sure"] < 0.75 or even)
            assert bool(row["why"]) >= (row["check"] == "yes")
        assert len(list((folder / "steps").iterdir())) == 6 and (folder / "overview.png").is_file()


def test_what_is_there_is_not_cut_again(cut, fields, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("cut again")

    before = (cut.folder / "pieces.csv").read_bytes()
    (cut.folder / "pieces.csv").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(
            "bandbridge.metaphase.writing.cut_field", lambda values: refuse() if values.std() > 30 else None
        )
        patched.setattr("bandbridge.metaphase.writing._write_crops", refuse)
        for name in ("g", "blue"):
            assert json.loads((cut.folder / "fields" / name / "cut.json").read_text())["found"]["cells"]
        again = bb.cut(fields / "g.png", cut.folder)
    assert again.cells == {"g": cut.cells["g"]}
    # The cells of other fields are there, and in the tables.
    assert sorted((cut.folder / "pieces.csv").read_bytes().split()) == sorted(before.split())


def test_a_folder_of_something_else_is_left_alone(fields, tmp_path) -> None:
    (tmp_path / "letter.txt").write_text("kept")
    with pytest.raises(UserError, match="holds no cut metaphases"):
        bb.cut(fields / "g.png", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="does not exist"):
        bb.cut(tmp_path / "none", tmp_path / "out")


def test_nothing_is_cut_into_where_it_is_read_nor_into_a_dataset(fields, tmp_path) -> None:
    put_field(tmp_path / "lab" / "fields", "g.png", np.zeros((80, 80), np.uint8))
    for source, made in (("lab", "lab/out"), ("lab/fields", "lab"), ("lab", "lab")):
        with pytest.raises(UserError, match="lie in one another"):
            bb.cut(tmp_path / source, tmp_path / made)
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["fields"]
    (tmp_path / "set" / "fields").mkdir(parents=True)
    (tmp_path / "set" / "metadata.csv").write_text("file_name,label\n")
    with pytest.raises(UserError, match="holds no cut metaphases"):
        bb.cut(fields / "g.png", tmp_path / "set")


@pytest.mark.parametrize("spoilt", ["blank", "cut short", "no image"])
def test_a_spoilt_field_does_not_make_the_others_single_chromosomes(tmp_path, clean_g, spoilt) -> None:
    put_field(tmp_path, "b.png", clean_g.gray)
    put_field(tmp_path, "a.png", np.full((500, 500), 0 if spoilt == "blank" else 7, np.uint8))
    data = (tmp_path / "b.png").read_bytes()
    if spoilt != "blank":
        (tmp_path / "a.png").write_bytes(data[: len(data) // 2] if spoilt == "cut short" else b"letter")
    assert are_fields(tmp_path)
    for number in range(2):
        put_field(tmp_path, f"0{number}.png", clean_g.gray[:60, :40])
    assert not are_fields(tmp_path)  # two crops before one field


def test_of_several_pages_one_is_cut_and_that_is_told(tmp_path, clean_g, capsys) -> None:
    first, second = (Image.fromarray(each) for each in (clean_g.gray, clean_g.gray[::-1]))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    found = bb.cut(tmp_path / "two.tif", tmp_path / "out", progress=True)
    assert "two.tif: of its 2 pages" in capsys.readouterr().err
    assert "of its 2 pages" in found.fields()["note"].item()


def test_two_files_of_one_name_are_two_cells(tmp_path) -> None:
    for name in ("a.png", "a.tif", "b/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((80, 80), np.uint8)).save(tmp_path / name)
    assert len({one.cell for one in fields_of(tmp_path)}) == 3


def put_field(folder, name, gray):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gray).save(folder / name)


def test_a_cell_keeps_the_letters_of_its_patient_and_what_an_earlier_name_left_is_gone(tmp_path, clean_g, capsys):
    """An earlier build called it M_ller_03; with both in the folder every chromosome would be there twice."""
    for name in ("Mu\u0308ller/03.png", "Roe/03.png"):
        put_field(tmp_path / "in", name, clean_g.gray)
    made = tmp_path / "out"
    found = bb.cut(tmp_path / "in", made)
    assert list(found.cells) == ["M\u00fcller_03", "Roe_03"] and "come out alike" not in capsys.readouterr().err
    for room in ("fields", "images"):
        (made / room / "M\u00fcller_03").rename(made / room / "M_ller_03")
    record = made / "fields" / "M_ller_03" / "cut.json"
    record.write_text(record.read_text(encoding="utf-8").replace("M\u00fcller_03", "M_ller_03"), encoding="utf-8")
    again = bb.cut(tmp_path / "in", made)
    assert again.cells == found.cells
    assert sorted(path.name for path in (made / "images").iterdir()) == ["M\u00fcller_03", "Roe_03"]
    assert sorted(path.name for path in (made / "fields").iterdir()) == ["M\u00fcller_03", "Roe_03"]
    whose = {one.cell: one.patient for one in hand_over(made)}
    assert whose == patients_in(made) == {"M\u00fcller_03": "M\u00fcller", "Roe_03": "Roe"}


def test_fields_that_come_out_alike_are_distinct_and_told_also_of_another_command(tmp_path, clean_g, capsys):
    put_field(tmp_path / "in", "a b.png", clean_g.gray)
    put_field(tmp_path / "in", "a_b.png", clean_g.gray)
    both = bb.cut(tmp_path / "in", tmp_path / "out", progress=True)
    assert list(both.cells) == ["a_b", "a_b-2"] and "alike are numbered: a_b.png is a_b-2" in capsys.readouterr().err
    put_field(tmp_path / "other", "a+b.png", clean_g.gray)
    other = bb.cut(tmp_path / "other", tmp_path / "out", progress=True)
    assert list(other.cells) == ["a_b-3"] and "a+b.png is a_b-3" in capsys.readouterr().err
    assert bb.cut(tmp_path / "in", tmp_path / "out").cells == both.cells
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


def test_the_second_cell_of_a_field_takes_no_other_fields_name(tmp_path) -> None:
    for name in ("a.png", "A-2.png"):
        put_field(tmp_path / "in", name, np.zeros((80, 80), np.uint8))
    names = _Names.of(tmp_path)
    second, first = fields_of(tmp_path / "in")
    assert [names.of_field(one) for one in (second, first)] == ["A-2", "a"]
    assert names.of_cells(first, 3) == ["a", "a-3", "a-4"] and names.of_cells(second, 2) == ["A-2", "A-2-2"]
    assert names.of_cells(first, 0) == []


def test_values_of_sixteen_bits_are_read_whole_and_shown_stretched(tmp_path) -> None:
    values = np.linspace(200, 900, 100 * 90).reshape(100, 90).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    read = read_field((tmp_path / "deep.png").read_bytes(), "deep.png")
    assert np.array_equal(read, values)
    assert shown(read).min() == 0 and shown(read).max() == 255


def test_more_than_a_cell_beside_a_cell_is_said() -> None:
    piece = Piece(0, 0, np.ones((4, 4), bool))
    cut = Cut((9, 9), (piece,) * 240, (tuple(range(40)),), SimpleNamespace(bright=True), None)  # type: ignore[arg-type]
    told = _told("a.png", cut, {"a": 40}, [])
    assert told.problem == "" and told.note == "200 pieces beside them are no cell: more than the 150 of one"
    assert fields_table([told])["note"].tolist() == [told.note]
    alone = _told("a.png", cut, {}, [])
    assert (
        alone.note == ""
        and alone.problem == "no cell: 240 pieces that may be chromosomes, more than the 150 of one cell"
    )


def test_of_a_zip_no_more_is_unpacked_than_the_first_images(tmp_path, monkeypatch, clean_g) -> None:
    with zipfile.ZipFile(tmp_path / "fields.zip", "w") as archive:
        for number in range(5):
            stream = io.BytesIO()
            Image.fromarray(clean_g.gray).save(stream, format="PNG")
            archive.writestr(f"{number}.png", stream.getvalue())
    read = []

    def counted(place, **options):
        for name, data in read_images(place, **options):
            read.append(name)
            yield name, data

    monkeypatch.setattr("bandbridge.metaphase.intake.read_images", counted)
    assert are_fields(tmp_path / "fields.zip") and len(read) == 3
