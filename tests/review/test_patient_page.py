"""The page of a patient: what it says against the store, in HTML, PDF and tables; and nothing of names under codes."""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile

import pypdfium2
import pytest
from tests.review.conftest import OWN, NamedAnalyst, picture

from bandbridge.codes import KEY, TABLE, read_names
from bandbridge.errors import UserError
from bandbridge.karyotype import AUTOSOMES
from bandbridge.review.coded import codes_of, keep_names
from bandbridge.review.log import Reader
from bandbridge.review.patient_page import export_patient, page_of
from bandbridge.review.schema import Incoming
from bandbridge.review.together import Together, of_patient

#: Three 21s, a man's.
KARYOTYPE = [*(f"{label}{copy}.png" for label in AUTOSOMES for copy in "ab"), "21c.png", "Xa.png", "Ya.png"]
ANNA, BEN = Reader("Anna", "first"), Reader("Ben", "second")
NAMES = ("Doe <Jane>", "cell one", "cell two", "21c-unsure", "Xa.png")


@pytest.fixture
def patient(store):
    """Two cells of one patient, one accepted after two readers and one counted only, and one of another patient."""
    files = ("21a.png", "21b.png", "21c-unsure.png", "Xa.png", "Ya.png")
    for number, (name, of) in enumerate((("cell one", NAMES[0]), ("cell two", NAMES[0]), ("other", "p8"))):
        images = [(file, picture(10 * number + seed, 40, 14)) for seed, file in enumerate(files)]
        held = tuple((file, store.put_image(pixels)) for file, pixels in images)
        cell, _ = store.add_cell(Incoming(name, held, of, "G"), ANNA)
        store.save_sheet(cell, NamedAnalyst().sheet(name, images), "m")
    ids = store.sheet(1).ids
    store.change(1, "place", ("22", 1), ids[2], by=ANNA)
    store.change(1, "place", ("1", 1), ids[3], by=ANNA)
    store.undo(1, by=ANNA)
    store.change(1, "turn", (5.0, 1, 1.0), ids[0], by=ANNA)
    store.change(1, "place", ("20", 1), ids[2], by=BEN)
    store.change(1, "place", ("X", 1), ids[3], by=BEN)
    store.change(1, "accept", (1,), by=ANNA)
    store.change(2, "count", (1,), by=ANNA)
    store.sign(NAMES[0], ANNA)
    store.sign(NAMES[0], BEN)
    return NAMES[0]


def text_of(pdf: bytes) -> str:
    pages = pypdfium2.PdfDocument(pdf)
    return "\n".join(page.get_textpage().get_text_bounded() for page in pages)


def test_the_page_says_what_was_done_by_whom_and_how_the_cells_stand(store, patient):
    page = page_of(store, patient)
    assert page.summary == "2 cells: 1 accepted, 1 counted only"
    assert [(one.reader, one.role, one.stands) for one in page.signatures] == [
        ("Anna", "first", True),
        ("Ben", "second", True),
    ]
    one, two = page.cells
    assert (one.name, one.state, one.images, one.by_person) == ("cell one", "accepted", 5, 2)
    assert "1 of chromosome 20" in one.counts and one.picture is not None
    assert (two.name, two.state, two.picture) == ("cell two", "counted only", None)
    assert "3 of chromosome 21, 2 expected" in two.counts
    assert [(change.who.split(",")[0], change.cell, change.file, change.what) for change in page.changes] == [
        ("Anna", "cell one", "21c-unsure.png", "placed in 22, was in 21"),
        ("Anna", "cell one", "Xa.png", "placed in 1, was in X"),
        ("Anna", "cell one", "Xa.png", "took back: placed in 1"),
        ("Anna", "cell one", "21a.png", "turned"),
        ("Ben", "cell one", "21c-unsure.png", "placed in 20, was in 22"),
        ("Ben", "cell one", "Xa.png", "confirmed in X"),
        ("Anna", "cell one", "", "accepted"),
        ("Anna", "cell two", "", "counted only"),
        ("Anna", "", "", "signed the cells as they stood"),
        ("Ben", "", "", "signed the cells as they stood"),
    ]
    (difference,) = page.differences
    assert (difference.file, difference.model, difference.first, difference.second) == (
        ("21c-unsure.png", "21", "22", "20")
    )
    assert (page.entries, page.head) == (len(store.log()), store.head())


