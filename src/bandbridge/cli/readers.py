"""``bandbridge readers``: what a reader study found, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bandbridge.cli.outputs import given_folder, require_apart
from bandbridge.terminal import say


def readers(
    work_folders: Annotated[list[Path], typer.Argument(metavar="WORK...", help="Work folders of bandbridge review.")],
    out: Annotated[Path, typer.Option(help="Folder for the page and the tables.", callback=given_folder)] = Path(
        "results/readers"
    ),
) -> None:
    """Say what the model's proposals are worth to readers: seconds, corrections, cells left as proposed.

    WORK are the folders that `bandbridge review --reader-study SEED --work WORK` worked in, one or several.

    Writes readers.html, reader_cells.csv and reader_classes.csv.
    """
    from bandbridge.review.reader_page import write_reader_study

    require_apart(out, work_folders)
    summary = write_reader_study(work_folders, out)
    for line in summary:
        say(line)
    say(f"{out / 'readers.html'}")
