"""``bandbridge similarity``: how far domains are apart, before any training."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.errors import UserError
from bandbridge.progress import note

if TYPE_CHECKING:
    from bandbridge.domains.distance import DomainDistance, Resampling
    from bandbridge.domains.embeddings import Embeddings, Extractor
    from bandbridge.report.rendering import Table


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
    Path, typer.Option("--runs", help="Folder that keeps embeddings, shared with studies.", envvar="BANDBRIDGE_RUNS")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DEFAULT_ARCHITECTURE, DEFAULT_SIZE, DEFAULT_CACHE = "ConvNeXt-Tiny", 224, Path("runs")


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
    runs: CacheDir = DEFAULT_CACHE,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and figures; default results/similarity.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of tables.")] = False,
) -> None:
    """Measure how far domains are apart, and whether natural images are farther (the paper's Table 1).

    Embeds every image by an ImageNet model and compares the domains by MMD² and CORAL.

    Each has intervals and a permutation test: as published, image by image, and corrected, by whole cells.
    """
    from bandbridge.dataset.prepare import Preparation
    from bandbridge.domains.distance import Resampling, compare_all
    from bandbridge.report.tables.domains import bandwidth_table, similarity_table

    if len(datasets) + (natural is not None) < 2:
        raise UserError("there is only one domain", "Name two datasets or more, or one and --natural.")
    extractor = _extractor(architecture, image_size, weights_dir, device)
    domains = open_domains(datasets, natural, extractor, Preparation(size=image_size), runs)
    resampling = Resampling(bootstraps, permutations, seed, bandwidth.value)
    distances = compare_all(domains, resampling, device)
    model = f"{extractor.architecture.name} at {image_size} px"
    tables = [similarity_table(distances, domains, resampling, model), bandwidth_table(distances)]
    if ablation:
        tables.append(_ablation(datasets, extractor, image_size, resampling, runs, device))
    folder = out or Path("results") / "similarity"
    _write(tables, domains, distances, folder, seed)
    if as_json:
        # pandas writes what is not a number as null, which JSON has.
        typer.echo(json.dumps({table.name: json.loads(table.data.to_json(orient="records")) for table in tables}))
    else:
        from bandbridge.report.rendering import to_markdown

        typer.echo("\n".join(to_markdown(table) for table in tables))
    note(f"written to {folder}")


def open_domains(
    datasets: list[Path], natural: Path | None, extractor: Extractor, preparation: object, runs: Path
) -> list[Embeddings]:
    """Open and embed every dataset; names are those of the files. All datasets are opened before any is embedded."""
    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.prepare import Preparation
    from bandbridge.domains.embeddings import embed, open_natural

    assert isinstance(preparation, Preparation)
    opened = [(domain_name(path), open_dataset(path), False) for path in datasets]
    if natural is not None:
        opened.append((domain_name(natural), open_natural(natural), True))
    names = [name for name, _, _ in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two domains are called {' and '.join(twice)}", "Rename one of the files.")
    return [
        embed(dataset, name, extractor, preparation, runs, natural=is_natural) for name, dataset, is_natural in opened
    ]


def domain_name(path: Path) -> str:
    """Return what a reader calls the dataset at ``path``: its file name without the ending."""
    resolved = path.resolve()
    return resolved.stem if resolved.is_file() else resolved.name


def _extractor(architecture: str, image_size: int, weights_dir: Path | None, device: str) -> Extractor:
    from bandbridge.domains.embeddings import open_extractor
    from bandbridge.model.architectures import find_architecture

    return open_extractor(find_architecture(architecture), image_size, weights_dir, device)


def _ablation(
    datasets: list[Path], extractor: Extractor, size: int, resampling: Resampling, runs: Path, device: str
) -> Table:
    from bandbridge.dataset.decode import decode_gray
    from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
    from bandbridge.dataset.prepare import background_level
    from bandbridge.domains.distance import compare, variants
    from bandbridge.domains.embeddings import embed
    from bandbridge.report.tables.domains import ablation_table

    if len(datasets) < 2:
        raise UserError("--ablation compares two datasets of chromosomes", "Name two before --natural.")

    def is_bright(dataset: ImageFolder) -> bool:
        names = dataset.samples["file_name"].iloc[:50]
        levels = [background_level(decode_gray(dataset.read_bytes(name), name)) for name in names]
        return sorted(levels)[len(levels) // 2] >= 128

    pair = [open_dataset(path) for path in datasets[:2]]
    names = [domain_name(path) for path in datasets[:2]]
    results = []
    for variant in variants(size, (is_bright(pair[0]), is_bright(pair[1]))):
        note(f"preparation: {variant.title}")
        first, second = (
            embed(dataset, name, extractor, preparation, runs)
            for dataset, name, preparation in zip(pair, names, (variant.first, variant.second), strict=True)
        )
        results.append((variant.title, compare(first, second, resampling, device=device)))
    return ablation_table(results)


def _write(
    tables: list[Table], domains: list[Embeddings], distances: list[DomainDistance], folder: Path, seed: int
) -> None:
    from bandbridge.files import write_json
    from bandbridge.report.figures.domains import distance_heatmap, embedding_map
    from bandbridge.report.figures.illustration import save_illustration
    from bandbridge.report.rendering import write_table

    for table in tables:
        write_table(folder, table)
    write_json(folder / "domains.json", {domain.name: domain.facts for domain in domains})
    note("drawing the map of the embeddings")
    for illustration in (distance_heatmap(distances), embedding_map(domains, seed)):
        save_illustration(illustration, folder)
