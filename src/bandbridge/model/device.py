"""The device that a model is on."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from bandbridge.errors import UserError
from bandbridge.machine import require_device


def find_device(name: str = "auto") -> torch.device:
    """Return the device called ``name`` ("auto", "cpu", "cuda", "mps"); "auto" is a CUDA GPU where there is one.

    Raises :class:`UserError` for one that is not there.
    """
    require_device(name)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is visible here", "Use --device auto or --device cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("no Apple GPU is visible here", "Use --device auto or --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        keep_freed_memory()
    return torch.device(name)


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
