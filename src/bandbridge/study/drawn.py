"""Trainings on cells that are drawn for them: new ones in every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.store import Store
from bandbridge.synthetic.ahead import DrawnAhead
from bandbridge.synthetic.sets import EndlessCells


class Drawn:
    """The renewal (:class:`bandbridge.training.loop.Renewal`) of a training on a drawn set."""

    def __init__(self, ahead: DrawnAhead, classes: Sequence[str]) -> None:
        self._ahead, self._index = ahead, {label: place for place, label in enumerate(classes)}

    @classmethod
    def of(
        cls, dataset: ImageFolder | None, training: np.ndarray, store: Store, classes: Sequence[str]
    ) -> Drawn | None:
        """Return what renews the rows ``training``, int64, of ``store``; None where ``dataset`` is not drawn.

        Raises :class:`UserError` where cells are not whole among them.
        """
        if not isinstance(dataset, EndlessCells):
            return None
        names = store.samples["file_name"].iloc[training]
        position = {name: row for row, name in enumerate(dataset.samples["file_name"])}
        cells = dataset.cell_numbers(np.array([position[name] for name in names], dtype=np.int64))
        drawn = DrawnAhead(dataset.stain, dataset.seed, cells.tolist(), dataset.cells, store.preparation)
        return cls(drawn, classes)

    def epoch(self, number: int, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of epoch ``number`` and their targets."""
        images, labels = self._ahead.epoch(number, last)
        if last:
            self.close()
        return images, np.array([self._index[label] for label in labels], dtype=np.int64)

    def close(self) -> None:
        """Let the processes that draw go."""
        self._ahead.close()
