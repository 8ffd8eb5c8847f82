"""Datasets as others open them: every row, every label as text, whatever the folders are called."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bandbridge.dataset.cards import CARD, CROISSANT, write_cards
from bandbridge.dataset.formats import import_distribution
from bandbridge.dataset.imagefolder import COLUMNS, open_dataset
from bandbridge.files import csv_lines, write_text
from bandbridge.karyotype import AUTOSOMES, CLASSES
from bandbridge.synthetic.sets import write_synthetic_set

# Its readers leave the table open, and let it go with the garbage.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Names that datasets takes for splits, skips as special, or that are numbers; each with what it does to them.
COLLIDING = ("C2-test", "val-2", "dev.3", "train", "eval 1", "__x", "97002302.20", "97002302.2", "NA12")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """Hugging Face ``datasets``, offline, with a cache of the test's own."""
    found = pytest.importorskip("datasets", reason="needs bandbridge[dev]")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    return found


def source(home: Path, cells: tuple[str, ...] = ("a",), labels: tuple[str, ...] = ("1", "2")) -> Path:
    """Images in class folders, those of a cell in a folder of its own within."""
    for label in labels:
        for cell in cells:
            file = home / label / cell / "a.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 5), len(label) + len(cell), dtype=np.uint8)).save(file)
    return home


def imported(tmp_path: Path, cells: tuple[str, ...], labels: tuple[str, ...], **settings: object) -> Path:
    home = source(tmp_path / "source", cells, labels)
    import_distribution("folder", home, tmp_path / "sets" / "mine", **settings)
    return tmp_path / "sets" / "mine"


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_the_line(folder: Path, packed: Path | None = None):
    """What the lines of the card load, of the folder or of the zip ``packed`` that it was made into."""
    lines, classes = re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(encoding="utf-8"), re.DOTALL)
    if packed is not None:
        lines = lines.replace("THIS_FOLDER/metadata.csv", str(packed))
    names: dict[str, object] = {}
    exec(lines.replace("THIS_FOLDER", str(folder)), names)
    text = names["cells"]
    exec(classes, names)
    return text, names["cells"]


