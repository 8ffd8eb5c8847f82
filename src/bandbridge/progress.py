"""Progress of long work: a Rich bar on a terminal, plain lines elsewhere, a function of one's own, or silence.

The library is silent unless somebody listens; the command line always does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bandbridge.errors import visible
from bandbridge.terminal import Console, standard_error

T = TypeVar("T")
#: Progress and notes go to standard error, so that standard output stays a command's result.
console = Console(file=standard_error, soft_wrap=True)
_PLAIN_INTERVAL_S = 15.0


class Step(NamedTuple):
    """What a listener is told: a line of text, or that ``done`` of ``total`` things of it are done."""

    text: str
    done: int | None = None
    total: int | None = None


#: True shows progress on the console, False nothing; a function is called with each :class:`Step`.
Listener = bool | Callable[[Step], None]

_listener: Listener = False


def in_place() -> bool:
    """Whether :func:`status` shows its text, which may then be of several lines, in place of the one before."""
    return _listener is True and console.is_terminal


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows its text in place on a terminal, as a line elsewhere."""
    if in_place():
        with console.status(Text(visible(text))) as shown:
            yield lambda update: shown.update(Text(visible(update)))
    else:
        yield note


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear of the work inside; False leaves it to whoever listens already.

    It is heard from all threads of this process, and from no other process.
    """
    global _listener
    before = _listener
    if listener is not False:
        _listener = listener
    try:
        yield
    finally:
        _listener = before


def note(text: str) -> None:
    """Tell whoever listens one line; on the console, on standard error."""
    if _listener is True:
        console.print(text)
    elif _listener is not False:
        _listener(Step(text))


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as ``"45 s"``, ``"12 min"`` or ``"3 h 05 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def track(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield ``items`` while showing how many of ``total`` are done and how long the rest will take."""
    if _listener is False:
        return iter(items)
    if _listener is not True:
        return _told(items, total, description, _listener)
    return _bar(items, total, description) if sys.stderr.isatty() else _lines(items, total, description)


def _told(items: Iterable[T], total: int, description: str, listener: Callable[[Step], None]) -> Iterator[T]:
    for done, item in enumerate(items, start=1):
        yield item
        listener(Step(description, done, total))


def _bar(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield from bar.track(items, total=total, description=visible(description))


def _lines(items: Iterable[T], total: int, description: str) -> Iterator[T]:
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
