"""From files of sheets to a dataset, and the folder beside it."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.sheets.drawn import Style, draw_sheet, write_sheets

import bandbridge as bb
from bandbridge.codes import open_codes, read_names
from bandbridge.errors import ManyErrors, UserError
from bandbridge.sheets import doing
from bandbridge.sheets.importing import import_karyograms, review_folder
from bandbridge.sheets.pages import Page, decode_page, read_pages


@pytest.fixture(scope="module")
def drawn_sheets(tmp_path_factory):
    return write_sheets(
        tmp_path_factory.mktemp("sheets"),
        {"Person Anna.png": Style(caption="Anna Person 01.02.1970"), "with 47.png": Style(extra=("21",), seed=8)},
    )


@pytest.fixture
def sheets(drawn_sheets, tmp_path):
    return shutil.copytree(drawn_sheets, tmp_path / "in")


def table(folder):
    return pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)


def test_sheets_that_add_up_are_imported_and_the_others_shown(sheets, tmp_path) -> None:
    done = import_karyograms(sheets, tmp_path / "set", stain="G")
    assert done.imported == ["Person Anna.png"] and done.to_check == ["with 47.png"] and done.notes == ()
    rows = table(tmp_path / "set")
    assert len(rows) == 46 and set(rows["cell"]) == {"Person_Anna"} and set(rows["certainty"]) == {"sure"}
    assert (rows["why"] == "number and order and size agree").all() and set(rows["stain"]) == {"G"}
    dataset = bb.open_dataset(tmp_path / "set")
    drawn = draw_sheet(Style(caption="Anna Person 01.02.1970"))
    for name, label, box in zip(rows["file_name"], rows["label"], rows["box"], strict=True):
        top, left, bottom, _ = map(int, box.split())
        near = [one for one, other in drawn.truth if abs(other[0] - top) < 5 and abs(other[1] - left) < 5]
        assert near == [label] and dataset.gray(name).shape[0] == pytest.approx(bottom - top, abs=14)
    page = (done.review / "overview.html").read_text()
    assert "47 chromosomes: 3 of 21" in page and (done.review / "pictures" / "with_47.png").is_file()
    assert not any((tmp_path / "set").rglob("*47*"))


def test_nothing_that_is_done_is_done_again(sheets, tmp_path, monkeypatch) -> None:
    first = import_karyograms(sheets, tmp_path / "set")
    before = (tmp_path / "set" / "metadata.csv").read_bytes()
    monkeypatch.setattr(doing, "read_sheet", lambda *_: pytest.fail("read again"))
    assert import_karyograms(sheets, tmp_path / "set").records == first.records
    assert (tmp_path / "set" / "metadata.csv").read_bytes() == before
    monkeypatch.undo()
    (tmp_path / "set" / "images" / "Person_Anna" / "1a.png").unlink()
    import_karyograms(sheets, tmp_path / "set")
    assert (tmp_path / "set" / "images" / "Person_Anna" / "1a.png").is_file()


def test_labels_set_by_hand_settle_a_sheet(sheets, tmp_path) -> None:
    done = import_karyograms(sheets, tmp_path / "set")
    template = pd.read_csv(done.review / "labels.csv", dtype=str, keep_default_na=False)
    assert set(template["sheet"]) == {"with 47.png"} and (template["label"] == "").all()
    same = import_karyograms(sheets, tmp_path / "set", labels=done.review / "labels.csv")
    assert same.to_check == ["with 47.png"], "a template that nobody filled in settles nothing"
    twenty_one = template.index[template["read_as"] == "21"]
    template.loc[twenty_one[0], "label"] = "mar"
    template.loc[twenty_one[1], "label"] = "21"
    template.to_csv(tmp_path / "mine.csv", index=False)
    settled = import_karyograms(sheets, tmp_path / "set", labels=tmp_path / "mine.csv")
    assert settled.to_check == [] and len(table(tmp_path / "set")) == 92
    rows = table(tmp_path / "set")
    assert (rows["certainty"] == "by hand").sum() == 1
    assert len(list((done.review / "aside").rglob("*.png"))) == 1


def test_the_page_gives_the_whole_command_again(sheets, tmp_path) -> None:
    (tmp_path / "k.csv").write_text("sheet,karyotype\n")
    place = tmp_path / "my sets"
    done = import_karyograms(sheets, place, stain="G", karyotypes=tmp_path / "k.csv", de_identify=True)
    page = html.unescape((done.review / "overview.html").read_text())
    words = shlex.split(re.search("<code>(bandbridge data .*?)</code>", page)[1])
    options = ["--stain", "G", "--karyotypes", f"{tmp_path}/k.csv", "--labels", f"{done.review}/labels.csv"]
    assert words == ["bandbridge", "data", "import", "karyogram", str(sheets), str(place), *options, "--de-identify"]


def test_a_karyotype_settles_a_sheet(sheets, tmp_path) -> None:
    sex = "XY" if any(label == "Y" for label, _ in draw_sheet(Style(seed=8)).truth) else "XX"
    (tmp_path / "k.csv").write_text(f'sheet,karyotype\nwith 47.png,"47,{sex},+21"\n')
    done = import_karyograms(sheets, tmp_path / "set", karyotypes=tmp_path / "k.csv")
    assert done.to_check == [] and len(table(tmp_path / "set")) == 93


def test_tables_that_name_absent_sheets_are_refused_together(sheets, tmp_path) -> None:
    (tmp_path / "k.csv").write_text('sheet,karyotype\nother.png,"46,XX"\n')
    (tmp_path / "l.csv").write_text("sheet,piece,label\nthird.png,1,4\n")
    with pytest.raises(ManyErrors) as told:
        import_karyograms(sheets, tmp_path / "set", karyotypes=tmp_path / "k.csv", labels=tmp_path / "l.csv")
    assert len(told.value.problems) == 2 and not (tmp_path / "set").exists()


def test_codes_replace_names_everywhere_in_the_dataset(sheets, tmp_path) -> None:
    done = import_karyograms(sheets, tmp_path / "set", de_identify=True)
    for path in (tmp_path / "set").rglob("*"):
        assert "Anna" not in str(path.relative_to(tmp_path)) and path.name != "in"
        if path.suffix in (".csv", ".json", ".md"):
            text = path.read_text()
            assert "Anna" not in text and "47.png" not in text and f"{sheets.name}/" not in text
    code = table(tmp_path / "set")["cell"][0]
    names = read_names(done.review / "codes.csv")
    assert names == {record.cell: record.sheet for record in done.records} and done.review == review_folder(
        tmp_path / "set"
    )
    assert open_codes(done.review / "codes.key").code("cell", "Person Anna.png") == code
    for kept in ("codes.key", "codes.csv"):
        assert (done.review / kept).stat().st_mode & 0o077 == 0 and not list((tmp_path / "set").rglob(kept))
    again = import_karyograms(sheets, tmp_path / "set", de_identify=True)
    assert [one.cell for one in again.records] == [one.cell for one in done.records]
    (sheets / "with 47.png").unlink()
    import_karyograms(sheets, tmp_path / "set", de_identify=True)
    assert read_names(done.review / "codes.csv") == names, "what was passed on before can still be looked up"
    other = import_karyograms(sheets, tmp_path / "other", de_identify=True)
    assert other.records[0].cell != done.records[0].cell, "a code cannot be found by who has only the sheet"


def test_the_same_sheet_twice_keeps_its_crops_under_codes(sheets, tmp_path) -> None:
    shutil.copy(sheets / "Person Anna.png", sheets / "twice.png")
    for _ in range(2):
        done = import_karyograms(sheets, tmp_path / "set", de_identify=True)
        assert done.imported == ["Person Anna.png"] and "same picture" in done.notes[0]
        rows = table(tmp_path / "set")
        assert len(rows) == 46 and all((tmp_path / "set" / name).is_file() for name in rows["file_name"])


def test_codes_whose_key_is_gone_are_not_given_anew(sheets, tmp_path) -> None:
    done = import_karyograms(sheets, tmp_path / "set", de_identify=True)
    (done.review / "codes.key").unlink()
    with pytest.raises(UserError, match=r"codes\.key is gone") as told:
        import_karyograms(sheets, tmp_path / "set", de_identify=True)
    assert "copy" in told.value.remedy and not (done.review / "codes.key").exists()


def test_every_file_that_is_no_sheet_has_an_answer_of_its_own(sheets, tmp_path) -> None:
    shutil.copy(sheets / "Person Anna.png", sheets / "twice.png")
    (sheets / "empty.png").write_bytes(b"")
    (sheets / "text.jpg").write_text("no image")
    Image.new("L", (300, 300), 255).save(sheets / "blank.png")
    (sheets / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    done = import_karyograms(sheets, tmp_path / "set")
    told = {note.split(":")[0]: note for note in done.notes}
    assert set(told) == {"twice.png", "empty.png", "text.jpg", "blank.png", "broken.pdf"}
    assert "the same picture as Person Anna.png" in told["twice.png"] and "blank" in told["blank.png"]
    assert done.imported == ["Person Anna.png"] and len(table(tmp_path / "set")) == 46
    rows = pd.read_csv(done.review / "sheets.csv").set_index("sheet")
    refused = rows[rows["state"] == "refused"]["doubts"]
    assert set(refused.index) == {"twice.png", "empty.png", "text.jpg", "blank.png"} and "blank" in refused["blank.png"]


def test_nothing_but_bad_files_is_one_error(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="holds no sheet"):
        import_karyograms(tmp_path / "in", tmp_path / "set")
    (tmp_path / "in" / "a.png").write_bytes(b"")
    (tmp_path / "in" / "b.png").write_bytes(b"x")
    with pytest.raises(ManyErrors) as told:
        import_karyograms(tmp_path / "in", tmp_path / "set")
    assert len(told.value.problems) == 2
    assert not (tmp_path / "set").exists() and not review_folder(tmp_path / "set").exists()


def test_a_pdf_without_what_reads_it_is_named_with_the_command_that_installs_it(sheets, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    (sheets / "scan.pdf").write_bytes(b"%PDF-1.4")
    done = import_karyograms(sheets, tmp_path / "set")
    assert len(done.notes) == 1 and done.notes[0].startswith("scan.pdf: ") and done.imported == ["Person Anna.png"]
    assert '. Install it with: pip install "bandbridge[metaphase]"' in done.notes[0]


def test_zips_single_files_and_pages_of_a_pdf(sheets, tmp_path) -> None:
    pytest.importorskip("pypdfium2")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(sheets / "Person Anna.png", "a/one.png")
    pictures = [Image.fromarray(draw_sheet(style).picture) for style in (Style(), Style(extra=("21",), seed=8))]
    pictures[0].save(tmp_path / "two.pdf", save_all=True, append_images=pictures[1:], resolution=200)
    assert [page.name for page in read_pages(tmp_path / "all.zip")] == ["a/one.png"]
    pages = list(read_pages(tmp_path / "two.pdf"))
    assert [page.name for page in pages] == ["two.pdf page 1", "two.pdf page 2"]
    assert [page.stem for page in pages] == ["two-p1", "two-p2"]
    done = import_karyograms(tmp_path / "two.pdf", tmp_path / "set")
    assert done.imported == ["two.pdf page 1"] and done.to_check == ["two.pdf page 2"]


@pytest.mark.parametrize("numbers", ["below", ""])
def test_a_layout_that_does_not_fit_is_told_of_and_not_the_picture_blamed(tmp_path, numbers) -> None:
    place = write_sheets(tmp_path / "in", {"cell.png": Style(numbers=numbers), "47.png": Style(extra=("21",), seed=8)})
    layout = tmp_path / "layout.csv"
    layout.write_text("X,Y,22,21\n20,19,18,17,16,15\n14,13,12,11,10,9,8\n7,6,5,4,3,2,1\n")
    told = "the layout does not fit it: without --layout it adds up"
    try:
        done = import_karyograms(place, tmp_path / "set", layout=layout)
    except ManyErrors as fault:
        assert f"cell.png: {told}" in fault.problems
    else:
        doubts = {record.sheet: record.doubts for record in done.records}
        assert told in [*doubts.get("cell.png", ()), *(note.partition(": ")[2] for note in done.notes)]
        assert told not in doubts.get("47.png", ())


def test_each_page_of_a_tiff_is_a_sheet_and_a_smaller_copy_is_none(sheets, tmp_path) -> None:
    pictures = [Image.fromarray(draw_sheet(style).picture) for style in (Style(), Style(extra=("21",), seed=8))]
    small = pictures[0].resize((pictures[0].width // 4, pictures[0].height // 4))
    pictures[0].save(tmp_path / "two.tif", save_all=True, append_images=[small, pictures[1]], compression="tiff_lzw")
    pages = list(read_pages(tmp_path / "two.tif"))
    assert [(page.name, page.stem) for page in pages] == [("two.tif page 1", "two-p1"), ("two.tif page 3", "two-p3")]
    for page, picture in zip(pages, pictures, strict=True):
        assert (decode_page(page)[0] == np.asarray(picture.convert("L"))).all()
    done = import_karyograms(tmp_path / "two.tif", tmp_path / "set")
    assert done.imported == ["two.tif page 1"] and done.to_check == ["two.tif page 3"]
    pictures[0].save(tmp_path / "one.tif", save_all=True, append_images=[small])
    ((name, page),) = [(one.name, one.page) for one in read_pages(tmp_path / "one.tif")]
    assert name == "one.tif" and page is None


def test_files_with_page_in_their_names_keep_them() -> None:
    assert Page("a/cell page 2.png", b"").stem == "cell page 2" and not Page("a.pdf page 2.png", b"").is_pdf


def test_a_scan_larger_than_images_of_chromosomes_may_be_is_reduced(tmp_path) -> None:
    drawn = draw_sheet(Style())
    side = 4
    Image.fromarray(np.kron(drawn.gray, np.ones((side, side), np.uint8))).save(tmp_path / "big.png")
    gray, colour = decode_page(Page("big.png", (tmp_path / "big.png").read_bytes()))
    assert colour is None and max(gray.shape) < max(drawn.gray.shape) * side
    assert gray.size <= 6 * 2**20


def test_a_destination_with_other_files_is_left_alone(sheets, tmp_path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="files that no import made"):
        import_karyograms(sheets, tmp_path / "set")
