"""The one way to the terminal: signs that it would obey instead of showing them are written out on it.

Names of files, cells and classes are other people's. Raw, they could clear the screen, or write a line of their own.
"""

from __future__ import annotations

import sys
from typing import Any

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
