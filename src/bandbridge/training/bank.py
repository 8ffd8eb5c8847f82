"""Where the images of a training live, and how batches of them come to its device."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bandbridge.errors import EnvironmentFault
from bandbridge.model.channels import as_views

#: Share of the free memory of a GPU that the resident images may take.
_RESIDENT_SHARE = 0.4
#: Images that are copied to a GPU at a time.
_BLOCK = 1024


class ImageBank:
    """Images served by index as batches on one device.

    Small sets are copied to a GPU once, as bytes. All others stay where they are: a set on disk is read, not mapped,
    because pages of a map that were touched count as the process's own, and an epoch touches all of them. The reading
    takes 2 microseconds an image longer.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        """``images``: uint8 [N, S, S], or [N, V, S, S] of V views; may be a memory map."""
        self._images = images
        self._file = _ImageFile.behind(images)
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._resident = self._copy_to_device()

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return int(self._images.shape[-1])

    @property
    def rows_device(self) -> torch.device:
        """Where rows are looked up: the device, if the images are resident there, else the CPU."""
        return self._device if self._resident is not None else torch.device("cpu")

    def batch(self, rows: Tensor) -> Tensor:
        """Return uint8 [B, V, S, S] for int64 ``rows`` [B], which are best where :attr:`rows_device` says.

        V is 1 of images that have no views.

        Raises IndexError for a row that is not there, :class:`EnvironmentFault` when the disk fails.
        """
        if self._resident is not None:
            return as_views(self._resident[rows.to(self._device)])
        return as_views(self._to_device(self._fetch(rows.cpu().numpy())))

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Yield :meth:`batch` of each ``batch_size`` of ``rows`` [R] in turn, the last of what is left.

        What lies on disk is read one batch ahead, in a thread.
        """
        if not len(rows):
            return
        parts = rows.split(batch_size)
        if self._resident is not None or self._file is None:
            yield from map(self.batch, parts)
            return
        asked = iter(part.cpu().numpy() for part in parts)
        with ThreadPoolExecutor(1, "image-bank") as reader:
            ahead = reader.submit(self._fetch, next(asked))
            for following in asked:
                images = ahead.result()
                ahead = reader.submit(self._fetch, following)
                yield as_views(self._to_device(images))
            yield as_views(self._to_device(ahead.result()))

    def _fetch(self, rows: np.ndarray) -> Tensor:
        """Return uint8 [B, S, S], or of views, in the memory of the CPU, pinned where a GPU will take it from there."""
        if self._file is None:
            chosen = torch.from_numpy(self._images[rows])
            return chosen.pin_memory() if self._device.type == "cuda" else chosen
        shape = (len(rows), *self._images.shape[1:])
        # Torch keeps freed pinned blocks, and gives none out anew before its copy to the device is over.
        chosen = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        self._file.read(rows, chosen.numpy())
        return chosen

    def _to_device(self, images: Tensor) -> Tensor:
        return images.to(self._device, non_blocking=self._device.type == "cuda")

    def _copy_to_device(self) -> Tensor:
        """Return all images on the device, by way of blocks: a whole copy in the CPU's memory may be too much."""
        copied = torch.empty(self._images.shape, dtype=torch.uint8, device=self._device)
        for start in range(0, len(copied), _BLOCK):
            stop = min(start + _BLOCK, len(copied))
            copied[start:stop] = self._to_device(self._fetch(np.arange(start, stop)))
        return copied


class _ImageFile:
    """A file of uint8 images [N, ...] that lie one after another from ``offset`` on."""

    def __init__(self, path: str, offset: int, shape: tuple[int, ...]) -> None:
        self._path, self._offset, self._count, self._bytes = path, offset, shape[0], math.prod(shape[1:])
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._descriptor)

    @classmethod
    def behind(cls, images: np.ndarray) -> _ImageFile | None:
        """Return the file that ``images`` maps read-only; None for any other array, and where a system cannot read so.

        A part of a map is an array like any other: numpy does not say where in the file it begins. So is the map of a
        file that has lost its name.
        """
        if not isinstance(images, np.memmap) or not isinstance(images.base, mmap.mmap) or not hasattr(os, "preadv"):
            return None
        if images.mode != "r" or images.dtype != np.uint8 or not images.flags.c_contiguous:
            return None
        try:
            return cls(str(images.filename), images.offset, images.shape)
        except FileNotFoundError:
            return None

    def read(self, rows: np.ndarray, into: np.ndarray) -> None:
        """Fill uint8 ``into`` [B, ...] with the images of int64 ``rows`` [B]. May be called from many threads."""
        if not len(rows):
            return
        if not -self._count <= rows.min() <= rows.max() < self._count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self._count} images")
        rows, flat = rows % self._count, memoryview(into.reshape(-1).data)
        # Neighbours in the file, as in an evaluation, are read at once.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for start, stop in pairwise([0, *breaks.tolist(), len(rows)]):
            place = self._offset + int(rows[start]) * self._bytes
            self._read_whole(flat[start * self._bytes : stop * self._bytes], place)

    def _read_whole(self, view: memoryview, place: int) -> None:
        while view:
            try:
                # On no system without it: see behind.
                got = os.preadv(self._descriptor, [view], place)  # type: ignore[attr-defined,unused-ignore]
            except OSError as fault:
                raise EnvironmentFault(f"cannot read {self._path}: {fault.strerror or fault}", _REMEDY) from fault
            if not got:
                raise EnvironmentFault(f"{self._path} has become shorter", _REMEDY)
            view, place = view[got:], place + got


_REMEDY = "Check the disk, then run the same command again: what is finished is kept."


def to_float(images: Tensor) -> Tensor:
    """Return uint8 ``images`` as float32 in 0..1."""
    return images.float().div_(255)
