"""The store holds what preparation gives, is keyed by content, and names what it cannot read."""

import json
import pickle
import shutil
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.finished import unseal

import bandbridge.dataset.store as store_module
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import ChangedError, ImageFolder, open_dataset
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.dataset.store import build_store, dataset_fingerprint, open_store
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.karyotype import CLASSES
from bandbridge.machine import usable_cores
from bandbridge.seal import AlteredError
from bandbridge.workers import Workers


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
    if name != "store.json":
        with pytest.raises(AlteredError, match=f"{name} was altered") as caught:
            open_store(folder)
        assert str(folder) in caught.value.remedy
        unseal(folder)
    with pytest.raises(UserError, match="damaged") as caught:
        open_store(folder)
    assert str(folder) in caught.value.remedy and "\n" not in caught.value.message


def test_images_of_another_type_are_not_taken_for_bytes(chromosome_set, tmp_path):
    build_store(open_dataset(chromosome_set("G", cells=1)), Preparation(size=32), tmp_path / "stores")
    (folder,) = (tmp_path / "stores").iterdir()
    np.save(folder / "images.npy", np.zeros((46, 32, 32), dtype=np.float32))
    unseal(folder)
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


def exchange(folder: Path) -> str:
    """Put the second image of the set in ``folder`` in the place of its first; return that one's name."""
    first, second = open_dataset(folder).samples["file_name"].iloc[:2]
    (folder / first).write_bytes((folder / second).read_bytes())
    return str(first)


@pytest.mark.parametrize("scale", ["each", "common"])  # the second reads every image twice
def test_an_image_exchanged_since_the_fingerprint_is_named_and_nothing_is_kept(chromosome_set, tmp_path, scale):
    folder = chromosome_set("G", cells=1)
    dataset = open_dataset(folder)
    fingerprint = dataset_fingerprint(dataset)
    name = exchange(folder)
    with pytest.raises(ManyErrors, match="1 of the 46 images") as caught:
        build_store(dataset, Preparation(size=32, scale=scale), tmp_path / "stores", fingerprint)
    (problem,) = caught.value.problems
    assert name in problem and "is not the file that it was" in problem
    assert "run the command again for the set as it is now" in caught.value.remedy
    assert not [path for path in (tmp_path / "stores").rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(build_store(open_dataset(folder), Preparation(size=32, scale=scale), tmp_path / "stores").images) == 46


def test_what_is_sent_to_another_process_knows_the_file_too(chromosome_set):
    folder = chromosome_set("G", cells=1)
    dataset = open_dataset(folder)
    dataset_fingerprint(dataset)
    name = exchange(folder)
    with pytest.raises(ChangedError, match=f"{name} is not the file that it was"):
        pickle.loads(pickle.dumps(dataset.only([name]))).read_bytes(name)


@pytest.mark.slow
def test_the_exchange_is_seen_in_other_processes_too(chromosome_set, tmp_path, processes):
    folder = chromosome_set("G", cells=1)
    dataset = open_dataset(folder)
    fingerprint = dataset_fingerprint(dataset)
    name = exchange(folder)
    with pytest.raises(ManyErrors) as caught:
        build_store(dataset, Preparation(size=32), tmp_path / "stores", fingerprint)
    assert processes and name in str(caught.value) and "is not the file that it was" in str(caught.value)


def test_a_store_in_the_place_of_another_is_refused(chromosome_set, tmp_path):
    datasets = [open_dataset(chromosome_set("G", cells=1, seed=seed)) for seed in (0, 1)]
    one, two = [build_store(dataset, Preparation(size=32), tmp_path / "stores") for dataset in datasets]
    folder, other = (
        next(path for path in (tmp_path / "stores").iterdir() if open_store(path).fingerprint == store.fingerprint)
        for store in (one, two)
    )
    with pytest.raises(AlteredError, match="those of another set"):
        open_store(folder, two.fingerprint)
    shutil.rmtree(folder)
    other.rename(folder)
    for fingerprint in (None, one.fingerprint, two.fingerprint):
        with pytest.raises(AlteredError, match=r"those of another set|moved here from another folder") as caught:
            open_store(folder, fingerprint)
        assert caught.value.remedy == f"Delete {folder}; it is rebuilt."
    unseal(folder)
    value = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({name: value[name] for name in value.keys() - {"key"}}))
    assert open_store(folder, two.fingerprint).fingerprint == two.fingerprint, "of an earlier build, which kept no key"
    with pytest.raises(AlteredError, match="those of another set"):
        build_store(datasets[0], Preparation(size=32), tmp_path / "stores")


def test_an_edited_store_json_is_refused(chromosome_set, tmp_path):
    build_store(open_dataset(chromosome_set("G", cells=1)), Preparation(size=32), tmp_path / "stores")
    (path,) = (tmp_path / "stores").glob("*/store.json")
    text = path.read_text()
    path.write_text(text.replace('"polarity": "as-is"', '"polarity": "inverted"'))
    assert path.read_text() != text
    with pytest.raises(AlteredError, match=r"store\.json was altered"):
        open_store(path.parent)


@pytest.fixture
def processes(monkeypatch):
    """Make processes worth their start for any set, on any machine; return the pools that are opened."""
    opened = []

    class Noted(Workers):
        def __init__(self, processes, prepare):
            opened.append(self)
            super().__init__(2, prepare)

    monkeypatch.setattr(store_module, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(store_module, "_CORES_OF_THREADS", 0)
    monkeypatch.setattr(store_module, "Workers", Noted)
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
    monkeypatch.setattr(store_module, "Workers", None)
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
