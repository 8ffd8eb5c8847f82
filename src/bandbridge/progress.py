"""Progress of long work: a Rich bar on a terminal, plain lines elsewhere, with an honest time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
#: Progress and notes go to standard error, so that standard output stays a command's result.
console = Console(stderr=True, soft_wrap=True, highlight=False)
_PLAIN_INTERVAL_S = 15.0


def note(text: str) -> None:
    """Print one line for the user on standard error."""
    console.print(text, markup=False)


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as ``"45 s"``, ``"12 min"`` or ``"3 h 05 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def track(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield ``items`` while showing how many of ``total`` are done and how long the rest will take."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            yield from bar.track(items, total=total, description=description)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _PLAIN_INTERVAL_S and done < total:
            left = (now - started) / done * (total - done)
            note(f"{description}: {done}/{total}, {format_duration(left)} left")
            last = now
    elapsed = time.monotonic() - started
    if elapsed >= _PLAIN_INTERVAL_S:
        note(f"{description}: {total} done in {format_duration(elapsed)}")
