"""Datasets in folders and zips, sound, damaged and hostile."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import struct
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bandbridge.dataset import imagefolder
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder, holds_table, open_dataset
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import csv_lines

TABLE = "file_name,label,cell\nimages/a.png,1,c1\nimages/b.png,X,c1\n"


def png(value: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((5, 4), value, dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


FILES = {"metadata.csv": TABLE.encode(), "images/a.png": png(1), "images/b.png": png(2)}


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zip_of(path: Path, files: dict[str, bytes], top: str = "", packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return path


@pytest.fixture(params=["folder", "stored zip", "deflated zip", "zip with a top folder"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> ImageFolder:
    if request.param == "folder":
        return open_dataset(folder_of(tmp_path / "set", FILES))
    packing = zipfile.ZIP_STORED if request.param == "stored zip" else zipfile.ZIP_DEFLATED
    top = "my set/" if "top" in request.param else ""
    return open_dataset(zip_of(tmp_path / "set.zip", FILES, top, packing))


def test_samples_have_all_columns_as_text(dataset: ImageFolder) -> None:
    assert tuple(dataset.samples.columns) == COLUMNS
    assert dataset.samples["file_name"].tolist() == ["images/a.png", "images/b.png"]
    assert dataset.samples["label"].tolist() == ["1", "X"]
    assert dataset.samples["patient"].tolist() == ["", ""]


def test_bytes_and_hashes_are_those_of_the_files(dataset: ImageFolder) -> None:
    assert dataset.read_bytes("images/b.png") == FILES["images/b.png"]
    expected = [hashlib.sha256(FILES[f"images/{name}.png"]).hexdigest() for name in "ab"]
    assert dataset.content_hashes() == expected


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "images/../../x", "C:/x.png", "images\\a.png", ""])
def test_names_that_lead_out_are_refused(dataset: ImageFolder, name: str) -> None:
    with pytest.raises(UserError, match="leads out"):
        dataset.read_bytes(name)


def test_absent_file_is_named(dataset: ImageFolder) -> None:
    with pytest.raises(UserError, match=r"images/c\.png"):
        dataset.read_bytes("images/c.png")


def test_threads_and_processes_may_share_it(dataset: ImageFolder) -> None:
    names = ["images/a.png", "images/b.png"] * 50
    expected = [FILES[name] for name in names]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dataset.read_bytes, names)) == expected
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(dataset.read_bytes, names[:2])) == expected[:2]
    assert pickle.loads(pickle.dumps(dataset)).read_bytes(names[0]) == expected[0]


def test_files_larger_than_the_bound_are_refused(dataset: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagefolder, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(UserError, match=r"a\.png is larger than 10 bytes"):
        dataset.read_bytes("images/a.png")


def test_table_is_read_as_text_with_byte_order_mark_blanks_and_extra_columns(tmp_path: Path) -> None:
    table = "\ufefffile_name, label,split,cell\n images/a.png , 01 ,val,NA1\nimages/b.png,Y,train,7\n"
    samples = open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": table.encode()})).samples
    assert samples["file_name"].tolist() == ["images/a.png", "images/b.png"]
    assert samples["label"].tolist() == ["01", "Y"]
    assert samples["cell"].tolist() == ["NA1", "7"]
    assert "split" not in samples


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "lacks the column file_name and label"),
        ("file_name,label\n\n", "lists no image"),
        ("name,label\na,1\n", "lacks the column file_name"),
        ("name,class\na,1\n", "lacks the column file_name and label"),
        ("file_name,label,label \nimages/a.png,1,2\n", "column twice"),
        ('file_name,label\n"images/a.png,1\n', "not a readable CSV"),
        ("file_name,label\nimages/a.png,1,2,3\n", r"row 2: images/a\.png,1,2,3"),
    ],
)
def test_bad_tables(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": table.encode()}))


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        ("file_name;label\nimages/a.png;1\n", "semicolons: save it with commas"),
        ("file_name\tlabel\nimages/a.png\t1\n", "tabs: save it with commas"),
        ("image,class\nimages/a.png,1\n", "It has: image, class"),
    ],
)
def test_a_header_that_is_nearly_right_says_what_to_change(tmp_path: Path, table: str, remedy: str) -> None:
    with pytest.raises(UserError, match="lacks the column") as caught:
        open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": table.encode()}))
    assert remedy in caught.value.remedy


def test_table_with_the_line_ends_of_windows(tmp_path: Path) -> None:
    table = "\ufefffile_name,label\r\nimages/a.png,1\r\nimages/b.png,X\r\n"
    folder = open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": table.encode()}))
    assert folder.samples["label"].tolist() == ["1", "X"]


def test_table_that_is_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a readable CSV"):
        open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": "file_name,label\nä.png,1\n".encode("latin-1")}))


def test_bad_rows_are_reported_together(tmp_path: Path) -> None:
    rows = ["images/a.png,1", "images/a.png,2", "images/b.png,", "images/c.png,3", "../d.png,4"]
    table = "\n".join(["file_name,label", *rows])
    with pytest.raises(ManyErrors) as caught:
        open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": table.encode()}))
    assert caught.value.problems == [
        "row 2: images/a.png is listed 2 times",
        "row 3: images/a.png is listed 2 times",
        "row 4: images/b.png has no label",
        "row 5: images/c.png is not there",
        "row 6: '../d.png' leads out of the dataset",
    ]


def test_path_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such dataset"):
        open_dataset(tmp_path / "none")
    with pytest.raises(UserError, match="no such dataset"):
        open_dataset(tmp_path / ("n" * 300))
    with pytest.raises(UserError, match=r"holds no metadata\.csv") as caught:
        open_dataset(tmp_path)
    assert "data import" in caught.value.remedy
    with pytest.raises(UserError, match=r"holds no metadata\.csv"):
        open_dataset(zip_of(tmp_path / "a.zip", {"a.png": png(1)}))
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match="not a readable zip"):
        open_dataset(tmp_path / "b.zip")


def test_zip_that_escapes_or_repeats_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManyErrors, match=r"\.\./evil\.png"):
        open_dataset(zip_of(tmp_path / "a.zip", FILES | {"../evil.png": png(1)}))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, data in [*FILES.items(), ("images/a.png", png(9))]:
            archive.writestr(name, data)
    with pytest.raises(ManyErrors, match="stored 2 times"):
        open_dataset(tmp_path / "b.zip")


def test_zip_of_another_packing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManyErrors, match="other than store and deflate"):
        open_dataset(zip_of(tmp_path / "a.zip", FILES, packing=zipfile.ZIP_LZMA))


def test_zip_member_that_lies_about_its_size(tmp_path: Path) -> None:
    bomb = FILES | {"images/a.png": bytes(4 * 2**20)}
    path = zip_of(tmp_path / "a.zip", bomb)
    data = path.read_bytes()
    true, claimed = struct.pack("<I", 4 * 2**20), struct.pack("<I", 100)
    assert data.count(true) == 2  # the local header and the directory
    path.write_bytes(data.replace(true, claimed))
    with pytest.raises(UserError, match=r"a\.png is damaged"):
        open_dataset(path).read_bytes("images/a.png")


def test_damaged_zip_member_is_named(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", FILES, packing=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(FILES["images/a.png"]) + 20] ^= 0xFF
    path.write_bytes(data)
    opened = open_dataset(path)
    assert opened.read_bytes("images/b.png") == FILES["images/b.png"]
    with pytest.raises(UserError, match=r"images/a\.png is damaged"):
        opened.read_bytes("images/a.png")


def test_links_in_a_folder_are_followed(tmp_path: Path) -> None:
    store = folder_of(tmp_path / "store", {"blob": png(1)})
    files = {name: data for name, data in FILES.items() if name != "images/a.png"}
    path = folder_of(tmp_path / "set", files)
    (path / "images/a.png").symlink_to(store / "blob")
    assert open_dataset(path).read_bytes("images/a.png") == png(1)


@pytest.mark.real_data
def test_real_bioimlab(real_data: Path) -> None:
    samples = open_dataset(real_data / "bioimlab.zip").samples
    counts = samples["label"].value_counts()
    assert [counts[str(number)] for number in range(1, 23)] == [238] * 22
    assert (counts["X"], counts["Y"]) == (193, 45)
    assert samples["cell"].nunique() == 119


# Tables as spreadsheets and other systems leave them


@pytest.mark.parametrize(
    "table",
    [
        "file_name,label,,\nimages/a.png,1,,\nimages/b.png,X,,\n,,,\n , ,,\n",
        "\n,,\nfile_name,label,\nimages/a.png,1,\n\nimages/b.png,X,note\n",
        ",file_name,label\n0,images/a.png,1\n1,images/b.png,X\n",
        "file_name,label\nimages/a.png,1,,,\nimages/b.png,X,\n",
        "file_name,label,,\nimages/a.png,1\nimages/b.png,X\n",
        "file_name,label\nimages\\a.png,1\n.\\images\\b.png,X\n",
        "file_name,label\n./images/a.png,1\nimages//b.png,X\n",
        "file_name,label\nImages/A.PNG,1\nIMAGES\\b.Png,X\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_meant_is_read(tmp_path: Path, table: str, packed: bool) -> None:
    files = FILES | {"metadata.csv": table.encode()}
    opened = open_dataset(zip_of(tmp_path / "a.zip", files) if packed else folder_of(tmp_path / "a", files))
    assert opened.samples["label"].tolist() == ["1", "X"]
    assert [opened.read_bytes(name) for name in opened.samples["file_name"]] == [png(1), png(2)]


def test_letters_that_a_file_system_takes_apart(tmp_path: Path) -> None:
    apart, composed = "images/a\u0308.png", "images/\u00e4.png"
    table = f"file_name,label\n{composed},1\n".encode()
    folder = folder_of(tmp_path, {"metadata.csv": table, apart: png(3)})
    assert open_dataset(folder).samples["file_name"].tolist() == [apart]


def test_a_name_that_works_as_it_is_written_stays_so(tmp_path: Path) -> None:
    # What a set is by content includes the names in its table: finished runs must find it unchanged.
    folder = folder_of(tmp_path, FILES | {"metadata.csv": b"file_name,label\n./images/a.png,1\nimages/b.png,X\n"})
    assert open_dataset(folder).samples["file_name"].tolist() == ["./images/a.png", "images/b.png"]


def test_names_that_mean_nothing_say_why_with_the_row_of_the_spreadsheet(tmp_path: Path) -> None:
    rows = ["", "C:\\cells\\a.png,1", "\\\\server\\cells\\a.png,1", "/data/a.png,1", "..\\a.png,1", ",1"]
    rows += ["images/A.png,1", ".\\images\\b.png,X", "images/B.PNG,X"]
    files = {name: data for name, data in FILES.items() if not name.endswith("a.png")}
    files |= {"images/a.PNG": png(1), "images/a.png": png(2)}
    with pytest.raises(ManyErrors, match=r"8 of 8 rows of metadata\.csv cannot be used") as caught:
        open_dataset(folder_of(tmp_path, files | {"metadata.csv": "\n".join(["file_name,label", *rows]).encode()}))
    told = caught.value.problems
    assert [line.partition(":")[0] for line in told] == [f"row {number}" for number in range(3, 11)]
    for line in told[:3]:
        assert "leads out of the dataset: it is a path of one computer" in line
    assert told[3].endswith("leads out of the dataset") and told[4] == "row 7: no file is named"
    assert told[5] == "row 8: images/A.png is not there; images/a.PNG and images/a.png are called nearly so"
    assert told[6:] == [f"row {number}: images/b.png is listed 2 times" for number in (9, 10)]


def test_columns_called_alike_are_still_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column twice"):
        open_dataset(folder_of(tmp_path, FILES | {"metadata.csv": b"file_name,label,label,,\nimages/a.png,1,2,,\n"}))


# The other forms of Hugging Face's imagefolder


def parquet(**columns: list) -> bytes:
    data = io.BytesIO()
    pd.DataFrame(columns).to_parquet(data)
    return data.getvalue()


LINES = b'{"file_name": "images/a.png", "label": 1, "cell": null}\n\n{"file_name": "images/b.png", "label": "X"}\n'
FORMS = {
    "lines": {"metadata.jsonl": LINES},
    "parquet": {"metadata.parquet": parquet(file_name=["images/a.png", "images/b.png"], label=["1", "X"])},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top", [None, "", "my set/"])
def test_tables_of_other_kinds(tmp_path: Path, form: str, top: str | None) -> None:
    files = {name: data for name, data in FILES.items() if name != "metadata.csv"} | FORMS[form]
    place = folder_of(tmp_path / "set", files) if top is None else zip_of(tmp_path / "set.zip", files, top)
    opened = open_dataset(place)
    assert holds_table(place) and tuple(opened.samples.columns) == COLUMNS
    assert opened.samples[["file_name", "label", "cell"]].to_numpy().tolist() == [
        ["images/a.png", "1", ""],
        ["images/b.png", "X", ""],
    ]
    assert opened.read_bytes("images/b.png") == png(2)


SPLITS = {
    "train/metadata.csv": b"file_name,label\na.png,1\n./c/b.png,X\n",
    "train/a.png": png(1),
    "train/c/b.png": png(2),
    "test/metadata.jsonl": b'{"file_name": "a.png", "label": "Y"}\n',
    "test/a.png": png(3),
}


@pytest.mark.parametrize("home", ["", "data/"])
@pytest.mark.parametrize("top", [None, "", "my set/"])
def test_a_table_in_each_split(tmp_path: Path, home: str, top: str | None) -> None:
    files = {home + name: data for name, data in SPLITS.items()}
    place = folder_of(tmp_path / "set", files) if top is None else zip_of(tmp_path / "set.zip", files, top)
    opened = open_dataset(place)
    assert opened.samples["file_name"].tolist() == [
        f"{home}{name}" for name in ("test/a.png", "train/a.png", "train/c/b.png")
    ]
    assert opened.samples["label"].tolist() == ["Y", "1", "X"] and holds_table(place)
    assert [opened.read_bytes(name) for name in opened.samples["file_name"]] == [png(3), png(1), png(2)]


def test_rows_of_splits_are_told_with_their_table(tmp_path: Path) -> None:
    wrong = {
        "train/metadata.csv": b"file_name,label\na.png,1\n/train/a.png,1\n",
        "test/metadata.jsonl": b'{"file_name": "z.png", "label": "1"}',
    }
    with pytest.raises(ManyErrors, match=r"test/metadata\.jsonl and train/metadata\.csv") as caught:
        open_dataset(folder_of(tmp_path, SPLITS | wrong))
    assert caught.value.problems == [
        "test/metadata.jsonl, line 1: test/z.png is not there",
        "train/metadata.csv, row 3: '/train/a.png' leads out of the dataset: it is a path of one computer, "
        "not one that begins in the set",
    ]


def test_the_root_s_own_table_comes_first(tmp_path: Path) -> None:
    assert len(open_dataset(folder_of(tmp_path, FILES | SPLITS)).samples) == 2


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"q/metadata.csv": b"", "g/metadata.csv": b""}, "There is one in g, q: name that folder"),
        ({"data-00000-of-00001.arrow": b""}, "save each as a file"),
        ({"data/train-00000-of-00001.parquet": b""}, "save each as a file"),
        ({"1/a.png": b""}, "data import"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_such_set_says_what_to_do(tmp_path: Path, files: dict[str, bytes], words: str, packed: bool) -> None:
    place = zip_of(tmp_path / "a.zip", files) if packed else folder_of(tmp_path / "a", files)
    with pytest.raises(UserError, match=r"holds no metadata\.csv") as caught:
        open_dataset(place)
    assert words in caught.value.remedy and not holds_table(place)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("metadata.jsonl", b'{"file_name": "images/a.png", "label"\n[1]\n', "line 1: .*\n.*line 2: not an object"),
        ("metadata.jsonl", b'{"file_name": "images/a.png", "label": ["1"]}\n', "line 1: label is no text"),
        ("metadata.jsonl", b'{"file_name": "images/a.png"}\n', "lacks the column label"),
        ("metadata.jsonl", b"\n\n", "lacks the column"),
        ("metadata.jsonl", b"\xff\xfe", "not readable"),
        ("metadata.parquet", b"PAR1", "not a readable table"),
        ("metadata.parquet", parquet(image=[{"bytes": b"x", "path": "a.png"}], label=["1"]), "names no files"),
    ],
)
def test_broken_tables_of_other_kinds(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    files = {each: content for each, content in FILES.items() if each != "metadata.csv"}
    with pytest.raises(UserError, match=words):
        open_dataset(folder_of(tmp_path, files | {name: data}))


def test_a_guarded_formula_is_read_as_the_name_that_it_was(tmp_path: Path) -> None:
    table = csv_lines(("file_name", "label", "cell"), [("images/a.png", "1", "=1+1"), ("images/b.png", "X", "'@a")])
    assert "'=1+1" in table
    folder = folder_of(tmp_path, FILES | {"metadata.csv": table.encode()})
    assert open_dataset(folder).samples["cell"].tolist() == ["=1+1", "'@a"]


@pytest.mark.parametrize("packed", [False, True])
def test_two_tables_side_by_side_are_refused(tmp_path, drawn_set, packed):
    folder = shutil.copytree(drawn_set("G", 1, 0), tmp_path / "set")
    (folder / "metadata.jsonl").write_text('{"file_name": "images/other.png", "label": "1"}\n')
    place = Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder)) if packed else folder
    with pytest.raises(UserError, match=r"metadata\.csv, metadata\.jsonl: which of them is meant is not known"):
        open_dataset(place)


def test_a_zip_with_backslashes_is_not_said_to_lead_out(tmp_path):
    place = tmp_path / "set.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("metadata.csv", "file_name,label\nc1/1a.png,1\n")
        archive.writestr("c1\\1a.png", b"x")
    with pytest.raises(UserError, match="has backslashes where folders have /"):
        open_dataset(place)


def test_a_member_of_a_zip_without_a_name_is_named_as_such(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("metadata.csv", "file_name,label\na.png,1\n")
        archive.writestr(zipfile.ZipInfo(""), b"x")
    with pytest.raises(UserError, match=r"set\.zip cannot be read safely"):
        open_dataset(tmp_path / "set.zip")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_devices_are_refused_at_once(tmp_path, chromosome_set):
    """Nobody writes into the pipe: to read it would be to wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (open_dataset, holds_table):
            with pytest.raises(UserError, match="a pipe or a device"):
                read(path)
    dataset = open_dataset(chromosome_set("G", cells=1))
    name = dataset.samples["file_name"][0]
    (dataset.path / name).unlink()
    os.mkfifo(dataset.path / name)
    with pytest.raises(UserError, match="is no file, but a folder, a pipe or a device"):
        dataset.read_bytes(name)


