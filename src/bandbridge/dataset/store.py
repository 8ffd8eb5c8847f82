"""The store: a dataset decoded and prepared once, as one uint8 array on disk that every run maps into memory."""

from __future__ import annotations

import multiprocessing
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bandbridge.dataset.by_cell import group_by_cell, prepare_images
from bandbridge.dataset.contents import contents_of
from bandbridge.dataset.decode import quiet_pillow
from bandbridge.dataset.depth import NeedsSetError
from bandbridge.dataset.imagefolder import COLUMNS, ChangedError, ImageFolder
from bandbridge.dataset.prepare import PREPARATION_VERSION, Preparation, trim
from bandbridge.dataset.read_prepared import cells_of
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.files import content_hash, replacing
from bandbridge.holding import held
from bandbridge.karyotype import order_classes
from bandbridge.leftovers import clear_leftovers
from bandbridge.machine import usable_cores
from bandbridge.progress import note, track
from bandbridge.seal import STORE, AlteredError, hashes_of, parsed, read_sealed, require_unaltered, write_sealed
from bandbridge.workers import Workers

T = TypeVar("T")
#: Cores that threads can keep busy: eight asked for 2.8, as a third of the work on a crop holds the interpreter's lock.
_CORES_OF_THREADS = 3
#: Images, a quarter of a millisecond each, whose work on four cores exceeds the start of four processes, a second each.
_WORTH_PROCESSES = 50_000
_FILES = ("images.npy", "samples.parquet")
#: Images that are handed to a thread or process at a time.
_BLOCK = 32


@dataclass(frozen=True)
class Store:
    """A prepared dataset.

    images: uint8 [N, size, size], or [N, 2, size, size] where the preparation has two views; memory-mapped, read-only.
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
        return self.targets_among(self.classes)

    def targets_among(self, classes: Sequence[str]) -> np.ndarray:
        """Return the index of each label in ``classes``, int64 [N]. Raises ValueError for labels that are not there."""
        index = {name: position for position, name in enumerate(classes)}
        found = self.samples["label"].map(index)
        if found.isna().any():
            raise ValueError(f"labels that are none of the {len(index)} classes")
        return found.to_numpy(dtype=np.int64)


def dataset_fingerprint(dataset: ImageFolder) -> str:
    """Return the fingerprint of :func:`bandbridge.dataset.contents.contents_of`."""
    return contents_of(dataset).fingerprint


def build_store(dataset: ImageFolder, preparation: Preparation, root: Path, fingerprint: str | None = None) -> Store:
    """Return the store of ``dataset`` under ``root``, building it first where it is not there yet.

    The folder's name is the hash of the content and the preparation, so a store is never out of date and a built one
    is shared; one process builds it, and others wait. Raises :class:`ManyErrors` naming every image that cannot be
    read, or that is another than when the fingerprint was taken; nothing is kept then. Raises :class:`UserError` for a
    store that is not as it was built.
    """
    fingerprint = fingerprint or dataset_fingerprint(dataset)
    folder = _store_folder(root, fingerprint, preparation)
    if not (folder / STORE).exists():
        for each in root.glob("*"):  # one that a killed process left may never be asked for again
            clear_leftovers(each)
        with held(folder, lambda who: note(f"waiting for {who}, which prepares the images of {dataset.path}")):
            clear_leftovers(folder, claimed=True)
            if not (folder / STORE).exists():
                _write_store(dataset, preparation, folder, fingerprint)
    return open_store(folder, fingerprint)


def _write_store(dataset: ImageFolder, preparation: Preparation, folder: Path, fingerprint: str) -> None:
    measured = _measure_extent(dataset, preparation)
    _write_images(dataset, measured, folder)
    with replacing(folder / "samples.parquet") as temporary:
        dataset.samples[list(COLUMNS)].to_parquet(temporary, index=False)
    measured = measured.model_copy(update={"bits": dataset.decided_bits(preparation.bits)})
    facts = {"fingerprint": fingerprint, "key": folder.name, "preparation": measured.model_dump()}
    write_sealed(folder / STORE, {**facts, "files": hashes_of(folder, _FILES)})


def _store_folder(root: Path, fingerprint: str, preparation: Preparation) -> Path:
    return root / content_hash([fingerprint, preparation.model_dump(), PREPARATION_VERSION])[:16]


def stored_samples(root: Path, fingerprint: str, preparation: Preparation) -> pd.DataFrame | None:
    """Return the rows of the store that :func:`build_store` made of these under ``root``; None where there is none.

    Raises :class:`UserError` when it is damaged.
    """
    folder = _store_folder(root, fingerprint, preparation)
    return open_store(folder, fingerprint).samples if (folder / STORE).exists() else None


class _Facts(BaseModel):
    """``store.json``, less what :mod:`bandbridge.seal` reads of it."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    preparation: Preparation


