"""The store: a dataset decoded and prepared once, as one uint8 array on disk that every run maps into memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from bandbridge.dataset.decode import decode_gray, quiet_pillow
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder
from bandbridge.dataset.prepare import PREPARATION_VERSION, Preparation, prepare_image, trim
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.files import content_hash, replacing, write_json
from bandbridge.karyotype import order_classes
from bandbridge.progress import track

T = TypeVar("T")
#: Cores that threads can keep busy: eight asked for 2.8, as a third of the work on a crop holds the interpreter's lock.
_CORES_OF_THREADS = 3
#: Images, a quarter of a millisecond each, whose work on four cores exceeds the start of four processes, a second each.
_WORTH_PROCESSES = 50_000
#: Images that are handed to a thread or process at a time.
_BLOCK = 32


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


def dataset_fingerprint(dataset: ImageFolder, hashes: Sequence[str] | None = None) -> str:
    """Return 64 hexadecimal digits that change with any image's bytes, name, label, cell or patient.

    The order of the rows and where the dataset lies do not matter. Every file is read, unless its ``content_hashes``
    are given.
    """
    keyed = dataset.samples[["file_name", "label", "cell", "patient"]].to_numpy().tolist()
    hashes = dataset.content_hashes() if hashes is None else hashes
    return content_hash(sorted([*row, digest] for row, digest in zip(keyed, hashes, strict=True)))


def build_store(dataset: ImageFolder, preparation: Preparation, root: Path, fingerprint: str | None = None) -> Store:
    """Return the store of ``dataset`` under ``root``, building it first where it is not there yet.

    The folder's name is the hash of the content and the preparation, so a store is never out of date and a built one
    is shared. Large sets are prepared in processes that are spawned: a script that calls this needs its
    ``if __name__ == "__main__"``. Raises :class:`ManyErrors` naming every image that cannot be read; nothing is kept
    then.
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
    sides = _each_image(dataset, partial(_longer_side, preparation=preparation), "measuring the common scale")
    return preparation.model_copy(update={"extent": max(sides)})


def _longer_side(dataset: ImageFolder, name: str, preparation: Preparation) -> int:
    return max(trim(decode_gray(dataset.read_bytes(name), name), preparation).shape)


def _prepare(dataset: ImageFolder, name: str, preparation: Preparation) -> bytes:
    return prepare_image(decode_gray(dataset.read_bytes(name), name), preparation).tobytes()


def _write_images(dataset: ImageFolder, preparation: Preparation, folder: Path) -> None:
    """Write images one after another: a map would make all of them resident, and kill the process on a full disk."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(dataset.samples), *[preparation.size] * 2)}
    with replacing(folder / "images.npy") as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.writelines(_each_image(dataset, partial(_prepare, preparation=preparation), "preparing images"))


def _each_image(dataset: ImageFolder, work: Callable[[ImageFolder, str], T], description: str) -> Iterator[T]:
    """Yield what ``work`` makes of every file, in order, on all cores; report all unreadable ones in the end."""
    names = dataset.samples["file_name"].tolist()
    problems: list[str] = []
    try:
        with quiet_pillow(), _open_pool(len(names)) as pool:
            for outcome in track(_outcomes(pool, dataset, names, work), len(names), description):
                if isinstance(outcome, str):
                    problems.append(outcome)
                else:
                    yield outcome[0]
    except BrokenProcessPool as fault:
        raise EnvironmentFault(
            f"{description}: a process was killed", "Is there enough memory? Run it again."
        ) from fault
    if problems:
        raise ManyErrors(
            f"{len(problems)} of the {len(names)} images of {dataset.path} cannot be read:",
            sorted(problems),
            "Repair them or take them out of metadata.csv (bandbridge data check lists them all).",
        )


def _open_pool(images: int) -> Executor:
    """Return threads; on machines that threads cannot fill, processes for sets that are worth their start.

    A daemon, such as a loader's worker, may not have processes of its own.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if images < _WORTH_PROCESSES or cores <= _CORES_OF_THREADS or multiprocessing.current_process().daemon:
        return ThreadPoolExecutor(cores)
    # Not forked: torch's threads and locks do not survive that.
    return ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=_ignore_pillow_warnings)


def _ignore_pillow_warnings() -> None:
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _outcomes(
    pool: Executor, dataset: ImageFolder, names: list[str], work: Callable[[ImageFolder, str], T]
) -> Iterator[tuple[T] | str]:
    """Yield a result or a problem for each of ``names``; no more wait than keep all cores busy, or they fill memory."""
    ahead = 4 * (os.cpu_count() or 1)
    waiting: deque[Future[list[tuple[T] | str]]] = deque()
    for start in range(0, len(names), _BLOCK):
        part = names[start : start + _BLOCK]
        waiting.append(pool.submit(_attempt, dataset.only(part), part, work))
        if len(waiting) > ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _attempt(dataset: ImageFolder, names: list[str], work: Callable[[ImageFolder, str], T]) -> list[tuple[T] | str]:
    outcomes: list[tuple[T] | str] = []
    for name in names:
        try:
            outcomes.append((work(dataset, name),))
        except UserError as error:
            outcomes.append(error.message)
    return outcomes
