"""The ``bandbridge`` command: its verbs, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
import warnings
from typing import NoReturn

import typer
from rich.text import Text

from bandbridge import __version__
from bandbridge.cli import (
    advise,
    cut,
    data,
    evaluate,
    explain,
    export,
    fine_tune,
    models,
    predict,
    readers,
    review,
    similarity,
    study,
)
from bandbridge.disk import on_windows
from bandbridge.errors import EnvironmentFault, UserError, visible
from bandbridge.extras import asking
from bandbridge.machine import let_threads_sleep
from bandbridge.progress import console, listening
from bandbridge.terminal import say

_INTERRUPTED = 130
#: How many new objects wait for the collector of circles. Loading libraries makes hundreds of thousands that stay: with
#: Python's own 700 it took a tenth of the time of classifying a cell, and no memory less (benchmarks/laboratory.py).
_COLLECTING = (50_000, 10, 10)
_OSERROR_REMEDY = (
    "Check that file, its permissions and the disk, then run the same command again; BANDBRIDGE_DEBUG=1 shows where."
)

_MEMORY_REMEDY = "Close other programs, or use a machine with more memory."
#: Of the commands whose memory a person can lower.
_MEMORY_REMEDIES = {
    ("study run", "study plan", "fine-tune"): "Use fewer --jobs, or a smaller image size or batch in the study file.",
    ("data import", "data check"): f"Bring the set in, or check it, in parts. {_MEMORY_REMEDY}",
    ("predict", "evaluate", "review"): f"Give fewer cells at a time. {_MEMORY_REMEDY}",
    ("explain", "study report", "study attention"): f"Use a smaller --limit. {_MEMORY_REMEDY}",
    ("similarity", "advise"): f"Use a smaller --image-size. {_MEMORY_REMEDY}",
    ("export", "models export"): f"Use a smaller --limit, or leave --calibrate out. {_MEMORY_REMEDY}",
}

app = typer.Typer(
    name="bandbridge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        say(f"bandbridge {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Does an intermediate staining domain help your chromosome classifier, by how much, and why?

    Start with [bold]bandbridge data check[/bold] on your images, and write a study file.

    Then [bold]bandbridge study run[/bold] trains, and [bold]bandbridge study report[/bold] says what came out.

    With a trained model, [bold]bandbridge predict[/bold] and [bold]bandbridge review[/bold] sort your cells.

    [bold]bandbridge fine-tune[/bold] teaches it your own.
    """


app.add_typer(data.app, name="data")
app.command("similarity")(similarity.similarity)
app.command("advise")(advise.advise)
app.add_typer(models.app, name="models")
app.add_typer(study.app, name="study")
app.command("explain")(explain.explain)
app.command("cut")(cut.cut)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("review")(review.review)
app.command("readers")(readers.readers)
app.command("fine-tune")(fine_tune.fine_tune)


def run() -> None:
    """Run the command line; errors that a user can act on become one message and an exit code."""
    debug = bool(os.environ.get("BANDBRIDGE_DEBUG"))
    let_threads_sleep()
    # Images as large are refused here in words of our own (dataset/claims.py).
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    gc.set_threshold(*_COLLECTING)
    for stream in (sys.stdout, sys.stderr):
        # A sign that a terminal or pipe cannot show becomes "?": a result with "?" for "±" beats none. What Windows
        # writes to a file or pipe would lose the names that its old alphabet lacks.
        if isinstance(stream, io.TextIOWrapper):
            foreign = on_windows() and not stream.isatty() and "PYTHONIOENCODING" not in os.environ
            stream.reconfigure(encoding="utf-8" if foreign else None, errors="replace")
    try:
        with listening(True), asking():
            app()
    except UserError as error:
        if debug:
            raise
        _stop(error.message, error.remedy, error.exit_code)
    except OSError as fault:
        if debug:
            raise
        _stop(_reason(fault), _OSERROR_REMEDY, EnvironmentFault.exit_code)
    except MemoryError:
        if debug:
            raise
        _stop("out of memory", _memory_remedy(sys.argv[1:]), EnvironmentFault.exit_code)
    except SystemExit as stop:
        # Typer turns Ctrl-C into this code, and a closed pipe (... | head) into a quiet end.
        if stop.code == _INTERRUPTED:
            console.print("stopped; run the same command again to go on")
        raise


def _memory_remedy(words: list[str]) -> str:
    """Return what helps where a command ran out of memory; each takes it for something else."""
    command = " ".join(word for word in words[:2] if not word.startswith("-"))
    for verbs, remedy in _MEMORY_REMEDIES.items():
        if command.startswith(verbs):
            return remedy
    return _MEMORY_REMEDY


def _stop(message: str, remedy: str, exit_code: int) -> NoReturn:
    console.print(Text.assemble(("error:", "bold red"), f" {visible(message)}"))
    if remedy:
        console.print(remedy)
    sys.exit(exit_code)


def _reason(fault: OSError) -> str:
    """Return in one line which file a fault of the system concerns, where it says so, and why."""
    names = [str(name) for name in (fault.filename, fault.filename2) if name is not None]
    reason = fault.strerror or str(fault) or type(fault).__name__
    return " ".join(f"{' and '.join(names) or 'the system refused'}: {reason}".split())