def test_the_draft_is_that_of_the_cells_as_readers_left_them(store):
    for number in range(1, 5):
        images = [(file, picture(number * 60 + place, 30, 12)) for place, file in enumerate(KARYOTYPE)]
        held = tuple((file, store.put_image(pixels)) for file, pixels in images)
        cell, _ = store.add_cell(Incoming(f"c{number}", held, "P7", "G"), ANNA)
        store.save_sheet(cell, NamedAnalyst().sheet(f"c{number}", images), "m")
    assert of_patient(store, "P7") == Together()
    for cell in (1, 2, 3):
        store.change(cell, "accept", (1,), by=ANNA)
    page = page_of(store, "P7")
    assert page.together == of_patient(store, "P7") and page.together.draft == "47,XY,+21[3]"
    assert any("21 gained in 3 of 3 cells: clone" in line for line in page.together.lines)
    store.change(3, "accept", (0,), by=ANNA)
    # One of the third 21s is placed elsewhere by a person: the rule is met by two cells no more.
    store.change(3, "place", ("", 1), store.sheet(3).ids[KARYOTYPE.index("21c.png")], by=ANNA)
    store.change(3, "accept", (1,), by=ANNA)
    assert page_of(store, "P7").together.draft == "mos 47,XY,+21[2]/46,XY[1]"
    folder = export_patient(store, "P7")
    assert "47,XY,+21[2]" in (folder / "patient.html").read_text(encoding="utf-8")
    assert "47,XY,+21[2]" in text_of((folder / "patient.pdf").read_bytes())


