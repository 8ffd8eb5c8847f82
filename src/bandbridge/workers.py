"""Processes that work for a command: spawned, ended with it, and started without the user's script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from bandbridge.processes import end_with_the_command, interrupts_held, without_main

_Result = TypeVar("_Result")
#: As many as Windows waits for at a time, less the pool's own two.
_MOST_ON_WINDOWS = 61


class Workers(ProcessPoolExecutor):
    """A pool of ``processes``, each of which calls ``prepare`` first.

    They are not forked, because torch's threads and locks do not survive that. They end when the command dies and at
    Ctrl-C, and do not run the script that started them again.
    """

    def __init__(self, processes: int, prepare: Callable[[], None] | None = None) -> None:
        most = min(processes, _MOST_ON_WINDOWS) if sys.platform == "win32" else processes
        super().__init__(most, get_context("spawn"), _begin, (prepare,))

    def submit(self, work: Callable[..., _Result], /, *arguments: Any, **options: Any) -> Future[_Result]:
        """Have ``work`` called; it is a function of a module. A process may be started for it."""
        with interrupts_held(), without_main():  # until the process sees to it itself
            return super().submit(work, *arguments, **options)


def _begin(prepare: Callable[[], None] | None) -> None:
    end_with_the_command()
    if prepare is not None:
        prepare()
