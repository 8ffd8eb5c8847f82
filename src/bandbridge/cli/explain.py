"""``bandbridge explain`` and ``bandbridge study attention``: what trained classifiers see."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.cli.outputs import given_folder, runs_folder, study_folder
from bandbridge.errors import ManyErrors, UserError
from bandbridge.progress import note
from bandbridge.terminal import Console, say

if TYPE_CHECKING:
    import pandas as pd


class ColourMap(StrEnum):
    """The colours of the overlay."""

    inferno = "inferno"
    cividis = "cividis"
    jet = "jet"


class Checkpoint(StrEnum):
    """Which weights of the run."""

    best = "best"
    last = "last"


BitDepth = Annotated[
    int | None,
    typer.Option(min=8, max=16, help="How many bits the camera used, of images of 16 that do not say it."),
]


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, a model folder, box:G or box:Q.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Image files, folders, datasets, set.zip/images/1a.png.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures and tables.", callback=given_folder)] = Path(
        "results/explain"
    ),
    target_class: Annotated[str | None, typer.Option(help="Also show what speaks for this class.")] = None,
    colour_map: Annotated[ColourMap, typer.Option(help="jet is as published.")] = ColourMap.inferno,
    centred: Annotated[
        bool, typer.Option("--centred", help="Mean of upright and upside down: maps as published lie half a place off.")
    ] = False,
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which weights of the run.")] = Checkpoint.best,
    layer: Annotated[str | None, typer.Option(help="The module that Grad-CAM reads; known for most models.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Images drawn of a dataset or folder.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that draw.")] = 0,
    bit_depth: BitDepth = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where else to look for the images.", envvar="BANDBRIDGE_DATA")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Show which places of an image speak for the predicted and for the true class (Grad-CAM), and measure where.

    Writes a picture of each image and the tables explanations.csv and .json.
    """
    from bandbridge.explain.answers import Question, explain_images
    from bandbridge.explain.images import gather_images
    from bandbridge.explain.seen import open_seeing

    classifier = open_seeing(run, checkpoint.value, device, layer)
    asked, problems, left_out = gather_images(images, data_dir, limit, seed, classifier.held_out(), bit_depth)
    if left_out:
        note(f"of a folder or dataset {limit} images are drawn, with seed {seed}; --limit says how many")
    table, unread = explain_images(classifier, asked, out, Question(target_class, colour_map.value, centred))
    if len(table):
        layer_and_grid = f"layer {classifier.layer}, {table['grid'].iloc[0]} places"
        _print_table(table, f"class evidence read from {layer_and_grid}, checkpoint {classifier.checkpoint}")
        note(f"written to {out}")
    for depth in {one.depth for one in asked if one.depth is not None}:
        for line in depth.remarks(classifier.preparation.bits):
            note(line)
    alone = int(table.loc[table["without_scale"] == "yes", "image"].nunique()) if len(table) else 0
    if alone:
        note(
            f"{alone} of {table['image'].nunique()} images judged without scale: this model judges a chromosome beside "
            "the others of its cell, of which there are too few here"
        )
    seen = int((table["held_out"] == "no").sum()) if len(table) else 0
    if seen:
        note("images marked 'trained on' were part of this run's training: its confidence there says little")
    if problems or unread:
        raise ManyErrors("not explained:", [*problems, *unread], "Correct these names or files; the rest is done.")


def attention(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the datasets named in the study file.", envvar="BANDBRIDGE_DATA"),
    ] = None,
    runs: Annotated[
        Path,
        typer.Option(help="Folder of all runs, shared by all studies.", callback=runs_folder, envvar="BANDBRIDGE_RUNS"),
    ] = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table; default results/<study name>.", callback=given_folder)
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="Held-out images drawn of each task.")] = 96,
    steps: Annotated[int, typer.Option(min=0, help="Steps of deletion and insertion; 0 leaves these out.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    fold: Annotated[int | None, typer.Option(help="Default: the first with the most finished approaches.")] = None,
    architecture: Annotated[
        list[str] | None, typer.Option(help="Only this one, as the study file names it; may be given again.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="The module that Grad-CAM reads; known for most models.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Measure where each approach's attention lies: on the chromosome, its outline and its arms, against chance.

    Writes attention.md, .csv and .tex. What was measured of a run is kept and not measured again.
    """
    from bandbridge.explain.runs import missing_runs
    from bandbridge.explain.survey import attention_table
    from bandbridge.report.rendering import to_markdown, write_table
    from bandbridge.report.study import table_context
    from bandbridge.report.tables.attention import attention_report_table
    from bandbridge.study.plan import open_study

    study = open_study(study_file, data_dir, need_data=True)
    folder = study_folder(out, study.spec.name)
    unknown = sorted(set(architecture or ()) - set(study.architectures))
    if unknown:
        raise UserError(
            f"{study_file} has no architecture {unknown[0]!r}.", f"It has {', '.join(study.architectures)}."
        )
    frame = attention_table(
        study,
        runs,
        fold=fold,
        seed=seed,
        limit=limit,
        steps=steps,
        architectures=architecture,
        layer=layer,
        device=device,
    )
    table = attention_report_table(frame, table_context(study))
    missing = missing_runs(study, runs, fold)
    if table is None:
        raise ManyErrors("there is nothing to measure:", missing, f"Train first: bandbridge study run {study_file}")
    for line in missing:
        note(line)
    write_table(folder, table)
    say(to_markdown(table), end="")
    note(f"written to {folder}")


def _print_table(table: pd.DataFrame, caption: str) -> None:
    from rich.table import Table

    from bandbridge.explain.gradcam import NO_EVIDENCE

    shown = Table(box=None, header_style="bold", caption=caption, caption_justify="left")
    for heading in ("image", "label", "class", "probability", "map maximum", "in chromosome", "short arm", ""):
        shown.add_column(heading, justify="right" if heading not in ("image", "label", "class", "") else "left")
    for row in table.to_dict("records"):
        empty = row["map_maximum"] <= 0
        shown.add_row(
            str(row["image"]),
            str(row["label"]),
            f"{row['class']} ({row['role']})",
            f"{row['probability']:.3f}",
            NO_EVIDENCE if empty else f"{row['map_maximum']:.3g}",
            _percent(row["chromosome"]),
            _percent(row["short_arm"]),
            "trained on" if row["held_out"] == "no" else "",
        )
    console = Console()
    # A pipe has no width: let the lines be as long as they are.
    (console if console.is_terminal else Console(width=160)).print(shown)


def _percent(share: float) -> str:
    return "–" if share != share else f"{share:.0%}"
