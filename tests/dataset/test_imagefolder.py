"""Datasets in folders and zips, sound, damaged and hostile."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset import imagefolder
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder, open_dataset
from bandbridge.errors import ManyErrors, UserError

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
        ("File_Name,Label\nimages/a.png,1\n", "small letters"),
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