def open_store(folder: Path, fingerprint: str | None = None) -> Store:
    """Map the store in ``folder`` into memory, which is to be of the set with ``fingerprint`` where one is given.

    Raises :class:`UserError` when it is damaged, :class:`AlteredError` when it is not as it was built, or another's.
    """
    remedy = f"Delete {folder}; it is rebuilt."
    facts = parsed(_Facts, read_sealed(folder / STORE, remedy), folder / STORE, remedy)
    if fingerprint not in (None, facts.fingerprint):
        raise AlteredError(f"the prepared images in {folder} are those of another set", remedy)
    for name in _FILES:
        require_unaltered(folder / name)
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        samples = pd.read_parquet(folder / "samples.parquet")
        if images.dtype != np.uint8 or images.shape != (len(samples), *facts.preparation.shape):
            raise ValueError("wrong shape")
        if samples.columns.tolist() != list(COLUMNS):
            raise ValueError("wrong columns")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as fault:
        reason = str(fault).partition("\n")[0]
        raise UserError(f"the prepared images in {folder} are damaged ({reason})", remedy) from fault
    return Store(images, samples, facts.fingerprint, facts.preparation)


def _measure_extent(dataset: ImageFolder, preparation: Preparation) -> Preparation:
    if preparation.scale != "common" or preparation.extent is not None:
        return preparation
    work = partial(_longer_sides, preparation=preparation)
    blocks = _blocks(dataset, preparation)
    sides = dict(_each_image(dataset, blocks, work, "measuring the common scale", preparation.bits))
    return preparation.model_copy(update={"extent": max(sides.values())})


def _longer_sides(images: list[np.ndarray], cells: list[str], preparation: Preparation) -> list[int]:
    return [max(trim(image, preparation).shape) for image in images]


def _prepare(images: list[np.ndarray], cells: list[str], preparation: Preparation) -> list[bytes]:
    return [image.tobytes() for image in prepare_images(images, cells, preparation)]


def _blocks(dataset: ImageFolder, preparation: Preparation) -> list[list[int]]:
    """Which rows are worked on together: whole cells where an image depends on the others of its cell."""
    if preparation.by_cell:
        groups = group_by_cell(cells_of(dataset))
        blocks: list[list[int]] = [[]]
        for group in groups:
            if len(blocks[-1]) + len(group) > _BLOCK and blocks[-1]:
                blocks.append([])
            blocks[-1] += group
        return blocks
    rows = range(len(dataset.samples))
    return [list(rows[start : start + _BLOCK]) for start in rows[::_BLOCK]]


