"""The store holds what preparation gives, is keyed by content, and names what it cannot read."""

import shutil

import numpy as np
import pytest

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.dataset.store import build_store, dataset_fingerprint, open_store
from bandbridge.errors import ManyErrors, UserError
from bandbridge.karyotype import CLASSES


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


def test_the_disk_is_taken_before_it_is_mapped(chromosome_set, tmp_path, monkeypatch):
    """Writing through a map into a hole that a full disk cannot fill kills the process."""
    taken = []
    mapped = np.lib.format.open_memmap

    def open_memmap(path, *arguments, **options):
        taken.append(path.stat().st_blocks * 512 if path.exists() else 0)
        return mapped(path, *arguments, **options)

    monkeypatch.setattr(np.lib.format, "open_memmap", open_memmap)
    build_store(open_dataset(chromosome_set("G", cells=1)), Preparation(size=64), tmp_path / "stores")
    assert taken and taken[0] >= 46 * 64 * 64
