"""Where the images of a training live, and how batches of them come to its device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Share of the free memory of a GPU that the resident images may take.
_RESIDENT_SHARE = 0.4


class ImageBank:
    """Images served by index as batches on one device.

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

    @property
    def rows_device(self) -> torch.device:
        """Where rows are looked up: the device, if the images are resident there, else the CPU."""
        return self._device if self._resident is not None else torch.device("cpu")

    def batch(self, rows: Tensor) -> Tensor:
        """Return uint8 [B, 1, S, S] for int64 ``rows`` [B], which are best where :attr:`rows_device` says."""
        if self._resident is not None:
            chosen = self._resident[rows.to(self._device)]
        else:
            chosen = torch.from_numpy(self._images[rows.cpu().numpy()])
            if self._device.type == "cuda":
                chosen = chosen.pin_memory().to(self._device, non_blocking=True)
            else:
                chosen = chosen.to(self._device)
        return chosen.unsqueeze(1)


def to_float(images: Tensor) -> Tensor:
    """Return uint8 ``images`` as float32 in 0..1."""
    return images.float().div_(255)