def require_whole(loaded, folder: Path, columns: tuple[str, ...] = COLUMNS) -> None:
    """Every row of the table is there, in order, each text as it is written, each image with its pixels."""
    wanted = table_of(folder)
    assert loaded.num_rows == len(wanted) and set(loaded.column_names) == {"image", *columns[1:]}
    for column in columns[1:]:
        assert loaded.features[column].dtype == "string"
        assert [text or "" for text in loaded[column]] == [row[column] for row in wanted], column
    for place in {0, len(wanted) // 2, len(wanted) - 1}:
        with Image.open(folder / wanted[place]["file_name"]) as image:
            assert np.array_equal(np.asarray(loaded[place]["image"]), np.asarray(image))


def test_the_line_of_the_card_loads_a_set_with_every_colliding_name(datasets, tmp_path):
    folder = imported(tmp_path, COLLIDING, AUTOSOMES)
    text, classes = by_the_line(folder)
    require_whole(text, folder)
    assert set(text["cell"]) == set(COLLIDING)
    assert classes.features["label"].names == list(CLASSES)
    assert [CLASSES[number] for number in classes["label"]] == text["label"][:]


def test_the_header_of_the_card_loads_it_too(datasets, tmp_path):
    folder = imported(tmp_path, COLLIDING, ("1", "2", "X"))
    require_whole(datasets.load_dataset(str(folder), split="train"), folder)


def test_without_card_and_line_the_same_set_loses_images_and_labels(datasets, tmp_path):
    """What the two are there for: should datasets come to read such a set right, they may go."""
    folder = imported(tmp_path, ("C2-test", "c"), ("1", "2"))
    (folder / CARD).unlink()
    found = datasets.load_dataset(str(folder))
    assert list(found) == ["test"] and found["test"].num_rows == 2 and found["test"].column_names == ["image"]


def test_a_zip_is_loaded_by_the_same_line(datasets, tmp_path):
    folder = imported(tmp_path, COLLIDING, ("1", "10", "Y"))
    for top in ("", "mine/"):
        packed = tmp_path / f"set{len(top)}.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, top + file.relative_to(folder).as_posix())
        require_whole(by_the_line(folder, packed)[0], folder)


def test_numbers_for_ten_thousand_rows_and_a_text_after_them(datasets, tmp_path):
    """Types are settled by the first 10,000 rows; Pki-3 holds a cell 9700TEST.6 after cells of digits alone."""
    (tmp_path / "mine" / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "mine" / "images" / "a.png")
    cells = [*[f"9700{number % 400}.{number % 3}0" for number in range(10_050)], "9700TEST.6"]
    rows = [("images/a.png", "1", cell, "", "a", "G", "x") for cell in cells]
    table = csv_lines(COLUMNS, rows)
    write_cards(tmp_path / "mine", "mine", COLUMNS, rows, table)
    write_text(tmp_path / "mine" / "metadata.csv", table)
    assert by_the_line(tmp_path / "mine")[0]["cell"][:] == cells
    assert datasets.load_dataset(str(tmp_path / "mine"), split="train")["cell"][:] == cells
    # As it was before there were cards, and without the types that the line states.
    (tmp_path / "mine" / CARD).unlink()
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        datasets.load_dataset("imagefolder", data_files=str(tmp_path / "mine" / "metadata.csv"), split="train")


def test_without_card_and_line_labels_of_autosomes_are_places_and_move_up_by_one(datasets, tmp_path):
    """What the two are there for: should datasets come to read such a set right, they may go."""
    folder = imported(tmp_path, ("a", "b"), ("1", "2", "21"))
    (folder / CARD).unlink()
    found = datasets.load_dataset(str(folder), split="train")
    moved = found.cast_column("label", datasets.ClassLabel(names=list(CLASSES)))
    assert {CLASSES[number] for number in moved["label"]} == {"2", "3", "22"}


def test_a_column_of_depths_is_in_the_card(datasets, tmp_path):
    folder = imported(tmp_path, ("a",), ("1", "2"), bit_depth=8)
    require_whole(by_the_line(folder)[0], folder, (*COLUMNS, "bits"))


def test_a_set_of_the_same_name_is_not_taken_for_another(datasets, tmp_path):
    """By the header alone, datasets knows a set by the folder's name and by what the header says."""
    first = imported(tmp_path / "1", ("a", "b"), ("1", "2"))
    second = imported(tmp_path / "2", ("a", "b", "c"), ("1", "2"))
    for folder in (first, second):
        require_whole(datasets.load_dataset(str(folder), split="train"), folder)
    moved = Path(shutil.move(first, tmp_path / "3" / "mine")) if (tmp_path / "3").mkdir() is None else first
    require_whole(by_the_line(moved)[0], moved)


def test_drawn_cells_come_with_both(datasets, tmp_path):
    folder = write_synthetic_set(tmp_path / "drawn", "G", 1, 0)
    require_whole(by_the_line(folder)[0], folder)
    assert (folder / CROISSANT).is_file() and open_dataset(folder).samples.shape == (46, len(COLUMNS))
    before = {name: (folder / name).read_bytes() for name in (CARD, CROISSANT)}
    write_synthetic_set(folder, "G", 1, 0)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_card_that_somebody_wrote_stays(tmp_path):
    folder = imported(tmp_path, ("a",), ("1", "2"))
    (folder / CARD).write_text("# My cells\n")
    import_distribution("folder", tmp_path / "source", folder)
    assert (folder / CARD).read_text() == "# My cells\n"


def test_names_are_no_markup_and_no_header(tmp_path):
    odd = "a: [b]\n---\nc"
    rows = [("images/a.png", "1", "c", "", "", "G", "x")]
    write_cards(tmp_path, odd, COLUMNS, rows, csv_lines(COLUMNS, rows))
    _, header, body = (tmp_path / CARD).read_text().split("---\n", 2)
    assert yaml.safe_load(header)["pretty_name"] == "a: [b] --- c" and "# a: \\[b]" in body
    assert json.loads((tmp_path / CROISSANT).read_text())["name"] == "a: [b] --- c"


@pytest.mark.slow
@pytest.mark.real_data
def test_all_rows_of_pki3_are_loaded(datasets, real_data, tmp_path):
    with zipfile.ZipFile(real_data / "pki3.zip") as packed:
        packed.extractall(tmp_path / "pki3")
    with (tmp_path / "pki3" / "metadata.csv").open(newline="", encoding="utf-8") as file:
        columns, *rows = csv.reader(file)
    table = (tmp_path / "pki3" / "metadata.csv").read_text()
    write_cards(tmp_path / "pki3", "Pki-3", columns, rows, table)
    text, classes = by_the_line(tmp_path / "pki3")
    require_whole(text, tmp_path / "pki3", tuple(columns))
    assert text.num_rows == 21_287 and classes.features["label"].names == list(CLASSES)
    require_whole(datasets.load_dataset(str(tmp_path / "pki3"), split="train"), tmp_path / "pki3", tuple(columns))
    require_whole(by_the_line(tmp_path / "pki3", real_data / "pki3.zip")[0], tmp_path / "pki3", tuple(columns))


#: mlcroissant is asked in a process of its own: imported here, its logging would close the standard error of all tests.
_RECORDS = """
import json, sys
import mlcroissant

def plain(value):
    return value.decode() if isinstance(value, bytes) else getattr(value, "size", None) or str(value)

dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = dataset.metadata.issues
records = {
    name: [{key.rpartition("/")[2]: plain(value) for key, value in one.items()} for one in dataset.records(name)]
    for name in ("chromosomes", "images")
}
print(json.dumps({"errors": sorted(issues.errors), "warnings": sorted(issues.warnings)} | records))
"""


def test_the_croissant_is_valid_and_gives_every_row_and_every_image(tmp_path):
    if find_spec("mlcroissant") is None:
        pytest.skip("needs bandbridge[dev]")
    folder = imported(tmp_path, ("C2-test", "97002302.20", "97002302.2"), ("1", "X"))
    done = subprocess.run(
        [sys.executable, "-c", _RECORDS, str(folder / CROISSANT)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "not standard" not in done.stderr, "the context is the one of the specification"
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["errors"], found["errors"]
    known = [{key: value for key, value in one.items() if value != "None"} for one in found["chromosomes"]]
    assert known == [{key: value for key, value in row.items() if value} for row in table_of(folder)]
    assert {one["path"] for one in found["images"]} == {row["file_name"] for row in table_of(folder)}
    assert {tuple(one["image"]) for one in found["images"]} == {(5, 9)}
    missing = {line.rpartition('"')[0].rpartition("/")[2] for line in found["warnings"]}
    assert missing == {"license", "datePublished", "version", "citeAs"}, "what its owner alone can say"


def test_no_folder_of_a_killed_import_has_a_table_without_its_card(tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bandbridge.dataset.formats.write_cards", killed)
    with contextlib.suppress(KeyboardInterrupt):
        imported(tmp_path, ("a",), ("1", "2"))
    assert not (tmp_path / "sets" / "mine" / "metadata.csv").exists()