def _write_images(dataset: ImageFolder, preparation: Preparation, folder: Path) -> None:
    """Write images in place one by one: a map would make all of them resident, and kill the process on a full disk."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(dataset.samples), *preparation.shape)}
    with replacing(folder / "images.npy") as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        work = partial(_prepare, preparation=preparation)
        blocks, by_cell = _blocks(dataset, preparation), preparation.by_cell
        bits = preparation.bits
        for row, image in _each_image(dataset, blocks, work, "preparing images", bits, blocks_are_cells=by_cell):
            file.seek(start + row * len(image))
            file.write(image)


#: What is made of images, given with the cell of each: as many results.
Work = Callable[[list[np.ndarray], list[str]], list[T]]


def _each_image(
    dataset: ImageFolder,
    blocks: list[list[int]],
    work: Work[T],
    description: str,
    bits: int | None,
    *,
    blocks_are_cells: bool = False,
) -> Iterator[tuple[int, T]]:
    """Yield each row with what ``work`` makes of its image, block by block, on all cores; report all unreadable ones.

    Of a block with an unreadable image nothing is made.
    """
    count = len(dataset.samples)
    problems: list[_Problem] = []
    try:
        with quiet_pillow(), _open_pool(count, blocks_are_cells) as pool:
            for row, outcome in track(_outcomes(pool, dataset, blocks, work, bits), count, description):
                if isinstance(outcome, _Problem):
                    problems.append(outcome)
                elif outcome is not None:
                    yield row, outcome[0]
    except BrokenProcessPool as fault:
        raise EnvironmentFault(
            f"{description}: a process was killed", "Is there enough memory? Run it again."
        ) from fault
    if problems:
        raise ManyErrors(
            f"{len(problems)} of the {count} images of {dataset.path} cannot be used:",
            sorted(problem.text for problem in problems),
            "Leave a set as it is while it is in use; run the command again for the set as it is now."
            if any(problem.changed for problem in problems)
            else "Repair them or take them out of metadata.csv (bandbridge data check lists them all).",
        )


def _open_pool(images: int, by_cell: bool) -> Executor:
    """Return threads; on machines that threads cannot fill, processes for sets that are worth their start.

    By the cell, an image is many short calls of NumPy: two threads took twice as long as one, waiting for the
    interpreter's lock. A daemon, such as a loader's worker, may not have processes of its own.
    """
    cores = usable_cores()
    if images < _WORTH_PROCESSES or cores <= _CORES_OF_THREADS or multiprocessing.current_process().daemon:
        return ThreadPoolExecutor(1 if by_cell else cores)
    return Workers(cores, _ignore_pillow_warnings)


def _ignore_pillow_warnings() -> None:
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _outcomes(
    pool: Executor, dataset: ImageFolder, blocks: list[list[int]], work: Work[T], bits: int | None
) -> Iterator[tuple[int, tuple[T] | _Problem | None]]:
    """Yield each row with its result, or what is wrong with it, or None for a good one of a block with a bad one.

    No more blocks wait than keep all cores busy, or they would fill the memory.
    """
    ahead = 4 * usable_cores()
    waiting: deque[tuple[list[int], Future[list[tuple[T] | _Problem | None]]]] = deque()
    names, cells = dataset.samples["file_name"].tolist(), cells_of(dataset)

    def submit(block: list[int]) -> Future[list[tuple[T] | _Problem | None]]:
        part = [names[row] for row in block]
        return pool.submit(_attempt, dataset.only(part), part, [cells[row] for row in block], work, bits)

    def next_outcomes() -> Iterator[tuple[int, tuple[T] | _Problem | None]]:
        rows, future = waiting.popleft()
        try:
            found = future.result()
        except NeedsSetError:
            dataset.settle()
            found = submit(rows).result()
        return zip(rows, found, strict=True)

    for block in blocks:
        waiting.append((block, submit(block)))
        if len(waiting) > ahead:
            yield from next_outcomes()
    while waiting:
        yield from next_outcomes()


@dataclass(frozen=True)
class _Problem:
    """What is wrong with an image; changed: it was exchanged since the set was opened."""

    text: str
    changed: bool


def _attempt(
    dataset: ImageFolder, names: list[str], cells: list[str], work: Work[T], bits: int | None
) -> list[tuple[T] | _Problem | None]:
    images: list[np.ndarray] = []
    problems: dict[str, _Problem] = {}
    for name in names:
        try:
            images.append(dataset.gray(name, bits))
        except UserError as error:
            problems[name] = _Problem(error.message, isinstance(error, ChangedError))
    if problems:
        return [problems.get(name) for name in names]
    return [(result,) for result in work(images, cells)]
