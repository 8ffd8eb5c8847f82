"""What a review asks of a classifier: the sheet of a cell, and what in an image speaks for a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bandbridge.karyogram.sheet import CellSheet


class Analyst(Protocol):
    """A classifier as a reviewer sees it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in karyotype order."""

    def sheet(self, name: str, images: list[tuple[str, np.ndarray]]) -> CellSheet:
        """Return the sheet of cell ``name`` from its (file, uint8 [H, W]) images."""

    def cam(self, image: np.ndarray, label: str, mates: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Return what in uint8 ``image`` [H, W] speaks for class ``label``, laid over it.

        mates: the other images of its cell, uint8 [H, W] each. uint8 RGB [H x f, W x f, 3] with f the
        ``display_factor`` of ``image``.
        """
