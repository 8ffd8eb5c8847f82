"""Where chromosomes go against the rules of the sheet, and what is drawn against what was given."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.karyogram.drawing import compose, draw_karyogram, write_karyogram
from bandbridge.karyogram.layout import MARGIN, WIDTH, lay_out, percent
from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding, Pose
from bandbridge.karyotype import CLASSES

HOSTILE = '"><script>alert(1)</script>&$x^2$\n\u202e.png'


def photograph(height: int, width: int = 0, ground: int = 255) -> np.ndarray:
    """A waisted rod on its ground, ``height`` pixels long."""
    width = width or max(4, height // 5)
    image = np.full((height + 8, width + 8), ground, np.uint8)
    rows = np.arange(height)
    half = width / 2 * (1 - 0.4 * np.exp(-(((rows / height - 0.4) / 0.06) ** 2)))
    inside = np.abs(np.arange(width) + 0.5 - width / 2)[None] < half[:, None]
    image[4:-4, 4:-4][inside] = 90 if ground > 128 else 170
    return image


def cell(labels, classes=CLASSES, findings=(), name="cell", **options):
    chromosomes = []
    for number, label in enumerate(labels):
        known = classes.index(label) if label else 0
        weights = np.full(len(classes), 0.1 / (len(classes) - 1))
        weights[known] = 0.9
        side = options.get("side") or (90 - 2 * known)
        image = photograph(side, ground=options.get("ground", 255))
        reasons = ("two classes are likely",) if number % 7 == 3 else ()
        one = Chromosome(f"{number}.png", image, classes[known], label, weights, (), reasons, Pose(0, False, 0.9))
        chromosomes.append(one)
    return CellSheet(name, tuple(classes), tuple(chromosomes), tuple(findings))


NORMAL = [label for label in CLASSES[:23] for _ in range(2)]
SHEETS = {
    "46": cell(NORMAL),
    "45": cell(NORMAL[:-1], findings=[CountFinding("X", 1, 2, 3.0)]),
    "47": cell([*NORMAL, "21"], findings=[CountFinding("21", 3, 2, 9.0)]),
    "69": cell(NORMAL + NORMAL[::2]),
    "empty": cell([]),
    "unplaced": cell([*NORMAL[:30], *[""] * 10]),
    "thirty of one": cell(["1"] * 30),
    "tiny": cell(NORMAL, side=8),
    "large": cell(NORMAL, side=292),
    "dark": cell(NORMAL, ground=0),
    "gray": cell(NORMAL, ground=180),
    "other classes": cell(["cat", "dog", "dog"], classes=("cat", "dog", "eel")),
}


@pytest.mark.parametrize("name", SHEETS)
def test_every_chromosome_is_there_once_in_its_place(name):
    sheet = SHEETS[name]
    layout = lay_out(sheet)
    assert sorted(tile.chromosome.file for tile in layout.tiles) == sorted(one.file for one in sheet.chromosomes)
    for line in layout.lines:
        for slot in line.slots:
            assert all(place.tile.chromosome.placed == slot.label for place in slot.places if place.tile)
            edges = [(place.left, place.left + place.width) for place in slot.places]
            assert all(slot.left - 0.01 <= left and right <= slot.right + 0.01 for left, right in edges)
    order = [slot.label for line in layout.lines for slot in line.slots if not slot.continued]
    assert order == [*sheet.classes, *([""] if sheet.of("") else [])]


@pytest.mark.parametrize("name", SHEETS)
def test_one_scale_and_no_two_overlap_and_none_leaves_the_page(name):
    plate = compose(SHEETS[name])
    places = plate.layout.places
    for place in places:
        if place.tile:
            height, width = place.tile.picture.shape
            assert (place.height / height, place.width / width) == pytest.approx((plate.layout.scale,) * 2)
        assert place.left >= MARGIN - 0.01
        assert place.left + place.width <= WIDTH - MARGIN + 0.01
        assert place.top + place.height < plate.height
    for one, other in combinations(places, 2):
        apart_across = one.left + one.width <= other.left + 0.01 or other.left + other.width <= one.left + 0.01
        apart_down = one.top + one.height <= other.top + 0.01 or other.top + other.height <= one.top + 0.01
        assert apart_across or apart_down


def test_rows_are_those_of_the_laboratory_and_centromeres_level():
    layout = lay_out(SHEETS["46"])
    rows = [" ".join(slot.label for slot in line.slots) for line in layout.lines]
    assert rows == ["1 2 3 4 5", "6 7 8 9 10 11 12", "13 14 15 16 17 18", "19 20 21 22 X Y"]
    groups = [slot.group for line in layout.lines for slot in line.slots]
    assert "".join(group[0] for group in groups) == "AAABBCCCCCCCDDDEEEFFGGSS"
    for line in layout.lines:
        levels = [
            place.top + place.tile.centromere * layout.scale
            for slot in line.slots
            for place in slot.places
            if place.tile
        ]
        assert np.ptp(levels) < 0.01
    # The waist of the drawn rod is at 40% of its length; chromosome 3's may be there.
    tile = next(tile for tile in layout.tiles if tile.chromosome.placed == "3")
    assert (tile.centromere - 5) / (tile.picture.shape[0] - 10) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(
    ("name", "missing", "notes"),
    [
        ("46", 0, {}),
        ("45", 1, {"X": "1, expected 2"}),
        ("47", 0, {"21": "3, expected 2"}),
        ("empty", 46, dict.fromkeys(CLASSES[:23], "0, expected 2")),
        ("other classes", 0, {}),
    ],
)
def test_missing_ones_are_empty_places_and_counts_are_told(name, missing, notes):
    layout = lay_out(SHEETS[name])
    assert sum(place.tile is None for place in layout.places) == missing
    assert {slot.label: slot.note for line in layout.lines for slot in line.slots if slot.note} == notes


def test_a_male_cell_has_one_place_for_x():
    layout = lay_out(cell([*NORMAL[:-1], "Y"]))
    assert not any(place.tile is None for place in layout.places)


def test_ground_is_one_and_the_chromosome_as_photographed():
    for ground in (255, 180, 0):
        sheet = cell(["1", "2"], ground=ground)
        for tile in lay_out(sheet).tiles:
            paper = 0 if ground == 0 else 255
            border = np.concatenate([tile.picture[0], tile.picture[-1], tile.picture[:, 0], tile.picture[:, -1]])
            assert np.abs(border.astype(int) - paper).max() <= 0.15 * abs(ground - paper)
            chromatin = 170 if ground == 0 else 90
            assert (tile.picture == chromatin).sum() == (tile.chromosome.image == chromatin).sum()


def test_picture_holds_the_chromosomes_and_its_size_is_bounded():
    picture = draw_karyogram(SHEETS["46"], 1120)
    layout = lay_out(SHEETS["46"])
    assert picture.width == 1120
    place = compose(SHEETS["46"]).layout.places[0]
    middle = (round(place.left + place.width / 2), round(place.top + place.height * 0.7))
    assert picture.getpixel(middle)[0] == pytest.approx(90, abs=6)
    assert layout.dark is False and lay_out(SHEETS["dark"]).dark is True
    with pytest.raises(UserError, match="560 to 8960"):
        draw_karyogram(SHEETS["46"], 10)


class _Reader(HTMLParser):
    """Checks that elements close in the order in which they open."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.files, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "figure":
            self.files.append(dict(attrs)["data-file"])

    def handle_endtag(self, tag):
        while self.open[-1] in ("option",) and tag != "option":
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_files_are_written_and_hostile_names_stay_text(tmp_path):
    good = cell(["1", "1", "21", "21", "21", ""], name=HOSTILE, findings=[CountFinding("21", 3, 2, 9.0)])
    chromosomes = tuple(
        Chromosome(HOSTILE + one.file, one.image, one.predicted, one.placed, one.probabilities, ("1", "2"), (HOSTILE,))
        for one in good.chromosomes
    )
    sheet = CellSheet(HOSTILE, CLASSES, chromosomes, good.findings).move(chromosomes[0].file, "2")
    paths = write_karyogram(sheet, tmp_path, "cell 1")
    assert [path.name for path in paths] == ["cell 1.png", "cell 1.pdf", "cell 1.html"]
    with Image.open(paths[0]) as picture:
        assert picture.width == 2 * WIDTH
    page = paths[2].read_text(encoding="utf-8")
    assert page.count("<script>") == 1
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    assert sorted(reader.files) == sorted(one.file for one in chromosomes)
    text = "".join(reader.texts)
    for wanted in (
        "Research use only. Not a medical device.",
        "3 of chromosome 21, 2 expected",
        "Not placed",
        "6 to check",
    ):
        assert wanted in text
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    written = [base64.b64decode(code) for code in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    tiles = lay_out(sheet).tiles
    for code, tile in zip(written, tiles, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(code))), tile.picture)
    paper = paths[1].read_bytes()
    assert paper.count(b"/Subtype /Image") == len(chromosomes)
    for name in ("../x", "cell:1", "nul", "x.", "a\\b"):  # of these, Windows would keep some elsewhere or not at all
        with pytest.raises(UserError, match="not the name of a file"):
            write_karyogram(sheet, tmp_path, name)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, ">0.99"), (0.995, ">0.99"), (0.994, "0.99"), (0.5, "0.50"), (0, "<0.01")]
)
def test_no_probability_is_shown_as_certain(value, text):
    assert percent(value) == text


def test_a_full_disk_is_named_at_the_page_to_print(tmp_path, monkeypatch, file_size_limit):
    """The writer of PDFs answers it with an error of its own."""
    monkeypatch.setattr("bandbridge.karyogram.drawing._draw_picture", lambda *_: Image.new("L", (1, 1)))
    with file_size_limit(2000), pytest.raises(EnvironmentFault, match=r"c\.pdf: File too large"):
        write_karyogram(cell(["1"]), tmp_path, "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
