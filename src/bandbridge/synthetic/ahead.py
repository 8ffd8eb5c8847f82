"""Cells drawn ahead of whoever uses them, for as long as they are wanted: a training that never sees one twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from bandbridge.dataset.by_cell import prepare_images
from bandbridge.dataset.ideogram import Stain
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import EnvironmentFault
from bandbridge.machine import usable_cores
from bandbridge.synthetic.cells import draw_cell
from bandbridge.synthetic.look import Look
from bandbridge.workers import Workers

#: Cells that a process draws at a time.
_AT_ONCE = 4


class DrawnAhead:
    """Cells drawn and prepared in processes of their own, an epoch ahead of the one that is asked for.

    The cells of epoch e are numbers ``cells`` + (e + 1) x ``period``: none of an earlier epoch, and none below the
    period, which are those that a set of so many shows. They do not depend on which epochs were asked for before.
    """

    def __init__(
        self,
        stain: Stain,
        seed: int,
        cells: Sequence[int],
        period: int,
        preparation: Preparation,
        look: Look | None = None,
        processes: int | None = None,
    ) -> None:
        """processes: how many draw; half of the cores where not said, at least one."""
        self._what = (stain, seed, preparation, look)
        self._cells, self._period = np.asarray(cells), period
        self._processes = processes or max(1, usable_cores() // 2)
        self._pool: Workers | None = None
        self._waiting: dict[int, deque[Future[tuple[np.ndarray, list[str]]]]] = {}

    def epoch(self, number: int, last: bool = False) -> tuple[np.ndarray, list[str]]:
        """Return the images of epoch ``number`` (from 0), uint8 [N, *preparation.shape], and their labels.

        last: no further one will be asked for. Raises :class:`EnvironmentFault` where a drawing process died.
        """
        for each in list(self._waiting):  # a training that was resumed may begin anywhere
            if each != number:
                del self._waiting[each]
        self._begin(number)
        parts = self._waiting.pop(number)
        if not last:
            self._begin(number + 1)
        try:
            found = [part.result() for part in parts]
        except BrokenProcessPool as fault:
            raise EnvironmentFault("a process that draws cells was killed", "Is there enough memory?") from fault
        return np.concatenate([images for images, _ in found]), [label for _, labels in found for label in labels]

    def close(self) -> None:
        """Let the processes go."""
        # One by one: a pool that nobody holds any more forgets that it was told to.
        for part in (part for parts in self._waiting.values() for part in parts):
            part.cancel()
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    def _begin(self, number: int) -> None:
        if number in self._waiting:
            return
        if self._pool is None:
            self._pool = Workers(self._processes)
        cells = (self._cells + (number + 1) * self._period).tolist()
        blocks = [cells[start : start + _AT_ONCE] for start in range(0, len(cells), _AT_ONCE)]
        self._waiting[number] = deque(self._pool.submit(_prepared, block, *self._what) for block in blocks)


def _prepared(
    cells: list[int], stain: Stain, seed: int, preparation: Preparation, look: Look | None
) -> tuple[np.ndarray, list[str]]:
    images, labels = [], []
    for cell in cells:
        drawn = draw_cell(stain, seed, cell, look=look)
        images.append(prepare_images([one.image for one in drawn], ["a"] * len(drawn), preparation))
        labels += [one.label for one in drawn]
    return np.concatenate(images), labels
