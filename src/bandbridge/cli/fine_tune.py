"""``bandbridge fine-tune``: train a finished model on with a laboratory's own cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bandbridge.api import DEFAULT_RUNS
from bandbridge.cli.outputs import given_folder
from bandbridge.cli.study import Device, Jobs, Runs
from bandbridge.terminal import say


def fine_tune(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run's folder, an exported model, box:G or box:Q.")],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Labelled cells: a folder or zip with metadata.csv.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new model.", callback=given_folder)],
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the cells; 16 unless given.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Models that measure it, each on cells that it had not seen.")] = 5,
    runs: Runs = DEFAULT_RUNS,
    device: Device = "auto",
    jobs: Jobs = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop cleanly before this much time is over: 90s, 9m or 2h; 9 is 9 minutes.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the division into folds and of the trainings.")] = 0,
) -> None:
    """Train a finished model on with your own cells, and say how often it was right on cells it had not seen.

    The same command goes on after any interruption. MODEL is kept as it is; the new one says what it was tuned on.

    Research use only: measure the new model on cells that it was not tuned on before relying on it.
    """
    import bandbridge as bb

    result = bb.fine_tune(
        model,
        dataset,
        out,
        epochs=epochs,
        folds=folds,
        seed=seed,
        runs=runs,
        device=device,
        jobs=jobs,
        max_time=max_time,
    )
    say(str(result))
