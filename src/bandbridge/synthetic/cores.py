"""Work on many cells by all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import current_process
from typing import Any

from bandbridge.errors import EnvironmentFault
from bandbridge.machine import usable_cores
from bandbridge.workers import Workers

#: Calls work with each of many values; results come in their order.
Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@contextmanager
def all_cores(worth: bool = True) -> Iterator[Each]:
    """Give a way to call a function of a module with many values, in a process for each core.

    Here and one after the other where there is one core, where it is not ``worth`` the second that processes take to
    start, and in a process that may have none. Raises :class:`EnvironmentFault` where one is killed.
    """
    cores = usable_cores()
    if cores == 1 or not worth or current_process().daemon:
        yield lambda work, values: map(work, values)
        return
    with Workers(cores) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as fault:
            raise EnvironmentFault("a process that draws cells was killed", "Is there enough memory?") from fault
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
