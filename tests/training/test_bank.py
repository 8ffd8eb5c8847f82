"""The bank gives the bytes that indexing the map gives, and reads them without mapping them in."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bandbridge.errors import EnvironmentFault
from bandbridge.training.bank import ImageBank

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path):
    """A read-only memory map of 200 images, 24 pixels a side."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (200, 24, 24), dtype=np.uint8))
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "rows",
    [[], [0], [199], [5, 4, 3], [7, 7, 8, 8, 9], [-1, 0, 1], [*range(200)], [198, 199, 0, 1, 100]],
    ids=str,
)
def test_read_bytes_are_the_mapped_bytes(mapped, rows):
    rows = np.array(rows, dtype=np.int64)
    batch = ImageBank(mapped, CPU).batch(torch.from_numpy(rows))
    assert batch.shape == (len(rows), 1, 24, 24) and batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch[:, 0].numpy(), mapped[rows])


def test_random_rows_of_maps_parts_and_plain_arrays_are_the_same_bytes(mapped):
    """A part keeps its parent's file and offset, which would be the wrong place in the file."""
    rows = np.random.default_rng(1).integers(0, 100, 500)
    for images in (mapped, mapped[50:], mapped[::2], mapped[:, ::-1], np.array(mapped)):
        batch = ImageBank(images, CPU).batch(torch.from_numpy(rows))
        np.testing.assert_array_equal(batch[:, 0].numpy(), images[rows])


@pytest.mark.parametrize("batch_size", [1, 16, 33, 200, 1000])
@pytest.mark.parametrize("on_disk", [True, False])
def test_batches_are_batch_by_batch_what_was_asked_for(mapped, batch_size, on_disk):
    rows = torch.from_numpy(np.random.default_rng(2).permutation(200)[:99])
    bank = ImageBank(mapped if on_disk else np.array(mapped), CPU)
    given = list(bank.batches(rows, batch_size))
    expected = [bank.batch(part) for part in rows.split(batch_size)]
    assert len(given) == len(expected) and all(map(torch.equal, given, expected))
    assert list(bank.batches(rows[:0], batch_size)) == []


def test_one_batch_is_read_ahead_and_none_is_changed_afterwards(mapped):
    bank = ImageBank(mapped, CPU)
    fetch, asked = bank._fetch, []
    bank._fetch = lambda rows: (asked.append(rows.tolist()), fetch(rows))[1]
    stream = bank.batches(torch.arange(12), 3)
    first = next(stream)
    kept = first.clone()
    stream.close()
    assert asked == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(first, kept)


def test_rows_that_are_not_there_are_an_error_as_with_a_map(mapped):
    for row in (200, -201):
        with pytest.raises(IndexError):
            ImageBank(mapped, CPU).batch(torch.tensor([0, row]))


def test_a_file_that_was_cut_off_names_itself_where_a_map_would_kill_the_process(mapped):
    bank = ImageBank(mapped, CPU)
    os.truncate(mapped.filename, 5000)
    with pytest.raises(EnvironmentFault, match=r"images\.npy"):
        bank.batch(torch.tensor([150]))
    with pytest.raises(EnvironmentFault, match=r"images\.npy"):
        list(bank.batches(torch.arange(100, 200), 10))


def test_a_file_that_lost_its_name_is_still_served(mapped):
    expected = np.array(mapped)
    mapped.filename.unlink()
    np.testing.assert_array_equal(ImageBank(mapped, CPU).batch(torch.arange(200))[:, 0].numpy(), expected)


def test_copying_in_blocks_copies_everything(mapped, monkeypatch):
    """What a GPU would hold, copied to the CPU; 200 images are no whole number of blocks of 64."""
    monkeypatch.setattr("bandbridge.training.bank._BLOCK", 64)
    np.testing.assert_array_equal(ImageBank(mapped, CPU)._copy_to_device().numpy(), mapped)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_file_is_closed_with_the_bank(mapped):
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    for _ in range(20):
        ImageBank(mapped, CPU).batch(torch.arange(3))
    assert len(list(opened.iterdir())) <= before + 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_reading_a_whole_set_does_not_make_it_resident(tmp_path):
    """64 MiB, all of it read: the process grows by a few batches. Mapped, it would grow by all."""
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (4096, 128, 128))
    images[:] = np.arange(4096, dtype=np.uint8)[:, None, None]
    images.flush()
    program = f"""
import numpy as np, torch
from bandbridge.training.bank import ImageBank
def resident():  # what is the process's own, and what it holds of the file; libraries' pages come and go as they like
    kib, ours = 0, False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0]:
            ours = "images.npy" in line
        elif line.startswith("Rss:" if ours else "Anonymous:"):
            kib += int(line.split()[1])
    return kib
images = np.load({str(tmp_path / "images.npy")!r}, mmap_mode="r")
bank = ImageBank(images, torch.device("cpu"))
list(bank.batches(torch.arange(256), 64))  # what torch and the reading thread take once is not the set's
before = resident()
total = sum(int(batch[:, 0, 0, 0].sum()) for batch in bank.batches(torch.randperm(len(images)), 64))
print(total, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    total, kib = map(int, done.stdout.split())
    assert total == 4096 // 256 * sum(range(256))
    assert kib < 32 * 1024
