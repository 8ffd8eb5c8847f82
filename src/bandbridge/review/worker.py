"""Classifies waiting cells in a thread of its own, so that the page answers meanwhile."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bandbridge.errors import EnvironmentFault, UserError, in_one_line
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.progress import note
from bandbridge.review.analysis import Analyst
from bandbridge.review.database import Store
from bandbridge.review.keeping import NotKeptError
from bandbridge.review.session import with_twins_flagged

#: Between two tries to keep what the disk did not take.
_PAUSE_S = 5.0


@dataclass(eq=False)
class Worker:
    """The one user of the model; ``cam`` and the thread take turns.

    ``trouble`` says why what was classified last could not be kept, "" where it could.
    """

    store: Store
    analyst: Analyst
    model: str
    current: str = ""
    done: int = 0
    trouble: str = ""
    _asked: queue.Queue[int | None] = field(default_factory=queue.Queue)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _ending: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin with the cells that a stopped program left waiting."""
        self._ending.clear()
        for record in self.store.cells():
            if record.state == "waiting":
                self._asked.put(record.id)
        self._thread = threading.Thread(target=self._work, name="classify", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the cell at hand; those still waiting are classified next time."""
        self._ending.set()
        with self._asked.mutex:
            self._asked.queue.clear()
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join()

    def submit(self, cell: int) -> None:
        """Have a cell classified."""
        self._asked.put(cell)

    def wait(self, timeout: float = 60.0) -> None:
        """Return when nothing waits any more; TimeoutError after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while any(record.state == "waiting" for record in self.store.cells()):
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.02)

    def judge(self, name: str, images: Sequence[tuple[str, np.ndarray]], hashes: dict[str, str]) -> CellSheet:
        """Return the sheet of a cell at once, those that are there twice flagged; as the analyst's, with its faults."""
        with self._turn:
            return with_twins_flagged(self.analyst.sheet(name, list(images)), hashes)

    def cam(self, image: np.ndarray, label: str, mates: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Return the analyst's overlay, uint8 RGB."""
        with self._turn:
            return self.analyst.cam(image, label, mates)

    def _work(self) -> None:
        while (cell := self._asked.get()) is not None:
            try:
                self._try(cell)
                self.trouble = ""
            except EnvironmentFault as fault:
                # The cell still waits: the disk may have room again by and by.
                self.trouble = in_one_line(fault.message, fault.remedy)
                if not self._ending.wait(_PAUSE_S):
                    self._asked.put(cell)
            finally:
                self.current = ""
                self.done += 1

    def _try(self, cell: int) -> None:
        """Classify a cell, or keep why that failed; raises only what keeps it from being kept."""
        try:
            self._classify(cell)
        except NotKeptError:
            raise
        except UserError as error:
            self.store.fail(cell, str(error))
        except Exception as fault:
            # A fault in one cell must not end the thread, and with it all others; the page names it.
            note(traceback.format_exc())
            self.store.fail(cell, f"the classifier failed: {type(fault).__name__}: {fault}")

    def _classify(self, cell: int) -> None:
        record = self.store.cell(cell)
        if record.state != "waiting":
            return
        self.current = record.name
        held = self.store.images_of(cell)
        images = [(file, self.store.read_image(image)) for file, image in held]
        self.store.save_sheet(cell, self.judge(record.name, images, dict(held)), self.model)
