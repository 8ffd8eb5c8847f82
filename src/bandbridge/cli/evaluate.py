"""``bandbridge evaluate``: what a model is worth on labelled cells that it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bandbridge.boxes import refuse_as_images
from bandbridge.cli.explain import Checkpoint
from bandbridge.cli.outputs import given_folder, require_apart
from bandbridge.errors import UserError
from bandbridge.progress import note
from bandbridge.terminal import say


def evaluate(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... DATASET",
            help="Models (runs, exported models, graphs, box:G or box:Q; several are averaged), "
            "then a labelled dataset.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables as files; none by default.", callback=given_folder)
    ] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which weights of a run.")] = Checkpoint.last,
    flips: Annotated[
        bool, typer.Option("--flips", help="Average over the four mirror images: slower, steadier.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of sentences.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Measure a model on labelled cells: by itself and in the cell, calibration, flags, unusual counts.

    Images that it was trained on are left out, and it says so. Intervals take whole patients or cells.
    """
    import bandbridge as bb

    if len(places) < 2:
        raise UserError("name a model and a dataset", "For example: bandbridge evaluate models/mine sets/other")
    if out is not None:
        require_apart(out, places)
    refuse_as_images(places[-1])
    *models, dataset = places
    cells = bb.open_dataset(dataset)  # before the models: what is wrong with it is then said at once
    model = bb.load_model(models, checkpoint=checkpoint.value, device=device)
    score = model.evaluate(cells, flips=flips)
    say(json.dumps(score.as_dict(), indent=2) if as_json else str(score))
    if out is not None:
        score.save(out)
        note(f"written to {out}")
