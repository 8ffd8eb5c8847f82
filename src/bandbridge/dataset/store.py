"""The store: a dataset decoded and prepared once, as one uint8 array on disk that every run maps into memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from bandbridge.dataset.decode import decode_gray, quiet_pillow
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder
from bandbridge.dataset.prepare import PREPARATION_VERSION, Preparation, prepare_image, trim
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import content_hash, replacing, write_json
from bandbridge.karyotype import order_classes
from bandbridge.progress import track

T = TypeVar("T")


@dataclass(frozen=True)
class Store:
    """A prepared dataset.

    images: uint8 [N, size, size], memory-mapped and read-only.
    samples: N rows of ``file_name, label, cell, patient, copy, stain, source``, in the order of ``images``.
    fingerprint: identity of the source images and labels (:func:`dataset_fingerprint`).
    preparation: as applied, ``extent`` filled in.
    """

    images: np.ndarray
    samples: pd.DataFrame
    fingerprint: str
    preparation: Preparation

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return order_classes(self.samples["label"])

    @property
    def targets(self) -> np.ndarray:
        """int64 [N], the index of each label in :attr:`classes`."""
        index = {name: position for position, name in enumerate(self.classes)}
        return self.samples["label"].map(index).to_numpy(dtype=np.int64)


def dataset_fingerprint(dataset: ImageFolder) -> str:
    """Return 64 hexadecimal digits that change with any image's bytes, name, label, cell or patient.

    The order of the rows and where the dataset lies do not matter.
    """
    keyed = dataset.samples[["file_name", "label", "cell", "patient"]].to_numpy().tolist()
    return content_hash(sorted([*row, digest] for row, digest in zip(keyed, dataset.content_hashes(), strict=True)))


def build_store(dataset: ImageFolder, preparation: Preparation, root: Path, fingerprint: str | None = None) -> Store:
    """Return the store of ``dataset`` under ``root``, building it first where it is not there yet.

    The folder's name is the hash of the content and the preparation, so a store is never out of date and a built one
    is shared. Raises :class:`ManyErrors` naming every image that cannot be read; nothing is kept then.
    """
    fingerprint = fingerprint or dataset_fingerprint(dataset)
    key = content_hash([fingerprint, preparation.model_dump(), PREPARATION_VERSION])[:16]
    folder = root / key
    if not (folder / "store.json").exists():
        measured = _measure_extent(dataset, preparation)
        _write_images(dataset, measured, folder)
        with replacing(folder / "samples.parquet") as temporary:
            dataset.samples[list(COLUMNS)].to_parquet(temporary, index=False)
        write_json(folder / "store.json", {"fingerprint": fingerprint, "preparation": measured.model_dump()})
    return open_store(folder)


def open_store(folder: Path) -> Store:
    """Map the store in ``folder`` into memory. Raises :class:`UserError` when it is damaged."""
    try:
        facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        samples = pd.read_parquet(folder / "samples.parquet")
        preparation = Preparation.model_validate(facts["preparation"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as fault:
        reason = str(fault).partition("\n")[0]
        raise UserError(
            f"the prepared images in {folder} are damaged ({reason})", f"Delete {folder}; it is rebuilt."
        ) from fault
    if images.dtype != np.uint8 or images.shape != (len(samples), preparation.size, preparation.size):
        raise UserError(
            f"the prepared images in {folder} are damaged (wrong shape)", f"Delete {folder}; it is rebuilt."
        )
    return Store(images, samples, facts["fingerprint"], preparation)


def _measure_extent(dataset: ImageFolder, preparation: Preparation) -> Preparation:
    if preparation.scale != "common" or preparation.extent is not None:
        return preparation

    def longer_side(name: str) -> int:
        return max(trim(decode_gray(dataset.read_bytes(name), name), preparation).shape)

    sides = _for_each_image(dataset, longer_side, "measuring the common scale")
    return preparation.model_copy(update={"extent": max(sides)})


def _write_images(dataset: ImageFolder, preparation: Preparation, folder: Path) -> None:
    shape = (len(dataset.samples), preparation.size, preparation.size)
    position = {name: row for row, name in enumerate(dataset.samples["file_name"])}
    with replacing(folder / "images.npy") as temporary:
        _write_blank(temporary, shape)
        images = np.lib.format.open_memmap(temporary, mode="r+")

        def fill(name: str) -> None:
            images[position[name]] = prepare_image(decode_gray(dataset.read_bytes(name), name), preparation)

        _for_each_image(dataset, fill, "preparing images")
        images.flush()


def _write_blank(path: Path, shape: tuple[int, int, int]) -> None:
    """Write an array of zeros. A disk that is too small fails here; under a memory map it would kill the process."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.writelines(repeat(bytes(shape[1] * shape[2]), shape[0]))


def _for_each_image(dataset: ImageFolder, work: Callable[[str], T], description: str) -> list[T]:
    """Call ``work`` on every file name, on all cores, and report all unreadable images together."""
    names = dataset.samples["file_name"].tolist()
    results: list[T] = []
    problems: list[str] = []

    def attempt(name: str) -> tuple[T] | UserError:
        try:
            return (work(name),)
        except UserError as error:
            return error

    with quiet_pillow(), ThreadPoolExecutor(os.cpu_count()) as threads:
        for outcome in track(threads.map(attempt, names), len(names), description):
            if isinstance(outcome, UserError):
                problems.append(outcome.message)
            else:
                results.append(outcome[0])
    if problems:
        raise ManyErrors(
            f"{len(problems)} of the {len(names)} images of {dataset.path} cannot be read:",
            sorted(problems),
            "Repair them or take them out of metadata.csv (bandbridge data check lists them all).",
        )
    return results
