"""The store holds what preparation gives, is keyed by content, and names what it cannot read."""

import shutil
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bandbridge.dataset.store as store_module
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.dataset.store import build_store, dataset_fingerprint, open_store
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.karyotype import CLASSES
from bandbridge.machine import usable_cores


def test_rows_are_the_prepared_images_in_the_order_of_the_samples(chromosome_set, tmp_path):
    dataset = open_dataset(chromosome_set("G", cells=1))
    preparation = Preparation(size=48)
    store = build_store(dataset, preparation, tmp_path / "stores")
    assert store.images.shape == (46, 48, 48) and store.images.dtype == np.uint8
    for row in (0, 17, 45):
        name = dataset.samples["file_name"].iloc[row]
        expected = prepare_image(decode_gray(dataset.read_bytes(name), name), preparation)
        np.testing.assert_array_equal(store.images[row], expected)
    assert [CLASSES[target] for target in store.targets] == dataset.samples["label"].tolist()


def test_a_second_call_reads_the_store_and_other_settings_make_another(chromosome_set, tmp_path):
    dataset, root = open_dataset(chromosome_set("Q", cells=1)), tmp_path / "stores"
    build_store(dataset, Preparation(size=32), root)
    (folder,) = root.iterdir()
    written = (folder / "images.npy").stat().st_mtime_ns
    build_store(dataset, Preparation(size=32), root)
    assert (folder / "images.npy").stat().st_mtime_ns == written
    build_store(dataset, Preparation(size=32, polarity="inverted"), root)
    assert len(list(root.iterdir())) == 2


def test_the_fingerprint_follows_content_not_place(chromosome_set, tmp_path):
    original = chromosome_set("G", cells=1)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    fingerprint = dataset_fingerprint(open_dataset(original))
    assert dataset_fingerprint(open_dataset(copy)) == fingerprint
    table = (copy / "metadata.csv").read_text().splitlines()
    (copy / "metadata.csv").write_text("\n".join([table[0], *reversed(table[1:])]) + "\n")
    assert dataset_fingerprint(open_dataset(copy)) == fingerprint
    images = sorted((copy / "images").rglob("*.png"))
    images[0].write_bytes(images[1].read_bytes())
    assert dataset_fingerprint(open_dataset(copy)) != fingerprint


def test_the_common_scale_is_measured_over_the_set(chromosome_set, tmp_path):
    dataset = open_dataset(chromosome_set("G", cells=1))
    store = build_store(dataset, Preparation(size=32, scale="common"), tmp_path / "stores")
    sides = [max(decode_gray(dataset.read_bytes(name), name).shape) for name in dataset.samples["file_name"]]
    assert store.preparation.extent == max(sides)


def test_all_unreadable_images_are_named_and_nothing_is_kept(chromosome_set, tmp_path):
    folder = chromosome_set("G", cells=1)
    broken = sorted((folder / "images").rglob("*.png"))[3:5]
    for path in broken:
        path.write_bytes(b"not an image")
    with pytest.raises(ManyErrors) as caught:
        build_store(open_dataset(folder), Preparation(size=32), tmp_path / "stores")
    assert all(path.name in str(caught.value) for path in broken)
    assert not list((tmp_path / "stores").rglob("store.json"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("images.npy", b"\x93NUMPY"),
        ("images.npy", b""),
        ("samples.parquet", b"PAR1"),
        ("store.json", b""),
        ("store.json", b"[]"),
        ("store.json", b'{"fingerprint": "", "preparation": {"size": "large"}}'),
    ],
)
def test_a_damaged_store_says_what_to_delete(chromosome_set, tmp_path, name, content):
    build_store(open_dataset(chromosome_set("G", cells=1)), Preparation(size=32), tmp_path / "stores")
    (folder,) = (tmp_path / "stores").iterdir()
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match="damaged") as caught:
        open_store(folder)
    assert str(folder) in caught.value.remedy and "\n" not in caught.value.message


def test_images_of_another_type_are_not_taken_for_bytes(chromosome_set, tmp_path):
    build_store(open_dataset(chromosome_set("G", cells=1)), Preparation(size=32), tmp_path / "stores")
    (folder,) = (tmp_path / "stores").iterdir()
    np.save(folder / "images.npy", np.zeros((46, 32, 32), dtype=np.float32))
    with pytest.raises(UserError, match="damaged"):
        open_store(folder)


def test_a_full_disk_is_named_and_nothing_is_kept(chromosome_set, tmp_path):
    """46 images of 64 pixels are 188 kB; files may have 100 kB. Writing through a map would kill the process."""
    resource = pytest.importorskip("resource")
    dataset = open_dataset(chromosome_set("G", cells=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(EnvironmentFault, match=r"images\.npy"):
            build_store(dataset, Preparation(size=64), tmp_path / "stores")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "stores").rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.fixture
def processes(monkeypatch):
    """Make processes worth their start for any set, on any machine; return the pools that are opened."""
    opened = []

    class Noted(ProcessPoolExecutor):
        def __init__(self, *arguments, **options):
            opened.append(self)
            super().__init__(2, *arguments[1:], **options)

    monkeypatch.setattr(store_module, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(store_module, "_CORES_OF_THREADS", 0)
    monkeypatch.setattr(store_module, "ProcessPoolExecutor", Noted)
    return opened


@pytest.mark.slow
def test_processes_give_the_same_bytes_and_the_same_errors(chromosome_set, tmp_path, processes):
    """Of a zip, whose directory the processes are told in part, and of a folder; 46 images are no number of blocks."""
    folder = chromosome_set("G", cells=1)
    dataset = open_dataset(Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder)))
    store = build_store(dataset, Preparation(size=32, scale="common"), tmp_path / "good")
    assert store.samples["file_name"].tolist() == dataset.samples["file_name"].tolist()
    for image, name in zip(store.images, dataset.samples["file_name"], strict=True):
        expected = prepare_image(decode_gray(dataset.read_bytes(name), name), store.preparation)
        np.testing.assert_array_equal(image, expected)
    broken = sorted((folder / "images").rglob("*.png"))
    for path in (broken[3], broken[44]):
        path.write_bytes(b"not an image")
    with pytest.raises(ManyErrors) as caught:
        build_store(open_dataset(folder), Preparation(size=32), tmp_path / "bad")
    assert broken[3].name in str(caught.value) and broken[44].name in str(caught.value)
    assert len(processes) == 3


def test_no_process_is_started_for_a_small_set(chromosome_set, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "ProcessPoolExecutor", None)
    assert len(build_store(open_dataset(chromosome_set("Q", cells=1)), Preparation(size=32), tmp_path).images) == 46


def test_what_waits_to_be_written_is_bounded(monkeypatch):
    """Workers that outrun the disk would otherwise fill the memory with prepared images."""
    submitted = []

    class Pool(Executor):
        def submit(self, function, *arguments):
            submitted.append(arguments[1])
            done = Future()
            done.set_result(function(*arguments))
            return done

    names = [str(number) for number in range(100_000)]
    dataset = ImageFolder(Path(), pd.DataFrame({"file_name": names, "cell": "", "patient": ""}))
    monkeypatch.setattr(ImageFolder, "gray", lambda self, name, expected: int(name))
    blocks = store_module._blocks(dataset, Preparation())
    outcomes = store_module._outcomes(Pool(), dataset, blocks, lambda images, cells: images, None)
    assert next(outcomes) == (0, (0,))
    assert sum(map(len, submitted)) <= 32 * (4 * usable_cores() + 1)
    assert list(outcomes) == [(number, (number,)) for number in range(1, 100_000)]