def test_a_table_that_is_too_large_is_not_called_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr("bandbridge.dataset.imagefolder._MAX_METADATA_BYTES", 10)
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,1\n")
    with pytest.raises(UserError, match="larger than 10 bytes") as caught:
        open_dataset(tmp_path)
    assert "image of one chromosome" not in caught.value.remedy


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a/" + "y" * 300 + "/b.png"])
def test_a_name_that_no_file_can_have_is_not_there(tmp_path, name):
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{name},1\n")
    with pytest.raises(ManyErrors, match="is not there"):
        open_dataset(tmp_path)


@pytest.fixture
def case_blind(monkeypatch):
    """A disk, as of Windows and macOS, that finds a file by its name in any case; it lists them as they were made."""
    stat, opened = Path.stat, os.open

    def true(path) -> Path:
        found = Path(Path(path).anchor)
        for part in Path(path).absolute().parts[1:]:
            alike = [each for each in os.listdir(found) if each.lower() == part.lower()] if found.is_dir() else []  # noqa: PTH208
            found = found / (alike or [part])[0]
        return found

    monkeypatch.setattr(Path, "is_dir", os.path.isdir)
    monkeypatch.setattr(Path, "stat", lambda path, **how: stat(true(path), **how))
    monkeypatch.setattr(os, "open", lambda path, *how, **more: opened(true(path), *how, **more))


def test_where_the_disk_does_not_tell_case_a_set_is_what_it_is_on_other_systems(case_blind, tmp_path):
    table = b"file_name,label\nIMAGES/A.PNG,1\nimages/b.png,X\n"
    dataset = open_dataset(folder_of(tmp_path / "set", FILES | {"metadata.csv": table}))
    assert dataset.samples["file_name"].tolist() == ["images/a.png", "images/b.png"]
    assert dataset.read_bytes("images/a.png") == FILES["images/a.png"]
    twice = b"file_name,label\nIMAGES/A.PNG,1\nimages/a.png,1\n"
    with pytest.raises(ManyErrors, match=r"images/a\.png is listed 2 times"):
        open_dataset(folder_of(tmp_path / "twice", FILES | {"metadata.csv": twice}))
