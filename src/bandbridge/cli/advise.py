"""``bandbridge advise``: which intermediate domain to try, what speaks for it, and whether a study bears it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bandbridge.api import DEFAULT_ARCHITECTURE, DEFAULT_RUNS, DEFAULT_SIZE
from bandbridge.cli.outputs import given_folder, output_folder
from bandbridge.cli.similarity import (
    ArchitectureName,
    CacheDir,
    Device,
    ImageSize,
    WeightsDir,
)
from bandbridge.progress import note
from bandbridge.terminal import say


def advise(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The set to be classified: folder or zip.")],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="CANDIDATES", help="Candidate source domains: folders or zips.")
    ] = None,
    candidates: Annotated[
        list[Path] | None, typer.Option(help="One candidate; may be given again, and others after the target.")
    ] = None,
    study_file: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.yaml", help="A study that has measured some of them.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the datasets, also of the study's.", envvar="BANDBRIDGE_DATA")
    ] = None,
    architecture: ArchitectureName = DEFAULT_ARCHITECTURE,
    weights_dir: WeightsDir = None,
    image_size: ImageSize = DEFAULT_SIZE,
    runs: CacheDir = DEFAULT_RUNS,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables; default results/advice.", callback=given_folder)
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of tables.")] = False,
) -> None:
    """Rank candidate source domains for a target before any training, and check the ranking against a study.

    Measured are distances of the images, what the candidate's labels say of the target, and distances of classes.

    With --study the order is set beside the gains that were measured; it says "no evidence" where there is none.
    """
    import bandbridge as bb

    folder = output_folder(out or Path("results") / "advice")
    found = bb.advise(
        target,
        [*(candidates or []), *(more or [])],
        study=study_file,
        data_dir=data_dir,
        architecture=architecture,
        image_size=image_size,
        weights_dir=weights_dir,
        runs=runs,
        device=device,
    )
    folder = found.save(folder)
    say(json.dumps({**found.as_dict(), "conclusion": found.conclusion}) if as_json else str(found))
    note(f"written to {folder}")
