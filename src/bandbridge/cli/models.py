"""``bandbridge models``: the architectures with their weights, size and compute; and a trained model to pass on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bandbridge.boxes import at_home
from bandbridge.cli.explain import Checkpoint
from bandbridge.cli.outputs import given_folder, output_folder
from bandbridge.cli.predict import Coverage, WantedError
from bandbridge.terminal import Console, say

if TYPE_CHECKING:
    from bandbridge.model.complexity import Complexity

_CLASSES, _IMAGE_SIZE = 24, 224
_HEADINGS = ("Architecture", "Weights (timm)", "Family", "Year", "Parameters (M)", "GFLOPs", "Weights from")
_NUMERIC = {"Year", "Parameters (M)", "GFLOPs"}
#: Wide enough for the longest row, so that a piped table is not folded.
_PIPE_WIDTH = 160


class _ListedByDefault(TyperGroup):
    """``bandbridge models [NAMES]`` lists; only a verb of its own is anything else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default verb before arguments that name none."""
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ListedByDefault,
    help="List the architectures, or hand a trained model on. Without a verb: list.",
)


@app.command("export")
def export_model(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, runs/<task>/<architecture>/...")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the model; default models/<task>-<architecture>-<id>.", callback=given_folder),
    ] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which weights of the run.")] = Checkpoint.last,
    images: Annotated[
        Path | None, typer.Option(help="The dataset it was trained on: the model then flags what looks otherwise.")
    ] = None,
    coverage: Coverage = 0.95,
    wanted_error: WantedError = 0.01,
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits: half of the size.")] = False,
) -> None:
    """Write a trained model as a folder to pass on: weights, timm's config.json, its confidence, a model card.

    timm loads it as "local-dir:FOLDER", and bandbridge predict, explain, review and export take it as a MODEL.
    """
    from bandbridge.export.folder import export_folder
    from bandbridge.model.config import read_config
    from bandbridge.predict.confidence import Promise
    from bandbridge.progress import note
    from bandbridge.seal import read_run
    from bandbridge.synthetic.sets import open_named

    run = at_home(run)
    read_config(run)  # a folder that is no run is said to be none before a name is made of it
    facts = read_run(run)
    default = "-".join(str(facts.get(key, "")) for key in ("task", "architecture", "id")).lower().replace("/", "-")
    place = output_folder(out or Path("models") / default)
    dataset = open_named(images) if images is not None else None
    promise = Promise(coverage, wanted_error)
    folder = export_folder(run, place, checkpoint.value, dataset, promise, half=half)
    if dataset is None:
        note("without --images the model cannot tell images of another stain from its own")
    note(f"written to {folder}; its README.md says what it is")


@app.command("complete")
def complete(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Model folders of an earlier version.")],
) -> None:
    """Add to model folders of earlier versions the graph that predict and review use without PyTorch.

    It is compared with PyTorch first; the weights stay as they are.
    """
    from bandbridge.errors import ManyErrors, UserError, in_one_line
    from bandbridge.export.folder import complete_folder
    from bandbridge.progress import note

    problems = []
    for folder in folders:
        try:
            note(f"{folder}: completed" if complete_folder(at_home(folder)) else f"{folder}: complete already")
        except UserError as error:
            if len(folders) == 1:
                raise
            problems.append(in_one_line(error.message, error.remedy))
    if problems:
        raise ManyErrors("model folders that could not be completed:", problems)


@app.command("list")
def models(
    names: list[str] | None = typer.Argument(
        None, help="Names to show: rows of the paper or any timm model; without any, the paper's eleven."
    ),
    weights_dir: Path | None = typer.Option(
        None, "--weights-dir", help="Folder of ImageNet weights.", envvar="BANDBRIDGE_WEIGHTS"
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, with exact counts and licences."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print a Markdown table."),
) -> None:
    """List the architectures with their pinned weights, parameters and compute (the paper's Table 3)."""
    import json

    from bandbridge.errors import UserError
    from bandbridge.model.complexity import CAPTION, complexity_table

    if as_json and as_markdown:
        raise UserError("--json and --markdown exclude each other.", "Choose one of them.")
    records = [_record(row, weights_dir) for row in complexity_table(names or (), _CLASSES, _IMAGE_SIZE)]
    caption = CAPTION.format(classes=_CLASSES, image_size=_IMAGE_SIZE)
    if as_json:
        say(json.dumps(records, indent=2))
    elif as_markdown:
        say(_markdown(records) + f"\n\n{caption}")
    else:
        _print_table(records, caption)


def _record(row: Complexity, weights_dir: Path | None) -> dict[str, Any]:
    from bandbridge.model.complexity import weights_licence
    from bandbridge.model.weights import weights_origin

    architecture = row.architecture
    return {
        "name": architecture.name,
        "timm_name": architecture.timm_name,
        "tag": architecture.tag,
        "family": architecture.family,
        "year": architecture.year,
        "parameters": row.parameters,
        "macs": row.macs,
        "classes": _CLASSES,
        "image_size": _IMAGE_SIZE,
        "weights_from": weights_origin(architecture, weights_dir) or "none",
        "licence": weights_licence(architecture),
    }


def _cells(record: dict[str, Any]) -> list[str]:
    pinned = ".".join(filter(None, (record["timm_name"], record["tag"])))
    return [
        record["name"],
        pinned,
        record["family"],
        str(record["year"] or ""),
        f"{record['parameters'] / 1e6:.2f}",
        f"{record['macs'] / 1e9:.2f}",
        record["weights_from"],
    ]


def _markdown(records: list[dict[str, Any]]) -> str:
    rule = ["---:" if heading in _NUMERIC else "---" for heading in _HEADINGS]
    rows = [list(_HEADINGS), rule, *map(_cells, records)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _print_table(records: list[dict[str, Any]], caption: str) -> None:
    from rich.table import Table

    table = Table(caption=caption, caption_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading in _NUMERIC else "left")
    for record in records:
        table.add_row(*_cells(record))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    console.print(table)
