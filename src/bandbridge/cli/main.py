"""The ``bandbridge`` command: its verbs, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from bandbridge import __version__
from bandbridge.cli import advise, data, explain, models, similarity, study
from bandbridge.errors import UserError
from bandbridge.progress import console

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
        typer.echo(f"bandbridge {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Does an intermediate staining domain help your chromosome classifier, by how much, and why?

    Start with [bold]bandbridge data check[/bold] on your images, write a study file, then
    [bold]bandbridge study run[/bold] and [bold]bandbridge study tables[/bold].
    """


app.add_typer(data.app, name="data")
app.command("similarity")(similarity.similarity)
app.command("advise")(advise.advise)
app.command("models")(models.models)
app.add_typer(study.app, name="study")
app.command("explain")(explain.explain)


def run() -> None:
    """Run the command line; errors that a user can act on become one message and an exit code."""
    debug = bool(os.environ.get("BANDBRIDGE_DEBUG"))
    try:
        app()
    except UserError as error:
        if debug:
            raise
        console.print(f"[bold red]error:[/bold red] {_escape(error.message)}")
        if error.remedy:
            console.print(_escape(error.remedy))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(141)
    except KeyboardInterrupt:
        console.print("stopped; run the same command again to go on")
        sys.exit(130)
    except MemoryError:
        if debug:
            raise
        console.print("[bold red]error:[/bold red] out of memory; use a smaller image size or batch")
        sys.exit(1)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
