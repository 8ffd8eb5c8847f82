"""``bandbridge similarity``: how far domains are apart, before any training."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bandbridge.api import DEFAULT_ARCHITECTURE, DEFAULT_RUNS, DEFAULT_SIZE
from bandbridge.cli.outputs import given_folder, output_folder, runs_folder
from bandbridge.progress import note
from bandbridge.terminal import say


class PoolName(StrEnum):
    """The images whose median distance sets the kernel's width."""

    pair = "pair"
    all = "all"


#: Options that ``advise`` has too.
ArchitectureName = Annotated[
    str, typer.Option(help="The ImageNet model that embeds: a row of 'bandbridge models', or any timm name.")
]
WeightsDir = Annotated[
    Path | None,
    typer.Option(help="Folder of ImageNet weights, <timm name>.safetensors.", envvar="BANDBRIDGE_WEIGHTS"),
]
ImageSize = Annotated[int, typer.Option(min=16, max=2048, help="Side of the images given to the model, pixels.")]
CacheDir = Annotated[
    Path,
    typer.Option(
        "--runs",
        help="Folder that keeps embeddings, shared with studies.",
        callback=runs_folder,
        envvar="BANDBRIDGE_RUNS",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def similarity(
    datasets: Annotated[list[Path], typer.Argument(metavar="DATASETS", help="Two or more: folders or zips.")],
    natural: Annotated[
        Path | None, typer.Option(help="Natural images to compare with, such as Imagenette: folder or zip.")
    ] = None,
    architecture: ArchitectureName = DEFAULT_ARCHITECTURE,
    weights_dir: WeightsDir = None,
    image_size: ImageSize = DEFAULT_SIZE,
    bootstraps: Annotated[int, typer.Option(min=0, help="Resamples behind each interval.")] = 1000,
    permutations: Annotated[int, typer.Option(min=0, help="Permutations behind each P value.")] = 1000,
    bandwidth: Annotated[PoolName, typer.Option(help="Median distance of the two domains, or of all.")] = PoolName.pair,
    ablation: Annotated[bool, typer.Option(help="Also measure what preparation does to the first pair.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    runs: CacheDir = DEFAULT_RUNS,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for tables and figures; default results/similarity.", callback=given_folder),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of tables.")] = False,
) -> None:
    """Measure how far domains are apart, and whether natural images are farther (the paper's Table 1).

    Embeds every image by an ImageNet model and compares the domains by MMD² and CORAL.

    Each has intervals and a permutation test: as published, image by image, and corrected, by whole cells.
    """
    import bandbridge as bb

    folder = output_folder(out or Path("results") / "similarity")
    found = bb.similarity(
        *datasets,
        natural=natural,
        architecture=architecture,
        image_size=image_size,
        weights_dir=weights_dir,
        bootstraps=bootstraps,
        permutations=permutations,
        bandwidth=bandwidth.value,
        ablation=ablation,
        seed=seed,
        runs=runs,
        device=device,
    )
    folder = found.save(folder)
    say(json.dumps(found.as_dict()) if as_json else str(found))
    note(f"written to {folder}")
