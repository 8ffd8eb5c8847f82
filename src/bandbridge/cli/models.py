"""``bandbridge models``: the architectures with their weights, size and compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from bandbridge.model.complexity import Complexity

_CLASSES, _IMAGE_SIZE = 24, 224
_HEADINGS = ("Architecture", "Weights (timm)", "Family", "Year", "Parameters (M)", "GFLOPs", "Weights from")
_NUMERIC = {"Year", "Parameters (M)", "GFLOPs"}
#: Wide enough for the longest row, so that a piped table is not folded.
_PIPE_WIDTH = 160


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
        typer.echo(json.dumps(records, indent=2))
    elif as_markdown:
        typer.echo(_markdown(records) + f"\n\n{caption}")
    else:
        _print_table(records, caption)


def _record(row: Complexity, weights_dir: Path | None) -> dict[str, Any]:
    from bandbridge.model.architectures import pretrained_config
    from bandbridge.model.weights import local_weights

    architecture = row.architecture
    local = local_weights(architecture, weights_dir) is not None
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
        "weights_from": "folder" if local else "hub" if architecture.tag else "none",
        "licence": pretrained_config(architecture).license,
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
    from rich.console import Console
    from rich.table import Table

    table = Table(caption=caption, caption_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading in _NUMERIC else "left")
    for record in records:
        table.add_row(*_cells(record))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PIPE_WIDTH)
    console.print(table)
