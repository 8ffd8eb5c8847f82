"""The one way to the terminal: signs that it would obey instead of showing them are written out on it.

Names of files, cells and classes are other people's. Raw, they could clear the screen, or write a line of their own.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TextIO, cast

import rich.console
from rich.console import ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult, RichCast
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

from bandbridge.errors import visible


class _Visible:
    """What is shown, sign by sign; colours and the like are Rich's own and stay."""

    def __init__(self, shown: ConsoleRenderable | RichCast | str) -> None:
        self.shown = shown

    def __rich_console__(self, console: rich.console.Console, options: ConsoleOptions) -> RenderResult:
        for part in console.render(self.shown, options):
            yield part if part.control else Segment(visible(part.text), part.style)

    def __rich_measure__(self, console: rich.console.Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.shown)


class _Hook(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [one if isinstance(one, rich.console.Control) else _Visible(one) for one in renderables]


class Console(rich.console.Console):
    """Rich's console, to which a text is a text: what looks like its markup is shown as it stands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "highlight": False} | settings)
        self.push_render_hook(_Hook())

    def render_str(self, text: str, **settings: Any) -> Text:
        """As Rich's, which would leave some of these signs out, as if the name had none."""
        return super().render_str(visible(text), **settings)


def say(text: str, *, end: str = "\n") -> None:
    """Print ``text``, a command's result, on standard output."""
    sys.stdout.write(visible(text) + end)
    sys.stdout.flush()


class _StandardError(io.TextIOBase):
    """Standard error as it is at the moment; when nobody reads it any more (``2>&1 | head``), nowhere.

    What is trained does not depend on who watches: a pipe that is closed, a terminal that is gone or a full disk under
    a log end the words, and not the work.
    """

    @property
    def _stream(self) -> TextIO:
        """Behind what Rich puts there while it shows progress: that hands over to the console, which writes here."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._fall_silent()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._fall_silent()

    def _fall_silent(self) -> None:
        # What is still buffered would fail again at the end of the program, and change its exit code.
        with suppress(OSError, ValueError), Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


standard_error = cast(IO[str], _StandardError())
