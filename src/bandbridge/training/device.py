"""The device a training runs on, its precision, and where the images live."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from bandbridge.errors import UserError

Precision = Literal["auto", "fp32", "bf16"]
#: Share of the free memory of a GPU that the resident images may take.
_RESIDENT_SHARE = 0.4


def open_fabric(device: str = "auto", precision: Precision = "auto") -> Fabric:
    """Return a Fabric for one ``device`` ("auto", "cpu", "cuda", "mps").

    ``auto`` precision is bf16 on a GPU that has it and fp32 elsewhere: on CPUs without bf16 instructions, bf16 was
    measured ten times slower than fp32 (docs/scaling.md). Raises :class:`UserError` for a device that is not there.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"there is no device {device!r}", "Use --device auto, cpu, cuda or mps.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is visible here", "Use --device auto or --device cpu.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("no Apple GPU is visible here", "Use --device auto or --device cpu.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if device == "cpu":
        keep_freed_memory()
    return Fabric(accelerator=device, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true")


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next batch instead of returning it to the system.

    A training step frees and takes the same large blocks again and again, and fresh pages are costly: without this,
    up to two fifths of a small model's step were spent in the kernel. Elsewhere than on glibc it does nothing.
    """
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)


class ImageBank:
    """Images served by index as float batches on one device.

    Small sets are copied to a GPU once, as bytes; large ones, and all sets on the CPU, are read from the memory map.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        """``images``: uint8 [N, S, S], may be a memory map."""
        self._images = images
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._resident = torch.from_numpy(np.array(images)).to(device)

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return int(self._images.shape[-1])

    def batch(self, rows: Tensor) -> Tensor:
        """Return float32 [B, 1, S, S] in 0..1 for int64 ``rows`` [B] (on the CPU, or on the device)."""
        if self._resident is not None:
            chosen = self._resident[rows.to(self._device)]
        else:
            chosen = torch.from_numpy(self._images[rows.cpu().numpy()])
            if self._device.type == "cuda":
                chosen = chosen.pin_memory().to(self._device, non_blocking=True)
            else:
                chosen = chosen.to(self._device)
        return chosen.unsqueeze(1).float().div_(255)