def test_it_is_written_as_a_page_a_paper_and_tables_with_a_zip_of_all(store, patient):
    folder = export_patient(store, patient)
    names = ["changes.csv", "patient.html", "patient.pdf", "readers.csv"]
    assert sorted(one.name for one in folder.iterdir()) == names
    with zipfile.ZipFile(folder.with_suffix(".zip")) as packed:
        assert sorted(packed.namelist()) == names
    assert all(one.stat().st_mode & 0o077 == 0 for one in (folder, *folder.iterdir()))
    written = (folder / "patient.html").read_text(encoding="utf-8")
    assert "Doe &lt;Jane&gt;" in written and "Doe <Jane>" not in written and store.head() in written
    assert written.count("data:image/png;base64,") == 1 and "http" not in re.sub(r'xmlns="[^"]*"', "", written)
    paper = text_of((folder / "patient.pdf").read_bytes())
    for said in (patient, "Anna, first reader", "placed in 20, was in 22", "counted only", store.head()[:20]):
        assert said in paper
    assert len(pypdfium2.PdfDocument((folder / "patient.pdf").read_bytes())) == 2
    with (folder / "changes.csv").open(encoding="utf-8", newline="") as file:
        assert [row["what"] for row in csv.DictReader(file)] == [one.what for one in page_of(store, patient).changes]
    with (folder / "readers.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["first"], row["second"]) == ("22", "20")


def test_under_codes_no_name_leaves_and_the_table_in_the_work_folder_tells_them(store, patient):
    codes = codes_of(store)
    folder = export_patient(store, patient, codes)
    keep_names(store, codes)
    written = b"".join(one.read_bytes() for one in folder.iterdir())
    paper = text_of((folder / "patient.pdf").read_bytes())
    for name in NAMES:
        assert name.encode() not in written and html.escape(name).encode() not in written and name not in paper
    with (store.folder / TABLE).open(encoding="utf-8", newline="") as file:
        told = {row["code"]: row["name"] for row in csv.DictReader(file)}
    (code,) = [code for code, name in told.items() if name == patient]
    assert code in paper and code in written.decode(errors="ignore")
    shown = set(re.findall(r"(?:cell|file|patient)-[A-Z2-7]{8}", paper))
    assert shown and shown <= set(told)
    for place in (KEY, TABLE):
        assert (store.folder / place).stat().st_mode & 0o077 == 0


def test_a_patient_without_cells_has_no_page(store, patient):
    for name in ("", "p9"):
        with pytest.raises(UserError):
            export_patient(store, name)


def test_the_page_and_the_dataset_come_by_the_browser_with_names_or_with_codes(browser, cell, act, review):
    act(cell, "describe", patient="Jane", stain="G")
    act(cell, "accept", accepted=True)
    plain, coded = (act(cell, "page", coded=coded).json() for coded in (False, True))
    for answer, expected in ((plain, True), (coded, False)):
        with zipfile.ZipFile(io.BytesIO(browser.get(answer["address"]).content)) as packed:
            assert (b"Jane" in packed.read("patient.html")) == expected
    made = browser.post("/api/export", json={"coded": True}, headers=OWN).json()
    with zipfile.ZipFile(io.BytesIO(browser.get(made["address"]).content)) as packed:
        everything = b"".join(packed.read(name) for name in packed.namelist() if not name.endswith(".png"))
        rows = list(csv.DictReader(packed.read("metadata.csv").decode().splitlines()))
    assert b"Jane" not in everything and b"21c-unsure" not in everything
    assert {row["cell"][:5] for row in rows} == {"cell-"} and {row["patient"][:8] for row in rows} == {"patient-"}
    assert (review.store.folder / TABLE).is_file()


def test_what_the_cells_show_together_is_counted_as_the_readers_left_it(store):
    """A third 21 in two of three closed cells is a clone, 7 lost in one is not; a cell still open is not counted."""
    files = [f"{label}{copy}.png" for label in (*AUTOSOMES, "X") for copy in "ab"]
    more = {"c1": ["21c.png"], "c2": ["21c.png"], "c3": [], "c4": ["21c.png"]}
    for number, (name, extra) in enumerate(more.items()):
        kept = [file for file in files if (name, file) != ("c3", "7b.png")]
        images = [(file, picture(100 * number + seed)) for seed, file in enumerate([*kept, *extra])]
        held = tuple((file, store.put_image(pixels)) for file, pixels in images)
        cell, _ = store.add_cell(Incoming(name, held, "p7"))
        store.save_sheet(cell, NamedAnalyst().sheet(name, images), "m")
    for cell, kind in ((1, "accept"), (2, "count"), (3, "accept")):
        store.change(cell, kind, (1,), by=ANNA)
    first, *rest = page_of(store, "p7").together.lines
    assert first.startswith("3 cells counted: XX in 3; 3 cells exclude, at 95%, a mosaic of 63% or more")
    assert rest[0].startswith("21 gained in 2 of 3 cells: clone") and rest[0].endswith(": c1, c2")
    assert rest[1].startswith("7 lost in 1 of 3 cells: random loss, no clone") and rest[1].endswith(": c3")
    assert len(rest) == 2


def test_a_cell_that_left_the_patient_leaves_a_line_and_its_code(store, patient):
    codes = codes_of(store)
    before = page_of(store, patient, codes)
    keep_names(store, codes)
    store.remove(2, by=BEN)
    store.describe(1, "another", "G", by=BEN)
    store.describe(3, patient, "G", by=ANNA)
    page = page_of(store, patient)
    gone = "2 more were taken off the list or given to another patient"
    assert page.summary == f"1 cell: 0 accepted, 0 counted only, {gone}"
    left = [(change.who.split(",")[0], change.cell, change.what) for change in page.changes if change.cell != "other"]
    assert [one for one in left if one[1]] == [
        ("Ben", "cell two", "taken off the list"),
        ("Ben", "cell one", "patient another, stain G"),
    ]
    assert page.nothing_apart == "The second reader placed nothing elsewhere."  # one has signed before
    codes = codes_of(store)
    coded = page_of(store, patient, codes)
    assert {change.cell for change in coded.changes} - {""} >= {cell.name for cell in before.cells}
    keep_names(store, codes)
    known = read_names(store.folder / TABLE)
    assert all(cell.name in known for cell in before.cells)
    assert not any("cell two" in change.cell or "another" in change.what for change in coded.changes)
